"""Measures of single small squares: impulses, and the variance at each brightness."""

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


def impulses(patches: Floats) -> bool:
    """Whether more than 1 in 100 values are impulses, and most of the values far from their neighbours are."""
    value, median = patches[:, 12], np.median(patches, axis=1)
    extreme = between = among = 0
    for end in (0.0, 1.0):
        far = np.abs(median - end) > 0.3
        away = np.abs(value - end)
        extreme += int((far & (away == 0)).sum())
        between += int((far & (away > 0) & (away < np.abs(median - end) / 2)).sum())
        among += int(far.sum())
    return extreme > 0.01 * among and extreme > 0.65 * (extreme + between)


def impulse_variance(image: Floats) -> float:
    """Return the variance of the impulses of a channel that are far from their neighbours."""
    patches = locally(image)
    value, median = patches[:, 12], np.median(patches, axis=1)
    far = ((value == 0) | (value == 1)) & (np.abs(value - median) > 0.3)
    return float((far * (value - median).astype(np.float64) ** 2).mean())


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
