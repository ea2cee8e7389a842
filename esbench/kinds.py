"""The interfaces of the parts of an optimisation: tasks, losses, networks and inputs.

    min over theta of loss(task.forward(f_theta(z)), y)

The task defines the forward operator, which degrading and fitting share; the loss is minimised; the network f_theta
parametrises the picture; the input makes z. Each is chosen by name, like a criterion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias

from esbench.errors import UsageError
from esbench.metrics import psnr
from esbench.observation import Observation
from esbench.pictures import Floats
from esbench.records import Range

if TYPE_CHECKING:
    import numpy as np
    import torch

#: Adds the noise of a unit to a picture (H, W, C) of any size.
AddNoise: TypeAlias = Callable[[Floats], Floats]

#: Further arrays that a dataset has for a picture, by name.
Companions: TypeAlias = Mapping[str, Floats]


class Task:
    """An inverse problem. The base class is denoising: the observation is the picture plus noise.

    Args:
        holdout: the share of the observation's pixels (in all channels) excluded from the loss, for criteria to use.

    Attributes:
        grid: tiles of an observation start at multiples of this many pixels.
        takes_grey: whether a picture whose channels are equal may be restored as one channel.
    """

    grid = 1
    takes_grey = True

    def __init__(self, *, holdout: Annotated[float, Range(0, 0.5)] = 0.0) -> None:
        self.holdout = holdout

    def degrade(self, clean: Floats, rng: np.random.Generator, noise: AddNoise, companions: Companions) -> Observation:
        """Return an observation of a clean picture (H, W, C) in [0, 1]; only the benchmark calls this.

        Args:
            clean: the picture.
            rng: the generator for random parts of the task.
            noise: adds the noise of the unit to a picture of any size.
            companions: further arrays that the dataset has for the picture, such as `mask` or `guide`; empty without
                any.

        Raises:
            UsageError: the task needs a companion that the dataset does not have.
        """
        return Observation(noise(clean))

    def observe(self, y: Floats, *, mask: Any = None, guide: Any = None, file: bytes | None = None) -> Observation:
        """Return a user's observation.

        Args:
            y: the user's picture, (H, W, C) in [0, 1].
            mask: the user's mask of the missing pixels; None without one.
            guide: the user's guide; None without one.
            file: the content of the file that the picture was read from; None if it was an array.

        Raises:
            UsageError: one of them does not fit the task.
        """
        self.takes_no(mask=mask, guide=guide)
        return Observation(y)

    def level(self, observation: Observation) -> float | None:
        """Return the noise level of an observation, 0-255 scale, if a task without noise of its own finds some."""
        return None

    def takes_no(self, **given: Any) -> None:
        """Refuse arguments that the task does not take.

        Raises:
            UsageError: one of them is not None.
        """
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"The task {type(self).__name__.lower()!r} takes no {name}.")

    def window(self, observation: Observation, rows: slice, columns: slice) -> Observation:
        """Return a part of an observation that starts at multiples of `grid`."""
        return observation.window(rows, columns)

    def shape(self, observation: Observation) -> tuple[int, int, int]:
        """Return height, width and channels of the unknown picture."""
        h, w, c = observation.y.shape
        return h, w, c

    def forward(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
        """Return the noise-free observation of pictures (B, C, H, W); differentiable."""
        return x

    def distance(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
        """Return the distance of a picture (1, C, H, W) from the observation: at least 0, the data term of every loss.

        It is the mean of (forward(x) - y)^2 over the elements that are known and not held out. The check for
        divergence, the loss of averages and the loss given to criteria all use it, whichever loss is minimised.
        """
        return observation.mean((self.forward(x, observation) - observation.tensor("y", x)) ** 2)

    def outside(self, x: torch.Tensor, observation: Observation) -> float:
        """Return the share of what is known as ranges that a picture (1, C, H, W) is outside of.

        Only a task that knows such ranges has it, for the criterion `interval`.
        """
        raise NotImplementedError

    def guide(self, observation: Observation) -> Floats | None:
        """Return the picture (H, W, C) that is the network's input with `--input guide`, or None without one."""
        return None

    def score(self, x: Floats, clean: Floats, observation: Observation) -> float:
        """Return the task's usual score in dB of a picture (H, W, C) in [0, 1]."""
        return psnr(x, clean)

    def baseline(self, observation: Observation) -> Floats:
        """Return a restoration without optimisation, which a good one has to surpass."""
        return observation.y

    def lacking(self, x: Floats, observation: Observation) -> float:
        """Return the share of `y - x` to add to an output that was not stopped, before `finish`."""
        return 0.0

    def finish(self, x: Floats, observation: Observation) -> Floats:
        """Return the final picture for an output, for example with the known pixels put back."""
        return x

    def idle(self, observation: Observation) -> bool:
        """Return whether a part of an observation needs no optimisation, so that `baseline` is its result."""
        return False

    def upright(self, picture: Floats, observation: Observation) -> Floats:
        """Return a restored picture in the orientation of the user's, if the task rotated it."""
        return picture


class Terms(NamedTuple):
    """The value of a loss.

    Attributes:
        total: the value to minimise, of any sign.
        parts: its terms by name, recorded with each step.
    """

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor] = {}


@dataclass
class Step:
    """One step of an optimisation before its update, as given to losses and probes.

    Attributes:
        t: the step, from 0.
        f: the network, which maps an input (1, D, H, W) to a picture (1, C, H, W) in float32.
        z: the perturbed input of this step. A loss that perturbs it further replaces it before it reads `x`.
        task: the task.
        observation: the observation.
        generator: the generator of random numbers: a loss shares that of the optimisation, a probe has its own.
        memory: the state that the loss keeps between steps, saved in checkpoints. Plain data and tensors.
    """

    t: int
    f: Callable[[torch.Tensor], torch.Tensor]
    z: torch.Tensor
    task: Task
    observation: Observation
    generator: torch.Generator
    memory: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def x(self) -> torch.Tensor:
        """The output f(z), (1, C, H, W)."""
        return self.f(self.z)

    @cached_property
    def y(self) -> torch.Tensor:
        """The observation, (1, C, H, W)."""
        return self.observation.tensor("y", self.x)

    @cached_property
    def data(self) -> torch.Tensor:
        """The data term of the output: `task.distance`."""
        return self.task.distance(self.x, self.observation)

    def observed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the noise-free observation of a picture."""
        return self.task.forward(x, self.observation)


class Loss(Protocol):
    """A loss to minimise: the target of a `LossInfo` with its parameters set."""

    def __call__(self, step: Step) -> Terms:
        """Return the terms of one step."""


class Regulariser(Protocol):
    """A term added to a loss: the target of a `RegulariserInfo` with its parameters set."""

    def __call__(self, step: Step) -> torch.Tensor:
        """Return the term of one step."""


class Probe(Protocol):
    """A measurement of the network itself that a criterion needs, computed at its step.

    It does not change the trajectory: it has its own generator, no graph is kept, and the network's buffers are
    restored.
    """

    def __call__(self, step: Step) -> Mapping[str, float]:
        """Return numbers by name, for the criterion (`frame.probes`) and the trace."""


class Network(Protocol):
    """A network that parametrises the picture: an `nn.Module`, built as `target(inputs, outputs, **parameters)`."""

    def input_size(self, h: int, w: int) -> tuple[int, int]:
        """Return height and width of z for a picture of h x w.

        This is called before the first forward pass: a network whose z is smaller than the picture crops its output
        to the size requested last.
        """

    def unfit(self, h: int, w: int) -> str:
        """Return why it cannot make a picture of h x w, as the rest of a sentence; empty if it can.

        Example: "needs both sides to be at least 33: fewer scales do with less, as in 'skip[scales=3]'".
        """


@dataclass(frozen=True)
class Place:
    """The arguments of an input.

    Attributes:
        size: height and width of z.
        observation: the observation.
        task: the task.
        depth: the channels of z that the settings request.
        scale: the upper bound of uniform noise.
        generator: the generator of random numbers, on the device.
        device: the device of z.
    """

    size: tuple[int, int]
    observation: Observation
    task: Task
    depth: int
    scale: float
    generator: torch.Generator
    device: torch.device


class Input(Protocol):
    """An input of the network, which makes z."""

    def channels(self, depth: int, task: Task, observation: Observation) -> int:
        """Return the channels of z, if the settings request `depth`.

        Raises:
            UsageError: the task has no such input.
        """

    def __call__(self, place: Place) -> torch.Tensor:
        """Return z, (1, channels, *place.size)."""


#: The noise level of a baseline, on the 0-255 scale: `auto` is estimated from the picture, `told` is that of the unit.
#: The function of a baseline gets a number.
NoiseLevel: TypeAlias = Annotated[float | Literal["auto", "told"], Range(0)]


class Baseline(Protocol):
    """A denoiser that needs no stopping."""

    def __call__(self, y: Floats, generator: torch.Generator, **params: Any) -> Floats:
        """Return the picture without its noise.

        Args:
            y: the picture plus noise, float32 (H, W, C) in [0, 1].
            generator: draws random numbers, on the device of the computation.
            params: by name, `sigma` as a number.
        """
