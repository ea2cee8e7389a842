"""The page of a run: one file that opens offline and contains everything it shows."""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench.bench.levels import VIEWS, baselines, comparison, counted, criteria, level, levels, of_kind, spread
from esbench.bench.results import Results
from esbench.bench.store import status
from esbench.looks import PATHS, look
from esbench.registry import maker
from esbench.report import embed, figures
from esbench.report.failures import alarm, grouped
from esbench.report.headline import headline
from esbench.report.worst import kind, worst
from esbench.tables import Table
from esbench.templating import page as whole
from esbench.templating import render

if TYPE_CHECKING:
    from markupsafe import Markup

Rows = Sequence[Mapping[str, Any]]
Done = dict[str, dict[str, Any]]  # the results of the finished units, by id
Failed = Sequence[tuple[str, str, str]]

#: The maximum number of lines of the map of all units; browsers are slow with more.
LINES = 2000


def page(results: Results, rows: Rows, folder: Path, query: str = "") -> str:
    """Return the page of a run.

    Args:
        results: the run.
        rows: its results table.
        folder: the folder of the page, from which it links to the pictures of the run.
        query: the query that a server requires at the end of these links.
    """
    failed, done, record = results.failures(), results.done(), results.run.record()
    others = [one for one in failed if one[1] and one[1] not in done[one[0]]["criteria"]]
    failed = [one for one in failed if one not in others]
    everything, rows = rows, of_kind(rows, "criterion")
    units = _map(results, rows, done, failed)
    held = embed.embedded(results.run, everything, failed)
    return whole(
        "page.html",
        ("zoom.js", "curves.js", "page.js"),
        title=results.run.path.resolve().name,
        alarm=alarm(failed, done, len(record["plan"])),
        headline=headline(rows),
        summary=_facts(results, rows, done, failed),
        failures=grouped(failed, done),
        views=[(view.title, _tables(comparison(everything, view), everything)) for view in VIEWS] if rows else [],
        figures=_figures(rows),
        criteria=_criteria(rows, done),
        baselines=_baselines(everything, others),
        worst=[(each, key(each.criterion), [_stop(row, units["seeds"]) for row in each.rows]) for each in worst(rows)],
        map=units,
        held=held,
        unit_names={id: _unit_name(group[0], units["seeds"]) for id, group in embed.units_of(rows).items()},
        data=embed.script(
            {
                "units": f"./{os.path.relpath(results.run.path / 'units', folder)}/",
                "query": query,
                "looks": {name: [look(name).colour, PATHS[look(name).mark]] for name, _ in units["names"]},
            }
        ),
        stamp={k: v for k, v in record["stamp"].items() if not isinstance(v, dict | list)},
        packages=record["stamp"].get("packages", {}),
        records={
            "Plugins": _records(record["stamp"].get("plugins", []), "Plugins"),
            "Machines": _records(_machines(done), "Machines"),
            "Commands": _records([each | {"when": _when(each["when"])} for each in record["commands"]], "Commands"),
        },
        configuration=results.config.to_toml(),
    )


def _when(time: str) -> str:
    """Return a time in ISO 8601 as people write it."""
    return time.replace("T", " ").replace("+00:00", " UTC")


def key(criterion: str) -> Markup:
    """Return the mark of a criterion in its colour."""
    colour, mark = look(criterion)
    return render("key.html", colour=colour, path=PATHS[mark])


def _facts(results: Results, rows: Rows, done: Done, failed: Failed) -> dict[str, Any]:
    config, planned = results.config, results.run.record()["plan"]
    return {
        "units": f"{len(done)} of {len(planned)} done, {sum(not criterion for _, criterion, _ in failed)} failed",
        "dataset": rows[0]["dataset"] if rows else config.dataset,
        "noise": ", ".join(noise for _, noise in levels(rows)) or config.noise,
        "criteria": len(criteria(rows)),
        "steps": f"{config.iterations}{', ended early (--live)' if config.live else ''}",
        "patience": config.patience,
        "network": config.network,
    }


def _tables(tables: Sequence[tuple[str, Table]], rows: Rows) -> list[str]:
    """Return tables with a line per criterion, each with its title."""
    keys = {name: key(name) for name in criteria(rows)}
    return [table.html(title, keys) for title, table in tables]


def _figures(rows: Rows) -> list[tuple[Markup, str]]:
    """Return the figures, each with its caption."""
    known = [row for row in rows if row["gap_db"] is not None]
    if not known:
        return []
    above = "" if max(row["gap_db"] for row in known) <= figures.top(known) else " A triangle is a unit above the axis."
    says = (
        "The gap to the peak per noise level: a dot is a unit, a mark the mean. A bar is the 95 % confidence interval "
        f"of the mean, in comparison with the best criterion on the same pictures.{above}",
        "The cost of a criterion against its mean gap over all units; the lower left is best.",
    )
    return [
        (figures.element(figures.gap(known), "gap", says[0]), says[0]),
        (figures.element(figures.cost(known), "cost", says[1]), says[1]),
    ]


def _criteria(rows: Rows, done: Done) -> list[tuple[str, str]]:
    """Return the tables about the criteria over all units, each with its title."""
    if not rows:
        return []
    n, lines, makers = len(embed.units_of(rows)), [], []
    for name in criteria(rows):
        mine = [row for row in rows if row["criterion"] == name]
        entries = [done[row["unit"]]["criteria"][name] for row in mine]
        gaps, ssim = ([row[key] for row in mine if row[key] is not None] for key in ("gap_db", "ssim"))
        lines.append(
            (
                name,
                counted(spread(gaps), len(gaps), n) if gaps else None,
                counted(f"{statistics.fmean(ssim):.3f}", len(ssim), n) if ssim else None,
                counted(f"{statistics.median(row['stop_step'] for row in mine):g}", len(mine), n),
                f"{sum(row['fallback'] for row in mine)}/{len(mine)}",
                f"{100 * statistics.fmean(1 - row['steps_run'] / row['iterations'] for row in mine):.0f} %",
                f"{statistics.fmean(row['criterion_ms_per_step'] for row in mine):.3g}",
            )
        )
        whys = dict.fromkeys(entry["reason"] for entry in entries if entry.get("reason"))
        missing = f"{sum(entry['missing'] for entry in entries)}: {'; '.join(whys)}" if whys else None
        makers.append((name, maker(entries[0]["made_by"]), _resolved(entries), missing))
    head = ("criterion", "gap (dB)", "SSIM", "median stop", "not stopped", "steps saved", "ms per step")
    made = Table(("criterion", "made by", "parameters as resolved", "values missing"), makers)
    titles = "Criteria over all units", "Origin of the criteria"
    return [(t, _tables([(t, table)], rows)[0]) for t, table in zip(titles, (Table(head, lines), made), strict=True)]


def _baselines(rows: Rows, failed: Failed) -> str:
    """Return the table of the baselines over all units; empty if there are none."""
    names = list(dict.fromkeys([*baselines(rows), *(name for _, name, _ in failed)]))
    lines, n = [], len(embed.units_of(rows))
    for name in names:
        mine = [row for row in of_kind(rows, "baseline") if row["criterion"] == name]
        psnr, ssim = ([row[key] for row in mine if row[key] is not None] for key in ("psnr_db", "ssim"))
        reasons = [reason for _, text, reason in failed if text == name]
        lines.append(
            (
                name,
                counted(spread(psnr), len(psnr), n) if psnr else None,
                counted(f"{statistics.fmean(ssim):.3f}", len(ssim), n) if ssim else None,
                f"{statistics.fmean(row['seconds'] for row in mine):.3g}" if mine else None,
                f"{len(reasons)}: {'; '.join(dict.fromkeys(reasons))}" if reasons else None,
            )
        )
    title = "Baselines over all units"
    return Table(("baseline", "PSNR (dB)", "SSIM", "seconds", "failed"), lines).html(title) if lines else ""


def _stop(row: Mapping[str, Any], seeds: bool) -> dict[str, Any]:
    """Return a line of the worst stops; it names the seed if there are several."""
    return {
        "unit": row["unit"],
        "name": _unit_name(row, seeds),
        "says": f"{row['gap_db']:.2f} dB, {kind(row)}: step {row['stop_step']}, the peak at {row['peak_step']}",
    }


# -- the map: a line per unit, a column per criterion ------------------------------------------------------------------


def _map(results: Results, rows: Rows, done: Done, failed: Failed) -> dict[str, Any]:
    """Return all planned units: the gaps of those that are done, and the state of the others."""
    names = list(dict.fromkeys(text for result in done.values() for text in result["criteria"]))
    why = {(unit, text): reason for unit, text, reason in failed}
    gaps = [row["gap_db"] for row in rows if row["gap_db"] is not None]
    # a single outlier must not make all other units look alike
    full = max(float(np.quantile(gaps, 0.95)), 0.1) if gaps else 1.0
    by_unit, lines = embed.units_of(rows), []
    plan = results.run.units()
    for unit in plan[:LINES]:
        mine = {row["criterion"]: row for row in by_unit.get(unit.id, [])}
        first = next(iter(mine.values()), None)
        state = {"status": "done", "reason": ""} if first else status(unit)
        lines.append(
            {
                "id": unit.id,
                "picture": first["image"] if first else unit.id,
                "noise": level(first) if first else "",
                "dataset": first["dataset"] if first else "",
                "seed": first["seed"] if first else "",
                "state": state["status"],
                "reason": state["reason"],
                "failed": state["status"] == "failed" or any((unit.id, name) in why for name in names),
                "cells": [_cell(mine.get(name), why.get((unit.id, name)), full) for name in names],
            }
        )
    return {
        "names": [(name, key(name)) for name in names],
        "lines": lines,
        "left_out": len(plan) - len(lines),
        "full": full,
        "noises": list(dict.fromkeys(line["noise"] for line in lines if line["noise"])),
        "datasets": len({line["dataset"] for line in lines if line["dataset"]}) > 1,
        "seeds": len({line["seed"] for line in lines if line["seed"] != ""}) > 1,
        "never": any(row["fallback"] for row in rows),
    }


def _cell(row: Mapping[str, Any] | None, reason: str | None, full: float) -> dict[str, Any]:
    """Return the cell of a criterion on a unit in the map: its darkness in percent, and its text."""
    if reason is not None:
        return {"text": "failed", "says": reason, "kind": "failed", "value": "", "heat": None}
    if row is None:
        return {"text": "–", "says": "not measured", "kind": "none", "value": "", "heat": None}
    says = f"not stopped: step {row['stop_step']}" if row["fallback"] else f"stopped at step {row['stop_step']}"
    if (gap := row["gap_db"]) is None:
        return {"text": "?", "says": f"{says}; the gap is unknown", "kind": "none", "value": "", "heat": None}
    text = f"{gap:.2f}{'†' if row['fallback'] else ''}"
    return {"text": text, "says": says, "kind": "", "value": f"{gap:.4g}", "heat": round(100 * min(1, gap / full))}


def _unit_name(row: Mapping[str, Any], seeds: bool) -> str:
    name = f"{row['image']}, {level(row)}"
    return f"{name}, seed {row['seed']}" if seeds else name


# -- provenance --------------------------------------------------------------------------------------------------------


def _machines(done: Done) -> list[dict[str, Any]]:
    machines = Counter(json.dumps(result["machine"]) for result in done.values())
    return [json.loads(text) | {"units": n} for text, n in machines.items()]


def _resolved(entries: Sequence[dict[str, Any]]) -> str | None:
    """Return the parameters that a criterion was measured with; if they differ, the lowest and the highest."""
    texts = []
    for key in entries[0]["resolved"]:
        values = [entry["resolved"].get(key) for entry in entries]
        shown = list(dict.fromkeys(f"{value:.6g}" if isinstance(value, float) else str(value) for value in values))
        if len(shown) > 1 and all(isinstance(value, int | float) for value in values):
            shown = [f"{min(values):.6g} to {max(values):.6g}"]
        texts.append(f"{key} = {', '.join(shown)}")
    return "; ".join(texts) or None


def _records(records: Sequence[dict[str, Any]], title: str) -> str:
    """Return a table of records that need not have the same keys; empty if there are none."""
    if not records:
        return ""
    head = tuple(dict.fromkeys(key for record in records for key in record))
    return Table(head, [tuple(record.get(key) for key in head) for record in records]).html(title)
