"""Normal noise that neighbouring pixels and channels share, as after demosaicing, scaling or JPEG.

White noise through a filter w has the covariance of w with itself. Its spectrum, a matrix of channels by channels at
each frequency, is the square of that of w: so w is the square root of the spectrum of the covariance.
"""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from esbench.pictures import Floats

#: The covariance of the noise of two elements, relative to the variance: (2 R + 1, 2 R + 1, C, C) for displacements of
#: up to R pixels down and to the right, the middle for none; the mean of its diagonal there is 1.
Correlation: TypeAlias = npt.NDArray[np.float64]


def filter_of(correlation: Correlation) -> Floats:
    """Return the filter that gives white noise a correlation: (C, C, K, K), to convolve with, around its middle."""
    side = 2 * len(correlation) - 1  # the root reaches further than the covariance
    root = _root(_spectrum(correlation, side))
    w = np.fft.ifft2(root, axes=(0, 1)).real
    w /= np.sqrt((w**2).sum() / w.shape[2])  # what is negative in an estimated spectrum was left out
    middle: Floats = np.roll(w, (side // 2, side // 2), (0, 1)).transpose(2, 3, 0, 1).astype(np.float32)
    return middle


def around(w: Floats, height: int, width: int) -> Floats:
    """Return a filter with its middle at (0, 0) of a picture whose borders go round: (C, C, H, W)."""
    side = w.shape[-1]
    found = np.zeros((*w.shape[:2], height, width), np.float32)
    for i, j in itertools.product(range(side), repeat=2):  # in a small picture it meets itself
        found[..., (i - side // 2) % height, (j - side // 2) % width] += w[..., i, j]
    return found


def coarseness(correlation: Correlation | None) -> float:
    """Return the level of the white noise that is as strong in coarse structure, relative to that of this noise.

    Its power at the frequency 0 is that of this noise.
    """
    if correlation is None:
        return 1.0
    power = float(np.trace(correlation.sum((0, 1)))) / correlation.shape[2]
    return float(np.sqrt(max(power, 0.0)))


def _spectrum(correlation: Correlation, side: int) -> npt.NDArray[Any]:
    """Return the matrix of channels by channels at each of side x side frequencies."""
    reach, channels = len(correlation) // 2, correlation.shape[2]
    wide = np.zeros((side, side, channels, channels))
    wide[: 2 * reach + 1, : 2 * reach + 1] = correlation
    return np.fft.fft2(np.roll(wide, (-reach, -reach), (0, 1)), axes=(0, 1))


def _root(spectrum: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the square roots of Hermitian matrices, with 0 for their negative eigenvalues."""
    values, vectors = np.linalg.eigh(spectrum)
    root: npt.NDArray[Any] = (vectors * np.sqrt(values.clip(0))[..., None, :]) @ vectors.conj().swapaxes(-1, -2)
    return root
