"""Denoising: the output itself is compared with the noisy picture."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch

from esbench.pictures import Bools
from esbench.records import Range


class Denoise:
    """min over theta of the mean of (f_theta(z) - y)^2 over all elements, or over those that are not held out.

    Args:
        y: the noisy picture, (1, C, H, W) in [0, 1].
        holdout: share of the pixels, all their channels, that the loss does not see, so that criteria may.

    Attributes:
        holdout: which these are, (H, W), or None where there are none; the same for all pictures of one size.
    """

    def __init__(self, y: torch.Tensor, *, holdout: Annotated[float, Range(0, 0.5)] = 0.0) -> None:
        self.y = y
        h, w = y.shape[-2:]
        self.holdout: Bools | None = held_out(h, w, holdout) if holdout else None
        self._weight = None
        if self.holdout is not None:
            kept = torch.from_numpy(~self.holdout).to(y)
            self._weight = kept / kept.mean()

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error of an output."""
        error = (x - self.y) ** 2
        return torch.mean(error if self._weight is None else self._weight * error)


def held_out(h: int, w: int, share: float) -> Bools:
    """Return which pixels of a picture are held out: a share of them, at random, but at least one."""
    mask = np.zeros(h * w, bool)
    mask[np.random.default_rng((h, w)).permutation(h * w)[: max(1, round(share * h * w))]] = True
    return mask.reshape(h, w)
