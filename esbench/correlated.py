"""Normal noise that neighbouring pixels and channels share, as after demosaicing, scaling or JPEG.

White noise through a filter w has the covariance of w with itself. Its spectrum, a matrix of channels by channels at
each frequency, is the square of that of w: so w is the square root of the spectrum of the covariance.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

#: The covariance of the noise of two elements, relative to the variance: (2 R + 1, 2 R + 1, C, C) for displacements of
#: up to R pixels down and to the right, the middle for none; the mean of its diagonal there is 1.
Correlation: TypeAlias = npt.NDArray[np.float64]


def filter_of(correlation: Correlation) -> npt.NDArray[np.float32]:
    """Return the filter that gives white noise a correlation, (C, C, K, K) as PyTorch's convolution has it."""
    side = 2 * len(correlation) - 1  # the root reaches further than the covariance
    root = _root(_spectrum(correlation, side))
    w = np.fft.ifft2(root, axes=(0, 1)).real
    w /= np.sqrt((w**2).sum() / w.shape[2])  # what is negative in an estimated spectrum was left out
    middle = np.roll(w, (side // 2, side // 2), (0, 1))[::-1, ::-1]  # PyTorch does not turn the filter round
    return np.ascontiguousarray(middle.transpose(2, 3, 0, 1), dtype=np.float32)


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
    around = np.zeros((side, side, channels, channels))
    around[: 2 * reach + 1, : 2 * reach + 1] = correlation
    return np.fft.fft2(np.roll(around, (-reach, -reach), (0, 1)), axes=(0, 1))


def _root(spectrum: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the square roots of Hermitian matrices, with 0 for their negative eigenvalues."""
    values, vectors = np.linalg.eigh(spectrum)
    root: npt.NDArray[Any] = (vectors * np.sqrt(values.clip(0))[..., None, :]) @ vectors.conj().swapaxes(-1, -2)
    return root
