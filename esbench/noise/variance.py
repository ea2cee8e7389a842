"""The variance of noise of any kind, white or not."""

from __future__ import annotations

import math

import numpy as np

from esbench.correlated import Correlation
from esbench.noise.calm import SIDE, calm_covariance, even_covariance
from esbench.noise.clipped import Kind, clipped_variance
from esbench.noise.impulses import impulse_variance
from esbench.noise.squares import Array, enough, halved, whole_of
from esbench.noise.white import channel_variances, single_variance
from esbench.pictures import Floats, is_grey

#: Noise is not white if the variance of averages of 2 x 2 or 4 x 4 pixels is so many times that of white noise.
#: On 24 crops of BSD400, white noise of sigma 3 reached at most 3.2 and 47 times, of sigma 5 at most 2.2 and 19 times.
CORRELATED = (3.0, 50.0)

#: Noise is shared by channels if that of their mean has COMMON times the variance that it would have, more than FOUND
#: levels of its own, and is white: that of means of 2 x 2 pixels is below WHITE times a quarter, which that of detail
#: seldom is. On BSD400, independent noise of sigma 0 to 25 was taken for shared in at most 3 % of crops of 64 x 64, 1 %
#: of 96 x 96 and none of 256 x 256; half or wholly shared noise of sigma 25 was found in 73, 90 and 87 % at least.
COMMON, FOUND, WHITE = 3.3, 4 / 255, 1.6

#: Noise of one channel is not white if the calmest blocks contain no detail and have COARSER times the variance of the
#: white noise and of LITTLE. In 50 pictures of BSD400, white noise of sigma 5 and 40 was taken for such in at most 2 %,
#: detail without noise in 8 % of crops of 128 x 128 and 4 % of 256 x 256; that of sigma 40 blurred by 0.6 and 1 pixel
#: was found in 88 and 96 % (docs/noise.md).
COARSER, LITTLE = 1.8, 1 / 255


def variances(image: Floats, kind: Kind) -> tuple[Array, Correlation | None]:
    """Return the variance of each channel, and the correlation of noise that is not white."""
    c = image.shape[2]
    whole = whole_of(image)
    known = image.reshape(-1, c) if whole is None else image[whole]
    if c > 1 and is_grey(known):  # a grey picture stored in colour: all channels have the same noise
        levels, correlation = variances(image[..., :1], kind)
        return levels.repeat(c), None if correlation is None else np.tile(correlation, (1, 1, c, c))
    noisy = known.max(0) > known.min(0)
    levels = np.zeros(c)
    blocks = enough(image, SIDE)
    if noisy.sum() == 1:
        levels[noisy] = single_variance(image[..., noisy], kind)
        if blocks and kind != "impulse" and (covariance := even_covariance(image[..., noisy])) is not None:
            shared, correlation = _shared(image[..., noisy], covariance)
            if shared.sum() > COARSER * max(levels.sum(), LITTLE**2):
                levels[noisy] = shared
                return levels, correlation
    elif noisy.any():
        levels[noisy] = channel_variances(image[..., noisy])
        if blocks and kind != "impulse" and _common(image[..., noisy], levels[noisy].mean()):
            levels[noisy] = [single_variance(image[..., i : i + 1], kind) for i in np.flatnonzero(noisy)]
            return levels, _correlation(calm_covariance(image), levels)
        if blocks and _correlated(image[..., noisy], levels[noisy].mean()):
            return _shared(image, calm_covariance(image))
    if kind == "impulse":  # which can be the same in all channels
        levels = np.maximum(levels, [impulse_variance(image[..., i : i + 1]) for i in range(c)])
    return levels, None


def _shared(image: Floats, covariance: Array) -> tuple[Array, Correlation | None]:
    """Return the variance of each channel and the correlation, of noise with a covariance before clipping."""
    own = _own(covariance)
    levels = np.array([clipped_variance(image[..., [i]], 255 * math.sqrt(sigma2)) for i, sigma2 in enumerate(own)])
    return levels, _correlation(covariance, own)


def _own(covariance: Array) -> Array:
    """Return the variance of each channel."""
    middle = len(covariance) // 2
    own: Array = np.diag(covariance[middle, middle]).clip(0)
    return own


def _correlation(covariance: Array, levels: Array) -> Correlation | None:
    """Return a covariance, scaled to these variances of the channels, relative to their mean; None if that is 0."""
    scale = np.sqrt(levels / np.maximum(_own(covariance), 1e-12))
    scaled: Correlation = covariance * np.outer(scale, scale)
    return scaled / mean if (mean := _own(scaled).mean()) > 0 else None


def _common(image: Floats, variance: float) -> bool:
    """Whether the mean of the channels has more white noise than it would have with noise independent between them."""
    grey = image.mean(2, keepdims=True)
    coarse = halved(grey)
    if not enough(coarse):
        return False
    mean, own = single_variance(grey), variance / image.shape[2]
    if mean < COMMON * own or mean - own < FOUND**2:
        return False
    return 4 * single_variance(coarse) < WHITE * mean


def _correlated(image: Floats, variance: float) -> bool:
    """Whether averages of pixels have more variance than they would have with white noise."""
    for times in CORRELATED:
        image, variance = halved(image), variance / 4
        if enough(image) and channel_variances(image).mean() >= times * variance:
            return True
    return False
