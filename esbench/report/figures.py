"""The figures of a run: gap against noise, cost against gap, and the curves of a unit."""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from esbench.bench.compare import difference
from esbench.bench.levels import criteria, is_reference, level, levels, units
from esbench.bench.store import Unit
from esbench.disk import write
from esbench.looks import look
from esbench.report.headline import contest

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

FORMATS = ("svg", "pdf", "png")

#: The maximum number of letters of a name in a figure.
LONGEST = 56

#: The lowest cost that is drawn, in milliseconds, because the axis is logarithmic.
LEAST_MS = 1e-4


def gap(rows: Rows) -> Figure:
    """Return the gap to the peak at each noise level: a dot per unit, the mean of each criterion, its interval.

    The interval is that of the paired difference to the best criterion of the run, drawn around the mean: it reaches
    the mean of the best one if the difference may be chance. The best criterion and the references have no interval.

    Args:
        rows: rows of the results table, with gaps.
    """
    names, found = criteria(rows), levels(rows)
    figure = _figure(5.2, 4.4)
    axes = figure.subplots()
    limit = top(rows)
    best = next(iter(contest(rows).means), None)
    ends = {}
    for i, name in enumerate(names):
        aside = 0.8 * ((i + 0.5) / len(names) - 0.5)
        centres, means = [], []
        colour, mark = look(name)
        for x, group in enumerate(found.values(), 1):
            mine = [row for row in group if row["criterion"] == name]
            if not mine:
                continue
            gaps = np.array([row["gap_db"] for row in mine])
            _dots(axes, gaps, x + aside, 0.5 / len(names), limit, colour)
            centres.append(x + aside)
            means.append(gaps.mean())
            if best not in (None, name) and not is_reference(name):
                low, high = _interval([row for row in group if row["criterion"] == best], mine)
                if low is not None and high is not None:
                    axes.plot([centres[-1]] * 2, [low, high], color=colour, lw=1.6, label="_interval", clip_on=True)
        axes.plot(centres, means, label=_text(name), color=colour, marker=mark, ms=5.5, lw=0.9)
        ends[name] = (centres[-1], min(means[-1], limit))
    _label_ends(axes, ends, len(found) + 0.6, limit)
    _label_levels(axes, rows)
    axes.set_xlim(0.5, len(found) + 0.5)
    axes.set_ylim(0, limit)
    return _of_gaps(figure)


def _dots(axes: Axes, gaps: npt.NDArray[np.float64], x: float, width: float, limit: float, colour: str) -> None:
    """Draw a dot for each gap around x, and a triangle at the limit for each above it."""
    scatter = x + width * (np.arange(len(gaps)) * 0.618 % 1 - 0.5)
    above = gaps > limit
    style: dict[str, Any] = {"ls": "", "color": colour, "alpha": 0.45, "mew": 0, "clip_on": False}
    axes.plot(scatter[~above], gaps[~above], marker="o", ms=2.6, label="_units", **style)
    axes.plot(scatter[above], np.full(above.sum(), limit), marker="^", ms=4, label="_above", **style)


def _label_levels(axes: Axes, rows: Rows) -> None:
    """Write the noise levels below the axis: only sigma if nothing else differs."""
    found = levels(rows)
    datasets = len({dataset for dataset, _ in found}) > 1
    sigmas = not datasets and all(row["sigma"] is not None and row["noise"] == rows[0]["noise"] for row in rows)
    ticks = [f"{group[0]['sigma']:g}" if sigmas else noise for (_, noise), group in found.items()]
    if datasets:
        ticks = [f"{dataset}\n{noise}" for (dataset, _), noise in zip(found, ticks, strict=True)]
    axes.set_xticks(range(1, len(found) + 1), [_text(tick, 24) for tick in ticks])
    axes.set_xlabel(f"sigma of {_text(rows[0]['noise'])} noise" if sigmas else "noise")


def top(rows: Rows) -> float:
    """Return the largest gap that a figure shows: it includes all means, and all but the largest 2 % of the units."""
    means = [
        statistics.fmean(row["gap_db"] for row in group if row["criterion"] == name)
        for group in levels(rows).values()
        for name in criteria(group)
    ]
    return 1.08 * max(*means, float(np.quantile([row["gap_db"] for row in rows], 0.98)), 0.1)


def _interval(best: Rows, mine: Rows) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of the paired difference of a criterion to the best one, around its own mean."""
    by_unit = {row["unit"]: row for row in mine}
    pairs = [(row, by_unit[row["unit"]]) for row in best if row["unit"] in by_unit]
    record = difference(pairs, "gap_db")
    if record["low"] is None:
        return None, None
    shift = statistics.fmean(row["gap_db"] for row in mine) - record["difference"]
    return record["low"] + shift, record["high"] + shift


def _spaced(places: Sequence[float], apart: float) -> list[float]:
    """Return ascending places moved as little as possible, so that neighbours are at least `apart`."""
    groups: list[list[float]] = []  # for places that touch, each minus its required distance from the first
    for i, place in enumerate(places):
        groups.append([place - i * apart])
        while len(groups) > 1 and statistics.fmean(groups[-2]) > statistics.fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = [statistics.fmean(group) for group in groups for _ in group]
    lift = max(0.0, -moved[0]) if moved else 0.0
    return [place + lift + i * apart for i, place in enumerate(moved)]


def _label_ends(axes: Axes, ends: dict[str, tuple[float, float]], x: float, top: float) -> None:
    """Write the name of each line at its end, moved apart if they would overlap."""
    order = sorted(ends, key=lambda name: ends[name][1])
    for name, place in zip(order, _spaced([ends[name][1] for name in order], 0.06 * top), strict=True):
        colour, mark = look(name)
        style: dict[str, Any] = {"color": colour, "clip_on": False}
        axes.plot([ends[name][0], x - 0.04], [ends[name][1], place], lw=0.5, alpha=0.6, label="_end", **style)
        axes.plot(x, place, marker=mark, ms=5, ls="", label="_key", **style)
        text = axes.annotate(_text(name, 30), (x, place), (7, 0), textcoords="offset points", va="center", fontsize=9.5)
        text.set_annotation_clip(False)  # it is outside of the axes


def cost(rows: Rows) -> Figure:
    """Return the cost of each criterion against its mean gap, both over all units; the lower left is the best.

    Args:
        rows: rows of the results table, with gaps.
    """
    names = criteria(rows)
    figure = _figure(5.2, 3.7 + 0.2 * len(names))
    axes = figure.subplots()
    for name in names:
        mine = [row for row in rows if row["criterion"] == name]
        ms = max(LEAST_MS, statistics.fmean(row["criterion_ms_per_step"] for row in mine))
        axes.plot(ms, statistics.fmean(row["gap_db"] for row in mine), label=_text(name), **_look(name) | {"ls": ""})
    axes.set_xscale("log")
    step = statistics.fmean(row["ms_per_step"] for row in units(rows).values())
    axes.axvline(step, color="0.5", lw=1, ls=":")
    axes.annotate(
        "a step of the optimisation itself ",
        (step, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-3, 0),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="top",
        fontsize=8,
        color="0.5",
    )
    axes.xaxis.set_major_formatter(lambda ms, _: f"{ms:g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel("cost (ms per step)")
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    figure.legend(loc="outside lower left", frameon=False, fontsize=9)
    return _of_gaps(figure)


def curves(unit: Unit, rows: Rows) -> Figure:
    """Return the curves of a unit: the PSNR over the steps, below it each criterion, and its stop.

    Args:
        unit: the unit.
        rows: its rows of the results table.
    """
    trace = unit.trace(["psnr_db", "average_psnr_db"])
    shown = [(row, values) for row in rows if np.isfinite(values := unit.criterion(row["criterion"])[0]["value"]).any()]
    heights = [2.2, *[1.0] * len(shown)]
    figure = _figure(8, 1.4 * sum(heights))
    top, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _line(top, trace["average_psnr_db"], label="averaged output", color="0.6", lw=0.8)
    _line(top, trace["psnr_db"], label="output, which is scored", color="black", lw=1.2)
    first = rows[0]
    if first["peak_db"] is not None:
        top.plot(first["peak_step"], first["peak_db"], "k.", label=f"peak at {first['peak_step']}")
    top.set_xlim(0, max(1, len(trace["psnr_db"]) - 1))
    top.set_ylim(*psnr_range(trace["psnr_db"], trace["average_psnr_db"]))
    top.set_ylabel("PSNR (dB)")
    title = _text(f"{first['dataset']} {first['image']}, {level(first)}, {first['network']}")
    top.set_title(title, fontsize=10, pad=12)
    for axes, (row, values) in zip(below, shown, strict=True):
        (colour, mark), name = look(row["criterion"]), _text(row["criterion"])
        _line(axes, values, color=colour, lw=0.8)
        axes.set_ylim(*value_range(values))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
        axes.set_title(name, fontsize=8, loc="right", pad=2)
        if not row["fallback"]:
            for each in (top, axes):
                each.axvline(row["stop_step"], color=colour, lw=1.2, ls="--")
            above = {"transform": top.get_xaxis_transform(), "clip_on": False}
            top.plot(row["stop_step"], 1.03, color=colour, marker=mark, ms=5, label="_mark", **above)
            top.plot([], [], color=colour, ls="--", marker=mark, ms=5, label=f"{name} at {row['stop_step']}")
    top.legend(fontsize=8, loc="lower right")
    figure.axes[-1].set_xlabel("step")
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure into a file, in the format of its suffix, and return the path."""
    write(path, written(figure, path.suffix[1:]))
    return path


def written(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of one of the formats."""
    import matplotlib as mpl

    if figure.get_layout_engine() is not None:  # compute the layout once for all formats
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
    # the same figure gives the same file: no date, no random ids
    dates: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "esbench", "svg.fonttype": "none", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, dpi=150, metadata=dates.get(kind), transparent=kind == "svg")
    return buffer.getvalue()


def element(figure: Figure, name: str, label: str) -> Markup:
    """Return a figure as the `<svg>` element of a page.

    Namespaces, metadata and the size, which only files need, are removed. Black becomes the colour of the page's text,
    and the font is that of the page.

    Args:
        figure: the figure.
        name: the prefix of its ids; a page may have several figures.
        label: a description, for screen readers.
    """
    from markupsafe import Markup

    root = ElementTree.fromstring(written(figure, "svg"))  # noqa: S314 - just written by matplotlib
    for part in root.iter():
        part.tag = _local(part.tag)
        part.attrib = {_local(key): value.replace("#000000", "currentColor") for key, value in part.attrib.items()}
        if part.tag == "text":
            size = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", part.get("style", ""))
            part.set("style", re.sub(r"font-family: [^;]*;? ?", "", size))
        for key, value in part.attrib.items():
            if key == "id":
                part.set(key, f"{name}-{value}")
            elif key == "href":
                part.set(key, f"#{name}-{value[1:]}")
            else:
                part.set(key, value.replace("url(#", f"url(#{name}-"))
    for part in [root, *root.findall("defs")]:
        for child in [child for child in part if child.tag in ("metadata", "style")]:
            part.remove(child)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, "fill": "currentColor"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - ElementTree escapes


def psnr_range(*curves: Any) -> tuple[float, float]:
    """Return the visible range of PSNRs: the 12 dB below their peak, or less if none is that low after its start."""
    finite = [curve[np.isfinite(curve)] for curve in curves]
    finite = [curve for curve in finite if curve.size]
    if not finite:
        return 0.0, 1.0
    peak = max(float(curve.max()) for curve in finite)
    low = max(min(float(curve[len(curve) // 50 :].min()) for curve in finite), peak - 12)
    margin = 0.05 * (peak - low) or 1.0
    return low - margin, peak + margin


def value_range(values: Any) -> tuple[float, float]:
    """Return the visible range of a criterion, without its first steps, which are far above the others."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(np.quantile(finite, 0.9))
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _of_gaps(figure: Figure) -> Figure:
    """Return a figure whose vertical axis is the gap."""
    (axes,) = figure.axes
    axes.set_ylabel("gap to the peak (dB)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.5", alpha=0.25, lw=0.6, axis="y")
    return figure


def _line(axes: Any, values: Any, **style: Any) -> None:
    """Draw a curve; missing values are skipped, even if most are missing."""
    steps = np.flatnonzero(np.isfinite(values))
    axes.plot(steps, values[steps], **style)


def _look(name: str) -> dict[str, Any]:
    """Return the colour and the mark of a criterion."""
    colour, mark = look(name)
    return {"color": colour, "marker": mark, "ms": 6, "lw": 1.2}


def _text(text: str, longest: int = LONGEST) -> str:
    """Return a name that matplotlib draws literally: no formula, only printable characters, and not too long."""
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text).replace("$", r"\$")


def _local(name: str) -> str:
    """Return a name of an SVG without its namespace."""
    return name.rpartition("}")[2]
