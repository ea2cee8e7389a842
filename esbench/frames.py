"""What a criterion sees of a step, and what it says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from esbench.observation import Problem
from esbench.pictures import Lent, Picture, Pictures


class Frame(Picture):
    """What a criterion sees of one step. The clean image is not part of it.

    Attributes:
        step: the step, from 0.
        loss: the loss of this output, or None outside an optimisation.
        problem: the noisy picture and what is known of it.
        average: the exponentially averaged output, itself a Frame; None where there is none.
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
    ) -> None:
        super().__init__(pictures, index)
        self.step, self.loss, self.average = step, loss, average
        self.problem = Problem() if problem is None else problem


@dataclass(frozen=True)
class Block:
    """Consecutive steps of one optimisation; the pictures stay on the device until somebody looks.

    Attributes:
        first: the step of the first frame.
        losses: one loss a step.
        average_losses: the losses of the averaged outputs.
        outputs: one output a step, each from before its step's update.
        averages: the exponentially averaged outputs.
        restored: the steps of this block after which the optimisation went back to an earlier state.
    """

    first: int
    losses: Sequence[float]
    average_losses: Sequence[float]
    outputs: Pictures
    averages: Pictures
    restored: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.losses)

    def lent(self) -> Block:
        """Return the same block for a stranger, who may write to its tensors and spoils nothing for others."""
        return replace(self, outputs=Lent(self.outputs), averages=Lent(self.averages))

    def frames(self, problem: Problem) -> Iterator[Frame]:
        """Give the frames in order, each with its averaged frame."""
        for i, (loss, average_loss) in enumerate(zip(self.losses, self.average_losses, strict=True)):
            average = Frame(self.averages, i, step=self.first + i, loss=average_loss, problem=problem)
            yield Frame(self.outputs, i, step=self.first + i, loss=loss, problem=problem, average=average)


@dataclass(frozen=True)
class Value:
    """What a criterion made of a frame, when a plain float does not say it all.

    Attributes:
        value: the number, lower is better; None where there is none.
        parts: what the number was made of, recorded beside it (`bytes` for CIFS).
        reason: why there is no number.
    """

    value: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
