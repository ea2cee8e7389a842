"""The worst stops of each criterion, which show where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esbench.bench.levels import criteria, is_reference

Row = Mapping[str, Any]

#: The number of stops of a criterion that are listed.
MOST = 10


@dataclass(frozen=True)
class Worst:
    """The stops of a criterion that are furthest below the peak.

    Attributes:
        criterion: the criterion.
        rows: their rows of the results table, the largest gap first.
    """

    criterion: str
    rows: Sequence[Row]

    def kinds(self) -> str:
        """Return how many of them are too early, too late or missing: `7 early, 2 late, 1 not stopped`."""
        found = [kind(row) for row in self.rows]
        return ", ".join(f"{found.count(each)} {each}" for each in ("early", "late", "not stopped") if each in found)


def kind(row: Row) -> str:
    """Return whether a stop below the peak is early, late or missing."""
    if row["fallback"]:
        return "not stopped"
    return "early" if row["stop_step"] < row["peak_step"] else "late"


def worst(rows: Sequence[Row]) -> list[Worst]:
    """Return the worst stops of each criterion that is not a reference, of those that have a gap."""
    found = []
    for name in criteria(rows):
        mine = [row for row in rows if row["criterion"] == name and row["gap_db"]]
        if mine and not is_reference(name):
            found.append(Worst(name, sorted(mine, key=lambda row: (-row["gap_db"], row["unit"]))[:MOST]))
    return found
