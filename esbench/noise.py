"""The noise level of a picture, from the picture alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def estimate_sigma(image: npt.NDArray[np.float32], patch: int = 5) -> float:
    """Return the standard deviation of additive noise on the 0-255 scale.

    Chen, Zhu and Heng, "An efficient statistical method for image noise level estimation" (ICCV 2015): clean patches
    lie in a subspace, so the smallest eigenvalues of the patches' covariance are the noise alone, and spread evenly
    around its variance. It is the mean of the largest tail of the spectrum that is not skewed: whose mean is at most
    its median.

    Args:
        image: (H, W, C) in [0, 1]; much smaller than 32 x 32, it has too few patches, and the level comes out too low.
        patch: side of the patches, taken at every pixel.
    """
    patch = min(patch, *image.shape[:2])
    c = image.shape[2]
    d = patch * patch * c
    windows = np.lib.stride_tricks.sliding_window_view(image, (patch, patch), axis=(0, 1))
    total, product, n = np.zeros(d), np.zeros((d, d)), 0
    for rows in np.array_split(windows, max(1, len(windows) // 64)):  # bounded memory for a large picture
        patches = rows.reshape(-1, d).astype(np.float64)
        total += patches.sum(0)
        product += patches.T @ patches
        n += len(patches)
    mean = total / n
    spectrum = np.linalg.eigvalsh(product / n - np.outer(mean, mean))
    variance = next(
        (tail.mean() for k in range(d, 0, -1) if (tail := spectrum[:k]).mean() <= np.median(tail)), spectrum[0]
    )
    return float(255 * np.sqrt(max(variance, 0.0)))
