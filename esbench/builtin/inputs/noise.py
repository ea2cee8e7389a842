"""Uniform noise: the input of the Deep Image Prior."""

from __future__ import annotations

import torch

from esbench.kinds import Place, Task
from esbench.observation import Observation


class UniformNoise:
    """z is uniform in [0, scale], drawn once."""

    def channels(self, depth: int, task: Task, observation: Observation) -> int:
        """Return the number of channels in the settings."""
        return depth

    def __call__(self, place: Place) -> torch.Tensor:
        """Return z."""
        shape = (1, place.depth, *place.size)
        return torch.rand(shape, generator=place.generator, device=place.device) * place.scale
