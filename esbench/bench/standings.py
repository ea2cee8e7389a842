"""The standings of criteria over the rows of many runs: one board per protocol, one line per criterion."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esbench.bench.compare import difference, interval
from esbench.bench.levels import is_reference, level
from esbench.tables import Table

#: What must be the same for two criteria to be compared, besides pictures and noise: setting -> its text in titles.
PROTOCOL = {
    "task": "{}",
    "network": "{}",
    "iterations": "{} steps",
    "patience": "patience {}",
    "crop": "crop {}",
    "device": "{}",
    "loss": "loss {}",
    "regulariser": "regulariser {}",
    "input": "input {}",
    "input_scale": "input scale {}",
    "learning_rate": "learning rate {}",
    "perturbation": "perturbation {}",
    "depth": "depth {}",
    "precision": "{}",
    "min_delta": "min_delta {}",
    "engine": "engine {}",
}

#: The settings that the title of every board names; of the others, those in which the boards differ.
NAMED = ("task", "network", "iterations", "patience", "crop", "device")

#: The columns that identify a line: the name of a criterion, its owner and the version of its numbers.
KEY = ("criterion", "distribution", "version")

#: A criterion, as the values of KEY.
Key = tuple[Any, ...]

Row = Mapping[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True)
class Entry:
    """The line of a criterion.

    Attributes:
        criterion: canonical.
        distribution: the distribution that provides it.
        distribution_versions: the versions that computed its rows.
        version: the version of its numbers.
        rank: its rank, from 1; None if it is not ranked.
        why: why it is not ranked, or empty.
        units: the number of units on which it has a gap.
        of: the number of units that count.
        stopped: the number of its units on which it stopped by itself.
        gap_db: its mean gap to the peak.
        low: the lower end of the 95 % interval of the mean; None with one picture.
        high: its upper end.
        behind_db: the mean paired difference to the first; None for the first.
        behind_low: the lower end of its 95 % interval.
        behind_high: the upper end of the same interval.
        average_gap_db: the mean gap of the averaged output to its peak.
        saved: the fraction of the steps that need not be run, from 0 to 1.
        ms: the time that it adds to a step, in milliseconds.
        share: that time as a fraction of a step.
    """

    criterion: str
    distribution: str
    distribution_versions: tuple[str, ...]
    version: int
    rank: int | None
    why: str
    units: int
    of: int
    stopped: int
    gap_db: float
    low: float | None
    high: float | None
    behind_db: float | None
    behind_low: float | None
    behind_high: float | None
    average_gap_db: float | None
    saved: float
    ms: float
    share: float


@dataclass(frozen=True)
class Board:
    """The rows of one protocol.

    Attributes:
        title: its settings, in words.
        rows: its rows.
    """

    title: str
    rows: Rows

    def selections(self) -> dict[tuple[str, str], list[Row]]:
        """Return the rows of each choice of a dataset and a noise level; an empty text is all of them."""
        datasets = dict.fromkeys(row["dataset"] for row in self.rows)
        noises = dict.fromkeys(level(row) for row in sorted(self.rows, key=lambda r: (r["noise"], r["sigma"] or 0)))
        chosen = {
            (dataset, noise): [
                row for row in self.rows if dataset in ("", row["dataset"]) and noise in ("", level(row))
            ]
            for dataset in (["", *datasets] if len(datasets) > 1 else [""])
            for noise in (["", *noises] if len(noises) > 1 else [""])
        }
        return {choice: rows for choice, rows in chosen.items() if rows}


def gathered(sources: Iterable[tuple[str, Rows]]) -> tuple[list[Row], list[str]]:
    """Return the rows of several sources that count, and remarks on the others.

    A row of the same criterion, unit and rule in several sources counts once, with the numbers of the first source.
    """
    kept: dict[tuple[Any, ...], tuple[str, Row]] = {}
    said = []
    for name, rows in sources:
        unknown, others, far = 0, dict[str, int](), 0.0
        for row in rows:
            key = *(row[part] for part in KEY), row["unit"], row["patience"], row["min_delta"]
            if row["gap_db"] is None:
                unknown += 1
                continue
            whose, first = kept.setdefault(key, (name, row))
            if first["gap_db"] != row["gap_db"]:
                others[whose] = others.get(whose, 0) + 1
                far = max(far, abs((first["gap_db"] or 0.0) - row["gap_db"]))
        if unknown:
            said.append(f"{name}: {_count(unknown, 'row')} without a gap (--live), not counted.")
        for whose, n in others.items():
            said.append(
                f"{name}: {_count(n, 'row')} with other numbers than in {whose} (the gap by up to {far:.2f} dB), "
                f"although the settings are the same; those of {whose} count."
            )
    return [row for _, row in kept.values()], said


def boards(rows: Rows) -> tuple[list[Board], list[str]]:
    """Return the boards, the one with the most rows first, and remarks on them."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in PROTOCOL), []).append(row)
    found = sorted(groups.items(), key=lambda item: -len(item[1]))
    differ = [name for i, name in enumerate(PROTOCOL) if len({key[i] for key in groups}) > 1]
    shown = [name for name in PROTOCOL if name in NAMED or name in differ]
    named = [Board(", ".join(_setting(name, group[0]) for name in shown), group) for _, group in found]
    said = []
    if differ:
        said.append(f"{len(found)} boards, since the rows differ in {', '.join(differ)}.")
    for name in dict.fromkeys(row["criterion"] for row in rows):
        makers = dict.fromkeys((r["distribution"], r["version"]) for r in rows if r["criterion"] == name)
        if len(makers) > 1:
            of = ", ".join(f"{distribution} (version {version})" for distribution, version in makers)
            said.append(f"{name} has a line for each of: {of}.")
    return named, said


def standings(rows: Rows) -> list[Entry]:
    """Return the lines of a board: the ranked criteria by their mean gap, then the others.

    A unit counts if at least half of the criteria have a gap on it. A criterion is ranked if it has a gap on all units
    that count and stopped on at least one; otherwise it may have had easier pictures. References are not ranked.

    Args:
        rows: the rows of one board, each with a gap.
    """
    groups: dict[Key, dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[part] for part in KEY), {})[row["unit"]] = row
    contenders = [group for key, group in groups.items() if not is_reference(key[0])] or list(groups.values())
    measured = Counter(unit for group in contenders for unit in group)
    counted = {unit for unit, n in measured.items() if 2 * n >= len(contenders)}
    groups = {key: {u: row for u, row in group.items() if u in counted} for key, group in groups.items()}
    means = {key: statistics.fmean(_known(group, "gap_db")) for key, group in groups.items() if group}
    whys = {key: _why(key, groups[key], len(counted)) for key in means}
    order = sorted(means, key=lambda key: (bool(whys[key]), means[key], key))
    best = order[0] if order and not whys[order[0]] else None
    first = groups[best] if best else {}
    return [_entry(i, key, groups[key], whys[key], len(counted), first) for i, key in enumerate(order, 1)]


def table(entries: Sequence[Entry]) -> Table:
    """Return the lines as a table."""
    head = ("criterion", "rank", "gap (dB)", "95 %", "behind (dB)", "95 % paired", "units", "stopped", "averaged (dB)",
            "steps saved", "ms per step", "made by")  # fmt: skip
    return Table(head, [_line(entry) for entry in entries])


def maker(entry: Entry) -> str:
    """Return the maker of a criterion: its distribution, with versions, and the version of its numbers."""
    versions = f" {', '.join(entry.distribution_versions)}" if entry.distribution_versions else ""
    return f"{entry.distribution}{versions} (version {entry.version})"


def _line(entry: Entry) -> tuple[Any, ...]:
    return (
        f"{entry.criterion} ({entry.why})" if entry.why else entry.criterion,
        entry.rank,
        f"{entry.gap_db:.2f}",
        _between(entry.low, entry.high, ""),
        None if entry.behind_db is None else f"{entry.behind_db:+.2f}",
        _between(entry.behind_low, entry.behind_high, "+"),
        f"{entry.units}/{entry.of}",
        f"{entry.stopped}/{entry.units}",
        None if entry.average_gap_db is None else f"{entry.average_gap_db:.2f}",
        f"{100 * entry.saved:.0f} %",
        f"{entry.ms:.3g} ({100 * entry.share:.2g} %)",
        maker(entry),
    )


def _between(low: float | None, high: float | None, sign: str) -> str | None:
    return None if low is None or high is None else f"{low:{sign}.2f} to {high:{sign}.2f}"


def _why(key: Key, group: Mapping[str, Row], of: int) -> str:
    if is_reference(key[0]):
        return "reference"
    if len(group) < of:
        return f"{len(group)} of {of} units"
    return "not stopped" if all(row["fallback"] for row in group.values()) else ""


def _entry(place: int, key: Key, group: Mapping[str, Row], why: str, of: int, best: Mapping[str, Row]) -> Entry:
    mine = list(group.values())
    low, high = interval(np.array(_known(group, "gap_db")), [(row["dataset"], row["image"]) for row in mine])
    behind: dict[str, Any] = {"difference": None, "low": None, "high": None}
    if best and best is not group:
        behind = difference([(row, group[unit]) for unit, row in best.items() if unit in group], "gap_db")
    averages, steps = _known(group, "average_gap_db"), statistics.fmean(row["ms_per_step"] for row in mine)
    ms = statistics.fmean(row["criterion_ms_per_step"] for row in mine)
    return Entry(
        criterion=key[0],
        distribution=key[1],
        distribution_versions=tuple(
            dict.fromkeys(row["distribution_version"] for row in mine if row["distribution_version"])
        ),
        version=key[2],
        rank=None if why else place,
        why=why,
        units=len(mine),
        of=of,
        stopped=sum(not row["fallback"] for row in mine),
        gap_db=statistics.fmean(_known(group, "gap_db")),
        low=low,
        high=high,
        behind_db=behind["difference"],
        behind_low=behind["low"],
        behind_high=behind["high"],
        average_gap_db=statistics.fmean(averages) if averages else None,
        saved=statistics.fmean(1 - row["steps_run"] / row["iterations"] for row in mine),
        ms=ms,
        share=ms / steps if steps else 0.0,
    )


def _known(group: Mapping[str, Row], name: str) -> list[float]:
    return [row[name] for row in group.values() if row[name] is not None]


def _setting(name: str, row: Row) -> str:
    value = row[name]
    if name == "crop" and value is None:
        return "whole pictures"
    if name == "regulariser" and not value:
        return "no regulariser"
    return PROTOCOL[name].format(f"{value:g}" if isinstance(value, float) else value)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
