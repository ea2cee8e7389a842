"""The results of a run as tables: a line a criterion, over all its units."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from esbench.report.tables import Table


def summary(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Table]]:
    """Return a heading and a table for each data set and noise level: a line a criterion, over all its units."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["noise"], row["sigma"]), []).append(row)
    return [(_heading(group), _criteria(group)) for group in groups.values()]


def _heading(rows: Sequence[dict[str, Any]]) -> str:
    first, units = rows[0], {row["unit"]: row for row in rows}
    noise = first["noise"] if first["sigma"] is None else f"{first['noise']} noise of sigma {first['sigma']:g}"
    what = f"{first['dataset']}, {noise}, {len(units)} unit{'s' if len(units) > 1 else ''}"
    if any(row["peak_db"] is None for row in units.values()):
        return f"{what}, ended early (--live): peak, last and gap are not known"
    peak = _mean([row["peak_db"] for row in units.values()])
    last = _mean([row["last_db"] for row in units.values()])
    where = f" at step {first['peak_step']}" if len(units) == 1 else ""
    return f"{what}: peak {peak} dB{where}, last step {last} dB"


def _criteria(rows: Sequence[dict[str, Any]]) -> Table:
    by_criterion: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_criterion.setdefault(row["criterion"], []).append(row)
    head = ("criterion", "stop step", "PSNR at stop (dB)", "gap to peak (dB)", "steps saved", "ms a step")
    return Table(head, [(name, *_line(group)) for name, group in by_criterion.items()])


def _line(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    never = sum(row["fallback"] for row in rows)
    stop = f"{statistics.median(row['stop_step'] for row in rows):g}"
    if never:
        stop += " (never stopped)" if never == len(rows) else f" ({never} never stopped)"
    gaps = [row["gap_db"] for row in rows]
    saved = statistics.mean(1 - row["steps_run"] / row["iterations"] for row in rows)
    return (
        stop,
        _mean([row["psnr_db"] for row in rows]),
        "-" if None in gaps else _mean(gaps),
        f"{100 * saved:.0f} %",
        f"{statistics.mean(row['criterion_ms_per_step'] for row in rows):.2f}",
    )


def _mean(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.pstdev(values):.2f}"
