"""Squares of a picture in which no pixel is missing; a missing value is NaN."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from esbench.pictures import Bools, Floats

Array: TypeAlias = npt.NDArray[np.float64]

#: Enough patches for an estimate: of at least four times as many, only every second pixel, or fewer, starts a patch.
ENOUGH = 100_000

#: The least number of squares without a missing value for an estimate, per pixel of a square (docs/noise.md).
WHOLE = 50


def measurable(known: Bools | None, side: int = 2) -> bool:
    """Whether there are enough squares of side x side pixels without a missing value for an estimate of the noise."""
    if known is None:
        return True
    whole = known if known.ndim == 2 else np.asarray(known.all(2))
    return min(whole.shape) >= side and int(squares(whole, side).sum()) >= WHOLE * side**2


def enough(image: Floats, side: int = 2) -> bool:
    """Whether no value is missing, or few enough for an estimate from squares of side x side."""
    return measurable(whole_of(image), side)


def without(image: Floats, known: Bools | None) -> Floats:
    """Return a picture with NaN where a value is missing."""
    if known is None:
        return image
    return np.where(known if known.ndim == 3 else known[..., None], image, np.float32(np.nan))


def windows(image: Floats, p: int, step: int) -> Floats:
    """Return every step-th square of p x p pixels in which no value is missing, (n, C, p, p)."""
    every = np.lib.stride_tricks.sliding_window_view(image, (p, p), axis=(0, 1))[::step, ::step]
    whole = whole_of(image)
    if whole is None:
        return every.reshape(-1, image.shape[2], p, p)
    found: Floats = every[squares(whole, p)[::step, ::step]]
    return found


def whole_of(image: Floats) -> Bools | None:
    """Return where no channel is missing, (H, W); None if no value is missing."""
    missing = np.isnan(image)
    return np.asarray(~missing.any(2)) if missing.any() else None


def squares(whole: Bools, p: int) -> Bools:
    """Return at which pixels (H - p + 1, W - p + 1) a square of p x p begins in which all of `whole` is true."""
    h, w = (n - p + 1 for n in whole.shape)
    rows = np.logical_and.reduce([whole[i : i + h] for i in range(p)])
    return np.asarray(np.logical_and.reduce([rows[:, i : i + w] for i in range(p)]))


def halved(image: Floats) -> Floats:
    """Return the means of 2 x 2 pixels."""
    h, w, c = image.shape
    if min(h, w) < 2:
        return image
    blocks: Floats = image[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c).mean((1, 3))
    return blocks
