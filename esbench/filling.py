"""A picture with its missing values filled in from those around: the input of a network that learns to do it better."""

from __future__ import annotations

import torch
from torch.nn import functional

#: The sides of the squares whose means fill in, each only where the one before has no known value.
SIDES = (3, 9, 27)

#: What is filled in where no value is known for a long way.
GREY = 0.5


def masked(y: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return a picture (1, C, H, W) with its missing values filled in, and 1 where they are known: (1, 2 C, H, W).

    Args:
        y: the picture.
        known: 1 where a value is known, else 0, in the size of y.
    """
    filled, lacking = y * known, known == 0
    for side in SIDES:
        if not lacking.any():  # most often, and large squares take long
            break
        count = _mean(known, side)
        there = lacking & (count > 0)
        filled = torch.where(there, _mean(y * known, side) / count.clamp(min=1e-6), filled)
        lacking = lacking & ~there
    return torch.cat([filled.masked_fill(lacking, GREY), known], dim=1)


def _mean(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return the mean of side x side values around each, at the border of fewer."""
    return functional.avg_pool2d(x, side, stride=1, padding=side // 2, count_include_pad=False)
