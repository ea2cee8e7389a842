"""The covariance of noise that pixels or channels share, from the calmest blocks of a picture."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from esbench.noise.squares import ENOUGH, Array, windows
from esbench.noise.white import PATCHES, chi_square
from esbench.pictures import Floats

Places: TypeAlias = npt.NDArray[np.intp]

#: Noise that is not white is measured in the share CALM of the SIDE x SIDE blocks with the least variance, without
#: blocks in which more than the share SATURATED of the values is black or white, if more than FEW of all are left. The
#: variance there is too small by the factor CALMER, because the calmest blocks are so partly by chance (measured on
#: BSD400 with noise that was blurred, demosaiced or compressed).
SIDE, CALM, SATURATED, FEW, CALMER = 8, 0.05, 0.02, 0.2, 1.3

#: Its covariance reaches REACH pixels. That of a block without its plane does not determine all of it: what it
#: determines less than by the share RIDGE of the best is left out gradually.
REACH, RIDGE = 4, 0.003

#: The calmest blocks contain noise and no detail if noise in at least the share LEAST of all blocks explains how far
#: the quantiles LOW and HIGH of their variances are apart. It cannot be told from fewer than MANY blocks side by side.
LOW, HIGH, LEAST, MANY = 0.01, 0.10, 0.12, 256


def calm_covariance(image: Floats) -> Array:
    """Return the covariance of noise of which pixels or channels are correlated, before clipping: (D, D, C, C).

    It is measured in the blocks with the least variance around a plane.
    """
    return CALMER * _covariance(_calmest(*_blocks(image), CALM))


def even_covariance(image: Floats) -> Array | None:
    """Return the same for a picture whose calmest blocks contain only noise; None if they may contain detail.

    The variances of blocks of noise are chi-square, with degrees of freedom that follow from its covariance. If a share
    of the blocks contains only noise and the others are less calm, the quantile q of all is the quantile q / share of
    these. So the share is the one with which LOW and HIGH are as far apart as measured. Those of detail are further.
    The covariance is measured in the calmer half of these blocks.
    """
    h, w, _ = image.shape
    if h * w < MANY * SIDE**2:
        return None
    blocks, levels = _blocks(image)
    calm = _calmest(blocks, levels, CALM)
    flat = calm.reshape(len(calm), -1)
    covariance = flat.T @ flat / len(flat)
    if not covariance.any():  # as of a drawing
        return None
    freedom = float(np.trace(covariance) ** 2 / (covariance**2).sum())
    low, high = np.quantile(levels, [LOW, HIGH])

    def too_far(share: float) -> bool:
        return bool(low * chi_square(freedom, HIGH / share) <= high * chi_square(freedom, LOW / share))

    if too_far(LEAST):
        return None
    few, share = LEAST, 1.0
    for _ in range(20):
        middle = (few + share) / 2
        few, share = (few, middle) if too_far(middle) else (middle, share)
    variance = float(high) / chi_square(freedom, HIGH / share)
    calm = _calmest(blocks, levels, max(CALM, share / 2))
    return variance / float((calm**2).mean()) * _covariance(calm)


def _blocks(image: Floats) -> tuple[Array, Array]:
    """Return the blocks of a picture without the plane nearest to each, (n, C, p p), and their variances, (n,).

    Clipping would make the darkest and brightest blocks the calmest, so they are left out, unless few are left.
    """
    h, w, c = image.shape
    p = min(SIDE, h, w)
    step = math.isqrt(4 * (h - p + 1) * (w - p + 1) // ENOUGH) + 1  # a block counts for several patches
    blocks = windows(image, p, step).reshape(-1, c, p * p)
    saturated = ((blocks <= 0) | (blocks >= 1)).mean((1, 2))
    least = np.sort(saturated)[min(len(blocks), PATCHES) - 1]
    kept = saturated <= max(least, SATURATED)
    if kept.mean() < FEW:  # as on a white page: the calmest of the others would be text
        kept[:] = True
    residuals = blocks[kept].astype(np.float64) @ _without_plane(p)
    return residuals, (residuals**2).mean((1, 2))


def _calmest(blocks: Array, levels: Array, share: float) -> Array:
    """Return a share of the blocks, those with the least variance."""
    return blocks[np.argsort(levels, kind="stable")[: max(1, round(share * len(levels)))]]


def _covariance(blocks: Array) -> Array:
    """Return the covariance of the noise that blocks contain, from them without their planes."""
    c, p = blocks.shape[1], math.isqrt(blocks.shape[2])
    joint = np.einsum("bip,bjq->ijpq", blocks, blocks, optimize=True) / len(blocks)
    pairs, unmixed = _displacements(p)
    measured = np.array([joint[:, :, *pair].sum(-1) for pair in pairs])
    side = math.isqrt(len(pairs))
    covariance: Array = np.tensordot(unmixed, measured, 1).reshape(side, side, c, c)
    return covariance


@functools.cache
def _without_plane(p: int) -> Array:
    """Return the matrix that subtracts from a block of p x p pixels the plane nearest to it."""
    x = np.arange(p * p)
    plane = np.linalg.qr(np.stack([np.ones(p * p), x % p, x // p], axis=1))[0]
    rest: Array = np.eye(p * p) - plane @ plane.T
    return rest


@functools.cache
def _displacements(p: int) -> tuple[list[tuple[Places, Places]], Array]:
    """Return the pairs of pixels of a block at each displacement, and what undoes the subtraction of the plane.

    The covariance of a block without its plane, summed over the pairs at each displacement, is a linear function of
    that of the noise at each displacement. The matrix is its regularised inverse.
    """
    place, reach = np.arange(p * p).reshape(p, p), min(REACH, p // 2)
    pairs: list[tuple[Places, Places]] = []
    for down, right in itertools.product(range(-reach, reach + 1), repeat=2):
        here = place[max(0, down) : p + min(0, down), max(0, right) : p + min(0, right)]
        there = place[max(0, -down) : p + min(0, -down), max(0, -right) : p + min(0, -right)]
        pairs.append((here.ravel(), there.ravel()))
    rest, columns = _without_plane(p), []
    for pair in pairs:
        noise = np.zeros((p * p, p * p))
        noise[pair] = 1
        left = rest @ noise @ rest
        columns.append([left[other].sum() for other in pairs])
    u, values, v = np.linalg.svd(np.array(columns).T)
    weight = values / (values**2 + (RIDGE * values[0]) ** 2)
    return pairs, (v.T * weight) @ u.T
