"""Degradations for blind criteria: noise that depends on the picture, noise that replaces it, and what cameras do.

The models of shot noise, impulses and speckle are those of the pictures in the code of ES-WMV (Wang et al., TMLR 2023),
as measured from its files. Those pictures are truncated to 8 bits; here, as with Gaussian noise, they are clipped and
not quantised.
"""

from __future__ import annotations

import io
from typing import Annotated

import numpy as np

from esbench import images
from esbench.builtin.degradations.additive import gaussian
from esbench.pictures import Floats, Pictures
from esbench.records import Range


def poisson(clean: Floats, rng: np.random.Generator, *, rate: Annotated[float, Range(0.001, 1e9)] = 25.0) -> Floats:
    """Return clip(Poisson(rate x) / rate), shot noise: `rate` is the mean count of white."""
    return (rng.poisson(rate * clean.astype(np.float64)) / rate).clip(0, 1).astype(np.float32)


def impulse(clean: Floats, rng: np.random.Generator, *, share: Annotated[float, Range(0, 1)] = 0.3) -> Floats:
    """Return the picture with a share of its values, per channel, replaced by 0 or 1 with equal odds."""
    u = rng.random(clean.shape, dtype=np.float32)
    extreme = (u < share / 2).astype(np.float32)  # half of the replaced values
    return np.where(u < share, extreme, clean)


def speckle(clean: Floats, rng: np.random.Generator, *, deviation: Annotated[float, Range(0)] = 0.2) -> Floats:
    """Return clip(x (1 + N(0, deviation^2))): noise proportional to the brightness."""
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return np.clip(clean * (1 + np.float32(deviation) * noise), 0, 1)


def jpeg(clean: Floats, rng: np.random.Generator, *, quality: Annotated[int, Range(1, 100)] = 10) -> Floats:
    """Return the picture after 8 bits and baseline JPEG, 4:2:0 (Pillow); it is deterministic."""
    from PIL import Image

    eight = Pictures(clean[None]).uint8[0]
    file = io.BytesIO()
    images.pillow(eight).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as image:
        decoded = np.asarray(image).reshape(clean.shape)
    return decoded.astype(np.float32) / np.float32(255)


def camera(
    clean: Floats,
    rng: np.random.Generator,
    *,
    sigma: Annotated[float, Range(0)] = 20.0,
    quality: Annotated[int, Range(1, 100)] = 90,
) -> Floats:
    """Return the picture of a camera: Gaussian noise of level sigma, one colour per pixel, demosaiced, and a JPEG.

    The noise of the result is neither white nor independent between channels, as in most photographs.
    """
    return jpeg(demosaiced(gaussian(clean, rng, sigma=sigma)), rng, quality=quality)


def demosaiced(picture: Floats) -> Floats:
    """Return a colour picture of which one colour per pixel was measured, bilinearly; any other unchanged."""
    if picture.shape[2] != 3 or min(picture.shape[:2]) < 3:
        return picture
    import cv2

    mosaic = picture[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = picture[::2, ::2, 2], picture[1::2, 1::2, 0]
    levels = np.rint(65535 * mosaic).astype(np.uint16)
    return cv2.cvtColor(levels, cv2.COLOR_BayerRG2RGB).astype(np.float32) / np.float32(65535)
