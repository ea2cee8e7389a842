"""The figures of a run: gap against noise, cost against gap, and the curves of a unit. The one place of matplotlib."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from esbench.bench.store import Unit
from esbench.disk import write
from esbench.report.levels import criteria, level, levels, units

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[dict[str, Any]]

FORMATS = ("svg", "pdf", "png")

#: Colours that people with any colour vision can tell apart (Okabe and Ito, 2008), then three more; and as many marks.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7F7F7F",
    "#8C6BB1",
    "#A6761D",
    "#B2182B",
)
MARKS = "osD^vP<X>*"

#: Letters of a name that have room in a figure.
LONGEST = 56

#: What a criterion that costs nothing is drawn at, in milliseconds; the axis is logarithmic.
LEAST_MS = 1e-4


def gap(rows: Rows) -> Figure:
    """Return the mean gap to the peak against the noise level, a line a criterion, with its standard deviation.

    Args:
        rows: of the results table, of one data set, with gaps.
    """
    names = criteria(rows)
    found = list(levels(rows).values())
    places = [i if group[0]["sigma"] is None else group[0]["sigma"] for i, group in enumerate(found)]
    apart = 0.012 * (places[-1] - places[0] or 1)  # so that one bar does not hide another
    figure = _figure(5.2, 3.7 + 0.2 * len(names))
    axes = figure.subplots()
    for i, name in enumerate(names):
        values = [[row["gap_db"] for row in group if row["criterion"] == name] for group in found]
        here = [place + (i - (len(names) - 1) / 2) * apart for place, v in zip(places, values, strict=True) if v]
        means, deviations = ([of(v) for v in values if v] for of in (np.mean, np.std))
        axes.errorbar(here, means, deviations, label=_text(name), elinewidth=0.7, capsize=2, **_look(i))
    sigmas = rows[0]["sigma"] is not None
    axes.set_xticks(places, [f"{group[0]['sigma']:g}" if sigmas else _text(level(group[0])) for group in found])
    axes.set_xlim(places[0] - 12 * apart, places[-1] + 12 * apart)
    axes.set_xlabel(f"sigma of {_text(rows[0]['noise'])} noise" if sigmas else "noise")
    return _finished(figure)


def cost(rows: Rows) -> Figure:
    """Return what each criterion costs against its mean gap, both over all units; the lower left is the best.

    Args:
        rows: of the results table, with gaps.
    """
    names = criteria(rows)
    figure = _figure(5.2, 3.7 + 0.2 * len(names))
    axes = figure.subplots()
    for i, name in enumerate(names):
        mine = [row for row in rows if row["criterion"] == name]
        ms = max(LEAST_MS, statistics.fmean(row["criterion_ms_per_step"] for row in mine))
        axes.plot(ms, statistics.fmean(row["gap_db"] for row in mine), label=_text(name), **_look(i) | {"ls": ""})
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
    axes.set_xlabel("cost (ms a step)")
    return _finished(figure)


def curves(unit: Unit, rows: Rows, names: Sequence[str]) -> Figure:
    """Return the curves of a unit: the PSNR over the steps, under it each criterion, and where it stopped.

    Args:
        unit: the unit.
        rows: its rows of the results table.
        names: the criteria of the run, in the order of their colours.
    """
    trace = unit.trace(["psnr_db", "average_psnr_db"])
    shown = [(row, values) for row in rows if np.isfinite(values := unit.criterion(row["criterion"])[0]["value"]).any()]
    heights = [2.2, *[1.0] * len(shown)]
    figure = _figure(8, 1.4 * sum(heights))
    top, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _line(top, trace["psnr_db"], label="output", color="0.6", lw=0.8)
    _line(top, trace["average_psnr_db"], label="averaged output", color="black", lw=1.2)
    first = rows[0]
    if first["peak_db"] is not None:
        top.plot(first["peak_step"], first["peak_db"], "k.", label=f"peak at {first['peak_step']}")
    top.set_xlim(0, max(1, len(trace["psnr_db"]) - 1))
    top.set_ylim(*psnr_range(trace["psnr_db"], trace["average_psnr_db"]))
    top.set_ylabel("PSNR (dB)")
    top.set_title(_text(f"{first['dataset']} {first['image']}, {level(first)}, {first['network']}"), fontsize=10)
    for axes, (row, values) in zip(below, shown, strict=True):
        colour, name = _look(names.index(row["criterion"]))["color"], _text(row["criterion"])
        _line(axes, values, color=colour, lw=0.8)
        axes.set_ylim(*value_range(values))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
        axes.set_title(name, fontsize=8, loc="right", pad=2)
        if not row["fallback"]:
            for each in (top, axes):
                each.axvline(row["stop_step"], color=colour, lw=1.2, ls="--")
            top.plot([], [], color=colour, ls="--", label=f"{name} at {row['stop_step']}")
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

    if figure.get_layout_engine() is not None:  # it is laid out once for all formats
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
    # the same figure is the same file: no date, no random ids
    dates: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "esbench", "svg.fonttype": "path", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, dpi=150, metadata=dates.get(kind), transparent=kind == "svg")
    return buffer.getvalue()


def element(figure: Figure, name: str, label: str) -> str:
    """Return a figure as the `<svg>` element of a page.

    What a file needs and a page must not have goes: namespaces, metadata, the size. What is black takes the colour of
    the page's text.

    Args:
        figure: the figure.
        name: what its ids begin with; a page may have several figures.
        label: what it shows, for those who cannot see it.
    """
    root = ElementTree.fromstring(written(figure, "svg"))  # noqa: S314 - matplotlib's, of a moment ago
    for part in root.iter():
        part.tag = _local(part.tag)
        part.attrib = {_local(key): value.replace("#000000", "currentColor") for key, value in part.attrib.items()}
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
    return ElementTree.tostring(root, encoding="unicode")


def psnr_range(*curves: Any) -> tuple[float, float]:
    """Return what is shown of PSNRs: the 12 dB below their peak, or less where none is that low after its start."""
    finite = [curve[np.isfinite(curve)] for curve in curves]
    finite = [curve for curve in finite if curve.size]
    if not finite:
        return 0.0, 1.0
    peak = max(float(curve.max()) for curve in finite)
    low = max(min(float(curve[len(curve) // 50 :].min()) for curve in finite), peak - 12)
    margin = 0.05 * (peak - low) or 1.0
    return low - margin, peak + margin


def value_range(values: Any) -> tuple[float, float]:
    """Return what is shown of a criterion: all but its first steps, which are far above all that follows."""
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


def _finished(figure: Figure) -> Figure:
    """Return a figure of gaps with its legend under it."""
    (axes,) = figure.axes
    axes.set_ylim(0, None)
    axes.set_ylabel("gap to the peak (dB)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.5", alpha=0.25, lw=0.6)
    figure.legend(loc="outside lower left", frameon=False, fontsize=9)
    return figure


def _line(axes: Any, values: Any, **style: Any) -> None:
    """Draw a curve; a missing value is passed over, also where there are more of them than of others."""
    steps = np.flatnonzero(np.isfinite(values))
    axes.plot(steps, values[steps], **style)


def _look(i: int) -> dict[str, Any]:
    """Return the colour and the mark of a criterion, the same in every figure."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKS[i % len(MARKS)], "ms": 5, "lw": 1.2}


def _text(text: str) -> str:
    """Return a name as matplotlib writes it letter by letter: no formula, nothing without a shape, and not too long."""
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text).replace("$", r"\$")


def _local(name: str) -> str:
    """Return a name of an SVG without its namespace."""
    return name.rpartition("}")[2]
