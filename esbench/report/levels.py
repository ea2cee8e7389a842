"""The table of a comparison, as in the CIFS paper's table 1: a line a noise level, a column a criterion."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esbench.report.tables import Table

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class View:
    """What the cells of a comparison show.

    Attributes:
        name: of its files.
        title: what is shown, in words.
        of: a row of the results table to the number that is shown.
        best: `max` or `min`, of a line's criteria.
        beside: columns for what is no criterion, each from the row of any criterion.
    """

    name: str
    title: str
    of: Callable[[dict[str, Any]], float | None]
    best: Callable[[Iterable[float]], float]
    beside: dict[str, Callable[[dict[str, Any]], float | None]]


#: The paper's own table first.
VIEWS = (
    View(
        "table",
        "PSNR at the stop (dB)",
        lambda row: row["psnr_db"],
        max,
        {"no early stopping": lambda row: row["last_db"], "peak": lambda row: row["peak_db"]},
    ),
    View(
        "table-gap",
        "Gap to the peak (dB)",
        lambda row: row["gap_db"],
        min,
        {"no early stopping": lambda row: _minus(row["peak_db"], row["last_db"])},
    ),
    View(
        "table-average",
        "PSNR of the averaged output at the stop (dB)",
        lambda row: row["average_psnr_db"],
        max,
        {"peak": lambda row: row["average_peak_db"]},
    ),
)


def levels(rows: Rows) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows of each data set and noise level by their names, from low to high."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], level(row)), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (item[0][0], item[1][0]["sigma"] or 0)))


def level(row: dict[str, Any]) -> str:
    """Return the noise of a row as it is read: `gaussian 25`, `poisson[rate=12]`."""
    return str(row["noise"]) if row["sigma"] is None else f"{row['noise']} {row['sigma']:g}"


def criteria(rows: Rows) -> list[str]:
    """Return the criteria in the order in which they come."""
    return list(dict.fromkeys(row["criterion"] for row in rows))


def units(rows: Rows) -> dict[str, dict[str, Any]]:
    """Return one row of each unit, by its id."""
    return {row["unit"]: row for row in rows}


def comparison(rows: Rows, view: View) -> Table:
    """Return a line for each data set and noise level: mean ± standard deviation over its units, the best in bold.

    A criterion that has no number for some units says for how many it has one, and is never the best: the others were
    measured on more.
    """
    names = criteria(rows)
    lines, bold = [], set()
    for i, ((dataset, noise), group) in enumerate(levels(rows).items()):
        n, known = len(units(group)), _known(group, names, view)
        lines.append((dataset, noise, n, *(_cell(values, n) for _, values in known)))
        whole = [(j, values) for j, (_, values) in enumerate(known[: len(names)]) if len(values) == n]
        means = {j: round(statistics.fmean(values), 2) for j, values in whole}
        bold |= {(i, 3 + j) for j, mean in means.items() if len(means) > 1 and mean == view.best(means.values())}
    return Table(("data set", "noise", "units", *names, *view.beside), lines, bold)


def numbers(rows: Rows, view: View) -> Table:
    """Return what a comparison shows as plain numbers: a line for each of its cells."""
    lines = [
        (dataset, noise, name, len(values), statistics.fmean(values), float(np.std(values)))
        for (dataset, noise), group in levels(rows).items()
        for name, values in _known(group, criteria(rows), view)
        if values
    ]
    return Table(("dataset", "noise", "column", "units", "mean_db", "std_db"), lines)


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation, or the one value that there is."""
    mean = f"{statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values):.2f}"


def _known(group: Rows, names: Sequence[str], view: View) -> list[tuple[str, list[float]]]:
    """Return the name and the numbers of each column of a line: the criteria, and what is beside them."""
    columns = [(name, [view.of(row) for row in group if row["criterion"] == name]) for name in names]
    columns += [(name, [of(row) for row in units(group).values()]) for name, of in view.beside.items()]
    return [(name, [value for value in values if value is not None]) for name, values in columns]


def _cell(values: list[float], of: int) -> str | None:
    if not values:
        return None
    return spread(values) if len(values) == of else f"{spread(values)} ({len(values)}/{of})"


def _minus(peak: float | None, last: float | None) -> float | None:
    return None if peak is None or last is None else peak - last
