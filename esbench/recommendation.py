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
        level_known: whether criteria get the level of the noise.
        noise: whether there is noise of a known level, also if the task has none.
        network: as text; None if any.

    Raises:
        UsageError: there is no such task or network.
    """
    component = registry().get("task", task)
    assert isinstance(component.info, TaskInfo)
    row = next(
        (
            row
            for row in table()["rows"]
            if row["task"] == params.split(component.text)[0] and row["level_known"] == level_known
        ),
        None,
    )
    if row is None:
        why, criterion = f"{component.info.name} is not in the table of measurements; this is its default", None
        if noise and (criterion := component.info.with_noise):
            why += " if the noise level is known"
        return Recommendation(criterion or component.info.criterion, f"{why}.")
    return Recommendation(row["criterion"], _why(row, network), row)


def _why(row: dict[str, Any], network: str | None) -> str:
    best, *others = row["ranked"]
    never = f", {best['never']} of them not stopped" if best["never"] else ""
    said = (
        f"The averaged output was {best['mean_db']:.2f} dB below its peak on average, {best['largest_db']:.2f} dB at "
        f"worst, in {best['units']} optimisations of {row['pictures']} pictures of "
        f"{' or '.join(map(str, row['side']))} pixels per side with {', '.join(row['networks'])} "
        f"({', '.join(row['noise'])}){never}"
    )
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
