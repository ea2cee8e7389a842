"""The Deep Image Prior: min over theta of loss(task.forward(f_theta(z)), y), and the outputs of all steps.

The loop knows nothing of criteria. It yields blocks of frames; others measure, stop, draw and save.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from esbench import torch_state
from esbench.average import Average
from esbench.engine.adam import Adam
from esbench.engine.settings import Settings
from esbench.errors import UnitError
from esbench.frames import Block
from esbench.kinds import Loss, Step, Task
from esbench.observation import Observation
from esbench.pictures import Pictures

#: A fall of the PSNR to the observation by more than this undoes the steps since the last good state.
FALL_DB = 5.0

#: Steps between two kept states, and how often an optimisation may go back to one before it fails.
KEEP_EVERY = 100
RESTORES = 10


#: An output, its data term and the other terms by name.
Made: TypeAlias = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]

#: Called before the update of each step, to inspect the network.
Inspect: TypeAlias = Callable[[Step], None]


@dataclass(frozen=True)
class Fit:
    """The objective.

    Attributes:
        task: compares an output with the observation.
        observation: the observation.
        loss: maps a step to its terms.
        captured: whether a step of the loss may be captured as a graph.
    """

    task: Task
    observation: Observation
    loss: Loss
    captured: bool = False


class Trajectory:
    """One optimisation: an iterator of blocks of frames.

    Args:
        fit: the objective.
        network: f_theta, already initialised, on the device of the optimisation.
        z: its input, on the same device.
        generator: draws the perturbations and the random numbers of the loss, on the same device.
        settings: the numbers.
        average: the average of the outputs; None for the plain one.
    """

    def __init__(
        self,
        fit: Fit,
        network: torch.nn.Module,
        z: torch.Tensor,
        generator: torch.Generator,
        settings: Settings,
        average: Average | None = None,
    ) -> None:
        self.fit, self.f, self.z, self.settings = fit, network.train(), z, settings
        self.generator = generator
        self.optimiser = Adam(self.f.parameters(), settings.learning_rate)
        self.average = Average() if average is None else average
        self.t = 0
        self.restored: list[int] = []  # the steps at which it went back to a good state
        self.memory: dict[str, Any] = {}  # of the loss
        self.look: Inspect | None = None
        self._level = -math.inf  # the last good PSNR to the observation, up to a constant
        self._good: dict[str, Any] = {}
        # On a CPU a step is long and a block only adds delay; on a GPU it saves waiting for the device.
        self.block = 1 if z.device.type == "cpu" else 20

    def __iter__(self) -> Iterator[Block]:
        while self.t < self.settings.iterations:
            with torch_state.plain():
                block = self._steps(min(self.block, self.settings.iterations - self.t))
            yield block

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on, except what follows from the seed."""
        return self._state() | {
            "generator": self.generator.get_state(),
            "average": self.average.state_dict(),
            "memory": dict(self.memory),
            "t": self.t,
            "restored": list(self.restored),
            "level": self._level,
            "good": self._good,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another trajectory of the same task, network, settings and seed, to the bit."""
        self.f.load_state_dict(state["f"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.generator.set_state(state["generator"])
        self.average.load_state_dict(state["average"])
        self.memory = dict(state["memory"])
        self.t, self.restored = state["t"], list(state["restored"])
        self._level, self._good = state["level"], state["good"]

    def _steps(self, n: int) -> Block:
        state = self._state() if self.t % KEEP_EVERY < self.block else None
        if not self._good:
            self._good = self._state()
        outputs, averages, steps = [], [], []
        for t in range(self.t, self.t + n):
            z = self._perturbed()
            if self.look is not None:
                self.look(self._step(t, z))
            x, data, parts = self._update(t, z)
            average = self.average.update(x)
            outputs.append(x)
            averages.append(average)
            # read them together, so that a block waits for the device only once
            steps.append(torch.stack([data, self._distance(average), *parts.values()]))
        first, self.t = self.t, self.t + n
        losses, average_losses, *others = torch.stack(steps, 1).tolist()
        restored = self._check(first, losses)
        if state is not None and not restored:
            self._good = state  # only now: a state is good if the outputs after it are
        return Block(
            first,
            losses=losses,
            average_losses=average_losses,
            outputs=Pictures(torch.cat(outputs)),
            averages=Pictures(torch.cat(averages)),
            restored=restored,
            parts=dict(zip(parts, others, strict=True)),
        )

    def _perturbed(self) -> torch.Tensor:
        """Return the input of the next step: z with fresh noise."""
        return self.z + self.settings.perturbation * torch.empty_like(self.z).normal_(generator=self.generator)

    def _output(self, z: torch.Tensor) -> torch.Tensor:
        """Return f(z), in float32."""
        halves = self.settings.precision == "bfloat16"
        # within another autocast, a cache would keep the rounded weights of the first step
        with torch.autocast(z.device.type, torch.bfloat16, halves, cache_enabled=False):
            return self.f(z).float()  # type: ignore[no-any-return]

    def _step(self, t: int, z: torch.Tensor) -> Step:
        return Step(t, self._output, z, self.fit.task, self.fit.observation, self.generator, self.memory)

    def _distance(self, x: torch.Tensor) -> torch.Tensor:
        """Return the data term of a picture, without a gradient."""
        with torch.no_grad():
            return self.fit.task.distance(x, self.fit.observation)

    def _update(self, t: int, z: torch.Tensor) -> Made:
        """Update for an input, and return the output and its terms from before the update."""
        step = self._step(t, z)
        total, parts = self.fit.loss(step)
        self.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        recorded = parts if total is step.data else {"total": total, **parts}
        return step.x.detach(), step.data.detach(), {name: part.detach() for name, part in recorded.items()}

    def _check(self, first: int, losses: list[float]) -> tuple[int, ...]:
        """Go back to the last good state if the loss of a step is not finite or its PSNR fell by over FALL_DB."""
        for i, loss in enumerate(losses):
            level = -10 * math.log10(loss) if loss > 0 else math.inf if loss == 0 else math.nan
            if not level >= self._level - FALL_DB:
                step = first + i
                self.restored.append(step)
                if len(self.restored) > RESTORES:
                    raise UnitError(
                        f"The optimisation diverged {len(self.restored)} times, last at step {step} (loss {loss:.3g}); "
                        "if they can be chosen, a smaller learning rate or float32 may help."
                    )
                self._restore()
                return (step,)
            self._level = level
        return ()

    def _state(self) -> dict[str, Any]:
        """Return a copy of what an update changes: weights, buffers and the optimiser's moments."""
        return copy.deepcopy({"f": self.f.state_dict(), "optimiser": self.optimiser.state_dict()})

    def _restore(self) -> None:
        # The perturbations are not restored: the same ones would lead to the same divergence.
        self.f.load_state_dict(self._good["f"])
        self.optimiser.load_state_dict(copy.deepcopy(self._good["optimiser"]))
        self.average.restore()
        self._level = -math.inf
