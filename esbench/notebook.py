"""Show results in a notebook: a picture beside facts, and two figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import images
from esbench.errors import UsageError
from esbench.looks import look
from esbench.templating import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The longest side of a picture, in pixels: a notebook keeps all that it shows in its file.
SIDE = 320


def card(title: str, facts: Mapping[str, Any], picture: Any = None) -> str:
    """Return a title, facts and a picture as HTML that needs nothing else.

    Args:
        title: the title, a sentence.
        facts: names and values.
        picture: a user's array, or None.
    """
    return str(render("card.html", title=title, facts=facts, picture=None if picture is None else _url(picture)))


def said(picture: Any) -> str:
    """Return the shape and the type of a user's array: `64 x 96 x 3 uint8`."""
    return f"{' x '.join(map(str, picture.shape))} {str(picture.dtype).removeprefix('torch.')}"


def curve(
    values: Sequence[float],
    name: str,
    *,
    best: int | None,
    patience: int,
    stopped: bool,
    axes: Axes | None = None,
) -> Axes:
    """Draw the values of a criterion: the best as a hollow mark, the patience after it as a band, the stop as a line.

    Args:
        values: one per step; NaN where there is none.
        name: the name of the criterion.
        best: the best step so far.
        patience: how many steps after it must not be better.
        stopped: whether they were not.
        axes: the axes to draw on; None for a new figure.
    """
    axes = _axes(axes)
    steps = np.flatnonzero(np.isfinite(values))
    known = np.asarray(values, float)[steps]
    axes.plot(steps, known, lw=1, color=look(name).colour)
    if known.size:  # the first steps are far above the others
        low, high = float(known.min()), float(np.quantile(known, 0.9))
        margin = 0.1 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
    if best is not None:
        axes.axvspan(best, best + patience, color="0.5", alpha=0.15, lw=0, label=f"patience: {patience} steps")
        axes.plot(best, values[best], "o", mfc="none", color="black", label=f"lowest at step {best}")
        if stopped:
            axes.axvline(best, color="black", lw=1.2, label=f"stopped at step {best}")
        axes.legend(fontsize="small")
    axes.set_xlabel("step")
    axes.set_ylabel(f"{name}, lower is better")
    return axes


def strips(
    rows: Sequence[tuple[str, Sequence[float], float | None, float | None]], label: str, axes: Axes | None = None
) -> Axes:
    """Draw a line for each criterion: a dot for each number, their mean, and its interval.

    Args:
        rows: the name of a criterion, numbers, and both ends of the interval of their mean or None.
        label: the label of the numbers.
        axes: the axes to draw on; None for a new figure.
    """
    axes = _axes(axes, height=1.2 + 0.35 * len(rows))
    for place, (name, numbers, low, high) in enumerate(rows):
        colour, mark = look(name)
        axes.plot(numbers, [place] * len(numbers), ".", color=colour, alpha=0.5, mew=0)
        axes.plot(float(np.mean(numbers)), place, mark, color=colour, ms=6)
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=colour, lw=2)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    return axes


def _axes(axes: Axes | None, height: float = 3.2) -> Axes:
    if axes is not None:
        return axes
    from matplotlib import pyplot as plt  # so that a notebook shows the figure by itself

    return plt.subplots(figsize=(6.4, height), layout="constrained")[1]


def _url(picture: Any) -> str:
    """Return a user's array as a data URL; one that is larger than SIDE is reduced."""
    try:
        pixels = np.rint(255 * images.unpacked(picture)[0]).astype(np.uint8)
    except UsageError:  # an output of a network may be on any scale
        return ""
    return images.data_url(images.encoded(pixels, SIDE, "PNG", optimize=True), "png")
