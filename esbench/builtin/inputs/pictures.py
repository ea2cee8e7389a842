"""A picture as the network's input: the observation itself, or a guide."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from esbench.errors import UsageError
from esbench.filling import masked
from esbench.kinds import Place, Task
from esbench.observation import Observation, seen
from esbench.pictures import Floats, Pictures


class Observed:
    """z is the observation."""

    def channels(self, depth: int, task: Task, observation: Observation) -> int:
        """Return the number of channels of the observation."""
        return int(observation.y.shape[2])

    def __call__(self, place: Place) -> torch.Tensor:
        """Return z."""
        return resized(observed(place.observation), place)


class Masked:
    """z is the observation with its missing values filled in from those around, and where they are known."""

    def channels(self, depth: int, task: Task, observation: Observation) -> int:
        """Return twice the number of channels of the observation."""
        return 2 * int(observation.y.shape[2])

    def __call__(self, place: Place) -> torch.Tensor:
        """Return z."""
        y = Pictures(place.observation.y[None]).tensor.to(place.device)
        used = place.observation.used(y)
        return fitted(masked(y, torch.ones_like(y) if used is None else used.expand_as(y)), place)


class Guide:
    """z is the task's guide."""

    def channels(self, depth: int, task: Task, observation: Observation) -> int:
        """Return the number of channels of the guide.

        Raises:
            UsageError: the task has none.
        """
        return int(guide(task, observation).shape[2])

    def __call__(self, place: Place) -> torch.Tensor:
        """Return z."""
        return resized(guide(place.task, place.observation), place)


def observed(observation: Observation) -> Floats:
    """Return the observation, 0 where it is unknown, or held out, which the network must not see."""
    if observation.known is None and observation.holdout is None:
        return observation.y
    kept: Any = seen(observation.known, observation.holdout)
    picture: Floats = observation.y * (kept if kept.ndim == 3 else kept[..., None])
    return picture


def guide(task: Task, observation: Observation) -> Floats:
    """Return the guide picture of a task.

    Raises:
        UsageError: there is none.
    """
    found = task.guide(observation)
    if found is None:
        name = type(task).__name__.lower()
        raise UsageError(f"The input 'guide' needs a task with a guide, such as flash; {name} has none.")
    return found


def resized(picture: Floats, place: Place) -> torch.Tensor:
    """Return a picture as z, resized to the size of z."""
    return fitted(Pictures(picture[None]).tensor.to(place.device), place)


def fitted(z: torch.Tensor, place: Place) -> torch.Tensor:
    """Return z, resized to its size."""
    if tuple(z.shape[-2:]) != place.size:
        z = functional.interpolate(z, place.size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
    return z
