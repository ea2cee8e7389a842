"""Estimate the noise of a picture from the picture alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from esbench.correlated import Correlation
from esbench.noise.clipped import GROWS, Kind, brightness_of, clipped_variance, declipped, unexplained
from esbench.noise.impulses import impulses_of
from esbench.noise.kind import estimate_gain, kind_of
from esbench.noise.squares import measurable, without
from esbench.noise.variance import variances
from esbench.noise.white import channel_variances
from esbench.pictures import Bools, Floats

__all__ = [
    "GROWS",
    "Noise",
    "channel_variances",
    "clipped_variance",
    "colours_sigma",
    "declipped",
    "estimate",
    "estimate_gain",
    "impulses_of",
    "measurable",
    "of_level",
    "unexplained",
]

#: Half a bell has a third of the variance of the whole one.
EVEN = 10.0


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
    image = without(image, known)
    kind = kind_of(image)
    levels, correlation = variances(image, kind)
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


def _typical(image: Floats, kind: Kind) -> float:
    """Return the brightness at which the variance of noise of a kind is its mean over the picture."""
    if not (power := 2 * GROWS.get(kind, 0.0)):
        return 1.0
    share = brightness_of(image)
    mean = float(share @ np.linspace(0, 1, len(share)) ** power)
    return math.pow(mean, 1 / power)
