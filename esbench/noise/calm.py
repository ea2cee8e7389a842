"""The covariance of noise that pixels or channels share, from the calmest blocks of a picture."""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple, TypeAlias

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


class Even(NamedTuple):
    """Noise that fills some of the blocks evenly.

    Attributes:
        share: the share of the blocks that contain nothing else.
        variance: of the noise around the planes of blocks.
    """

    share: float
    variance: float


def calm_covariance(image: Floats, even: Even | None = None) -> Array:
    """Return the covariance of noise of which pixels or channels are correlated, before clipping: (D, D, C, C).

    It is measured in the blocks with the least variance around a plane; of even noise, in half of those that contain
    nothing else. Clipping would make the darkest and brightest blocks the calmest, so they are left out, unless few
    are left.
    """
    calm, _ = _calmest(image, CALM if even is None else max(CALM, even.share / 2))
    scale = CALMER if even is None else even.variance / (calm**2).mean()
    p = math.isqrt(calm.shape[2])
    joint = np.einsum("bip,bjq->ijpq", calm, calm, optimize=True) / len(calm)
    pairs, unmixed = _displacements(p)
    measured = np.array([joint[:, :, *pair].sum(-1) for pair in pairs])
    side, c = math.isqrt(len(pairs)), calm.shape[1]
    covariance: Array = scale * np.tensordot(unmixed, measured, 1).reshape(side, side, c, c)
    return covariance


def even_noise(image: Floats) -> Even | None:
    """Return the noise of a picture whose calmest blocks contain nothing else; None if they may contain detail.

    The variances of blocks of noise are chi-square, with degrees of freedom that follow from its covariance. If a share
    of the blocks contains only noise and the others are less calm, the quantile q of all is the quantile q / share of
    these. So the share is the one with which LOW and HIGH are as far apart as measured. Those of detail are further.
    """
    h, w, _ = image.shape
    if h * w < MANY * SIDE**2:
        return None
    calm, levels = _calmest(image, CALM)
    flat = calm.reshape(len(calm), -1)
    covariance = flat.T @ flat / len(flat)
    freedom = float(np.trace(covariance) ** 2 / max((covariance**2).sum(), 1e-30))
    low, high = np.quantile(levels, [LOW, HIGH])

    def too_far(share: float) -> bool:
        return bool(low * chi_square(freedom, HIGH / share) <= high * chi_square(freedom, LOW / share))

    if too_far(LEAST):
        return None
    few, share = LEAST, 1.0
    for _ in range(20):
        middle = (few + share) / 2
        few, share = (few, middle) if too_far(middle) else (middle, share)
    return Even(share, float(high) / chi_square(freedom, HIGH / share))


def _calmest(image: Floats, share: float) -> tuple[Array, Array]:
    """Return a share of the blocks, the calmest, without their plane, (n, C, p p); and the variances of all, (m,)."""
    h, w, c = image.shape
    p = min(SIDE, h, w)
    step = math.isqrt(4 * (h - p + 1) * (w - p + 1) // ENOUGH) + 1  # a block counts for several patches
    blocks = windows(image, p, step).reshape(-1, c, p * p)
    saturated = ((blocks <= 0) | (blocks >= 1)).mean((1, 2))
    least = np.sort(saturated)[min(len(blocks), PATCHES) - 1]
    kept = saturated <= max(least, SATURATED)
    if kept.mean() < FEW:  # as on a white page: the calmest of the others would be text
        kept[:] = True
    blocks = blocks[kept].astype(np.float64)
    residuals = blocks @ _without_plane(p)
    levels = (residuals**2).mean((1, 2))
    return residuals[np.argsort(levels, kind="stable")[: max(1, round(share * len(levels)))]], levels


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
