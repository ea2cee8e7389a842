"""From the spec of a unit to what it describes: its pictures, its network, its optimisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import images, seeds
from esbench.bench import grid
from esbench.bench.spec import UnitSpec
from esbench.errors import PluginError, UsageError
from esbench.observation import Problem
from esbench.params import plain
from esbench.pictures import Pictures
from esbench.registry import registry

if TYPE_CHECKING:
    import torch

    from esbench.engine.fast import Fast


def trajectory(spec: UnitSpec, noisy: np.ndarray[Any, Any], device: str) -> Fast:
    """Return the optimisation of a unit, at its first step."""
    from esbench.engine.fast import Fast
    from esbench.engine.settings import Settings

    settings = Settings(
        iterations=spec.iterations,
        learning_rate=spec.learning_rate,
        depth=spec.depth,
        input_scale=spec.input_scale,
        perturbation=spec.perturbation,
        precision=spec.precision,
    )
    y = Pictures(noisy[None]).tensor.to(device)
    task = registry().get("task", spec.task)
    f = network(spec, noisy.shape).to(device)
    return Fast(task.target(y, **task.values), f, settings, seeds.derive(spec.seed, "input", spec.dataset, spec.image))


def problem(spec: UnitSpec, noisy: np.ndarray[Any, Any], sigma: float | None) -> Problem:
    """Return what the criteria of a unit are told, at the noise level that is told."""
    pictures, task = Pictures(noisy[None]), registry().get("task", spec.task)
    holdout = getattr(task.target(pictures.tensor, **task.values), "holdout", None)
    return Problem(noisy=pictures[0], sigma=sigma, task=spec.task, holdout=holdout)


def network(spec: UnitSpec, shape: tuple[int, ...]) -> torch.nn.Module:
    """Return the network of a unit as it is at the first step, for a picture of shape (H, W, C).

    Raises:
        UsageError: the picture is too small for it.
    """
    import torch

    component = registry().get("network", spec.network)
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from the global generator
        torch.manual_seed(seeds.derive(spec.seed, "network", spec.dataset, spec.image))
        f = component.target(spec.depth, shape[2], **component.values)
    if min(shape[:2]) < f.smallest():
        raise UsageError(
            f"Network {spec.network!r} needs both sides of a picture to be at least {f.smallest()}, got {shape[1]} x "
            f"{shape[0]} ({spec.image!r}): fewer scales do with less, as in 'skip[scales=3]'."
        )
    return f  # type: ignore[no-any-return]


def observation(spec: UnitSpec, dataset: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float | None]:
    """Return the clean picture, the noisy one, and the noise level as far as it is told."""
    clean = images.unit(grid.picture(grid.open_dataset(dataset)[1], spec.image, spec.crop))
    component = grid.degradation(spec.noise, spec.sigma)
    level = "" if spec.sigma is None else plain(spec.sigma)
    rng = np.random.default_rng(seeds.derive(spec.seed, "noise", spec.dataset, spec.image, spec.noise, level))
    noisy = component.target(clean, rng, **component.values)
    if not isinstance(noisy, np.ndarray) or noisy.shape != clean.shape or not np.isfinite(noisy).all():
        record = component.record
        raise PluginError(
            f"Degradation {component.text!r} of {record.distribution} {record.distribution_version} must return a "
            f"finite array of shape {clean.shape}, got {getattr(noisy, 'shape', type(noisy).__name__)}."
        )
    return clean, noisy.astype(np.float32), None if getattr(component.info, "blind", False) else spec.sigma
