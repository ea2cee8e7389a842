"""The negative log-likelihood of shot noise."""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from esbench.kinds import Step, Terms
from esbench.records import Range

#: The lower limit of the brightness and of the gain, to avoid dividing by 0 and its logarithm.
LEAST = 1e-6


def poisson(step: Step, *, gain: Annotated[float | Literal["auto"], Range(0)] = "auto") -> Terms:
    """Return the mean of (x - y - y log(x / y)) / gain, for the model y = gain Poisson(x / gain) of the observation.

    It is the negative log-likelihood up to a constant, chosen so that it is 0 at x = y; it is about 1/2 at the clean
    picture. The gain only scales it.
    """
    s = max(LEAST, step.observation.gain if gain == "auto" else float(gain))
    x, y = step.observed(step.x).clamp(min=LEAST), step.y
    likelihood = (x - y - torch.xlogy(y, x) + torch.xlogy(y, y)) / s
    return Terms(step.observation.mean(likelihood))
