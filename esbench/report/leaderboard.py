"""The page of a leaderboard: one file that opens offline, beside its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esbench.bench.exported import written
from esbench.bench.standings import Board, Entry, Rows, maker, standings
from esbench.disk import write
from esbench.looks import PATHS, look
from esbench.params import split
from esbench.registry import registry
from esbench.templating import page as whole

#: A dataset and a noise level of a board, and its lines.
Selection = tuple[str, str, list[Entry]]


def selections(board: Board) -> list[Selection]:
    """Return the lines for each dataset and noise level; the first selection has all of them."""
    return [(dataset, noise, standings(rows)) for (dataset, noise), rows in board.selections().items()]


def leaderboard(
    boards: Sequence[tuple[Board, Sequence[Selection]]],
    rows: Rows,
    sources: Sequence[tuple[str, int]],
    said: Sequence[str],
    folder: Path,
) -> list[Path]:
    """Write a leaderboard into a folder, and return its files, the page first.

    Args:
        boards: the boards, each with its selections.
        rows: all rows that count.
        sources: the names of the sources, each with its number of rows.
        said: notes about the rows.
        folder: an existing folder.
    """
    entries = [entry for _, chosen in boards for _, _, lines in chosen for entry in lines]
    page = whole(
        "leaderboard.html",
        ("leaderboard.js",),
        title="Leaderboard",
        boards=[(board.title, [_table(*selection) for selection in chosen]) for board, chosen in boards],
        datasets=list(dict.fromkeys(dataset for _, chosen in boards for dataset, _, _ in chosen if dataset)),
        noises=list(dict.fromkeys(noise for _, chosen in boards for _, noise, _ in chosen if noise)),
        criteria=_criteria(entries),
        sources=sources,
        rows=len(rows),
        said=said,
    )
    paths = [folder / "index.html", folder / "rows.csv"]
    for path, data in zip(paths, (page.encode("utf-8", "replace"), written(rows, "csv")), strict=True):
        write(path, data)
    return paths


def _table(dataset: str, noise: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return a selection for the template: its lines, and the largest gap that its bars show."""
    known = [value for entry in entries if not entry.why for value in (entry.gap_db, entry.high) if value is not None]
    full = max([*known, 0.1]) if known else max([entry.gap_db for entry in entries] + [0.1])
    chosen = ", ".join(part for part in (dataset, noise) if part)
    return {"dataset": dataset, "noise": noise, "title": chosen or "all units", "lines": entries, "full": full}


def _criteria(entries: Sequence[Entry]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return each criterion's look and owner, and its summary and reference if it is installed."""
    known = {(record.info.name, record.distribution): record.info for record in registry().records["criterion"]}
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for entry in entries:
        info = known.get((split(entry.criterion)[0], entry.distribution))
        colour, mark = look(entry.criterion)
        found[entry.criterion, entry.distribution, entry.version] = {
            "name": entry.criterion,
            "maker": maker(entry),
            "colour": colour,
            "path": PATHS[mark],
            "summary": info.summary if info else "",
            "reference": info.reference if info else "",
        }
    return found
