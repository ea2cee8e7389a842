"""Additive noise."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from esbench.pictures import Floats
from esbench.records import Range


def none(clean: Floats, rng: np.random.Generator) -> Floats:
    """Return the picture unchanged."""
    return clean


def gaussian(clean: Floats, rng: np.random.Generator, *, sigma: Annotated[float, Range(0)] = 25.0) -> Floats:
    """Return clip(x + N(0, sigma^2)), in float32: clipped, not quantised. Sigma is on the 0-255 scale."""
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return np.clip(clean + np.float32(sigma / 255) * noise, 0, 1)
