"""Summarise the result of a run in a few sentences that claim no more than the units show."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from esbench.bench.compare import difference
from esbench.bench.levels import criteria, is_reference, units

Rows = Sequence[Mapping[str, Any]]


class Contest(NamedTuple):
    """The criteria in the comparison of a run.

    Attributes:
        means: the mean gap of the compared criteria, the best first.
        left_out: the other criteria, and why they are not compared.
    """

    means: dict[str, float]
    left_out: dict[str, str]


def contest(rows: Rows) -> Contest:
    """Return the criteria that can be compared by their gap: measured on all units, and stopped on at least one."""
    n, means, left_out = len(units(rows)), {}, {}
    for name in criteria(rows):
        mine = [row for row in rows if row["criterion"] == name]
        gaps = [row["gap_db"] for row in mine if row["gap_db"] is not None]
        if is_reference(name):
            left_out[name] = "a reference"
        elif all(row["fallback"] for row in mine):
            left_out[name] = "not stopped"
        elif len(gaps) < n:
            left_out[name] = f"a gap on {len(gaps)}/{n} units"
        else:
            means[name] = statistics.fmean(gaps)
    return Contest(dict(sorted(means.items(), key=lambda item: item[1])), left_out)


def headline(rows: Rows) -> str:
    """Return a few sentences about the criterion that stops closest to the peak, and how certain that is."""
    if not rows:
        return "No unit is done yet."
    once = units(rows)
    if all(row["gap_db"] is None for row in rows):
        return "The gap to the peak is not known on any unit, so no criterion can be called the best."
    means, left_out = contest(rows)
    sentences = [_best(rows, means, len(once)) if means else "No criterion can be called the best."]
    never = {name: [row["fallback"] for row in rows if row["criterion"] == name] for name in list(means)[:2]}
    if any(map(any, never.values())):
        often = " and ".join(f"{name} on {sum(them)}/{len(them)} units" for name, them in never.items() if any(them))
        sentences.append(f"Not stopped, and counted with the last step: {often}.")
    lost = [row["peak_db"] - row["last_db"] for row in once.values() if row["last_db"] is not None]
    if lost:
        sentences.append(f"Without early stopping {statistics.fmean(lost):.2f} dB are lost.")
    if left_out:
        sentences.append(f"Not compared: {', '.join(f'{name} ({why})' for name, why in left_out.items())}.")
    return " ".join(sentences)


def _best(rows: Rows, means: dict[str, float], n: int) -> str:
    """Return a sentence about the best criterion, and by how much it is better than the next one."""
    over = f"on average over {n} units" if n > 1 else "on the only unit"
    best, *others = means
    if not others:
        return f"{best} stops {means[best]:.2f} dB below the peak {over}."
    second = others[0]
    by_unit = {row["unit"]: row for row in rows if row["criterion"] == second}
    record = difference([(row, by_unit[row["unit"]]) for row in rows if row["criterion"] == best], "gap_db")
    more = f"{record['difference']:.2f} dB more for {second}"
    if record["low"] is None:
        sure = "one picture does not show how certain that is"
    else:
        sure = f"95 % interval of the paired difference {_signed(record['low'])} to {_signed(record['high'])} dB"
        if record["low"] <= 0 <= record["high"]:
            sure += ", so it may be chance"
    return f"{best} stops closest to the peak: {means[best]:.2f} dB below it {over}, {more} ({sure})."


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
