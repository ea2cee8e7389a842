"""The results of a run as tables, one row per criterion; and those of a comparison, one row per measure."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from esbench.bench.levels import baselines, counted, criteria, is_reference, of_kind, spread
from esbench.tables import Table

#: A unit, a criterion (empty for the unit itself), and why it failed.
Failed = tuple[str, str, str]

#: The style of the tables in a notebook.
STYLE = (
    ".esbench :is(td, th) { padding: 0.2em 0.8em; text-align: left; } "
    ".esbench .number { text-align: right; white-space: nowrap; }"
)


def summary(rows: Sequence[Mapping[str, Any]], failed: Sequence[Failed] = ()) -> list[tuple[str, Table]]:
    """Return a heading and a table for each dataset and noise level: one row per criterion, over all its units.

    Args:
        rows: rows of the results table.
        failed: the unit, criterion and reason of each failure; those of criteria are at the end of their tables.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["noise"], row["sigma"]), []).append(row)
    return [
        (_heading(group), dataclasses.replace(_criteria(group), notes=_failures(group, failed)))
        for group in groups.values()
    ]


def _failures(rows: Sequence[Mapping[str, Any]], failed: Sequence[Failed]) -> tuple[tuple[str, str], ...]:
    """Return each criterion and baseline that failed on units of a table, and why."""
    units = {row["unit"] for row in rows}
    counts = Counter((criterion, reason) for unit, criterion, reason in failed if criterion and unit in units)
    return tuple(
        (criterion, f"failed{'' if n == len(units) else f' ({n}/{len(units)})'}: {_brief(reason)}")
        for (criterion, reason), n in counts.items()
    )


def _brief(reason: str) -> str:
    """Return a reason without the criterion's name and distribution, which its row has and a message says."""
    return re.sub(r"^Criterion '.*?' of \S+ \S+ ", "", reason)


def notebook(name: str, rows: Sequence[Mapping[str, Any]], failed: Sequence[Failed] = ()) -> str:
    """Return the same tables as a piece of HTML that needs nothing else, for a notebook."""
    from esbench.templating import render

    return str(render("notebook.html", name=name, style=STYLE, tables=summary(rows, failed)))


#: measure of a comparison -> the name of its row, and the format of its numbers.
LINES = {
    "psnr_db": ("PSNR (dB)", ".2f"),
    "gap_db": ("gap to peak (dB)", ".2f"),
    "average_psnr_db": ("average PSNR (dB)", ".2f"),
    "stop_step": ("stop step", ".0f"),
    "score_db": ("score (dB)", ".2f"),
    "score_gap_db": ("score gap (dB)", ".2f"),
}


def differences(records: Sequence[dict[str, Any]]) -> list[tuple[str, Table]]:
    """Return a heading and a table for each pair of criteria of a comparison: one row per measure and noise level."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        pairs.setdefault((record["first_criterion"], record["second_criterion"]), []).append(record)
    head = ("", "sigma", "first", "second", "second - first", "95 % interval", "pairs", "better", "worse", "same")
    return [
        (
            _pair(group[0]),
            Table(head, [_change(record) for name in LINES for record in group if record["measure"] == name]),
        )
        for group in pairs.values()
    ]


def _pair(record: dict[str, Any]) -> str:
    first, second = record["first_criterion"], record["second_criterion"]
    what = first if first == second else f"{first} (first) and {second} (second)"
    pairs, pictures = _count(record["pairs"], "pair"), _count(record["images"], "picture")
    return f"{what}: {record['dataset']}, {_noise(record)}, {pairs} of {pictures}"


def _change(record: dict[str, Any]) -> tuple[Any, ...]:
    name, form = LINES[record["measure"]]
    sigma = "all" if record["levels"] > 1 else record["sigma"]

    def shown(key: str, sign: str = "") -> str | None:
        return None if record[key] is None else format(record[key], f"{sign}{form}")

    between = None if record["low"] is None else f"{shown('low', '+')} to {shown('high', '+')}"
    means = (shown("first_mean"), shown("second_mean"), shown("difference", "+"), between)
    return (name, sigma, *means, record["pairs"], record["wins"], record["losses"], record["ties"])


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _heading(rows: Sequence[Mapping[str, Any]]) -> str:
    first, units = rows[0], {row["unit"]: row for row in of_kind(rows, "criterion") or rows}
    task = "" if first["task"].startswith("denoise") else f"{first['task']}, "
    what = f"{first['dataset']}, {task}{_noise(first)}, {_count(len(units), 'unit')}"
    if any(row["peak_step"] is None for row in units.values()):
        return f"{what}, ended early (--live): peak, last and gap are not known"
    peak = _mean([row["peak_db"] for row in units.values()], len(units))
    last = _mean([row["last_db"] for row in units.values()], len(units))
    where = f" at step {first['peak_step']}" if len(units) == 1 else ""
    text = f"{what}: peak {peak} dB{where}, last step {last} dB"
    if _scored(rows):
        score, baseline = (
            _mean([row[key] for row in units.values()], len(units)) for key in ("score_peak_db", "baseline_db")
        )
        text += f"; score: peak {score} dB, without optimisation {baseline} dB"
    return text


def _scored(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the task has a score of its own, which is not the PSNR."""
    return any(row["score_db"] != row["psnr_db"] for row in rows)


def _noise(row: Mapping[str, Any]) -> str:
    if row["noise"] == "none":
        return "no noise"
    return str(row["noise"]) if row["sigma"] is None else f"{row['noise']} noise of sigma {row['sigma']:g}"


def _criteria(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row per criterion, then one per baseline; with baselines, also the time of each."""
    ours, others = (
        {name: [row for row in rows if (row["kind"], row["criterion"]) == (kind, name)] for name in names}
        for kind, names in (("criterion", criteria(rows)), ("baseline", baselines(rows)))
    )
    n = len({row["unit"] for row in rows})
    scores = {"score at stop (dB)": max, "score gap (dB)": min} if _scored(rows) else {}
    head = ("criterion", "stop step", "PSNR at stop (dB)", "gap to peak (dB)", *scores, "steps saved", "ms per step")
    lines = [(name, *_line(group, n, scored=bool(scores))) for name, group in ours.items()]
    lines += [(name, *_baseline(group, n, scored=bool(scores))) for name, group in others.items()]
    if others:
        head = (*head, "seconds")
        groups = [*ours.values(), *others.values()]
        lines = [(*line, _seconds(group)) for line, group in zip(lines, groups, strict=True)]
    table = Table(head, lines)
    whole = [i for i, (name, group) in enumerate(ours.items()) if _compared(name, group, n)]
    if len(whole) < 2:  # a best one needs two to compare
        return table
    for name, best in ({"PSNR at stop (dB)": max, "gap to peak (dB)": min} | scores).items():
        table = table.best(name, best, whole)
    return table


def _baseline(rows: list[Mapping[str, Any]], of: int, *, scored: bool) -> tuple[str, ...]:
    """Return the cells of a baseline, which has no stop."""
    psnr, score = (_mean([row[key] for row in rows], of) for key in ("psnr_db", "score_db"))
    return ("-", psnr, "-", *((score, "-") if scored else ()), "-", "-")


def _seconds(rows: list[Mapping[str, Any]]) -> str:
    return f"{statistics.mean(row['seconds'] for row in rows):.3g}"


def _compared(name: str, rows: list[Mapping[str, Any]], of: int) -> bool:
    """Whether a criterion can be the best: it has all the numbers, stopped somewhere, and is no reference."""
    known = sum(row["psnr_db"] is not None for row in rows)
    return known == of and not all(row["fallback"] for row in rows) and not is_reference(name)


def _line(rows: list[Mapping[str, Any]], of: int, *, scored: bool) -> tuple[str, ...]:
    """Return the cells of a criterion; if units are missing, each number says so."""
    n = len(rows)
    never = sum(row["fallback"] for row in rows)
    stop = f"{statistics.median(row['stop_step'] for row in rows):g}"
    if never:
        stop += " (not stopped)" if never == len(rows) else f" ({never} not stopped)"
    saved = statistics.mean(1 - row["steps_run"] / row["iterations"] for row in rows)
    return (
        stop if n == of else f"{stop} ({n}/{of})",
        _mean([row["psnr_db"] for row in rows], of),
        _mean([row["gap_db"] for row in rows], of),
        *(_mean([row[key] for row in rows], of) for key in ("score_db", "score_gap_db") if scored),
        f"{100 * saved:.0f} %",
        f"{statistics.mean(row['criterion_ms_per_step'] for row in rows):.2f}",
    )


def _mean(values: list[float | None], of: int) -> str:
    """Return mean ± standard deviation of the known values, and how many are known; a dash if there are none."""
    known = [value for value in values if value is not None]
    return counted(spread(known), len(known), of) if known else "-"
