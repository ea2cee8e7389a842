"""The variance of white noise, from the patches of a picture."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from esbench.noise.clipped import LEVELS, SHAPES, Kind
from esbench.noise.squares import ENOUGH, Array, squares, whole_of, windows
from esbench.pictures import Floats

#: The most values in a patch, and the least number of patches; patches are smaller if the picture has too few.
VALUES, PATCHES = 50, 80

#: SKEW: how far, relatively, the mean of the eigenvalues classified as noise may exceed their median. LEAK: the share
#: of their mean that is not noise (measured on BSD400, from 40 x 40 crops to whole, sigma 15 to 75: 1.4 to 2.8 %).
SKEW, LEAK = 0.01, 0.02


def channel_variances(image: Floats) -> Array:
    """Return the variance of the noise of each channel of a colour picture, independent between them.

    Clean patches lie in a subspace, so the smallest eigenvalues of the patches' covariance contain only noise, and are
    spread evenly around its variance. This requires the same noise level for all values of a patch, but clipping
    reduces some channels more than others: so the channels are scaled until their noise has the same level.
    """
    c, patches = image.shape[2], _patches(image)
    covariance = _covariance(patches)
    channel = np.repeat(np.arange(c), len(covariance) // c)
    own = covariance.reshape(c, len(channel) // c, c, -1)
    levels = np.array([_tail(np.linalg.eigvalsh(own[i, :, i]), len(patches), 1)[0] for i in range(c)])
    for _ in range(50):
        scale = 1 / np.sqrt(np.maximum(levels, 1e-12))[channel]
        spectrum, vectors = np.linalg.eigh(covariance * np.outer(scale, scale))
        k = _tail(spectrum, len(patches), c)[1]
        share = np.stack([(vectors[channel == i, :k] ** 2).sum(0) for i in range(c)])
        factor = (share @ spectrum[:k]).clip(0) / np.maximum(share.sum(1), 1e-12)
        levels = levels * factor
        if np.abs(factor - 1).max() < 1e-4:
            break
    return levels / (1 + LEAK)


def single_variance(image: Floats, kind: Kind = "gaussian") -> float:
    """Return the variance of the noise of a picture of one channel.

    A single channel gives little to separate texture from noise, so only smooth patches are used: patches with larger
    gradients than 99 of 100 patches of noise are left out and the noise is estimated from the rest, repeatedly, until
    it no longer changes (Liu, Tanaka and Okutomi, "Single-image noise level estimation for blind denoising", IEEE TIP
    2013). Noise that grows with the brightness is first equalised. For impulses, which are not in every patch, all
    patches are used.
    """
    patches = _patches(image, values=VALUES // 2)
    d, even = patches.shape[1], 1.0
    if kind in ("poisson", "speckle"):
        strength = np.interp(patches.mean(1), LEVELS, SHAPES[kind]).clip(0.1)
        patches, even = patches / strength[:, None], float(np.mean(strength**2))
    variance = _tail(np.linalg.eigvalsh(_covariance(patches)), len(patches), 1)[0]
    if d == 1 or kind == "impulse":
        return variance / (1 + LEAK)
    energy = ((patches @ _differences(math.isqrt(d)).T) ** 2).sum(1)
    limit = _limit(math.isqrt(d))
    for _ in range(20):
        smooth = patches[energy <= variance * limit]
        if len(smooth) < PATCHES * d // 4:
            break
        new = _tail(np.linalg.eigvalsh(_covariance(smooth)), len(smooth), 1)[0]
        settled = abs(new - variance) <= 1e-3 * variance
        variance = new
        if settled:
            break
    return even * variance / (1 + LEAK)


def _patches(image: Floats, values: int = VALUES) -> Array:
    """Return patches, (n, C p p), as large as the size of the picture permits, at every pixel or evenly thinned out."""
    h, w, c = image.shape
    p = math.isqrt(min(values, h * w // PATCHES) // c)
    p = min(max(p, 2), h, w)
    whole = whole_of(image)
    while p > 2 and whole is not None and squares(whole, p).sum() < PATCHES * c * p * p:
        p -= 1
    step = max(1, math.isqrt((h - p + 1) * (w - p + 1) // ENOUGH))
    return windows(image, p, step).reshape(-1, c * p * p).astype(np.float64)


def _covariance(patches: Array) -> Array:
    mean = patches.mean(0)
    covariance: Array = patches.T @ patches / len(patches) - np.outer(mean, mean)
    return covariance


def _tail(spectrum: npt.NDArray[np.floating[Any]], n: int, c: int) -> tuple[float, int]:
    """Return the mean and the number of the most of the smallest eigenvalues, in ascending order, that are not skewed.

    In n patches of pure noise the eigenvalues differ by chance; divided by the spread expected from that, those of
    noise are about equal.
    """
    spread = _spread(c, math.isqrt(len(spectrum) // c))
    for k in range(len(spectrum), 0, -1):
        alike = spectrum[:k] / np.maximum(1 + spread[k - 1] / math.sqrt(n), 0.05)
        if alike.mean() <= (1 + SKEW) * np.median(alike):
            break
    return max(float(spectrum[:k].mean()), 0.0), k


@functools.cache
def _spread(c: int, p: int) -> list[Array]:
    """Return the deviations of the k smallest eigenvalues from their mean for white noise of c channels, k = 1, 2, ...

    They are relative to the mean, and for a single patch: for n patches, divide by the square root of n. The spread
    over k dimensions is that over all d dimensions, times the square root of k / d.
    """
    noise = np.random.default_rng(0).standard_normal((128, 128, c))
    windows = np.lib.stride_tricks.sliding_window_view(noise, (p, p), axis=(0, 1)).reshape(-1, c * p * p)
    spectrum = np.linalg.eigvalsh(_covariance(windows))
    away = (spectrum / spectrum.mean() - 1) * math.sqrt(len(windows))
    d = len(away)
    place = (np.arange(d) + 0.5) / d
    found = [math.sqrt(k / d) * np.interp((np.arange(k) + 0.5) / k, place, away) for k in range(1, d + 1)]
    return [spread - spread.mean() for spread in found]


@functools.cache
def _differences(p: int) -> Array:
    """Return the matrix that maps a patch to the differences of neighbouring pixels."""
    place = np.arange(p * p).reshape(p, p)
    eye = np.eye(p * p)
    across = eye[place[:, 1:].ravel()] - eye[place[:, :-1].ravel()]
    down = eye[place[1:].ravel()] - eye[place[:-1].ravel()]
    return np.concatenate([across, down])


@functools.cache
def _limit(p: int) -> float:
    """Return the 99th percentile of the sum of squared differences in patches of white noise of variance 1.

    The sum is approximated by a scaled chi-square of the same mean and variance.
    """
    energy = _differences(p).T @ _differences(p)
    mean = np.trace(energy)
    freedom = mean**2 / np.trace(energy @ energy)
    return float(mean) * chi_square(float(freedom), 0.99)


def chi_square(freedom: float, share: float) -> float:
    """Return the quantile of a chi-square of mean 1, by Wilson and Hilferty's cube root."""
    return float((1 - 2 / (9 * freedom) + NormalDist().inv_cdf(share) * math.sqrt(2 / (9 * freedom))) ** 3)
