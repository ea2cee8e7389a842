"""The input and output of a criterion: frames and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from esbench.observation import Problem
from esbench.pictures import Guarded, Picture, Pictures


class Frame(Picture):
    """The input of a criterion at one step. The clean picture is not part of it.

    Attributes:
        step: the step, from 0.
        loss: the loss of this output, or None outside an optimisation.
        problem: the noisy picture and what is known of it.
        average: the exponentially averaged output, itself a Frame; None if there is none.
        probes: what the criterion's probe measured of the network at this step, by name; empty without one.
    """

    def __init__(
        self,
        pictures: Pictures,
        index: int = 0,
        *,
        step: int = 0,
        loss: float | None = None,
        problem: Problem | None = None,
        average: Frame | None = None,
        probes: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(pictures, index)
        self.step, self.loss, self.average, self.probes = step, loss, average, probes or {}
        self.problem = Problem() if problem is None else problem


@dataclass(frozen=True)
class Block:
    """Consecutive steps of one optimisation; the pictures stay on the device until they are used.

    Attributes:
        first: the step of the first frame.
        losses: the data term of each step: how far its output is from the observation.
        average_losses: the losses of the averaged outputs.
        outputs: one output per step, each from before its step's update.
        averages: the exponentially averaged outputs.
        restored: the steps of this block after which the optimisation went back to an earlier state.
        parts: `total` and the parts of the loss, by name, if the data term is not all that was minimised.
    """

    first: int
    losses: Sequence[float]
    average_losses: Sequence[float]
    outputs: Pictures
    averages: Pictures
    restored: tuple[int, ...] = ()
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.losses)

    def guarded(self) -> Block:
        """Return the same block for third-party code, which may write to its tensors without an effect on others."""
        return replace(self, outputs=Guarded(self.outputs), averages=Guarded(self.averages))

    def frames(
        self, problem: Problem, probes: Mapping[int, Mapping[str, float]] = MappingProxyType({})
    ) -> Iterator[Frame]:
        """Yield the frames in order, each with its averaged frame and what a probe measured at its step."""
        for i, (loss, average_loss) in enumerate(zip(self.losses, self.average_losses, strict=True)):
            t = self.first + i
            average = Frame(self.averages, i, step=t, loss=average_loss, problem=problem, probes=probes.get(t))
            yield Frame(self.outputs, i, step=t, loss=loss, problem=problem, average=average, probes=probes.get(t))


@dataclass(frozen=True)
class Value:
    """A criterion's value of a frame, with parts or a reason.

    Attributes:
        value: the number, lower is better; None if there is none.
        parts: the parts of the number, recorded with it (`bytes` for CIFS).
        reason: why there is no number.
    """

    value: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
