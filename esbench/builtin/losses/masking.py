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


def masking(step: Step, *, share: Annotated[float, Range(0.01, 0.9)] = 0.2) -> Terms:
    """Return the mean of (f(u) - y)^2 over the hidden values: the share of those known, new at each step.

    u is y without the missing and the hidden values. If channels miss the same pixels, whole pixels are hidden.
    """
    y, weight = step.observation.tensor("y", step.z), step.observation.weight(step.z)
    assert weight is not None
    known = (weight > 0).to(y)
    hidden = known * (torch.empty_like(known).uniform_(generator=step.generator) < share)
    step.z = masked(y, (known - hidden).expand_as(y))
    hidden = hidden.expand_as(y)
    return Terms((hidden * (step.x - y).square()).sum() / hidden.sum().clamp(min=1))
