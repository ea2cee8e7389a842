"""What tasks, losses, networks and inputs are: the contracts of the parts of one optimisation.

    min over theta of loss(task.forward(f_theta(z)), y)

The task owns the forward operator, so that degrading and fitting cannot disagree; the loss says what is minimised;
the network f_theta parametrises the picture; the input makes z. Each is chosen by name, like a criterion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

from esbench.errors import UsageError
from esbench.metrics import psnr
from esbench.observation import Observation
from esbench.pictures import Floats
from esbench.records import Range

if TYPE_CHECKING:
    import numpy as np
    import torch


class Task:
    """How a picture is observed. The methods of this class are those of an observation that is the picture and noise.

    Args:
        holdout: share of the observation's pixels, all their channels, that the loss does not see, so that criteria
            may.

    Attributes:
        grid: tiles of an observation begin at multiples of so many pixels.
    """

    grid = 1

    def __init__(self, *, holdout: Annotated[float, Range(0, 0.5)] = 0.0) -> None:
        self.holdout = holdout

    def degrade(
        self,
        clean: Floats,
        rng: np.random.Generator,
        noise: Callable[[Floats], Floats],
        companions: Mapping[str, Floats] | None = None,
    ) -> Observation:
        """Return what is observed of a clean picture (H, W, C) in [0, 1]; the benchmark alone calls it.

        Args:
            clean: the picture.
            rng: for what the task itself draws.
            noise: adds the noise of the unit to a picture of any size.
            companions: what the data set has beside the picture: `mask`, `guide`; None if it has nothing.

        Raises:
            UsageError: the task needs a companion that the data set does not have.
        """
        return Observation(noise(clean))

    def observe(self, y: Floats, *, mask: Any = None, guide: Any = None, file: bytes | None = None) -> Observation:
        """Return what a user has observed.

        Args:
            y: the picture that was handed in, (H, W, C) in [0, 1].
            mask: of the missing pixels, as it was handed in; None without one.
            guide: the picture that guides, as it was handed in; None without one.
            file: the content of the file that the picture was read from; None if it was an array.

        Raises:
            UsageError: one of them does not fit the task.
        """
        self.takes_no(mask=mask, guide=guide)
        return Observation(y)

    def takes_no(self, **given: Any) -> None:
        """Make sure that nothing was handed in that the task has no use for.

        Raises:
            UsageError: something was.
        """
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"The task {type(self).__name__.lower()!r} takes no {name}.")

    def window(self, observation: Observation, rows: slice, columns: slice) -> Observation:
        """Return a part of an observation that begins at multiples of `grid`."""
        return observation.window(rows, columns)

    def shape(self, observation: Observation) -> tuple[int, int, int]:
        """Return height, width and channels of the unknown picture."""
        h, w, c = observation.y.shape
        return h, w, c

    def forward(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
        """Return what would be observed of pictures (B, C, H, W), without noise; differentiable."""
        return x

    def distance(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
        """Return how far a picture (1, C, H, W) is from the observation: at least 0, the data term of every loss.

        It is the mean of (forward(x) - y)^2 over the elements that are known and not held out. Divergence, the loss
        of averages and what criteria are told as the loss all look at it, whatever is minimised.
        """
        return observation.mean((self.forward(x, observation) - observation.tensor("y", x)) ** 2)

    def guide(self, observation: Observation) -> Floats | None:
        """Return the picture (H, W, C) that `--input guide` gives the network, or None if there is none."""
        return None

    def score(self, x: Floats, clean: Floats, observation: Observation) -> float:
        """Return the task's customary number in dB for a picture (H, W, C) in [0, 1]."""
        return psnr(x, clean)

    def baseline(self, observation: Observation) -> Floats:
        """Return the picture that needs no optimisation: what a restoration has to be better than."""
        return observation.y

    def finish(self, x: Floats, observation: Observation) -> Floats:
        """Return what a user is given for an output: known pixels put back, for instance."""
        return x

    def idle(self, observation: Observation) -> bool:
        """Whether a part of an observation is left as `baseline` has it: there is nothing to restore it from, or to."""
        return False

    def upright(self, picture: Floats, observation: Observation) -> Floats:
        """Return a whole restored picture as it was handed in, if the task has turned it."""
        return picture


class Terms(NamedTuple):
    """What a loss gives.

    Attributes:
        total: what is minimised, of any sign.
        parts: what it was made of, recorded with each step under its name.
    """

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor] = {}


@dataclass
class Step:
    """One step of an optimisation before its update: what a loss minimises and a probe measures.

    Attributes:
        t: the step, from 0.
        f: the network: an input (1, D, H, W) to a picture (1, C, H, W) in float32.
        z: the input of this step, perturbed. A loss that perturbs it further replaces it before it looks at `x`.
        task: the task.
        observation: what was observed.
        generator: for what is drawn; a loss has that of the optimisation, a probe one of its own.
        memory: what the loss keeps from step to step; a part of checkpoints. Plain data and tensors.
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
        """Return what would be observed of a picture."""
        return self.task.forward(x, self.observation)


class Loss(Protocol):
    """What is minimised; the target of a `LossInfo` with its parameters decided."""

    def __call__(self, step: Step) -> Terms:
        """Return the terms of one step."""


class Regulariser(Protocol):
    """What is added to a loss; the target of a `RegulariserInfo` with its parameters decided."""

    def __call__(self, step: Step) -> torch.Tensor:
        """Return the term of one step."""


class Probe(Protocol):
    """What a criterion needs of the network itself, computed at the step that it belongs to.

    It does not change the trajectory: it has a generator of its own, no graph is kept, and the network's buffers are
    put back.
    """

    def __call__(self, step: Step) -> Mapping[str, float]:
        """Return numbers by name; the criterion finds them in `frame.probes`, the trace beside its values."""


class Network(Protocol):
    """What parametrises the picture: an `nn.Module` that is built as `target(inputs, outputs, **parameters)`."""

    def input_size(self, h: int, w: int) -> tuple[int, int]:
        """Return height and width of the z that gives a picture of h x w.

        It is called before the first forward pass: a network whose z is smaller than the picture crops its output to
        the size that was asked for last.
        """

    def unfit(self, h: int, w: int) -> str:
        """Return why it cannot make a picture of h x w, as the rest of a sentence; empty if it can.

        Example: "needs both sides to be at least 33: fewer scales do with less, as in 'skip[scales=3]'".
        """


@dataclass(frozen=True)
class Place:
    """Where an input is made.

    Attributes:
        size: height and width of z.
        observation: what was observed.
        task: the task.
        depth: the channels of z that the settings ask for.
        scale: of uniform noise.
        generator: for what is drawn, on the device.
        device: where z is.
    """

    size: tuple[int, int]
    observation: Observation
    task: Task
    depth: int
    scale: float
    generator: torch.Generator
    device: torch.device


class Input(Protocol):
    """What makes z."""

    def channels(self, depth: int, task: Task, observation: Observation) -> int:
        """Return the channels of z, where the settings ask for `depth`.

        Raises:
            UsageError: the task has no such input.
        """

    def __call__(self, place: Place) -> torch.Tensor:
        """Return z, (1, channels, *place.size)."""
