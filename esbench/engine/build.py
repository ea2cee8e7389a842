"""The one place that builds an optimisation: from names and numbers to a trajectory at its first step."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from esbench import torch_state
from esbench.engine.settings import Settings
from esbench.errors import ParamError, UsageError
from esbench.kinds import Input, Loss, Place, Regulariser, Step, Task, Terms
from esbench.observation import Observation, Problem
from esbench.pictures import Pictures
from esbench.records import LossInfo, NetworkInfo, RegulariserInfo, TaskInfo
from esbench.registry import Component, registry

#: For a loss, the noise of a picture with a smaller side is not estimated: the estimate would be too low.
SMALLEST = 32

if TYPE_CHECKING:
    import torch

    from esbench.average import Average
    from esbench.engine.fast import Fast
    from esbench.engine.loop import Fit, Trajectory

    Trajectories = TypeVar("Trajectories", bound=Trajectory)


def settings(task: str, network: str, **given: Any) -> Settings:
    """Return settings with all values resolved: the given ones, else the defaults of the loss, the task or the network.

    Args:
        task: its text.
        network: its text.
        given: settings by name; None for the default of the loss, else of the task, else of the network.

    Raises:
        UsageError: a name or a parameter does not fit.
    """
    what, by = registry().get("task", task), registry().get("network", network)
    assert isinstance(what.info, TaskInfo)
    assert isinstance(by.info, NetworkInfo)
    loss = registry().get("loss", given.get("loss") or what.info.loss)
    assert isinstance(loss.info, LossInfo)
    depth = by.info.depth if isinstance(by.info.depth, int) else by.values[by.info.depth]
    own: dict[str, Any] = {"depth": depth if isinstance(depth, int) else depth[0]}
    for name in ("input", "learning_rate", "perturbation"):
        said = (getattr(info, name) for info in (loss.info, what.info, by.info))
        own[name] = next(value for value in said if value is not None)
    values = own | {key: value for key, value in given.items() if value is not None}
    for kind in ("input", "regulariser"):
        if kind in values:
            values[kind] = registry().get(kind, values[kind]).text
    return Settings(**values | {"task": what.text, "network": by.text, "loss": loss.text})


def task(text: str) -> Task:
    """Return a task from its text."""
    component = registry().get("task", text)
    made: Task = component.target(**component.values)
    return made


def problem(text: str, what: Task, observation: Observation) -> Problem:
    """Return the part of an observation that the criteria get."""

    def observed(x: torch.Tensor) -> torch.Tensor:
        return what.forward(x, observation) if x.ndim == 4 else what.forward(x[None], observation)[0]

    def outside(x: torch.Tensor) -> float:
        return what.outside(x[None], observation)

    def found() -> float:
        return what.level(observation) or 0.0

    info = registry().get("task", text).info
    assert isinstance(info, TaskInfo)
    return Problem(
        noisy=Pictures(observation.y[None])[0],
        sigma=observation.noise.sigma,
        task=text,
        holdout=observation.holdout,
        known=observation.known,
        observed=observed,
        size=what.shape(observation)[:2],
        outside=None if type(what).outside is Task.outside else outside,
        found=None if info.noisy else found,
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
        settings: the settings, with all values resolved.
        what: the task of these settings.
        observation: the observed data.
        device: cpu, cuda or cuda:N.
        network_seed: the seed of the network's weights.
        input_seed: the seed of z, of the perturbations and of the random numbers of the loss.
        average: the average of the outputs; None for the plain one.

    Raises:
        UsageError: the parts do not fit each other, or the picture is too small.
    """
    with torch_state.plain():
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
        kind: the class of the trajectory.
        fit: the function to minimise.
        f: the network, on the device of the optimisation.
        make: makes z.
        settings: the numbers.
        seed: the seed of z, of the perturbations and of the random numbers of the loss.
        average: the average of the outputs; None for the plain one.
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
    """Return the function to minimise, the input that makes z, and the network as it is at the first step.

    Raises:
        UsageError: they do not fit each other, or the picture is too small.
    """
    from esbench.engine.loop import Fit

    loss, source = registry().get("loss", settings.loss), registry().get("input", settings.input)
    assert isinstance(loss.info, LossInfo)
    make: Input = source.target(**source.values)
    channels = make.channels(settings.depth, what, observation)
    f = network(settings.network, channels, what.shape(observation), network_seed)
    if why := unmeant(loss, settings, what, observation, f):
        raise ParamError(f"The loss {settings.loss!r} {why}.")
    minimised, captured = functools.partial(loss.target, **loss.values), loss.info.captured
    if settings.regulariser:
        added = registry().get("regulariser", settings.regulariser)
        assert isinstance(added.info, RegulariserInfo)
        minimised = functools.partial(regularised, minimised, functools.partial(added.target, **added.values))
        captured = captured and added.info.captured
    return Fit(what, observation, minimised, captured), make, f


def unmeant(loss: Component, settings: Settings, what: Task, observation: Observation, f: Any) -> str:
    """Return why a loss cannot be used with the other parts, as the rest of a sentence; empty if it can.

    Args:
        loss: the loss of these settings.
        settings: the settings, with all values resolved.
        what: the task of these settings.
        observation: the observed data.
        f: the network of these settings.
    """
    assert isinstance(loss.info, LossInfo)
    needs, (h, w, _) = loss.info.needs, observation.y.shape
    own = type(what).distance is not Task.distance
    source = next((need for need in needs if need in ("observation", "masked")), None)
    if (needs and own) or (source and type(what).forward is not Task.forward):
        return f"needs an observation that is the picture plus noise, which that of {settings.task!r} is not"
    if source == "masked" and observation.known is None:
        return f"learns to fill in missing values, and in an observation of {settings.task!r} none is missing"
    if source:
        noun = {"observation": "observation", "masked": "masked observation"}[source]
        if settings.input != source:
            return f"needs the {noun} as the input of the network, got --input {settings.input}: leave it out"
        if settings.perturbation:
            given = f"--perturbation {settings.perturbation:g}"
            return f"needs the unchanged {noun} as the input of the network, got {given}: leave it out"
        if f.input_size(h, w) != (h, w):
            given = " x ".join(map(str, reversed(f.input_size(h, w))))
            return (
                f"needs the unchanged {noun} as the input of the network, and that of {settings.network!r} has "
                f"{given} pixels: choose another network"
            )
    return levelless(loss, observation)


def levelless(loss: Component, observation: Observation) -> str:
    """Return why the noise level that a loss needs cannot be known, as the rest of a sentence; empty if it can."""
    from esbench.noise import measurable

    assert isinstance(loss.info, LossInfo)
    h, w, _ = observation.y.shape
    told = {"sigma": observation.noise.sigma is not None, "gain": loss.values.get("gain") != "auto"}
    how = {"sigma": "--sigma", "gain": f"'{loss.info.name}[gain=0.04]'"}
    for need in ("sigma", "gain"):
        if need not in loss.info.needs or told[need]:
            continue
        if min(h, w) < SMALLEST:
            return (
                f"needs the noise level, which cannot be estimated from fewer than {SMALLEST} x {SMALLEST} pixels, got "
                f"{w} x {h}: give it, as in {how[need]}"
            )
        if not measurable(observation.known):
            return (
                "needs the noise level, which cannot be estimated if so many pixels are missing: give it, as in "
                f"{how[need]}"
            )
    return ""


def regularised(loss: Loss, regulariser: Regulariser, step: Step) -> Terms:
    """Return the terms of a loss and a regulariser."""
    total, parts = loss(step)
    added = regulariser(step)
    return Terms(total + added, {**parts, "regulariser": added})


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
    """Return a network as it is at the first step, for pictures of any size.

    Raises:
        UsageError: its layers are too large.
    """
    import torch

    component = registry().get("network", text)
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from the global generator
        torch.manual_seed(seed)
        try:
            return component.target(inputs, outputs, **component.values)
        except (RuntimeError, OverflowError, TypeError) as error:
            if component.record.distribution != "esbench":
                raise
            raise UsageError(
                f"Network {text!r} with {inputs} input channels is too large for this machine: choose fewer channels."
            ) from error
