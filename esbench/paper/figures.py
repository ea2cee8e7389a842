"""The CIFS paper's figures with our numbers beside the paper's, and the curve of a search for lam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench.looks import COLOURS, MARKS
from esbench.paper import artefacts
from esbench.paper.tables import METHODS, method_of, paper_stop
from esbench.report.figures import psnr_range, value_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]

#: How the style of the paper's numbers differs from ours.
PAPER: dict[str, Any] = {"ls": "--", "lw": 1, "mfc": "white"}


def calibration(rows: Sequence[Row]) -> Figure:
    """Return the mean PSNR against mu, a panel per codec and a line per noise level, with the chosen and the best mu.

    Args:
        rows: the results of `calibrate`.
    """
    codecs = list(dict.fromkeys(row["codec"] for row in rows))
    figure = _figure(6, 3.4 * len(codecs))
    panels = figure.subplots(len(codecs), 1, squeeze=False)[:, 0]
    for axes, codec in zip(panels, codecs, strict=True):
        for i, row in enumerate(r for r in rows if r["codec"] == codec and r["curve"]):
            colour = COLOURS[i % len(COLOURS)]
            mu, psnr = np.array(row["curve"]).T
            axes.plot(mu, psnr, color=colour, lw=1.2, drawstyle="steps-mid", label=f"sigma {row['sigma']:g}")
            axes.plot(row["mu"], row["psnr_db"], "o", color=colour, ms=6)
            axes.plot(row["best_mu"], row["best_psnr_db"], "x", color=colour, ms=6)
        axes.plot([], [], "o", color="0.4", label="chosen, with a margin")
        axes.plot([], [], "x", color="0.4", label="best")
        axes.set_title(f"cifs-{codec}, {rows[0]['objective']} objective", fontsize=10)
        axes.set_xscale("log")
        axes.set_ylabel("mean PSNR (dB)")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        _plain(axes)
    panels[-1].set_xlabel("mu = lam / (H W)")
    return figure


def sizes(records: Sequence[Row], dataset: str) -> Figure:
    """Return figure 1: bytes per pixel against the noise level, over a dataset and for the paper's picture.

    Args:
        records: the records of `tables.sizes`.
        dataset: its name.
    """
    figure = _figure(6, 3.6)
    axes = figure.subplots()
    sigma = [record["sigma"] for record in records]
    ours = {key: [record[key] for record in records] for key in ("bytes_per_pixel", "lowest", "highest")}
    n = records[0]["pictures"]
    axes.fill_between(sigma, ours["lowest"], ours["highest"], color=COLOURS[0], alpha=0.15, lw=0, label="all of them")
    axes.plot(sigma, ours["bytes_per_pixel"], color=COLOURS[0], marker="o", ms=4, label=f"{dataset}, mean of {n}")
    theirs = [(r["sigma"], r["paper_bytes_per_pixel"]) for r in records if r["paper_bytes_per_pixel"] is not None]
    if theirs:
        label = f"the paper: {artefacts.FIG1_PICTURE} of cbsd68"
        axes.plot(*zip(*theirs, strict=True), color=COLOURS[1], marker="s", ms=6, label=label, **PAPER)
    mine = [
        (r["sigma"], 1000 * r["picture_kilobytes"] / artefacts.FIG1_PIXELS) for r in records if r["picture_kilobytes"]
    ]
    if mine:
        axes.plot(*zip(*mine, strict=True), ".", color=COLOURS[1], ms=4, label=f"{artefacts.FIG1_PICTURE} here")
    axes.set_xlabel("sigma")
    axes.set_ylabel("JPEG size (bytes per pixel)")
    axes.set_ylim(0, None)
    axes.legend(fontsize=8, loc="lower right", frameon=False)
    _plain(axes)
    return figure


def lams(records: Sequence[Row]) -> Figure:
    """Return figure 2: lam / (H W) against the noise level, by both objectives, and the paper's.

    Args:
        records: as for `tables.lams`.
    """
    figure = _figure(6, 3.6)
    axes = figure.subplots()
    lines = {
        "windowed_mu": "by the rule, with a margin",
        "windowed_best_mu": "by the rule, the best",
        "global_best_mu": "by the smallest E of all steps, as in the paper",
    }
    for i, (key, label) in enumerate(lines.items()):
        known = [(r["sigma"], r[key]) for r in records if r[key] is not None]
        axes.plot(*np.array(known).reshape(-1, 2).T, color=COLOURS[i], marker=MARKS[i], ms=5, label=label)
    axes.plot(
        *zip(*artefacts.FIG2_MU.items(), strict=True), color=COLOURS[3], marker="s", ms=4, label="the paper", **PAPER
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda mu, _: f"{mu:g}")
    axes.set_xlabel("sigma")
    axes.set_ylabel("mu = lam / (H W)")
    axes.legend(fontsize=8, frameon=False)
    _plain(axes)
    return figure


def gaps(records: Sequence[Row]) -> Figure:
    """Return figure 3: the mean gap to the peak against the noise level, a line per method; the paper's are dashed.

    Args:
        records: the records of `tables.compared`, of one dataset.
    """
    shown = [name for name in METHODS if name != "Peak" and any(r["method"] == name for r in records)]
    figure = _figure(7, 4)
    axes = figure.subplots()
    for name in shown:
        look = _look(name)
        mine = [(r["sigma"], r["gap_db"]) for r in records if r["method"] == name]
        theirs = [
            (r["sigma"], r["paper_gap_db"]) for r in records if r["method"] == name and r["paper_gap_db"] is not None
        ]
        axes.plot(*zip(*mine, strict=True), lw=1.4, label=name, **look)
        if theirs and name in (*artefacts.METHODS, "No ES"):
            axes.plot(*zip(*theirs, strict=True), **look | PAPER)
    axes.plot([], [], color="0.4", marker="o", label="the paper", **PAPER)
    axes.set_ylim(0, None)
    axes.set_xticks(sorted({record["sigma"] for record in records}))
    axes.set_xlabel("sigma")
    axes.set_ylabel("gap to the peak (dB)")
    axes.set_title(records[0]["dataset"], fontsize=10)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _plain(axes)
    return figure


def psnr(records: Sequence[Row]) -> Figure:
    """Return table 1 as a figure: mean and standard deviation of each method's PSNR, ours and the paper's.

    Args:
        records: the records of `tables.compared`.
    """
    places = list(dict.fromkeys((record["dataset"], record["sigma"]) for record in records))
    names = [name for name in METHODS if any(record["method"] == name for record in records)]
    figure = _figure(2.2 + 2.6 * min(3, len(places)), 0.7 + 2.6 * -(-len(places) // 3))
    panels = figure.subplots(-(-len(places) // 3), min(3, len(places)), squeeze=False, sharey=True).flat
    for axes in panels[len(places) :]:
        axes.remove()
    for axes, place in zip(panels, places, strict=False):
        for record in (r for r in records if (r["dataset"], r["sigma"]) == place):
            at, colour = names.index(record["method"]), _look(record["method"])["color"]
            bar: dict[str, Any] = {"color": colour, "elinewidth": 1, "capsize": 2, "ms": 5}
            axes.errorbar(record["psnr_db"], at - 0.14, xerr=record["psnr_std_db"], fmt="o", **bar)
            if record["paper_psnr_db"] is not None:
                theirs, deviation = record["paper_psnr_db"], record["paper_psnr_std_db"]
                axes.errorbar(theirs, at + 0.14, xerr=deviation, fmt="o", **bar | {"mfc": "white"})
        axes.set_title(f"{place[0]}, sigma {place[1]:g}", fontsize=10)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("PSNR (dB); hollow: the paper")
        _plain(axes)
    return figure


def stops(curve: Mapping[str, Any], rows: Sequence[Row]) -> Figure:
    """Return figure 4 for one optimisation: a panel per method, with both PSNR, its criterion, and its stop.

    Args:
        curve: step, loss and psnr_db, and the values of each criterion by its text.
        rows: rows of the results table.
    """
    figure = _figure(11, 2.9)
    panels = figure.subplots(1, len(rows), squeeze=False, sharey=True)[0]
    for i, (axes, row) in enumerate(zip(panels, rows, strict=True)):
        _beside(axes, curve["step"], np.asarray(curve[row["criterion"]]))
        _psnr_and_stop(axes, curve, row)
        came = "not stopped" if row["fallback"] else f"{row['psnr_db']:.2f} dB"
        axes.set_title(f"{method_of(row)}: {came}", fontsize=9)
        axes.set_xlabel("step")
        axes.tick_params(labelsize=7)
        if i == 0:
            axes.set_ylabel("PSNR (dB)")
            figure.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    first = rows[0]
    figure.suptitle(
        f"{first['dataset']} {first['image']}, sigma {first['sigma']:g}; peak {first['peak_db']:.2f} dB", fontsize=10
    )
    return figure


def _look(method: str) -> dict[str, Any]:
    """Return the colour and the mark of a method, the same in every figure."""
    i = METHODS.index(method)
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKS[i % len(MARKS)], "ms": 5}


def _beside(axes: Axes, step: Any, values: Any) -> None:
    """Draw the values of a criterion, with an axis of their own on the right."""
    known = np.isfinite(values)
    if not known.any():
        return
    beside = axes.twinx()
    beside.plot(step[known], values[known], color=COLOURS[0], lw=0.7)
    beside.set_ylim(*value_range(values))
    beside.tick_params(labelsize=7, labelcolor=COLOURS[0])
    beside.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
    beside.yaxis.get_offset_text().set(size=7, color=COLOURS[0])


def _psnr_and_stop(axes: Axes, curve: Mapping[str, Any], row: Row) -> None:
    """Draw both PSNR of an optimisation, the stop of a row, and the paper's if there is one."""
    noisy = -10 * np.log10(curve["loss"])
    axes.plot(curve["step"], noisy, color=COLOURS[2], lw=0.8, label="PSNR to the noisy picture")
    axes.plot(curve["step"], curve["psnr_db"], color=COLOURS[1], lw=0.8, label="PSNR to the clean picture")
    axes.axvline(row["stop_step"], color="#B2182B", lw=1.6, label="the stop")
    if (theirs := paper_stop(row)) is not None:
        axes.axvline(theirs, color="#B2182B", lw=1.2, ls=":", label="the paper's stop")
    axes.plot([], [], color=COLOURS[0], lw=0.8, label="the criterion")
    low, high = psnr_range(np.asarray(curve["psnr_db"]))
    axes.set_ylim(low, max(high, float(np.nanmax(noisy)) + 0.3))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: Any) -> None:
    """Remove the spines of the axes that have no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.5", alpha=0.25, lw=0.6)
