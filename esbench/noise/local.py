"""The variance of small squares of single channels at each brightness."""

from __future__ import annotations

import math

import numpy as np

from esbench.noise.squares import ENOUGH, Array, windows
from esbench.pictures import Floats


def locally(image: Floats) -> Floats:
    """Return 5 x 5 patches of single channels, (n, 25)."""
    step = math.isqrt(image.size // (4 * ENOUGH)) + 1
    patches: Floats = windows(image, 5, step).reshape(-1, 25)
    return patches


def by_brightness(patches: Floats, bins: int = 16) -> tuple[Array, Array, Array]:
    """Return brightness, variance of the noise and weight for groups of patches of similar brightness.

    The variance is measured by the mask of Immerkaer, "Fast noise variance estimation" (CVIU 1996), which removes
    planes; by the median of its squares, because edges remain.
    """
    mask = np.zeros((5, 5), np.float32)
    mask[1:4, 1:4] = np.outer([1, -2, 1], [1, -2, 1]) / np.float32(6)
    mean, square = patches.mean(1, dtype=np.float64), (patches @ mask.ravel()).astype(np.float64) ** 2
    bin_of = (mean * bins).astype(int).clip(0, bins - 1)
    rows = []
    for i in range(bins):
        here = bin_of == i
        variance = np.median(square[here]) / 0.4549 if here.any() else 0.0  # median of chi-square, 1 degree
        if here.sum() >= max(50, len(mean) / 1000) and variance > 0:
            rows.append((mean[here].mean(), variance, math.sqrt(here.sum())))
    brightness, level, weight = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return brightness, level, weight / max(weight.sum(), 1e-12)
