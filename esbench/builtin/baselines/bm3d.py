"""BM3D by the package of its authors, which is not part of esbench: its licence allows non-commercial use only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bm3d as package

from esbench.kinds import NoiseLevel
from esbench.pictures import Floats

if TYPE_CHECKING:
    import torch


def bm3d(y: Floats, generator: torch.Generator, *, sigma: NoiseLevel = "auto") -> Floats:
    """Return the picture by BM3D, in colour of an opponent colour space, with the package's default profile."""
    assert not isinstance(sigma, str), "the level is decided first"
    denoised = package.bm3d_rgb if y.shape[-1] == 3 else package.bm3d
    x: Floats = denoised(y.astype(float), sigma / 255).reshape(y.shape).astype(y.dtype)
    return x
