"""The kind of noise, and the gain of shot noise."""

from __future__ import annotations

import numpy as np

from esbench.noise.clipped import SHAPES, Kind, brightness_of, curves, strength
from esbench.noise.impulses import has_impulses
from esbench.noise.local import by_brightness, locally
from esbench.noise.squares import without
from esbench.noise.variance import variances
from esbench.pictures import Bools, Floats

#: Above this brightness, shot noise is assumed to be clipped.
SATURATES = 0.75

#: Photons are visible if there are fewer than VISIBLE from black to white. EIGHT_BITS: a little over half a level.
VISIBLE, EIGHT_BITS = 64, 0.6 / 255


def kind_of(image: Floats) -> Kind:
    """Return the most similar kind of noise.

    It is shot noise if single photons are visible. It is impulse noise if black or white values are surrounded by
    values far from them with few in between, where clipped noise has more. Otherwise it is the kind whose curve of
    variance over brightness fits the local ones best.
    """
    if min(image.shape[:2]) < 5:
        return "gaussian"
    if _visible(image) is not None:
        return "poisson"
    patches = locally(image)
    if has_impulses(patches):
        return "impulse"
    brightness, variance, weight = by_brightness(patches)
    if not len(brightness):
        return "gaussian"

    def misfit(kind: Kind) -> float:
        return min(
            float(weight @ np.abs(np.log(variance) - np.log(np.interp(brightness, mean, level).clip(1e-12))))
            for mean, level in curves(kind)
        )

    return min(SHAPES, key=misfit)


def estimate_gain(image: Floats, known: Bools | None = None) -> float:
    """Return the gain s of shot noise, y = s Poisson(x / s), before clipping, on the [0, 1] scale.

    If the picture consists of whole photons, each one is visible and gives the gain. If not, it is the smaller of two
    estimates, because texture and saturated areas raise each of them: the gain that explains the variance of the whole
    picture, and the median of variance / brightness where the picture is not saturated. The arguments are those of
    `estimate`.
    """
    image = without(image, known)
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
    variance = float(variances(image, "poisson")[0].mean())
    whole = strength(brightness_of(image), variance, "poisson") ** 2
    if min(image.shape[:2]) < 5:
        return whole
    brightness, level, weight = by_brightness(locally(image))
    dark = (brightness < SATURATES) & (brightness > 0)
    if not dark.any():
        return whole
    slope, weight = level[dark] / brightness[dark], weight[dark]
    order = np.argsort(slope)
    middle = np.searchsorted(weight[order].cumsum(), weight.sum() / 2)
    return min(whole, float(slope[order][middle]))
