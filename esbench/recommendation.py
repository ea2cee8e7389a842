"""Recommend a criterion, with the reason, from a table of measurements that comes with esbench.

The table is made by `python -m benchmarks.which --write` from recorded optimisations.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from esbench import params
from esbench.records import TaskInfo
from esbench.registry import registry


@dataclass(frozen=True)
class Recommendation:
    """A criterion for a task.

    Attributes:
        criterion: as text.
        why: one sentence.
        measured: the row of the table that it comes from; None if the task was not measured.
    """

    criterion: str
    why: str
    measured: dict[str, Any] | None = None


def recommended(task: str, *, level_known: bool, noise: bool = False, network: str | None = None) -> Recommendation:
    """Return what to stop a task by.

    Args:
        task: as text.
        level_known: whether it is known whether there is noise, and its level.
        noise: whether there is noise of a known level.
        network: as text; None if any.

    Raises:
        UsageError: there is no such task or network.
    """
    component = registry().get("task", task)
    assert isinstance(component.info, TaskInfo)
    name = params.split(component.text)[0]
    rows = [row for row in table()["rows"] if row["task"] == name and row["level_known"] == level_known]
    if not rows:
        why = f"{component.info.name} is not in the table of measurements; this is its default."
        return Recommendation(component.info.criterion, why)
    row = next((row for row in rows if row["noisy"] == noise), rows[0])
    return Recommendation(row["criterion"], _why(row, network), row)


def _why(row: dict[str, Any], network: str | None) -> str:
    best = next(each for each in row["ranked"] if each["criterion"] == row["criterion"])
    others = [each for each in row["ranked"] if each is not best]
    never = f", {best['never']} of them not stopped" if best["never"] else ""
    noise = ", ".join("no noise" if name == "none" else name for name in row["noise"])
    said = (
        f"The averaged output was {best['mean_db']:.2f} dB below its peak on average, {best['largest_db']:.2f} dB at "
        f"worst, in {best['units']} optimisations of {row['pictures']} pictures of "
        f"{' or '.join(map(str, row['side']))} pixels per side with {', '.join(row['networks'])} "
        f"({noise}){never}"
    )
    if not row["noisy"] and row["level_known"]:
        said += f". To go on to the last step loses {row['last_db']:.2f} dB at worst"
    if others:
        said += f"; next: {others[0]['criterion']}, {others[0]['mean_db']:.2f} and {others[0]['largest_db']:.2f} dB"
    if network is not None:
        name = params.split(registry().get("network", network).text)[0]
        if name not in {params.split(text)[0] for text in row["networks"]}:
            said += f". It was not measured with {name}"
    return f"{said}."


@functools.cache
def table() -> dict[str, Any]:
    """Return the table: the command that made it, its patience, and a row for each task."""
    text = resources.files("esbench").joinpath("recommended.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]
