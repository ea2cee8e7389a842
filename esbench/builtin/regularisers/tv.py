"""Total variation."""

from __future__ import annotations

from typing import Annotated

import torch

from esbench.kinds import Step
from esbench.records import Range

#: Added to the squares, so that the root has a finite gradient where the picture is flat.
FLAT = 1e-12


def tv(step: Step, *, weight: Annotated[float, Range(0)] = 1e-7) -> torch.Tensor:
    """Return weight times the sum of (dh^2 + dw^2)^(1/2) over all pixels with a neighbour below and to the right."""
    x = step.x
    across = (x[..., :-1, 1:] - x[..., :-1, :-1]) ** 2
    down = (x[..., 1:, :-1] - x[..., :-1, :-1]) ** 2
    return weight * (across + down + FLAT).sqrt().sum()
