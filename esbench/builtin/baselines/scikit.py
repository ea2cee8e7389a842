"""Denoisers of scikit-image, with the parameters that its documentation recommends where it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

from esbench.kinds import NoiseLevel
from esbench.noise import clipped_variance
from esbench.pictures import Floats

if TYPE_CHECKING:
    import torch

#: Between which weights `tv` searches, and in how many steps: they determine the weight to a ten-thousandth.
LOWEST, HIGHEST, SEARCHES = 1e-4, 2.0, 18


def nlm(y: Floats, generator: torch.Generator, *, sigma: NoiseLevel = "auto") -> Floats:
    """Return the non-local means of 5 x 5 patches within 6 pixels, with h = 0.8 sigma."""
    s = _unit(sigma)
    x: Floats = denoise_nl_means(y, h=0.8 * s, sigma=s, patch_size=5, patch_distance=6, channel_axis=-1)
    return x.reshape(y.shape)


def tv(y: Floats, generator: torch.Generator, *, sigma: NoiseLevel = "auto") -> Floats:
    """Return the picture of least total variation whose distance to y is that of the noise."""
    v = clipped_variance(y, 255 * _unit(sigma))
    low, high, x = LOWEST, HIGHEST, y
    for _ in range(SEARCHES):
        weight = (low * high) ** 0.5
        x = denoise_tv_chambolle(y, weight=weight, channel_axis=-1)
        low, high = (weight, high) if np.mean((x - y) ** 2) < v else (low, weight)
    return x


def wavelet(y: Floats, generator: torch.Generator, *, sigma: NoiseLevel = "auto") -> Floats:
    """Return the picture after BayesShrink in the wavelet domain, in colour of Y, Cb and Cr."""
    colour = y.shape[-1] == 3
    x: Floats = denoise_wavelet(y, sigma=_unit(sigma), convert2ycbcr=colour, rescale_sigma=True, channel_axis=-1)
    return x


def _unit(sigma: float | str) -> float:
    """Return a level on the scale [0, 1]."""
    assert not isinstance(sigma, str), "the level is decided first"
    return sigma / 255
