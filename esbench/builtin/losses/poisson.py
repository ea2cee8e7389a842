"""The negative log-likelihood of shot noise."""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from esbench.kinds import Step, Terms
from esbench.records import Range

#: The least brightness, and the least gain, that are told from none.
LEAST = 1e-6


def poisson(step: Step, *, gain: Annotated[float | Literal["auto"], Range(0)] = "auto") -> Terms:
    """Return the mean of (x - y - y log(x / y)) / gain, with the observed x, of y = gain Poisson(x / gain).

    It is the negative log-likelihood without its constant, so that it is 0 at x = y, and about a half at the clean
    picture. The gain scales it.
    """
    s = max(LEAST, step.observation.gain if gain == "auto" else float(gain))
    x, y = step.observed(step.x).clamp(min=LEAST), step.y
    likelihood = (x - y - torch.xlogy(y, x) + torch.xlogy(y, y)) / s
    return Terms(step.observation.mean(likelihood))
