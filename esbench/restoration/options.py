"""How a picture is restored."""

from __future__ import annotations

import math
from dataclasses import dataclass

from esbench import device as devices
from esbench.engine import build
from esbench.engine.settings import Settings
from esbench.errors import UsageError
from esbench.records import CriterionInfo, LossInfo, TaskInfo
from esbench.registry import own_network, registry

#: The share of the pixels that the loss does not see, for a criterion that looks at such.
HOLDOUT = 0.02

#: Half the papers' channels: a step takes a quarter of the time, and the averaged output is as good (docs/denoise.md).
NETWORK = "skip[channels=64]"

#: T and S of this command. The averaged output of 96 x 96 pixels is best after some 300 steps at sigma 50, 550 at 25
#: and 1,000 at 15, that of 256 x 256 at 25 after 1,700: T is for pictures up to 128 x 128, and grows with the side of
#: larger ones. The curve of the averages is smooth: on BSD400 a patience of 100 stopped where 300 did. The papers'
#: 20,000 and 1,000 are for the outputs themselves.
ITERATIONS = 1800
PATIENCE = 100

#: Optimisations whose average is delivered, by quality.
RESTARTS = {"fast": 1, "best": 4}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a picture is restored.

    Attributes:
        task: what was observed.
        criterion: what it stops by: `name` or `name[key=value]`; None for the task's own.
        sigma: the noise level on the 0-255 scale, if it is known; else it is estimated, if the task has noise.
        quality: `fast`, one optimisation, or `best`, the average of four.
        network: what parametrises the picture; None for the loss's or task's own, or `NETWORK`.
        loss: what is minimised; None for the task's own.
        regulariser: what is added to the loss; None for nothing.
        input: what the network is given; None for the loss's, task's or network's own.
        input_scale: z is uniform in [0, input_scale].
        learning_rate: of Adam; None for the loss's, task's or network's own.
        depth: channels of the network's input; None for the network's own.
        perturbation: of the input; None for the loss's, task's or network's own.
        device: auto, cpu, cuda or cuda:N.
        seed: of the network's weights, its input and the perturbations.
        iterations: T, the most steps of an optimisation; None for `ITERATIONS`, and more for a large picture.
        patience: S, the steps that must pass without a better value.

    Raises:
        UsageError: a name or a number does not fit.
    """

    task: str = "denoise"
    criterion: str | None = None
    sigma: float | None = None
    quality: str = "fast"
    network: str | None = None
    loss: str | None = None
    regulariser: str | None = None
    input: str | None = None
    input_scale: float = Settings.input_scale
    learning_rate: float | None = None
    depth: int | None = None
    perturbation: float | None = None
    device: str = "auto"
    seed: int = 0
    iterations: int | None = None
    patience: int = PATIENCE

    def __post_init__(self) -> None:
        info = registry().get("criterion", self.stops_by).info
        assert isinstance(info, CriterionInfo)
        for need in info.needs:
            if need == "network":
                raise UsageError(f"{self.stops_by!r} needs the network, which is not available when restoring.")
        if "observation" in info.needs and self.settings(1).input != "observation":
            raise UsageError(
                f"{self.stops_by!r} needs a network that is given the observation itself: choose the input "
                "'observation' without perturbation, or a loss such as 'sure'."
            )
        build.settings(self.task, self.made_by)
        devices.named(self.device)
        if self.quality not in RESTARTS:
            raise UsageError(f"quality must be {' or '.join(RESTARTS)}, got {self.quality!r}.")
        lowest = {"sigma": 0, "iterations": 1, "patience": 0, "input_scale": 0}
        for name, low in (lowest | {"learning_rate": 0, "depth": 1, "perturbation": 0}).items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise UsageError(f"{name} must be at least {low}, got {value}.")

    @property
    def restarts(self) -> int:
        """How many optimisations of a tile are averaged."""
        return RESTARTS[self.quality]

    @property
    def stops_by(self) -> str:
        """The criterion as text."""
        return self._task().criterion if self.criterion is None else self.criterion

    @property
    def made_by(self) -> str:
        """The network as text."""
        return self.network or own_network(self.task, self.loss) or NETWORK

    @property
    def loss_needs(self) -> tuple[str, ...]:
        """What the loss cannot do without."""
        info = registry().get("loss", self.loss or self._task().loss).info
        assert isinstance(info, LossInfo)
        return info.needs

    @property
    def has_noise(self) -> bool:
        """Whether an observation of the task has noise in it, as far as anybody can tell."""
        return self._task().noise != "none"

    @property
    def holdout(self) -> float:
        """The share of the pixels that is kept out of the loss if the task does not say it."""
        info = registry().get("criterion", self.stops_by).info
        return HOLDOUT if "holdout" in getattr(info, "needs", ()) else 0.0

    def steps(self, pixels: int) -> int:
        """Return the most steps of an optimisation of so many pixels."""
        return self.iterations or round(ITERATIONS * max(1.0, math.sqrt(pixels) / 128))

    def settings(self, pixels: int) -> Settings:
        """Return how a picture of so many pixels is optimised."""
        return build.settings(
            self.task,
            self.made_by,
            loss=self.loss,
            regulariser=self.regulariser,
            input=self.input,
            input_scale=self.input_scale,
            learning_rate=self.learning_rate,
            depth=self.depth,
            perturbation=self.perturbation,
            iterations=self.steps(pixels),
        )

    def _task(self) -> TaskInfo:
        info = registry().get("task", self.task).info
        assert isinstance(info, TaskInfo)
        return info
