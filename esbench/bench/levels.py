"""The tables of a comparison: one line per criterion, one column per noise level."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from esbench.tables import Table

Rows = Sequence[Mapping[str, Any]]
_T = TypeVar("_T")
_R = TypeVar("_R", bound=Mapping[str, Any])


@dataclass(frozen=True)
class View:
    """The numbers in the cells of a comparison.

    Attributes:
        name: the name of its files.
        title: what is shown, in words.
        of: returns the number to show for a row of the results table.
        best: `max` or `min`: which of the numbers in a column is the best.
        beside: lines that are not criteria, by name; their numbers are the same in the rows of all criteria.
        baselines: whether baselines have a line, with their PSNR.
    """

    name: str
    title: str
    of: Callable[[Mapping[str, Any]], float | None]
    best: Callable[[Iterable[float]], float]
    beside: dict[str, Callable[[Mapping[str, Any]], float | None]]
    baselines: bool = False


#: Criteria that serve as a reference for the others. They are never marked as the best.
REFERENCES = ("loss", "fixed", "last")

#: The most noise levels in a table: so many fit on A4 paper with margins of 2.5 cm, also in LaTeX.
COLUMNS = 4

VIEWS = (
    View(
        "table",
        "PSNR at the stop (dB)",
        lambda row: row["psnr_db"],
        max,
        {"no early stopping": lambda row: row["last_db"], "peak": lambda row: row["peak_db"]},
        baselines=True,
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
        baselines=True,
    ),
)


def levels(rows: Rows) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return the rows by dataset and noise level, in the order of datasets and then of levels."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], level(row)), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (item[0][0], item[1][0]["sigma"] or 0)))


def level(row: Mapping[str, Any]) -> str:
    """Return the noise of a row as text: `gaussian 25`, `poisson[rate=12]`."""
    return str(row["noise"]) if row["sigma"] is None else f"{row['noise']} {row['sigma']:g}"


def of_kind(rows: Iterable[_R], kind: str) -> list[_R]:
    """Return the rows of a kind: `criterion` or `baseline`."""
    return [row for row in rows if row["kind"] == kind]


def criteria(rows: Rows) -> list[str]:
    """Return the criteria in order of first appearance."""
    return list(dict.fromkeys(row["criterion"] for row in of_kind(rows, "criterion")))


def baselines(rows: Rows) -> list[str]:
    """Return the baselines in order of first appearance."""
    return list(dict.fromkeys(row["criterion"] for row in of_kind(rows, "baseline")))


def units(rows: Rows) -> dict[str, Mapping[str, Any]]:
    """Return a row of one criterion for each unit, by its id."""
    return {row["unit"]: row for row in of_kind(rows, "criterion")}


def is_reference(criterion: str) -> bool:
    """Whether a criterion is a reference for the others."""
    return criterion.partition("[")[0] in REFERENCES


def comparison(rows: Rows, view: View) -> list[tuple[str, Table]]:
    """Return a title and a table for each dataset, or for up to four of its noise levels.

    A cell is the mean ± standard deviation over the units of its column; the best of a column is in bold. If a
    criterion has no number for some units, its cell says for how many it has one, and it is never the best, because
    the others were measured on more. References and criteria that did not stop, marked by a dagger, are not either.
    """
    by_dataset: dict[str, list[tuple[str, list[Mapping[str, Any]]]]] = {}
    for (dataset, noise), group in levels(rows).items():
        by_dataset.setdefault(dataset, []).append((noise, group))
    return [
        (dataset, _part(part, criteria(rows), _beside(rows, view), view))
        for dataset, groups in by_dataset.items()
        for part in _parts(groups, COLUMNS)
    ]


def _parts(groups: Sequence[_T], most: int) -> list[Sequence[_T]]:
    """Split groups into parts of similar length, each with at most `most` groups."""
    size = -(-len(groups) // -(-len(groups) // most))
    return [groups[i : i + size] for i in range(0, len(groups), size)]


def _beside(rows: Rows, view: View) -> list[str]:
    """Return the names of the lines that are not criteria, baselines last."""
    return [*view.beside, *(baselines(rows) if view.baselines else ())]


def _part(groups: Sequence[tuple[str, Rows]], names: Sequence[str], beside: Sequence[str], view: View) -> Table:
    """Return the table of a part of the noise levels."""
    columns, bold = [], set()
    for i, (_, group) in enumerate(groups, 1):
        n, known = len(units(group)), _known(group, names, beside, view)
        stopped = {row["criterion"] for row in of_kind(group, "criterion") if not row["fallback"]}
        cells = [_cell(values, n) for _, values in known]
        for j, name in enumerate(names):
            if cells[j] is not None and name not in stopped:
                cells[j] = f"{cells[j]}†"
        columns.append(cells)
        whole = [j for j, name in enumerate(names) if len(known[j][1]) == n and name in stopped]
        whole = [j for j in whole if not is_reference(names[j])]
        means = {j: round(statistics.fmean(known[j][1]), 2) for j in whole}
        bold |= {(j, i) for j, mean in means.items() if len(means) > 1 and mean == view.best(means.values())}
    head = ("criterion", *(f"{noise}\n(n={len(units(group))})" for noise, group in groups))
    return Table(head, list(zip([*names, *beside], *columns, strict=True)), bold)


def numbers(rows: Rows, view: View) -> Table:
    """Return the numbers behind the tables of a comparison, one line per cell."""
    lines = [
        (dataset, noise, name, len(values), statistics.fmean(values), float(np.std(values)))
        for (dataset, noise), group in levels(rows).items()
        for name, values in _known(group, criteria(rows), _beside(rows, view), view)
        if values
    ]
    return Table(("dataset", "noise", "criterion", "units", "mean_db", "std_db"), lines)


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation; of a single value, only the value."""
    mean = f"{statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values):.2f}"


def _known(group: Rows, names: Sequence[str], beside: Sequence[str], view: View) -> list[tuple[str, list[float]]]:
    """Return the name and the numbers of each cell of a column: the criteria, then the other lines."""
    ours = of_kind(group, "criterion")
    cells = [(name, [view.of(row) for row in ours if row["criterion"] == name]) for name in names]
    for name in beside:
        if name in view.beside:
            cells.append((name, [view.beside[name](row) for row in units(group).values()]))
        else:
            cells.append((name, [row["psnr_db"] for row in of_kind(group, "baseline") if row["criterion"] == name]))
    return [(name, [value for value in values if value is not None]) for name, values in cells]


def _cell(values: list[float], of: int) -> str | None:
    return counted(spread(values), len(values), of) if values else None


def counted(text: str, n: int, of: int) -> str:
    """Append to a text how many of the units it covers, unless it covers all: `27.34 ± 2.10 (22/24)`."""
    return text if n == of else f"{text} ({n}/{of})"


def _minus(peak: float | None, last: float | None) -> float | None:
    return None if peak is None or last is None else peak - last
