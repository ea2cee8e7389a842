"""Denoising: the output itself is compared with the noisy picture."""

from __future__ import annotations

import torch


class Denoise:
    """min over theta of the mean of (f_theta(z) - y)^2 over all elements.

    Args:
        y: the noisy picture, (1, C, H, W) in [0, 1].
    """

    def __init__(self, y: torch.Tensor) -> None:
        self.y = y

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error of an output."""
        return torch.mean((x - self.y) ** 2)
