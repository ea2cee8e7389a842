"""The one place that builds an optimisation: from names and numbers to a trajectory at its first step."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from esbench import torch_state
from esbench.engine.settings import Settings
from esbench.errors import ParamError, UsageError
from esbench.kinds import Input, Place, Task
from esbench.observation import Observation, Problem
from esbench.pictures import Pictures
from esbench.records import LossInfo, NetworkInfo, TaskInfo
from esbench.registry import registry

if TYPE_CHECKING:
    import torch

    from esbench.average import Average
    from esbench.engine.fast import Fast
    from esbench.engine.loop import Fit, Trajectory

    Trajectories = TypeVar("Trajectories", bound=Trajectory)


def settings(task: str, network: str, **given: Any) -> Settings:
    """Return settings with everything decided: what is given, else the task's own, else the network's own.

    Args:
        task: as text.
        network: as text.
        given: settings by name; None stands for the task's and network's own.

    Raises:
        UsageError: a name or a parameter does not fit.
    """
    what, by = registry().get("task", task), registry().get("network", network)
    assert isinstance(what.info, TaskInfo)
    assert isinstance(by.info, NetworkInfo)
    depth = by.info.depth if isinstance(by.info.depth, int) else by.values[by.info.depth]
    own: dict[str, Any] = {
        "loss": what.info.loss,
        "input": what.info.input or by.info.input,
        "depth": depth if isinstance(depth, int) else depth[0],
        "learning_rate": by.info.learning_rate if what.info.learning_rate is None else what.info.learning_rate,
        "perturbation": by.info.perturbation if what.info.perturbation is None else what.info.perturbation,
    }
    values = own | {key: value for key, value in given.items() if value is not None}
    for kind in ("loss", "input"):
        values[kind] = registry().get(kind, values[kind]).text
    return Settings(task=what.text, network=by.text, **values)


def task(text: str) -> Task:
    """Return a task from its text."""
    component = registry().get("task", text)
    made: Task = component.target(**component.values)
    return made


def problem(text: str, what: Task, observation: Observation) -> Problem:
    """Return what the criteria of an optimisation are told."""

    def observed(x: torch.Tensor) -> torch.Tensor:
        return what.forward(x, observation) if x.ndim == 4 else what.forward(x[None], observation)[0]

    return Problem(
        noisy=Pictures(observation.y[None])[0],
        sigma=observation.noise.sigma,
        task=text,
        holdout=observation.holdout,
        known=observation.known,
        observed=observed,
        size=what.shape(observation)[:2],
    )


def trajectory(
    settings: Settings,
    what: Task,
    observation: Observation,
    device: str,
    *,
    network_seed: int,
    input_seed: int,
    average: Average | None = None,
) -> Fast:
    """Return an optimisation at its first step.

    Args:
        settings: with everything decided.
        what: the task of these settings.
        observation: what was observed.
        device: cpu, cuda or cuda:N.
        network_seed: of the network's weights.
        input_seed: of z, the perturbations and what the loss draws.
        average: of the outputs; None for the plain one.

    Raises:
        UsageError: the parts do not fit each other, or the picture is too small.
    """
    with torch_state.plain():
        return _trajectory(settings, what, observation, device, network_seed, input_seed, average)


def _trajectory(
    settings: Settings,
    what: Task,
    observation: Observation,
    device: str,
    network_seed: int,
    input_seed: int,
    average: Average | None,
) -> Fast:
    from esbench.engine.fast import Fast

    fit, make, f = parts(settings, what, observation, network_seed)
    return begin(Fast, fit, f.to(device), make, settings, input_seed, average)


def begin(
    kind: type[Trajectories],
    fit: Fit,
    f: Any,
    make: Input,
    settings: Settings,
    seed: int,
    average: Average | None = None,
) -> Trajectories:
    """Return an optimisation at its first step.

    Args:
        kind: of trajectory.
        fit: what is minimised.
        f: the network, on the device where all of it happens.
        make: makes z.
        settings: the numbers.
        seed: of z, the perturbations and what the loss draws.
        average: of the outputs; None for the plain one.
    """
    import torch

    device = next(f.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    place = Place(
        size=f.input_size(*fit.task.shape(fit.observation)[:2]),
        observation=fit.observation,
        task=fit.task,
        depth=settings.depth,
        scale=settings.input_scale,
        generator=generator,
        device=device,
    )
    return kind(fit, f, make(place), generator, settings, average)


def parts(settings: Settings, what: Task, observation: Observation, network_seed: int) -> tuple[Fit, Input, Any]:
    """Return what is minimised, what makes z, and the network as it is at the first step.

    Raises:
        UsageError: they do not fit each other, or the picture is too small.
    """
    from esbench.engine.loop import Fit

    loss, source = registry().get("loss", settings.loss), registry().get("input", settings.input)
    assert isinstance(loss.info, LossInfo)
    if "sigma" in loss.info.needs and observation.noise.sigma is None:
        raise ParamError(f"The loss {settings.loss!r} needs the noise level, and none is known: give it as --sigma.")
    make: Input = source.target(**source.values)
    channels = make.channels(settings.depth, what, observation)
    f = network(settings.network, channels, what.shape(observation), network_seed)
    fit = Fit(what, observation, functools.partial(loss.target, **loss.values), loss.info.captured)
    return fit, make, f


def network(text: str, inputs: int, shape: tuple[int, int, int], seed: int) -> Any:
    """Return a network as it is at the first step, for a picture of a shape (H, W, C).

    Raises:
        UsageError: the picture does not fit it.
    """
    f = untrained(text, inputs, shape[2], seed)
    if why := f.unfit(*shape[:2]):
        raise UsageError(f"Network {text!r} cannot make a picture of {shape[1]} x {shape[0]}: it {why}.")
    return f


def untrained(text: str, inputs: int, outputs: int, seed: int) -> Any:
    """Return a network as it is at the first step, for pictures of any size."""
    import torch

    component = registry().get("network", text)
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from the global generator
        torch.manual_seed(seed)
        return component.target(inputs, outputs, **component.values)
