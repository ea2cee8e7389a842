"""Curves of a unit: the PSNR over the steps, under it each criterion, and where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esbench.bench.store import Unit


def curves(unit: Unit, rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the curves of one unit into a file; its suffix says which format.

    Args:
        unit: the unit.
        rows: its rows of the results table.
        path: the file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trace = unit.trace(["step", "psnr_db", "average_psnr_db"])
    shown = [(row, values) for row in rows if np.isfinite(values := unit.criterion(row["criterion"])[0]["value"]).any()]
    heights = [2.2, *[1.0] * len(shown)]
    figure = Figure(figsize=(8, 1.4 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    top = axes[0]
    top.plot(trace["step"], trace["psnr_db"], color="0.55", lw=0.8, label="output")
    top.plot(trace["step"], trace["average_psnr_db"], color="black", lw=1.2, label="averaged output")
    finite = trace["psnr_db"][len(trace["psnr_db"]) // 50 :]
    top.set_ylim(max(float(finite.min()), float(trace["psnr_db"].max()) - 12), None)
    top.set_ylabel("PSNR (dB)")
    top.set_title(f"{rows[0]['dataset']} {rows[0]['image']}, {rows[0]['network']}", fontsize=10)
    for i, (row, values) in enumerate(shown):
        colour = f"C{i}"
        axis = axes[i + 1]
        axis.plot(np.arange(len(values)), values, color=colour, lw=0.8)
        axis.set_ylim(*_limits(values))
        axis.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
        axis.set_ylabel(row["criterion"], fontsize=8)
        if not row["fallback"]:
            for each in (top, axis):
                each.axvline(row["stop_step"], color=colour, lw=1.2, ls="--")
            top.plot([], [], color=colour, ls="--", label=f"{row['criterion']} at {row['stop_step']}")
    top.legend(fontsize=8, loc="lower right")
    axes[-1].set_xlabel("step")
    figure.savefig(path, dpi=110)


def _limits(values: Any) -> tuple[float, float]:
    """Return the range of a curve without its first steps, which are far above all that follows."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(np.quantile(finite, 0.9))
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin
