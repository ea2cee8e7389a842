"""Coordinates: a smooth input, which favours a smooth picture where nothing is known."""

from __future__ import annotations

import torch

from esbench.kinds import Place, Task
from esbench.observation import Observation


class Meshgrid:
    """z is (column / (W - 1), row / (H - 1))."""

    def channels(self, depth: int, task: Task, observation: Observation) -> int:
        """Return 2, the number of coordinates, regardless of the settings."""
        return 2

    def __call__(self, place: Place) -> torch.Tensor:
        """Return z."""
        rows, columns = (torch.linspace(0, 1, n, device=place.device) for n in place.size)
        return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]
