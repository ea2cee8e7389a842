"""Thinning: each step splits the photons of shot noise at random into two pictures, whose noise is independent.

If k is Poisson with the mean m and each photon is kept with probability p, those kept and those left are Poisson with
the means p m and (1 - p) m, and independent (Raikov 1937; as a way to validate models, Neufeld et al., "Data thinning
for convolution-closed distributions", JMLR 2024). So a network that is given the one and compared with the other cannot
gain by copying noise.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from esbench.kinds import Step, Terms
from esbench.records import Range

#: The lower limit of the gain, so that a picture without noise can be divided by it.
LEAST = 1e-5


def thinning(
    step: Step,
    *,
    gain: Annotated[float | Literal["auto"], Range(0)] = "auto",
    keep: Annotated[float, Range(0.05, 0.95)] = 0.35,
) -> Terms:
    """Return the mean of (f(u) - v)^2, each divided by the variance of the noise, minus what noise contributes to it.

    u has the share `keep` of the photons, v the others, both as bright as y = gain k. A value between two numbers of
    photons becomes one of them, at random.
    """
    s = max(LEAST, step.observation.gain if gain == "auto" else float(gain))
    photons = step.z / s
    photons = (photons + uniform(photons, step.generator)).floor()
    kept = torch.binomial(photons, torch.full_like(photons, keep), generator=step.generator)
    step.z = s * kept / keep
    v = s * (photons - kept) / (1 - keep)
    v = torch.where(step.y < 1, v, step.x.detach().clamp(min=1))  # a clipped element was at least 1
    squares = (step.x - v).square() - s * v / (1 - keep) * (step.y < 1)
    return Terms(step.observation.mean(squares / (step.x.detach() + s)))


def uniform(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return values from U(0, 1) in the size of a tensor."""
    return torch.empty_like(like).uniform_(generator=generator)
