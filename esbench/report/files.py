"""Write the files of a report: the page, the figures, the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esbench.bench.levels import VIEWS, comparison, numbers, of_kind
from esbench.bench.results import Results
from esbench.disk import write
from esbench.report import embed, figures, html
from esbench.tables import latex, markdown

#: If a run has more units than this, only the curves of the first ones are written to files; the page has more.
FEW = 4


def report(results: Results, folder: Path) -> list[Path]:
    """Write the report of a run into a folder, and return its files, the page first.

    Args:
        results: the run.
        folder: an existing folder.
    """
    rows: list[Any] = [*results.table()]
    paths = [folder / "index.html"]
    write(paths[0], html.page(results, rows, folder).encode("utf-8", "replace"))
    if rows:
        paths += _figures(results, of_kind(rows, "criterion"), folder) + _tables(rows, folder)
    return paths


def _figures(results: Results, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    known = [row for row in rows if row["gap_db"] is not None]
    drawn = {"gap": figures.gap(known), "cost": figures.cost(known)} if known else {}
    by_unit = embed.units_of(rows)
    for id in list(by_unit)[: FEW if len(by_unit) <= FEW else 1]:
        drawn[f"curves-{id}"] = figures.curves(results.run.unit(id), by_unit[id])
    return [
        figures.save(figure, folder / f"{name}.{kind}") for name, figure in drawn.items() for kind in figures.FORMATS
    ]


def _tables(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    paths = []
    for view in VIEWS:
        tables = comparison(rows, view)
        for kind, text in (
            ("md", markdown(tables)),
            ("tex", latex(tables)),
            ("csv", numbers(rows, view).csv()),
        ):
            paths.append(folder / f"{view.name}.{kind}")
            write(paths[-1], f"{text.rstrip()}\n".encode("utf-8", "replace"))
    return paths
