"""The variance of noise after clipping to [0, 1]."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from esbench.noise.squares import Array, whole_of, without
from esbench.pictures import Bools, Floats

Kind: TypeAlias = Literal["gaussian", "poisson", "speckle", "impulse"]

#: Levels of a clean picture at which the effect of clipping is computed.
LEVELS = np.linspace(0, 1, 257)

#: The power of the level of the clean picture with which the standard deviation grows.
GROWS: dict[str, float] = {"gaussian": 0.0, "poisson": 0.5, "speckle": 1.0}

SHAPES: dict[Kind, Array] = {
    "gaussian": LEVELS ** GROWS["gaussian"],
    "poisson": LEVELS ** GROWS["poisson"],
    "speckle": LEVELS ** GROWS["speckle"],
}


def unexplained(residual: npt.NDArray[np.floating[Any]], variance: float) -> float:
    """Return the share 1 - v / r of a residual that noise of variance v does not explain; r is its mean square.

    It is the best share to add back to a picture, if the noise and what the picture lacks are uncorrelated.
    """
    r = float(np.mean(residual**2))
    return max(0.0, 1 - variance / r) if r else 0.0


def clipped_variance(image: Floats, sigma: float, known: Bools | None = None) -> float:
    """Return the variance of Gaussian noise after clipping to [0, 1], which removes noise in saturated areas.

    Args:
        image: the noisy picture, (H, W, C); its local means estimate the brightness of the clean picture.
        sigma: the standard deviation before clipping, on the 0-255 scale.
        known: (H, W) or (H, W, C), False where a value is missing; None if all are known.
    """
    return mean_variance(brightness_of(without(image, known)), sigma / 255, "gaussian")


def declipped(image: Floats, variance: float) -> float:
    """Return the sigma, on the 0-255 scale, that has this `clipped_variance` in a picture.

    It is never below the standard deviation itself, and equal to it if no level gives that much variance.
    """
    return 255 * strength(brightness_of(image), variance, "gaussian")


def strength(share: Array, variance: float, kind: Kind) -> float:
    """Return the strength at which noise has this `mean_variance`; if there is none, that without clipping."""
    level = np.linspace(0, 1, len(share))
    unclipped = math.sqrt(variance / float(share @ np.interp(level, LEVELS, SHAPES[kind] ** 2).clip(1e-6)))
    low = high = unclipped
    while mean_variance(share, high, kind) < variance:
        low, high = high, 1.25 * high
        if high > 2:
            return unclipped
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if mean_variance(share, middle, kind) >= variance else (middle, high)
    return high


def mean_variance(share: Array, s: float, kind: Kind) -> float:
    """Return the mean of Var clip(x + s n), weighted by the shares of the means E clip(x + s n) over [0, 1].

    The standard deviation of n at each level of the clean picture is that of noise of this kind.
    """
    first, second = _moments(LEVELS, s * SHAPES[kind])
    return float(share @ np.interp(np.linspace(0, 1, len(share)), first, second - first**2))


@functools.cache
def curves(kind: Kind) -> list[tuple[Array, Array]]:
    """Return E y and Var y at each level of the clean picture for noise of a kind, a pair per strength."""
    pairs = []
    for strength in np.geomspace(0.004, 1.2, 80):
        first, second = _moments(LEVELS, strength * SHAPES[kind])
        pairs.append((first, second - first**2))
    return pairs


def _moments(x: Array, s: Array) -> tuple[Array, Array]:
    """Return E y and E y^2 of y = clip(x + s n, 0, 1) with standard normal n."""
    s = np.maximum(s, 1e-6)
    a, b = -x / s, (1 - x) / s
    inside, above = _cdf(b) - _cdf(a), 1 - _cdf(b)
    first = x * inside + s * (_density(a) - _density(b)) + above
    second = (x**2 + s**2) * inside + s * (x * _density(a) - (1 + x) * _density(b)) + above
    return first, second


def _cdf(z: Array) -> Array:
    return np.array([(1 + math.erf(t / math.sqrt(2))) / 2 for t in z])


def _density(z: Array) -> Array:
    density: Array = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return density


def brightness_of(image: Floats, side: int = 3, levels: int = 1001) -> Array:
    """Return a histogram, over levels from 0 to 1, of the means of all small squares of a picture."""
    side = min(side, *image.shape[:2])
    if whole_of(image) is None:
        level = _sums(image, side).ravel() * ((levels - 1) / side**2)
    else:
        known = ~np.isnan(image)
        number = _sums(known, side)
        level = _sums(np.where(known, image, 0), side)[number > 0.5] * ((levels - 1) / number[number > 0.5])
    level = np.rint(level).astype(int).clip(0, levels - 1)
    return np.bincount(level, minlength=levels) / len(level)


def _sums(values: npt.NDArray[Any], side: int) -> Array:
    """Return the sums over all squares of side x side values, in each channel."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1, values.shape[2]))
    sums[1:, 1:] = values.astype(np.float64).cumsum(0).cumsum(1)
    inner: Array = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return inner
