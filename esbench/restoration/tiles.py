"""Cut a large picture into overlapping tiles, with windows that sum to 1 at every pixel.

Along each axis the windows are a partition of unity: ramps in the overlaps, 1 elsewhere. The window of a tile is the
product of one window per axis, so the windows of all tiles sum to 1, and pixels on which all tiles agree are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esbench.pictures import Floats


@dataclass(frozen=True)
class Span:
    """An interval of one axis.

    Attributes:
        start: its first index.
        window: its weight at each index, float32.
    """

    start: int
    window: Floats

    @property
    def slice(self) -> slice:
        """Its indices."""
        return slice(self.start, self.start + len(self.window))

    def times(self, factor: int) -> Span:
        """Return the same interval of an axis that is `factor` times longer."""
        return Span(self.start * factor, np.repeat(self.window, factor))


@dataclass(frozen=True)
class Tile:
    """A rectangle of a picture."""

    rows: Span
    columns: Span

    @property
    def window(self) -> Floats:
        """Its weight at each pixel, (height, width, 1)."""
        return np.multiply.outer(self.rows.window, self.columns.window)[..., None]

    def times(self, factor: int) -> Tile:
        """Return the same rectangle of a picture that is `factor` times larger."""
        return Tile(self.rows.times(factor), self.columns.times(factor))

    def of(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return this part of a picture (H, W, C), as a view."""
        return picture[self.rows.slice, self.columns.slice]


def tiles(height: int, width: int, side: int, overlap: int, grid: int = 1) -> list[Tile]:
    """Return tiles of at most side x side that cover a picture, row by row."""
    across = spans(width, side, overlap, grid)
    return [Tile(rows, columns) for rows in spans(height, side, overlap, grid) for columns in across]


def spans(length: int, side: int, overlap: int, grid: int = 1) -> list[Span]:
    """Return spans of at most `side` that cover an axis, with windows that sum to 1 at every index.

    Args:
        length: the length of the axis.
        side: the maximum length of a span; a multiple of `grid`, unless one span covers the axis.
        overlap: the minimum overlap of neighbours; less than `side`.
        grid: spans start and end at its multiples, or at the end of the axis; with 1 all have the same length.
    """
    side = min(side, length)
    whole = side == length
    n = 1 if whole else math.ceil((length - overlap) / (side - overlap - (grid - 1)))
    starts = (np.linspace(0, length - side, n).round().astype(int) + grid - 1) // grid * grid
    ramp = np.minimum(1, np.arange(1, side + 1) / (overlap + 1))
    windows = np.zeros((n, length))
    for window, start in zip(windows, starts, strict=True):
        end = min(start + side, length)
        window[start:end] = 1
        if start > 0:  # no ramp at the ends of the axis
            window[start:end] *= ramp[: end - start]
        if end < length:
            window[start:end] *= ramp[::-1]
    windows /= windows.sum(0)
    return [
        Span(int(start), window[start : start + side].astype(np.float32))
        for window, start in zip(windows, starts, strict=True)
    ]
