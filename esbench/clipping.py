"""Clipped noise: what the noisy picture was before it was clipped to [0, 1], as far as it can be known.

If x is the clean picture, the value before clipping is x plus normal noise, known to be at most 0 where y is 0, and at
least 1 where y is 1. Its mean and variance there are those of a truncated normal distribution. Tobin, "Estimation of
relationships for limited dependent variables" (Econometrica 1958), has the regression of such values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from esbench.kinds import Step


def before(y: torch.Tensor, x: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the variance of y before clipping: y itself and 0 where it was not clipped.

    Args:
        y: the noisy picture, in [0, 1].
        x: the clean picture.
        sigma: the standard deviation of the noise, in the units of y.
    """
    import torch

    if not sigma:
        return y, torch.zeros_like(y)
    low, high = y == 0, y == 1
    z = torch.where(low, x, 1 - x) / sigma  # how far the bound is beyond x, in standard deviations
    m = torch.exp(-z.square() / 2 - torch.special.log_ndtr(-z)) / math.sqrt(2 * math.pi)
    mean = torch.where(low, x - sigma * m, torch.where(high, x + sigma * m, y))
    variance = torch.where(low | high, sigma**2 * (1 - m * (m - z)).clamp(0, 1), 0.0)
    return mean, variance


def residual(step: Step) -> torch.Tensor:
    """Return the expected mean square of f(z) - y with y before clipping, which the output itself is taken to predict.

    Where y was clipped, the output is pulled as far beyond the bound as the noise explains, instead of to the bound.
    """
    mean, variance = before(step.y, step.x.detach(), step.observation.sigma / 255)
    return step.observation.mean((step.x - mean).square() + variance)
