"""One restart of one tile: a session and the picture that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from esbench import device as devices
from esbench import seeds
from esbench.engine import build
from esbench.engine.settings import Settings
from esbench.errors import ParamError, PluginError, UnitError
from esbench.events import Event
from esbench.kinds import Task
from esbench.noise import clipped_variance, unexplained
from esbench.observation import Observation
from esbench.pictures import Floats, Pictures
from esbench.registry import registry
from esbench.restoration.options import SHORT, Options
from esbench.stopping.column import Column
from esbench.stopping.rule import Running


@dataclass(frozen=True)
class Optimised:
    """The result of one optimisation: one restart of one tile.

    Attributes:
        tile: its top, left, height and width in the restored picture.
        stop_step: the step whose average was taken.
        steps_run: the number of steps.
        stopped: whether the rule stopped it; if not, `stop_step` is where the criterion was lowest so far.
        reason: why it ended, in a sentence.
        values: the criterion at each step; NaN where it has no value.
        planned: whether it did the steps that its quality or its time plans for a loss that no criterion has to stop.
    """

    tile: tuple[int, int, int, int]
    stop_step: int
    steps_run: int
    stopped: bool
    reason: str
    values: list[float]
    planned: bool = False


@dataclass(frozen=True)
class Product:
    """What a piece has made so far.

    Attributes:
        picture: the restored tile, (H, W, C) in [0, 1].
        optimised: the result of its optimisation.
        ended: whether there is nothing left to do.
    """

    picture: Floats
    optimised: Optimised
    ended: bool


class Piece:
    """One optimisation: each iteration runs a block of steps.

    Args:
        name: its name in the events.
        task: the task that made the observation.
        observation: the observation of this tile.
        options: the options of the restoration.
        seed: the seed of all random numbers.
        emit: called with every event.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        observation: Observation,
        options: Options,
        seed: int,
        emit: Callable[[Event], None],
    ) -> None:
        # imported with PyTorch
        from esbench.average import Average
        from esbench.engine.session import Session

        self._task, self._whole = task, observation
        h, w, _ = self._shape = task.shape(observation)
        self._settings = options.settings(h * w)
        if why := build.levelless(registry().get("loss", self._settings.loss), observation):  # before it is padded
            raise ParamError(f"The loss {self._settings.loss!r} {why}.")
        observation = large_enough(self._settings, task, observation)
        self._observation = observation.holding_out(task.holdout or options.holdout)
        trajectory = build.trajectory(
            self._settings,
            task,
            self._observation,
            devices.named(options.device),
            network_seed=seeds.derive(seed, "network"),
            input_seed=seeds.derive(seed, "input"),
            average=Average(options.own.decay, unbiased=True),
        )
        problem = build.problem(self._settings.task, task, self._observation)
        self.column = Column(options.stops_by, problem, Running(options.window), keeps="average")
        self.session = Session(name, trajectory, [self.column], emit, live=True, seed=seeds.derive(seed, "probes"))
        self._plan, self._masks = options.plan(h * w), "masked" in options.loss_needs
        fast = replace(options, quality="fast", minutes=None).plan(h * w)
        self._enough = SHORT * min(filter(None, (self._plan, fast)), default=0)
        self.cut_off = False  # set by the caller that ends it early because its time is up
        self._given_up = ""

    def __iter__(self) -> Iterator[None]:
        import torch

        try:
            for _ in self.session:
                self._check()
                yield
            self._check()
        except (UnitError, PluginError) as error:  # it diverged repeatedly, or the criterion failed
            if self.column.best is None:
                raise
            self._given_up = str(error)
        except torch.OutOfMemoryError:
            h, w, _ = self._shape
            raise UnitError(
                f"The GPU does not have enough memory for {w} x {h} pixels: use --device cpu, a smaller picture or a "
                "smaller network such as 'skip[channels=32]'."
            ) from None

    def _check(self) -> None:
        """Raise PluginError if the criterion failed: no other one can stop the optimisation."""
        if self.column.failed:
            raise PluginError(self.column.failed)

    @property
    def step(self) -> int:
        """The number of steps done."""
        return self.session.step

    def picture(self) -> Floats:
        """Return the averaged output of the best step, (H, W, C) in [0, 1].

        If the rule has not stopped the optimisation, the network may not have learned the whole picture yet, and the
        residual is more than the noise. Then the share of the residual is added back that minimises the expected error
        if noise and missing detail are uncorrelated: the result is never worse than the noisy picture.
        """
        x = self._averaged_output()
        if share := self._put_back(x):
            x = x + np.float32(share) * (self._whole.y - x)
        return self._task.finish(x, self._whole)

    def product(self, top: int, left: int) -> Product | None:
        """Return what it has made, for a tile at (top, left) of the restored picture; None before the first step."""
        return Product(self.picture(), self._optimised(top, left), self.session.ended) if self.step else None

    def _optimised(self, top: int, left: int) -> Optimised:
        rule = self.column.rule
        return Optimised(
            tile=(top, left, *self._shape[:2]),
            stop_step=rule.step if rule.best_step is None else rule.best_step,
            steps_run=self.step,
            stopped=rule.stop is not None,
            reason=self._reason(),
            values=list(self.column.values),
            planned=self._planned,
        )

    @property
    def _planned(self) -> bool:
        """Whether it did most steps of a loss that no criterion has to stop, and ended by itself or with its time."""
        ended = self.session.complete or self.cut_off
        return self._plan is not None and ended and self.step >= self._enough

    @property
    def _sees_itself(self) -> bool:
        """Whether the observation is the whole picture plus noise."""
        noisy = self._whole.noise.kind != "none"
        return noisy and self._whole.known is None and type(self._task).forward is Task.forward

    def _averaged_output(self) -> Floats:
        h, w, _ = self._shape
        best = self.session.trajectory.average.value[0] if self.column.best is None else self.column.best
        picture: Floats = Pictures(best[None]).float[0][:h, :w]
        return picture

    def _put_back(self, x: Floats) -> float:
        """Return the share of y - x to add back: what noise does not explain."""
        sigma = self._whole.noise.sigma
        if self.column.rule.stop is not None:
            return 0.0
        if sigma is None or not self._sees_itself:
            return self._task.lacking(x, self._whole)
        return unexplained(x - self._whole.y, clipped_variance(self._whole.y, sigma))

    def _reason(self) -> str:
        rule, text = self.column.rule, self.column.sentence
        if rule.stop is not None:
            return text
        if self._planned:
            why = "needs no stop" if self._masks else "learns the noise late"
            text = f"the loss {self._settings.loss!r} {why}"
            text = f"all {self.step} steps done, {'for its time' if self.cut_off else 'as planned'}: {text}"
        elif self._plan is not None:
            text = f"{self.step} steps done of about {self._plan}: more may do better"
        elif rule.best_step is None:
            text += ": the last average was taken"
        if (share := self._put_back(self._averaged_output())) >= 0.005:
            text += f", and {share:.0%} of the residual, more than noise explains, was added back"
        if self._given_up:
            return f"given up: {self._given_up.rstrip('.')}; {text}"
        if not self.session.complete and not self._planned:
            return f"{'time is up' if self.cut_off else 'interrupted'}: {text}"
        return text if rule.best_step is None else f"{text}; more iterations may do better"


def large_enough(settings: Settings, task: Task, observation: Observation) -> Observation:
    """Return the observation, padded by reflection at the right and lower edge to a size that the network can make.

    Raises:
        UsageError: the network can make no such picture at any size.
    """
    import torch

    with torch.device("meta"):
        f = build.untrained(settings.network, 1, 1, 0)
    h, w = observation.y.shape[:2]
    side = 1
    while f.unfit(*task.shape(padded := observation.padded(max(h, side), max(w, side)))[:2]):
        side += 1
        if side > LARGEST:
            build.network(settings.network, 1, task.shape(observation), 0)  # raises with the reason
    return padded


#: The largest side that `large_enough` tries.
LARGEST = 2048
