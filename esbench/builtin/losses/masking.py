"""Masking: each step hides some of the known values from the network, which learns to fill them in.

Batson and Royer, "Noise2Self: Blind denoising by self-supervision" (ICML 2019); Quan, Chen, Pang and Ji, "Self2Self
with dropout: Learning self-supervised denoising from single image" (CVPR 2020). What it learns from the hidden values
it does to those that nobody knows, if they are missing in the same way.
"""

from __future__ import annotations

from typing import Annotated

import torch

from esbench.filling import masked
from esbench.kinds import Step, Terms
from esbench.records import Range

#: The weight of the values that the network is given, so that its output is a picture there too.
VISIBLE = 0.1


def masking(step: Step, *, share: Annotated[float, Range(0.01, 0.9)] = 0.2) -> Terms:
    """Return the mean of (f(u) - y)^2 over the hidden values, plus a little of that over the other known ones.

    u is y without the missing and the hidden values: a share of those known, new at each step. If channels miss the
    same pixels, whole pixels are hidden.
    """
    y, known = step.observation.tensor("y", step.z), step.observation.used(step.z)
    assert known is not None
    hidden = known * (torch.empty_like(known).uniform_(generator=step.generator) < share)
    visible = (known - hidden).expand_as(y)
    step.z = masked(y, visible)
    squares = (step.x - y).square()
    return Terms(mean(squares, hidden.expand_as(y)) + VISIBLE * mean(squares, visible))


def mean(x: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Return the mean where there is a 1; 0 if there is none."""
    return (where * x).sum() / where.sum().clamp(min=1)
