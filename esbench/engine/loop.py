"""The Deep Image Prior: min over theta of || f_theta(z) - y ||^2, and what the network gives on the way.

The loop knows nothing of criteria. It yields blocks of frames; who measures, stops, draws or saves is not its business.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from esbench.engine.settings import Settings
from esbench.errors import UnitError
from esbench.frames import Block
from esbench.pictures import Pictures

#: A fall of the PSNR to the observation by more than this undoes the steps since the last good state.
FALL_DB = 5.0

#: How often a state to go back to is kept, in steps, and how often an optimisation may go back before it is given up.
KEEP_EVERY = 100
RESTORES = 10


class Task(Protocol):
    """What is optimised: shape and device of the unknown picture, and the loss of one."""

    y: torch.Tensor

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Return the loss of an output (1, C, H, W), to be minimised."""


class Trajectory:
    """One optimisation: an iterator of blocks of frames.

    Args:
        task: gives the loss; `task.y` is the observation, (1, C, H, W) on the device where all of it happens.
        network: f_theta, already initialised, on the same device.
        settings: the numbers.
        seed: of z and its perturbations.
    """

    def __init__(self, task: Task, network: torch.nn.Module, settings: Settings, seed: int) -> None:
        self.task, self.f, self.settings = task, network.train(), settings
        device = task.y.device
        self.generator = torch.Generator(device).manual_seed(seed)
        shape = (1, settings.depth, *task.y.shape[-2:])
        self.z = torch.rand(shape, generator=self.generator, device=device) * settings.input_scale
        self.optimiser = torch.optim.Adam(self.f.parameters(), lr=settings.learning_rate)
        self.average: torch.Tensor | None = None
        self.t = 0
        self.restored: list[int] = []  # the steps whose update, and those before it up to a good state, were undone
        self._level = -math.inf  # PSNR to the observation when last seen well, up to a constant
        self._good: dict[str, Any] = {}
        # On a CPU a step is long and a block would only delay; on a GPU it saves waiting for the device.
        self.block = 1 if device.type == "cpu" else 20

    def __iter__(self) -> Iterator[Block]:
        while self.t < self.settings.iterations:
            # on a GPU: the same algorithms each time, and float32 means float32
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                block = self._steps(min(self.block, self.settings.iterations - self.t))
            yield block

    def state_dict(self) -> dict[str, Any]:
        """Return all that the coming steps depend on; what the seed gives again is left out."""
        return self._state() | {
            "generator": self.generator.get_state(),
            "average": self.average,
            "t": self.t,
            "restored": list(self.restored),
            "level": self._level,
            "good": self._good,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another trajectory of the same task, network, settings and seed left off, to the bit."""
        self.f.load_state_dict(state["f"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.generator.set_state(state["generator"])
        self.average, self.t, self.restored = state["average"], state["t"], list(state["restored"])
        self._level, self._good = state["level"], state["good"]

    def _steps(self, n: int) -> Block:
        state = self._state() if self.t % KEEP_EVERY < self.block else None
        if not self._good:
            self._good = self._state()
        outputs, averages, losses, average_losses = [], [], [], []
        decay = self.settings.decay
        for _ in range(n):
            x, loss = self._update(self._perturbed())
            self.average = x if self.average is None else decay * self.average + (1 - decay) * x
            outputs.append(x)
            averages.append(self.average)
            losses.append(loss)
            average_losses.append(self.task.loss(self.average))
        first, self.t = self.t, self.t + n
        seen = torch.stack([torch.stack(losses), torch.stack(average_losses)]).tolist()  # the one wait in a block
        restored = self._check(first, seen[0])
        if state is not None and not restored:
            self._good = state  # only now: a state is as good as the outputs that it led to
        return Block(
            first,
            losses=seen[0],
            average_losses=seen[1],
            outputs=Pictures(torch.cat(outputs)),
            averages=Pictures(torch.cat(averages)),
            restored=restored,
        )

    def _perturbed(self) -> torch.Tensor:
        """Return the input of the next step: z with fresh noise."""
        return self.z + self.settings.perturbation * torch.empty_like(self.z).normal_(generator=self.generator)

    def _update(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Make an update for an input, and return the output and its loss from before it."""
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            x = self.f(z).float()
        loss = self.task.loss(x)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return x.detach(), loss.detach()

    def _check(self, first: int, losses: list[float]) -> tuple[int, ...]:
        """Go back to the last good state when the loss of a step is not finite or its PSNR fell by over FALL_DB."""
        for i, loss in enumerate(losses):
            level = -10 * math.log10(loss) if loss > 0 else math.inf if loss == 0 else math.nan
            if not level >= self._level - FALL_DB:
                step = first + i
                self.restored.append(step)
                if len(self.restored) > RESTORES:
                    raise UnitError(
                        f"The optimisation diverged {len(self.restored)} times, last at step {step} (loss {loss:.3g}); "
                        "where they can be chosen, a smaller learning rate or float32 may help."
                    )
                self._restore()
                return (step,)
            self._level = level
        return ()

    def _state(self) -> dict[str, Any]:
        """Return a copy of what an update changes: weights, buffers and the optimiser's moments."""
        return copy.deepcopy({"f": self.f.state_dict(), "optimiser": self.optimiser.state_dict()})

    def _restore(self) -> None:
        # The perturbations are not taken back: the same ones would lead to the same place.
        self.f.load_state_dict(self._good["f"])
        self.optimiser.load_state_dict(copy.deepcopy(self._good["optimiser"]))
        if self.average is not None and not self.average.isfinite().all():
            self.average = None
        self._level = -math.inf
