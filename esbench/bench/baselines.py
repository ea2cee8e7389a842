"""Baselines of a unit: the results of denoisers that need no stopping, their scores and their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from esbench import metrics, noise, seeds
from esbench.bench.build import Scene
from esbench.bench.job import Job
from esbench.bench.stamp import machine
from esbench.bench.store import Unit
from esbench.errors import UnitError, UsageError
from esbench.events import Event, Notice
from esbench.kinds import Task
from esbench.observation import Observation
from esbench.pictures import Floats, Pictures
from esbench.registry import Component, registry


def check(scene: Scene, text: str) -> None:
    """Check that a baseline can be computed for a unit.

    Raises:
        UsageError: its observation is not the picture plus noise, or it needs a noise level and none is known.
    """
    task = type(scene.task)
    own = task.forward is not Task.forward or task.distance is not Task.distance
    if own or scene.observation.known is not None:
        raise UsageError(
            f"The baseline {text!r} needs an observation that is the picture plus noise, which that of "
            f"{scene.spec.task!r} is not: leave it out."
        )
    component = registry().get("baseline", text)
    if component.values.get("sigma") == "told" and scene.observation.noise.sigma is None:
        raise UsageError(f"The baseline {text!r} needs a noise level, and none is known: sigma=auto estimates it.")


def write(job: Job, unit: Unit, scene: Scene, text: str, emit: Callable[[Event], None]) -> None:
    """Compute a baseline of a unit and write its numbers and its picture; a failure is written as its reason."""
    component = registry().get("baseline", text)
    entry: dict[str, Any] = {"version": component.info.version, "failed": ""}
    started = time.perf_counter()
    try:
        values = resolved(component, scene.observation)
        x = computed(component, values, scene, job.device)
    except Exception as error:
        reason = str(error) if isinstance(error, UnitError) else f"{type(error).__name__}: {error}"
        emit(Notice(unit=unit.id, text=f"{text} failed: {reason}"))
        unit.write_baseline(text, entry | {"failed": reason})
        return
    seconds = time.perf_counter() - started
    unit.write_image(f"baseline-{text}", Pictures(x[None]).uint8[0])
    entry |= {"resolved": values, "seconds": seconds, "machine": machine(job.device), **scores(scene, x)}
    unit.write_baseline(text, entry)
    emit(Notice(unit=unit.id, text=f"{text}: {seconds:.1f} s", detail=True))


def resolved(component: Component, observation: Observation) -> dict[str, Any]:
    """Return the parameters of a baseline with the noise level as a number."""
    values = dict(component.values)
    if values.get("sigma") == "auto":
        values["sigma"] = noise.estimate(observation.y).sigma
    elif values.get("sigma") == "told":
        values["sigma"] = observation.noise.sigma
    return values


def computed(component: Component, values: Mapping[str, Any], scene: Scene, device: str) -> Floats:
    """Return the result of a baseline, clipped to [0, 1].

    Raises:
        UnitError: it is not a finite picture of this size.
    """
    import torch

    spec, y = scene.spec, scene.observation.y
    seed = seeds.derive(spec.seed, "baseline", spec.dataset, spec.image, component.text)
    x = np.asarray(component.target(y, torch.Generator(device).manual_seed(seed), **values), np.float32)
    if x.shape != y.shape or not np.isfinite(x).all():
        raise UnitError(f"its result must be finite and of shape {y.shape}, got {x.shape}")
    return x.clip(0, 1)


def scores(scene: Scene, x: Floats) -> dict[str, Any]:
    """Return the scores of a picture."""
    big = min(scene.clean.shape[:2]) >= 11
    return {
        "psnr_db": metrics.finite(metrics.psnr(x, scene.clean)),
        "ssim": metrics.finite(metrics.ssim(x, scene.clean)) if big else None,
        "score_db": metrics.finite(scene.score(x)),
    }
