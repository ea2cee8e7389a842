"""The page of a run: one file that opens without a network and holds all that it shows."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import statistics
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from esbench.bench.results import Results
from esbench.report import embed, figures
from esbench.report.levels import VIEWS, comparison, criteria, level, levels, spread, units
from esbench.report.tables import Table

Rows = Sequence[dict[str, Any]]
Done = dict[str, dict[str, Any]]  # the results of the units that are done, by their ids
Failures = Sequence[tuple[str, str, str]]

#: The class of a table with sentences in it.
LONG = "scroll long"

#: Failures that are listed one by one.
FAILURES = 200


class Html(str):
    """A text that is markup; every other text is escaped."""

    __slots__ = ()


def element(name: str, /, *content: object, **attributes: object) -> Html:
    """Return an element. What is not `Html` is escaped; an attribute that is None is left out.

    Args:
        name: of the element.
        content: what is in it, one after the other.
        attributes: `class_` is `class`, `aria_label` is `aria-label`.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>" if name == "input" else f"<{name}{given}>{_joined(content)}</{name}>")


def page(results: Results, rows: Rows) -> str:
    """Return the page of a run.

    Args:
        results: the run.
        rows: its results table.
    """
    failed, done, script = results.failures(), results.done(), _template("page.js")
    return string.Template(_template("page.html")).substitute(
        title=_escaped(results.run.path.resolve().name),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=_template("page.css"),
        script=script,
        colours="".join(f"--c{i}: {colour}; " for i, colour in enumerate(figures.COLOURS)),
        headline=_escaped(headline(rows)),
        facts=_facts(results, rows, done, failed),
        comparison=_comparison(rows),
        figures=_figures(rows),
        criteria=_criteria(rows, done),
        units=_units(results, rows),
        failures=_failures(done, failed),
        provenance=_provenance(results, done),
    )


def headline(rows: Rows) -> str:
    """Return in a sentence or two what a run found."""
    if not rows:
        return "No unit is done yet."
    once = units(rows)
    gaps = {name: [row["gap_db"] for row in rows if row["criterion"] == name] for name in criteria(rows)}
    means = {name: statistics.fmean(v) for name, v in gaps.items() if len(v) == len(once) and None not in v}
    if not means:
        return "The gap to the peak is not known on all units, so no criterion can be said to be the best."
    best = min(means.values())
    names = " and ".join(name for name, mean in means.items() if round(mean, 2) == round(best, 2))
    over = f"on average over {len(once)} units" if len(once) > 1 else "on one unit"
    stops = "stop" if " and " in names else "stops"
    if len(means) == 1:
        sentence = f"{names} {stops} {best:.2f} dB below the peak {over}."
    else:
        sentence = f"{names} {stops} closest to the peak: {best:.2f} dB below it {over}."
    lost = [row["peak_db"] - row["last_db"] for row in once.values() if row["last_db"] is not None]
    return f"{sentence} Without early stopping {statistics.fmean(lost):.2f} dB are lost." if lost else sentence


def _facts(results: Results, rows: Rows, done: Done, failed: Failures) -> Html:
    config, planned = results.config, results.run.record()["plan"]
    return _list(
        {
            "units": f"{len(done)} of {len(planned)} done, {sum(not criterion for _, criterion, _ in failed)} failed",
            "data set": rows[0]["dataset"] if rows else config.dataset,
            "noise": ", ".join(noise for _, noise in levels(rows)) or config.noise,
            "criteria": len(criteria(rows)),
            "steps": f"{config.iterations}{', ended early (--live)' if config.live else ''}",
            "patience": config.patience,
            "network": config.network,
        }
    )


def _comparison(rows: Rows) -> Html:
    """Return the tables of the paper, one at a time: radio buttons need no script."""
    if not rows:
        return element("p", "There is nothing to compare yet.")
    parts: list[object] = []
    for i, view in enumerate(VIEWS):
        parts.append(element("input", type="radio", name="view", id=f"view-{i}", checked="" if i == 0 else None))
        parts.append(element("label", view.title, for_=f"view-{i}"))
    for view in VIEWS:
        parts.append(element("div", _table(comparison(rows, view), view.title), class_="view"))
    return element("div", *parts, class_="views")


def _figures(rows: Rows) -> Html:
    known = [row for row in rows if row["gap_db"] is not None]
    if not known:
        return element("p", "No gap is known, so there is nothing to draw.")
    drawn = (
        ("gap", figures.gap(known), "The mean gap against the noise, with its standard deviation over the units."),
        (
            "cost",
            figures.cost(known),
            "What a criterion costs against its mean gap over all units; the lower left is best.",
        ),
    )
    return _joined(
        element("figure", Html(figures.element(figure, name, says)), element("figcaption", says))
        for name, figure, says in drawn
    )


def _criteria(rows: Rows, done: Done) -> Html:
    if not rows:
        return element("p", "No criterion was measured on a whole unit yet.")
    lines, makers = [], []
    for name in criteria(rows):
        mine = [row for row in rows if row["criterion"] == name]
        entries = [done[row["unit"]]["criteria"][name] for row in mine]
        gaps, ssim = ([row[key] for row in mine if row[key] is not None] for key in ("gap_db", "ssim"))
        lines.append(
            (
                name,
                spread(gaps) if gaps else None,
                f"{statistics.fmean(ssim):.3f}" if ssim else None,
                f"{statistics.median(row['stop_step'] for row in mine):g}",
                f"{sum(row['fallback'] for row in mine)}/{len(mine)}",
                f"{100 * statistics.fmean(1 - row['steps_run'] / row['iterations'] for row in mine):.0f} %",
                f"{statistics.fmean(row['criterion_ms_per_step'] for row in mine):.3g}",
            )
        )
        whys = dict.fromkeys(entry["reason"] for entry in entries if entry.get("reason"))
        missing = f"{sum(entry['missing'] for entry in entries)}: {'; '.join(whys)}" if whys else None
        makers.append((name, _maker(entries[0]), _resolved(entries), missing))
    head = ("criterion", "gap (dB)", "SSIM", "median stop", "never stopped", "steps saved", "ms a step")
    made = Table(("criterion", "made by", "parameters as decided", "values missing"), makers)
    return _joined([_table(Table(head, lines), "Criteria over all units"), _table(made, "What measured them", LONG)])


def _units(results: Results, rows: Rows) -> Html:
    """Return the curves and pictures of the units, as data that the script draws."""
    if not rows:
        return element("p", "No unit is done yet.")
    held, by_unit = embed.embedded(results.run, rows), embed.units_of(rows)
    options, data = [], []
    for i, (id, text) in enumerate(held.units.items()):
        first = by_unit[id][0]
        options.append(element("option", f"{first['image']}, {level(first)}, seed {first['seed']}", value=i))
        data.append(element("script", Html(text), type="application/json", id=f"unit-{i}"))
    part = "whole" if held.whole else f"the middle {embed.SIDE} x {embed.SIDE} pixels of each"
    turn = "" if len(held.units) == len(by_unit) else ", those of each noise level in turn"
    note = (
        f"In this file are the curves of {len(held.units)} of {len(by_unit)} units{turn}; of more than "
        f"{2 * embed.STRETCHES} steps the lowest and the highest value of each of {embed.STRETCHES} stretches are "
        f"drawn. In this file are the pictures of {held.pictured} of {len(by_unit)} units, {part}, pixel by pixel. All "
        "of them are under units/ in the folder of the run."
    )
    parts = {"options": _joined(options), "data": _joined(data), "note": _escaped(note)}
    return Html(string.Template(_template("units.html")).substitute(parts))


def _failures(done: Done, failed: Failures) -> Html:
    if not failed:
        return element("p", "None.")
    lines = [
        (unit, criterion or None, _maker(done[unit]["criteria"][criterion]) if criterion else None, reason)
        for unit, criterion, reason in failed[:FAILURES]
    ]
    table = _table(Table(("unit", "criterion", "made by", "reason"), lines), "What failed, and why", LONG)
    says = "What has no criterion failed as a whole; error.txt in the folder of the unit has the traceback."
    if len(failed) > FAILURES:
        says = f"The first {FAILURES} of {len(failed)}. {says}"
    return _joined([table, element("p", says, class_="note")])


def _provenance(results: Results, done: Done) -> Html:
    record = results.run.record()
    stamp = record["stamp"]
    machines = Counter(json.dumps(result.get("machine", {})) for result in done.values())
    parts: list[Html] = [
        element("div", _list({k: v for k, v in stamp.items() if not isinstance(v, dict | list)}), class_="wide"),
        element("h3", "Packages"),
        _list(stamp.get("packages", {})),
        element("h3", "Plugins"),
        _records(stamp.get("plugins", []), "Plugins"),
        element("h3", "Machines"),
        _records([json.loads(text) | {"units": n} for text, n in machines.items()], "Machines"),
        element("h3", "Commands"),
        _records(record["commands"], "Commands"),
        element("h3", "Configuration"),
        element("pre", results.config.to_toml(), role="region", aria_label="Configuration", tabindex=0),
    ]
    return _joined(parts)


def _maker(entry: dict[str, Any]) -> str:
    """Return whose numbers a criterion's are."""
    made = entry["made_by"]
    return f"{made['distribution']} {made['distribution_version']} (version {made['version']})".replace("  ", " ")


def _resolved(entries: Sequence[dict[str, Any]]) -> str | None:
    """Return the parameters that a criterion was measured with, where they differ with the lowest and the highest."""
    texts = []
    for key in entries[0]["resolved"]:
        values = [entry["resolved"].get(key) for entry in entries]
        shown = list(dict.fromkeys(f"{value:.6g}" if isinstance(value, float) else str(value) for value in values))
        if len(shown) > 1 and all(isinstance(value, int | float) for value in values):
            shown = [f"{min(values):.6g} to {max(values):.6g}"]
        texts.append(f"{key} = {', '.join(shown)}")
    return "; ".join(texts) or None


def _records(records: Sequence[dict[str, Any]], caption: str) -> Html:
    """Return a table of records that need not have the same keys."""
    if not records:
        return element("p", "None.")
    head = tuple(dict.fromkeys(key for record in records for key in record))
    return _table(Table(head, [tuple(record.get(key) for key in head) for record in records]), caption, LONG)


def _list(facts: dict[str, Any]) -> Html:
    pairs = (element("div", element("dt", key), element("dd", value)) for key, value in facts.items())
    return element("dl", *pairs)


def _table(table: Table, caption: str, kind: str = "scroll") -> Html:
    """Return a table that scrolls by itself where it is too wide; in one that is LONG, sentences are wrapped."""
    return element("div", Html(table.html()), class_=kind, role="region", aria_label=caption, tabindex=0)


def _joined(parts: Iterable[object]) -> Html:
    return Html("".join(part if isinstance(part, Html) else _escaped(part) for part in parts))


def _escaped(value: object) -> str:
    return html.escape(str(value))


def _template(name: str) -> str:
    return resources.files("esbench.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")
