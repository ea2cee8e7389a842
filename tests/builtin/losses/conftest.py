"""Steps of a network whose input is the observation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from esbench.builtin.tasks.denoise import Denoise
from esbench.kinds import Step
from esbench.observation import NoiseModel, Observation


@pytest.fixture
def clean() -> Any:
    """Give a picture (20, 24, 3) whose noise is far from being clipped."""
    return 0.3 + 0.3 * np.random.default_rng(3).random((20, 24, 3))


@pytest.fixture
def step() -> Callable[..., Step]:
    """Give step(f, y, seed=0, t=0, sigma=None, noise={}, **observation): a step in float64."""

    def step(
        f: Any,
        y: Any,
        seed: int = 0,
        t: int = 0,
        sigma: float | None = None,
        noise: Any = None,
        **parts: Any,
    ) -> Step:
        model = NoiseModel(**{"kind": "gaussian", "level": sigma} | (noise or {}))
        observation = Observation(y, model, **parts)
        z = torch.from_numpy(y).permute(2, 0, 1)[None].contiguous()
        observation._tensors["y", z.device] = z.clone()  # in float64: pictures are float32
        return Step(t, f, z.clone(), Denoise(), observation, torch.Generator().manual_seed(seed), {})

    return step
