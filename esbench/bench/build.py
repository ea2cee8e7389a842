"""Build what the spec of a unit describes: its pictures, and its optimisation with criteria."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import images, seeds
from esbench.bench import grid
from esbench.bench.spec import UnitSpec
from esbench.engine import build
from esbench.errors import DataError, UsageError
from esbench.kinds import Companions, Task
from esbench.observation import NoiseModel, Observation, Problem
from esbench.params import plain
from esbench.pictures import Floats, Pictures
from esbench.records import DegradationInfo
from esbench.registry import Component, calling, wrong

if TYPE_CHECKING:
    from esbench.engine.fast import Fast
    from esbench.engine.session import Session
    from esbench.events import Event
    from esbench.stopping.column import Column


@dataclass(frozen=True)
class Scene:
    """The pictures and the task of a unit.

    Attributes:
        spec: the unit.
        clean: the clean picture, (H, W, C) in [0, 1].
        task: the task.
        observation: the observed data.
    """

    spec: UnitSpec
    clean: Floats
    task: Task
    observation: Observation

    @property
    def problem(self) -> Problem:
        """The part of the observation that criteria get."""
        return build.problem(self.spec.task, self.task, self.observation)

    def trajectory(self, device: str) -> Fast:
        """Return the optimisation, at its first step.

        Raises:
            UsageError: the parts do not fit each other, or the picture.
        """
        spec = self.spec
        names = spec.dataset, spec.image
        return build.trajectory(
            spec,
            self.task,
            self.observation,
            device,
            network_seed=seeds.derive(spec.seed, "network", *names),
            input_seed=seeds.derive(spec.seed, "input", *names),
        )

    def fits(self) -> None:
        """Check that the parts of the optimisation fit each other, without making its weights.

        Raises:
            UsageError: they do not, or the picture is too small.
        """
        import torch

        try:
            with torch.device("meta"):
                build.parts(self.spec, self.task, self.observation, 0)
        except UsageError as error:
            raise UsageError(f"{self.spec.image}: {error}") from error

    def session(self, device: str, columns: Sequence[Column], emit: Callable[[Event], None], *, live: bool) -> Session:
        """Return the optimisation with criteria, scored by the clean picture."""
        from esbench.bench.spec import unit_id
        from esbench.engine.session import Session
        from esbench.engine.trace import Reference, Trace

        score = None if type(self.task).score is Task.score else self.score  # that of `Task` is the PSNR
        trace = Trace(Reference(Pictures(self.clean[None]).tensor.to(device), score))
        name, seed = unit_id(self.spec), seeds.derive(self.spec.seed, "probes")
        return Session(name, self.trajectory(device), columns, emit, trace, live=live, seed=seed)

    def score(self, x: Floats) -> float:
        """Return the task's score of a picture (H, W, C)."""
        return self.task.score(x, self.clean, self.observation)


def scene(spec: UnitSpec, dataset: str, max_pixels: int = images.MAX_PIXELS) -> Scene:
    """Return the pictures and the task of a unit.

    Args:
        spec: the unit.
        dataset: a name, or an absolute path.
        max_pixels: a larger picture of a folder or file is refused.

    Raises:
        DataError: the picture is not the one that the spec is about.
    """
    opened = grid.open_dataset(dataset, max_pixels)[1]
    picture = grid.picture(opened, spec.image, spec.crop)
    if spec.pixels and grid.digest(picture) != spec.pixels:
        raise DataError(f"Picture {spec.image!r} of {dataset!r} has changed since the run was planned: run it again.")
    return observed(spec, images.unit(picture), grid.companions(opened, spec.image, spec.crop))


def observed(spec: UnitSpec, clean: Floats, companions: Companions) -> Scene:
    """Return the scene of a unit with a clean picture (H, W, C) in [0, 1] and its companions."""
    task, component = build.task(spec.task), grid.degradation(spec.noise, spec.sigma)
    assert isinstance(component.info, DegradationInfo)
    names = spec.dataset, spec.image
    level = "" if spec.sigma is None else plain(spec.sigma)
    rng = np.random.default_rng(seeds.derive(spec.seed, "noise", *names, spec.noise, level))
    own = np.random.default_rng(seeds.derive(spec.seed, "task", *names, spec.task))
    noise = functools.partial(_noisy, component, rng)
    observation = task.degrade(clean, own, noise, companions)
    observation = dataclasses.replace(observation, noise=_told(component, spec.sigma))
    return Scene(spec, clean, task, observation.holding_out(task.holdout))


def _noisy(component: Component, rng: np.random.Generator, picture: Floats) -> Floats:
    """Return a picture with the noise of a degradation.

    Raises:
        LoadError: the degradation raised, or returned something else.
    """
    with calling(component.record):
        returned: Any = component.target(picture.copy(), rng, **component.values)
    got = type(returned).__name__
    if isinstance(returned, np.ndarray):
        noisy = np.asarray(returned)  # no subclass, such as one with a mask
        got = f"{noisy.dtype} {noisy.shape}"
        if noisy.shape == picture.shape and noisy.dtype.kind in "fiu":
            with np.errstate(over="ignore"):
                noisy = noisy.astype(np.float32)
            if np.isfinite(noisy).all():
                return noisy
            got += " with values that are not finite"
    raise wrong(component.record, f"a finite array of shape {picture.shape}, got {got}")


def _told(component: Component, level: float | None) -> NoiseModel:
    """Return what is known of the noise of a degradation: nothing if it is marked blind."""
    assert isinstance(component.info, DegradationInfo)
    if component.info.name == "none":
        return NoiseModel("none")
    if component.info.blind or level is None:
        return NoiseModel()
    return NoiseModel(component.info.name, level, component.info.parameter)
