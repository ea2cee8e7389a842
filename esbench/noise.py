"""Estimate the noise of a picture from the picture alone."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from esbench.correlated import Correlation
from esbench.pictures import Bools, Floats, is_grey

Array: TypeAlias = npt.NDArray[np.float64]
Places: TypeAlias = npt.NDArray[np.intp]
Kind: TypeAlias = Literal["gaussian", "poisson", "speckle", "impulse"]

#: The most values in a patch, and the least number of patches; patches are smaller if the picture has too few.
VALUES, PATCHES = 50, 80

#: Enough patches for an estimate: of at least four times as many, only every second pixel, or fewer, starts a patch.
ENOUGH = 100_000

#: The least number of squares without a missing value for an estimate, per pixel of a square (docs/noise.md).
WHOLE = 50

#: SKEW: how far, relatively, the mean of the eigenvalues classified as noise may exceed their median. LEAK: the share
#: of their mean that is not noise (measured on BSD400, from 40 x 40 crops to whole, sigma 15 to 75: 1.4 to 2.8 %).
SKEW, LEAK = 0.01, 0.02

#: Noise is not white if the variance of averages of 2 x 2 or 4 x 4 pixels is so many times that of white noise.
#: On 24 crops of BSD400, white noise of sigma 3 reached at most 3.2 and 47 times, of sigma 5 at most 2.2 and 19 times.
CORRELATED = (3.0, 50.0)

#: Noise is shared by channels if that of their mean has COMMON times the variance that it would have, more than FOUND
#: levels of its own, and is white: that of means of 2 x 2 pixels is below WHITE times a quarter, which that of detail
#: seldom is. On BSD400, independent noise of sigma 0 to 25 was taken for shared in at most 3 % of crops of 64 x 64, 1 %
#: of 96 x 96 and none of 256 x 256; half or wholly shared noise of sigma 25 was found in 73, 90 and 87 % at least.
COMMON, FOUND, WHITE = 3.3, 4 / 255, 1.6

#: Half a bell has a third of the variance of the whole one.
EVEN = 10.0

#: Noise that is not white is measured in the share CALM of the SIDE x SIDE blocks with the least variance, without
#: blocks in which more than the share SATURATED of the values is black or white, if more than FEW of all are left. The
#: variance there is too small by the factor CALMER, because the calmest blocks are so partly by chance (measured on
#: BSD400 with noise that was blurred, demosaiced or compressed).
SIDE, CALM, SATURATED, FEW, CALMER = 8, 0.05, 0.02, 0.2, 1.3

#: Its covariance reaches REACH pixels. That of a block without its plane does not determine all of it: what it
#: determines less than by the share RIDGE of the best is left out gradually.
REACH, RIDGE = 4, 0.003

#: Levels of a clean picture at which the effect of clipping is computed.
LEVELS = np.linspace(0, 1, 257)

#: Above this brightness, shot noise is assumed to be clipped.
SATURATES = 0.75

#: Photons are visible if there are fewer than VISIBLE from black to white. EIGHT_BITS: a little over half a level.
VISIBLE, EIGHT_BITS = 64, 0.6 / 255


@dataclass(frozen=True)
class Noise:
    """The noise of a picture.

    Attributes:
        variance: the variance of the noise in the picture after clipping, on the [0, 1] scale.
        per_channel: the variance of each channel; `variance` is their mean.
        sigma: the standard deviation, on the 0-255 scale, of Gaussian noise that has this variance after clipping.
        kind: the most similar kind: `gaussian` if the noise is equally strong everywhere, `poisson` if it grows with
            the square root of the brightness, `speckle` if with the brightness, `impulse` if single values are black
            or white.
        correlation: the covariance of pixels and channels before clipping, relative to the variance; None if they are
            independent.
        typical: the brightness at which noise that grows with it has the standard deviation sigma.
    """

    variance: float
    per_channel: tuple[float, ...]
    sigma: float
    kind: Kind
    correlation: Correlation | None = field(default=None, repr=False, compare=False)
    typical: float = 1.0

    @property
    def white(self) -> bool:
        """Whether the noise is independent between pixels and channels.

        After JPEG, for example, it is not, and then the variance may be only a rough estimate.
        """
        return self.correlation is None

    @property
    def even(self) -> bool:
        """Whether all channels have about the same noise; clipping alone makes them differ by less than EVEN."""
        return max(self.per_channel) <= EVEN * min(self.per_channel)


def estimate(image: Floats, known: Bools | None = None) -> Noise:
    """Return the noise of a picture.

    The method is that of Chen, Zhu and Heng, "An efficient statistical method for image noise level estimation" (ICCV
    2015), with a level for each channel; for a picture of one channel it uses the smooth patches.

    Args:
        image: (H, W, C) in [0, 1]. Below 32 x 32 pixels the variance is underestimated.
        known: (H, W) or (H, W, C), False where a value is missing; only squares without a missing one are used, so
            that there have to be some (`measurable`). None if all are known.
    """
    image = _without(image, known)
    kind = _kind(image)
    levels, correlation = _variances(image, kind)
    variance = float(levels.mean())
    return Noise(
        variance=variance,
        per_channel=tuple(levels.tolist()),
        sigma=declipped(image, variance),
        kind=kind,
        correlation=correlation,
        typical=_typical(image, kind),
    )


def of_level(image: Floats, sigma: float, known: Bools | None = None) -> Noise:
    """Return Gaussian noise of a known level in a picture, with arguments as those of `estimate`."""
    variance = clipped_variance(image, sigma, known)
    return Noise(variance, (variance,) * image.shape[2], sigma, "gaussian")


def colours_sigma(image: Floats, known: Bools | None = None) -> float:
    """Return the noise level of a colour picture, on the 0-255 scale, by the differences of its channels.

    Detail can be as fine as noise. Most of it is the same in all channels, while noise usually is not: it remains in
    their differences, with 2 sigma^2. The arguments are those of `estimate`.
    """
    differences: Floats = (image - image[..., [1, 2, 0]]) / np.float32(2) + np.float32(0.5)  # in [0, 1], sigma^2 / 2
    return math.sqrt(2) * estimate(differences, known).sigma


def measurable(known: Bools | None, side: int = 2) -> bool:
    """Whether there are enough squares of side x side pixels without a missing value for an estimate of the noise."""
    if known is None:
        return True
    whole = known if known.ndim == 2 else np.asarray(known.all(2))
    return min(whole.shape) >= side and int(_squares(whole, side).sum()) >= WHOLE * side**2


def _typical(image: Floats, kind: Kind) -> float:
    """Return the brightness at which the variance of noise of a kind is its mean over the picture."""
    if not (power := 2 * GROWS.get(kind, 0.0)):
        return 1.0
    share = _brightness(image)
    mean = float(share @ np.linspace(0, 1, len(share)) ** power)
    return math.pow(mean, 1 / power)


def estimate_gain(image: Floats, known: Bools | None = None) -> float:
    """Return the gain s of shot noise, y = s Poisson(x / s), before clipping, on the [0, 1] scale.

    If the picture consists of whole photons, each one is visible and gives the gain. If not, it is the smaller of two
    estimates, because texture and saturated areas raise each of them: the gain that explains the variance of the whole
    picture, and the median of variance / brightness where the picture is not saturated. The arguments are those of
    `estimate`.
    """
    image = _without(image, known)
    photon = _visible(image)
    return _gain(image) if photon is None else photon


def _visible(image: Floats) -> float | None:
    """Return the value of a photon if the picture consists of whole ones, and its noise is about theirs; else None."""
    photon = _photon(image)
    return photon if photon is not None and abs(photon - (gain := _gain(image))) < gain / 2 else None


def _photon(image: Floats) -> float | None:
    """Return the value of a photon, if all values are whole numbers of it to within 8 bits; None if they are not."""
    values = np.unique(image[(image > 0) & (image < 1)]).astype(float)  # 1 may be clipped
    steps = np.diff(values)
    large = steps[steps > 1 / VISIBLE]  # the same number of photons can have several values by rounding
    if not len(large):
        return None
    photon = (values[-1] - values[0]) / np.rint(steps / large.min()).sum()  # each step is rounded, their sum once
    for _ in range(2):
        photons = np.maximum(1, np.rint(values / photon))
        photon = float((values * photons).sum() / (photons**2).sum())
    fits = np.abs(values - photon * photons).max() <= EIGHT_BITS and photon > 1 / VISIBLE
    return photon if fits else None


def _gain(image: Floats) -> float:
    """Return the gain by the variance."""
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


def _variances(image: Floats, kind: Kind) -> tuple[Array, Correlation | None]:
    """Return the variance of each channel, and the correlation of noise that is not white."""
    c = image.shape[2]
    whole = _whole(image)
    known = image.reshape(-1, c) if whole is None else image[whole]
    if c > 1 and is_grey(known):  # a grey picture stored in colour: all channels have the same noise
        return np.repeat(single_variance(image[..., :1], kind), c), None
    noisy = known.max(0) > known.min(0)
    levels = np.zeros(c)
    if noisy.sum() == 1:
        levels[noisy] = single_variance(image[..., noisy], kind)
    elif noisy.any():
        levels[noisy] = channel_variances(image[..., noisy])
        blocks = _measurable(image, SIDE)
        if blocks and kind != "impulse" and _common(image[..., noisy], levels[noisy].mean()):
            levels[noisy] = [single_variance(image[..., i : i + 1], kind) for i in np.flatnonzero(noisy)]
            return levels, _correlation(calm_covariance(image), levels)
        if blocks and _correlated(image[..., noisy], levels[noisy].mean()):
            covariance = calm_covariance(image)
            own = _own(covariance)
            levels = np.array([clipped_variance(image[..., i : i + 1], 255 * math.sqrt(own[i])) for i in range(c)])
            return levels, _correlation(covariance, own)
    if kind == "impulse":  # which can be the same in all channels
        levels = np.maximum(levels, [_impulse_variance(image[..., i : i + 1]) for i in range(c)])
    return levels, None


def _own(covariance: Array) -> Array:
    """Return the variance of each channel."""
    middle = len(covariance) // 2
    variances: Array = np.diag(covariance[middle, middle]).clip(0)
    return variances


def _correlation(covariance: Array, levels: Array) -> Correlation | None:
    """Return a covariance, scaled to these variances of the channels, relative to their mean; None if that is 0."""
    scale = np.sqrt(levels / np.maximum(_own(covariance), 1e-12))
    scaled: Correlation = covariance * np.outer(scale, scale)
    return scaled / mean if (mean := _own(scaled).mean()) > 0 else None


def _common(image: Floats, variance: float) -> bool:
    """Whether the mean of the channels has more white noise than it would have with noise independent between them."""
    grey = image.mean(2, keepdims=True)
    halved = _halved(grey)
    if not _measurable(halved):
        return False
    mean, own = single_variance(grey), variance / image.shape[2]
    if mean < COMMON * own or mean - own < FOUND**2:
        return False
    return 4 * single_variance(halved) < WHITE * mean


def _correlated(image: Floats, variance: float) -> bool:
    """Whether averages of pixels have more variance than they would have with white noise."""
    for times in CORRELATED:
        image, variance = _halved(image), variance / 4
        if _measurable(image) and channel_variances(image).mean() >= times * variance:
            return True
    return False


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


def calm_covariance(image: Floats) -> Array:
    """Return the covariance of noise of which pixels or channels are correlated, before clipping: (D, D, C, C).

    It is measured in the blocks with the least variance around a plane. Clipping would make the darkest and brightest
    blocks the calmest, so they are left out, unless few are left.
    """
    h, w, c = image.shape
    p = min(SIDE, h, w)
    step = math.isqrt(4 * (h - p + 1) * (w - p + 1) // ENOUGH) + 1  # a block counts for several patches
    blocks = _windows(image, p, step).reshape(-1, c, p * p)
    saturated = ((blocks <= 0) | (blocks >= 1)).mean((1, 2))
    least = np.sort(saturated)[min(len(blocks), PATCHES) - 1]
    kept = saturated <= max(least, SATURATED)
    if kept.mean() < FEW:  # as on a white page: the calmest of the others would be text
        kept[:] = True
    blocks = blocks[kept].astype(np.float64)
    residuals = blocks @ _without_plane(p)
    levels = (residuals**2).mean((1, 2))
    calm = residuals[np.argsort(levels, kind="stable")[: max(1, round(CALM * len(levels)))]]
    joint = np.einsum("bip,bjq->ijpq", calm, calm, optimize=True) / len(calm)
    pairs, unmixed = _displacements(p)
    measured = np.array([joint[:, :, *pair].sum(-1) for pair in pairs])
    side = math.isqrt(len(pairs))
    covariance: Array = CALMER * np.tensordot(unmixed, measured, 1).reshape(side, side, c, c)
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


def _patches(image: Floats, values: int = VALUES) -> Array:
    """Return patches, (n, C p p), as large as the size of the picture permits, at every pixel or evenly thinned out."""
    h, w, c = image.shape
    p = math.isqrt(min(values, h * w // PATCHES) // c)
    p = min(max(p, 2), h, w)
    whole = _whole(image)
    while p > 2 and whole is not None and _squares(whole, p).sum() < PATCHES * c * p * p:
        p -= 1
    step = max(1, math.isqrt((h - p + 1) * (w - p + 1) // ENOUGH))
    return _windows(image, p, step).reshape(-1, c * p * p).astype(np.float64)


def _without(image: Floats, known: Bools | None) -> Floats:
    """Return a picture with NaN where a value is missing."""
    if known is None:
        return image
    return np.where(known if known.ndim == 3 else known[..., None], image, np.float32(np.nan))


def _windows(image: Floats, p: int, step: int) -> Floats:
    """Return every step-th square of p x p pixels in which no value is missing, (n, C, p, p)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (p, p), axis=(0, 1))[::step, ::step]
    whole = _whole(image)
    if whole is None:
        return windows.reshape(-1, image.shape[2], p, p)
    found: Floats = windows[_squares(whole, p)[::step, ::step]]
    return found


def _whole(image: Floats) -> Bools | None:
    """Return where no channel is missing, (H, W); None if no value is missing."""
    missing = np.isnan(image)
    return np.asarray(~missing.any(2)) if missing.any() else None


def _squares(whole: Bools, p: int) -> Bools:
    """Return at which pixels (H - p + 1, W - p + 1) a square of p x p begins in which all of `whole` is true."""
    h, w = (n - p + 1 for n in whole.shape)
    rows = np.logical_and.reduce([whole[i : i + h] for i in range(p)])
    return np.asarray(np.logical_and.reduce([rows[:, i : i + w] for i in range(p)]))


def _measurable(image: Floats, side: int = 2) -> bool:
    """Whether no value is missing, or few enough for an estimate from squares of side x side."""
    return measurable(_whole(image), side)


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

    The sum is approximated by a scaled chi-square of the same mean and variance (by Wilson and Hilferty's cube root).
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
    """Return the most similar kind of noise.

    It is shot noise if single photons are visible. It is impulse noise if black or white values are surrounded by
    values far from them with few in between, where clipped noise has more. Otherwise it is the kind whose curve of
    variance over brightness fits the local ones best.
    """
    if min(image.shape[:2]) < 5:
        return "gaussian"
    if _visible(image) is not None:
        return "poisson"
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
    """Return 5 x 5 patches of single channels, (n, 25)."""
    step = math.isqrt(image.size // (4 * ENOUGH)) + 1
    patches: Floats = _windows(image, 5, step).reshape(-1, 25)
    return patches


def _impulses(patches: Floats) -> bool:
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


def _impulse_variance(image: Floats) -> float:
    """Return the variance of the impulses of a channel that are far from their neighbours."""
    patches = _locally(image)
    value, median = patches[:, 12], np.median(patches, axis=1)
    far = ((value == 0) | (value == 1)) & (np.abs(value - median) > 0.3)
    return float((far * (value - median).astype(np.float64) ** 2).mean())


def _by_brightness(patches: Floats, bins: int = 16) -> tuple[Array, Array, Array]:
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


#: The power of the level of the clean picture with which the standard deviation grows.
GROWS: dict[str, float] = {"gaussian": 0.0, "poisson": 0.5, "speckle": 1.0}

_SHAPES: dict[Kind, Array] = {
    "gaussian": LEVELS ** GROWS["gaussian"],
    "poisson": LEVELS ** GROWS["poisson"],
    "speckle": LEVELS ** GROWS["speckle"],
}


@functools.cache
def _curves(kind: Kind) -> list[tuple[Array, Array]]:
    """Return E y and Var y at each level of the clean picture for noise of a kind, a pair per strength."""
    pairs = []
    for strength in np.geomspace(0.004, 1.2, 80):
        first, second = _moments(LEVELS, strength * _SHAPES[kind])
        pairs.append((first, second - first**2))
    return pairs


# -- clipping ----------------------------------------------------------------------------------------------------------


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
    return _clipped_variance(_brightness(_without(image, known)), sigma / 255, "gaussian")


def declipped(image: Floats, variance: float) -> float:
    """Return the sigma, on the 0-255 scale, that has this `clipped_variance` in a picture.

    It is never below the standard deviation itself, and equal to it if no level gives that much variance.
    """
    return 255 * _strength(_brightness(image), variance, "gaussian")


def _strength(share: Array, variance: float, kind: Kind) -> float:
    """Return the strength at which noise has this `_clipped_variance`; if there is none, that without clipping."""
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
    """Return the mean of Var clip(x + s n), weighted by the shares of the means E clip(x + s n) over [0, 1].

    The standard deviation of n at each level of the clean picture is that of noise of this kind.
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
    """Return a histogram, over levels from 0 to 1, of the means of all small squares of a picture."""
    side = min(side, *image.shape[:2])
    if _whole(image) is None:
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
