"""A large picture as tiles that overlap, with windows that sum to 1 at every pixel.

Along each axis the windows are a partition of unity: ramps in the overlaps, 1 elsewhere. The window of a tile is the
product of one of each axis, so that the windows of all tiles sum to 1 again, and what all tiles agree on is kept.
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
    """A piece of a length.

    Attributes:
        start: where it begins.
        window: its weight at each of its places, float32.
    """

    start: int
    window: Floats

    @property
    def slice(self) -> slice:
        """Its places."""
        return slice(self.start, self.start + len(self.window))

    def times(self, factor: int) -> Span:
        """Return the same piece of a length that is so many times larger."""
        return Span(self.start * factor, np.repeat(self.window, factor))


@dataclass(frozen=True)
class Tile:
    """A piece of a picture."""

    rows: Span
    columns: Span

    @property
    def window(self) -> Floats:
        """Its weight at each of its pixels, (height, width, 1)."""
        return np.multiply.outer(self.rows.window, self.columns.window)[..., None]

    def times(self, factor: int) -> Tile:
        """Return the same piece of a picture that is so many times larger."""
        return Tile(self.rows.times(factor), self.columns.times(factor))

    def of(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return its part of a picture (H, W, C), as a view."""
        return picture[self.rows.slice, self.columns.slice]


def tiles(height: int, width: int, side: int, overlap: int, grid: int = 1) -> list[Tile]:
    """Return tiles of at most side x side that cover a picture, row by row."""
    across = spans(width, side, overlap, grid)
    return [Tile(rows, columns) for rows in spans(height, side, overlap, grid) for columns in across]


def spans(length: int, side: int, overlap: int, grid: int = 1) -> list[Span]:
    """Return pieces of at most `side` that cover a length, whose windows sum to 1 at every place.

    Args:
        length: what is covered.
        side: the longest that a piece may be; a multiple of `grid`, unless all is one piece.
        overlap: of neighbours, at least; less than `side`.
        grid: pieces begin at its multiples and end there, or where the length does; if it is 1 they are equally long.
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
        if start > 0:  # where the picture itself ends, nothing takes over
            window[start:end] *= ramp[: end - start]
        if end < length:
            window[start:end] *= ramp[::-1]
    windows /= windows.sum(0)
    return [
        Span(int(start), window[start : start + side].astype(np.float32))
        for window, start in zip(windows, starts, strict=True)
    ]
