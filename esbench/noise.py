"""The noise of a picture, from the picture alone."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Floats: TypeAlias = npt.NDArray[np.float32]
Kind: TypeAlias = Literal["gaussian", "poisson", "speckle", "impulse"]

#: Values in a patch, and how many patches there must be for each.
VALUES, PATCHES = 50, 80

#: So many patches are enough: a picture with more than four times as many gives every other one, or fewer.
ENOUGH = 100_000

#: The mean of what is taken for noise may be above its median by this share, and on average that share of it is not
#: noise (crops of BSD400 from 40 x 40 to whole, sigma 15 to 75: 1.4 to 2.8 %).
SKEW, LEAK = 0.01, 0.02

#: Noise is not white where the averages of 2 x 2 pixels, or those of 4 x 4, have so many times the variance that they
#: should have. White noise of sigma 3 came to 3.2 and 47 at most on 24 crops of BSD400, that of sigma 5 to 2.2 and 19.
CORRELATED = (3.0, 50.0)

#: Noise that is not white is looked for in the calmest CALM of all blocks of SIDE x SIDE in which fewer than SATURATED
#: of the values are black or white. It is by CALMER less there: they are the calmest by chance too, and what neighbours
#: share over more than a block goes with its plane (BSD400, noise that was blurred, demosaiced, compressed).
SIDE, CALM, SATURATED, CALMER = 8, 0.05, 0.02, 1.3

#: Levels of a clean picture at which the effect of clipping is worked out.
LEVELS = np.linspace(0, 1, 257)

#: Shot noise of a brightness above this is clipped.
SATURATES = 0.75


@dataclass(frozen=True)
class Noise:
    """The noise of a picture.

    Attributes:
        variance: as the picture has it, on the [0, 1] scale: what clipping took away is not in it.
        per_channel: the same of each channel; `variance` is their mean.
        sigma: the standard deviation, on the 0-255 scale, of Gaussian noise that has this variance once clipped.
        kind: what it is most like: as strong everywhere, growing with the square root of the brightness, growing with
            the brightness, or single values that are black or white.
        white: whether pixels and channels have noise of their own; after JPEG, for one, they have not, and then the
            variance is a rough one.
    """

    variance: float
    per_channel: tuple[float, ...]
    sigma: float
    kind: Kind
    white: bool


def estimate(image: Floats) -> Noise:
    """Return the noise of a picture.

    The method is that of Chen, Zhu and Heng, "An efficient statistical method for image noise level estimation" (ICCV
    2015), with a level for each channel; in a picture of one channel it prefers smooth patches.

    Args:
        image: (H, W, C) in [0, 1]. Below 32 x 32 the variance comes out too low.
    """
    kind = _kind(image)
    levels, white = _variances(image, kind)
    variance = float(levels.mean())
    return Noise(
        variance=variance,
        per_channel=tuple(levels.tolist()),
        sigma=declipped(image, variance),
        kind=kind,
        white=white,
    )


def estimate_sigma(image: Floats) -> float:
    """Return the standard deviation of additive Gaussian noise, before it was clipped, on the 0-255 scale."""
    return estimate(image).sigma


def estimate_gain(image: Floats) -> float:
    """Return the gain s of shot noise, y = s Poisson(x / s), before it was clipped, on the [0, 1] scale.

    It is the smaller of two estimates, which texture and saturated areas raise: the one that gives a picture of this
    brightness as much noise as it has, and the median of variance / brightness where it is not saturated.

    Args:
        image: (H, W, C) in [0, 1].
    """
    variance = float(_variances(image, "poisson")[0].mean())
    whole = _strength(_brightness(image), variance, "poisson") ** 2
    if min(image.shape[:2]) < 5:
        return whole
    brightness, level, weight = _by_brightness(_locally(image))
    dark = (brightness < SATURATES) & (brightness > 0)
    if not dark.any():
        return whole
    slope, weight = level[dark] / brightness[dark], weight[dark]
    order = np.argsort(slope)
    middle = np.searchsorted(weight[order].cumsum(), weight.sum() / 2)
    return min(whole, float(slope[order][middle]))


# -- variance ----------------------------------------------------------------------------------------------------------


def _variances(image: Floats, kind: Kind) -> tuple[Array, bool]:
    """Return the variance of each channel, and whether the noise is white."""
    c = image.shape[2]
    if c > 1 and (image == image[..., :1]).all():  # a grey picture in colour: its channels have one noise
        return np.repeat(single_variance(image[..., :1], kind), c), True
    noisy = image.var((0, 1)) > 0
    levels = np.zeros(c)
    if noisy.sum() == 1:
        levels[noisy] = single_variance(image[..., noisy], kind)
    elif noisy.any():
        levels[noisy] = channel_variances(image[..., noisy])
        if _correlated(image[..., noisy], levels[noisy].mean()):
            levels[noisy] = calm_variances(image[..., noisy])
            return levels, False
    return levels, True


def _correlated(image: Floats, variance: float) -> bool:
    """Whether averages of pixels have more of the noise than they should have."""
    for times in CORRELATED:
        image, variance = _halved(image), variance / 4
        if channel_variances(image).mean() >= times * variance:
            return True
    return False


def channel_variances(image: Floats) -> Array:
    """Return the variance of the noise of each channel of a colour picture, independent between them.

    Clean patches lie in a subspace, so the smallest eigenvalues of the patches' covariance are the noise alone, and
    spread evenly around its variance. That holds where all values of a patch have noise of one level, and clipping
    takes more from one channel than from another: the channels are scaled until their noise has the same level.
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

    It has no other channel to tell texture from noise by, but smooth patches show the noise as well as all: those whose
    gradients are larger than those of the noise in 99 of 100 patches are left out, and the noise is that of the others,
    until nothing changes (Liu, Tanaka and Okutomi, "Single-image noise level estimation for blind denoising", IEEE TIP
    2013). Noise that grows with the brightness is made even before; impulses are not in every patch, and all count.
    """
    patches = _patches(image, values=VALUES // 2)
    d, even = patches.shape[1], 1.0
    if kind in ("poisson", "speckle"):
        strength = np.interp(patches.mean(1), LEVELS, _SHAPES[kind]).clip(0.1)
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


def calm_variances(image: Floats) -> Array:
    """Return the variance of the noise of each channel, whatever neighbours and channels share of it.

    It is what the calmest blocks have besides a plane. Clipping would make the darkest and the brightest blocks the
    calmest, so they are left out, and what it takes from the noise of the others is taken off in the end.
    """
    h, w, c = image.shape
    p = min(SIDE, h, w)
    windows = np.lib.stride_tricks.sliding_window_view(image, (p, p), axis=(0, 1))
    step = math.isqrt(4 * windows.shape[0] * windows.shape[1] // ENOUGH) + 1  # a block is worth several patches
    blocks = windows[::step, ::step].reshape(-1, c, p * p)
    saturated = ((blocks <= 0) | (blocks >= 1)).mean((1, 2))
    least = np.sort(saturated)[min(len(blocks), PATCHES) - 1]
    blocks = blocks[saturated <= max(least, SATURATED)].astype(np.float64)
    x = np.arange(p * p)
    plane = np.linalg.qr(np.stack([np.ones(p * p), x % p, x // p], axis=1))[0]
    levels = ((blocks - blocks @ plane @ plane.T) ** 2).sum(2) / max(1, p * p - 3)
    calm = np.argsort(levels.mean(1), kind="stable")[: max(1, round(CALM * len(levels)))]
    sigmas = 255 * np.sqrt(CALMER * levels[calm].mean(0))
    return np.array([clipped_variance(image[..., i : i + 1], sigma) for i, sigma in enumerate(sigmas)])


def _patches(image: Floats, values: int = VALUES) -> Array:
    """Return patches, (n, C p p), at every pixel, as large as a picture of this size can have."""
    h, w, c = image.shape
    p = math.isqrt(min(values, h * w // PATCHES) // c)
    p = min(max(p, 2), h, w)
    windows = np.lib.stride_tricks.sliding_window_view(image, (p, p), axis=(0, 1))
    step = max(1, math.isqrt(windows.shape[0] * windows.shape[1] // ENOUGH))
    return windows[::step, ::step].reshape(-1, c * p * p).astype(np.float64)


def _covariance(patches: Array) -> Array:
    mean = patches.mean(0)
    covariance: Array = patches.T @ patches / len(patches) - np.outer(mean, mean)
    return covariance


def _tail(spectrum: npt.NDArray[np.floating[Any]], n: int, c: int) -> tuple[float, int]:
    """Return mean and length of the longest tail of ascending eigenvalues that is not skewed.

    The eigenvalues of noise in n patches are spread by chance; divided by what they would be then, those of noise are
    all alike.
    """
    spread = _spread(c, math.isqrt(len(spectrum) // c))
    for k in range(len(spectrum), 0, -1):
        alike = spectrum[:k] / np.maximum(1 + spread[k - 1] / math.sqrt(n), 0.05)
        if alike.mean() <= (1 + SKEW) * np.median(alike):
            break
    return max(float(spectrum[:k].mean()), 0.0), k


@functools.cache
def _spread(c: int, p: int) -> list[Array]:
    """Return how far the k smallest eigenvalues are from their mean in white noise of c channels, for k = 1, 2, ...

    In units of the mean, for a single patch: with n patches it is by the square root of n less. Those of k dimensions
    are spread like those of all, by the square root of k.
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
    """Return the differences of neighbours in a patch as rows of a matrix."""
    place = np.arange(p * p).reshape(p, p)
    eye = np.eye(p * p)
    across = eye[place[:, 1:].ravel()] - eye[place[:, :-1].ravel()]
    down = eye[place[1:].ravel()] - eye[place[:-1].ravel()]
    return np.concatenate([across, down])


@functools.cache
def _limit(p: int) -> float:
    """Return what 99 of 100 patches of white noise of variance 1 have at most as sum of squared differences.

    The sum is close to a scaled chi-square of the same mean and variance (Wilson and Hilferty's cube root of it).
    """
    energy = _differences(p).T @ _differences(p)
    mean = np.trace(energy)
    freedom = mean**2 / np.trace(energy @ energy)
    return float(mean * (1 - 2 / (9 * freedom) + 2.326 * math.sqrt(2 / (9 * freedom))) ** 3)


def _halved(image: Floats) -> Floats:
    """Return the means of 2 x 2 pixels."""
    h, w, c = image.shape
    if min(h, w) < 2:
        return image
    blocks: Floats = image[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c).mean((1, 3))
    return blocks


# -- kind --------------------------------------------------------------------------------------------------------------


def _kind(image: Floats) -> Kind:
    """Return what the noise is most like.

    Impulses: values that are black or white among others that are far from it, with few in between, where noise that
    was clipped has more. Else what fits best of the variance against the brightness, both taken locally.
    """
    if min(image.shape[:2]) < 5:
        return "gaussian"
    patches = _locally(image)
    if _impulses(patches):
        return "impulse"
    brightness, variance, weight = _by_brightness(patches)
    if not len(brightness):
        return "gaussian"

    def misfit(kind: Kind) -> float:
        return min(
            float(weight @ np.abs(np.log(variance) - np.log(np.interp(brightness, mean, level).clip(1e-12))))
            for mean, level in _curves(kind)
        )

    return min(_SHAPES, key=misfit)


def _locally(image: Floats) -> Floats:
    """Return patches of 5 x 5 of single channels, (n, 25)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (5, 5), axis=(0, 1))
    step = math.isqrt(image.size // (4 * ENOUGH)) + 1
    patches: Floats = windows[::step, ::step].reshape(-1, 25)
    return patches


def _impulses(patches: Floats) -> bool:
    """Whether over 1 in 100 values is an impulse, and most of what is far from its neighbours is one."""
    value, median = patches[:, 12], np.median(patches, axis=1)
    extreme = between = among = 0
    for end in (0.0, 1.0):
        far = np.abs(median - end) > 0.3
        away = np.abs(value - end)
        extreme += int((far & (away == 0)).sum())
        between += int((far & (away > 0) & (away < np.abs(median - end) / 2)).sum())
        among += int(far.sum())
    return extreme > 0.01 * among and extreme > 0.65 * (extreme + between)


def _by_brightness(patches: Floats, bins: int = 16) -> tuple[Array, Array, Array]:
    """Return brightness, variance of the noise there, and the weight of this number, of patches by brightness.

    The variance is that of the mask of Immerkaer, "Fast noise variance estimation" (CVIU 1996), which takes planes
    away; the median of its squares, because edges remain.
    """
    mask = np.zeros((5, 5), np.float32)
    mask[1:4, 1:4] = np.outer([1, -2, 1], [1, -2, 1]) / np.float32(6)
    mean, square = patches.mean(1, dtype=np.float64), (patches @ mask.ravel()).astype(np.float64) ** 2
    bin_of = (mean * bins).astype(int).clip(0, bins - 1)
    rows = []
    for i in range(bins):
        here = bin_of == i
        variance = np.median(square[here]) / 0.4549 if here.any() else 0.0  # of a chi-square of one degree
        if here.sum() >= max(50, len(mean) / 1000) and variance > 0:
            rows.append((mean[here].mean(), variance, math.sqrt(here.sum())))
    brightness, level, weight = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return brightness, level, weight / max(weight.sum(), 1e-12)


#: How the standard deviation grows with the level of the clean picture.
_SHAPES: dict[Kind, Array] = {
    "gaussian": np.ones_like(LEVELS),
    "poisson": np.sqrt(LEVELS),
    "speckle": LEVELS,
}


@functools.cache
def _curves(kind: Kind) -> list[tuple[Array, Array]]:
    """Return E y and Var y over the levels of the clean picture, for noise of a kind, a pair for each strength."""
    pairs = []
    for strength in np.geomspace(0.004, 1.2, 80):
        first, second = _moments(LEVELS, strength * _SHAPES[kind])
        pairs.append((first, second - first**2))
    return pairs


# -- clipping ----------------------------------------------------------------------------------------------------------


def clipped_variance(image: Floats, sigma: float) -> float:
    """Return the variance that Gaussian noise has in a picture clipped to [0, 1], where saturated areas lose noise.

    Args:
        image: the noisy picture, (H, W, C); its local means say how bright the clean picture is.
        sigma: the standard deviation before clipping, on the 0-255 scale.
    """
    return _clipped_variance(_brightness(image), sigma / 255, "gaussian")


def declipped(image: Floats, variance: float) -> float:
    """Return the sigma, on the 0-255 scale, whose `clipped_variance` in a picture is `variance`.

    Never below the standard deviation itself; where no level gives so much variance, it is that.
    """
    return 255 * _strength(_brightness(image), variance, "gaussian")


def _strength(share: Array, variance: float, kind: Kind) -> float:
    """Return the strength of noise of a kind whose `_clipped_variance` is `variance`; without clipping if none has."""
    level = np.linspace(0, 1, len(share))
    unclipped = math.sqrt(variance / float(share @ np.interp(level, LEVELS, _SHAPES[kind] ** 2).clip(1e-6)))
    low = high = unclipped
    while _clipped_variance(share, high, kind) < variance:
        low, high = high, 1.25 * high
        if high > 2:
            return unclipped
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if _clipped_variance(share, middle, kind) >= variance else (middle, high)
    return high


def _clipped_variance(share: Array, s: float, kind: Kind) -> float:
    """Return the mean of Var clip(x + s n) over values whose means E clip(x + s n) are shared out over [0, 1].

    The standard deviation of n is that of noise of this kind at each level of the clean picture.
    """
    first, second = _moments(LEVELS, s * _SHAPES[kind])
    return float(share @ np.interp(np.linspace(0, 1, len(share)), first, second - first**2))


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


def _brightness(image: Floats, side: int = 3, levels: int = 1001) -> Array:
    """Return the share of each level from 0 to 1 among the means of all squares of a picture."""
    side = min(side, *image.shape[:2])
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1, image.shape[2]))
    sums[1:, 1:] = image.astype(np.float64).cumsum(0).cumsum(1)
    inner = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    level = np.rint(inner.ravel() * ((levels - 1) / side**2)).astype(int).clip(0, levels - 1)
    return np.bincount(level, minlength=levels) / len(level)
