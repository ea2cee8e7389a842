"""Options of a restoration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from esbench import device as devices
from esbench.engine import build
from esbench.engine.settings import LOWEST, Settings, given
from esbench.errors import UsageError
from esbench.recommendation import recommended
from esbench.records import CriterionInfo, LossInfo, TaskInfo
from esbench.registry import own_network, registry

#: The share of pixels excluded from the loss, for a criterion that needs held-out pixels.
HOLDOUT = 0.02

#: Half the channels of the papers: a step takes a quarter of the time, the averaged output is as good
#: (docs/denoise.md).
NETWORK = "skip[channels=64]"

#: Default T and S. The averaged output of 96 x 96 pixels is best after about 300 steps at sigma 50, 550 at 25 and 1,000
#: at 15; that of 256 x 256 pixels at 25 after 1,700. So T is for pictures up to 128 x 128 and grows with the side of
#: larger ones. The curve of the averages is smooth: on BSD400 a patience of 100 stopped at the same steps as 300. The
#: 20,000 and 1,000 of the papers are for outputs that are not averaged.
ITERATIONS = 1800
PATIENCE = 100

#: How many optimisations are averaged, by quality.
RESTARTS = {"fast": 1, "best": 4}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a restoration.

    Attributes:
        task: the task that made the observation.
        criterion: the criterion to stop by: `name` or `name[key=value]`; None for the task's default.
        sigma: the noise level on the 0-255 scale; None to estimate it, if the task has noise.
        quality: `fast`, one optimisation, or `best`, the average of four.
        network: the network that parametrises the picture; None for the loss's or task's default, or `NETWORK`.
        loss: the loss to minimise; None for the task's default.
        regulariser: a term added to the loss; None for nothing.
        input: the input of the network; None for the loss's, task's or network's default.
        input_scale: z is uniform in [0, input_scale].
        learning_rate: the learning rate of Adam; None for the loss's, task's or network's default.
        depth: channels of the network's input; None for the network's default.
        perturbation: noise added to the input at each step; None for the loss's, task's or network's default.
        device: auto, cpu, cuda or cuda:N.
        seed: the seed of the network's weights, its input and the perturbations.
        iterations: T, the maximum number of steps; None for `ITERATIONS`, and more for a large picture.
        patience: S, the number of steps without a lower value after which to stop.

    Raises:
        UsageError: a name or a number is invalid.
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
        for name, low in ({"sigma": 0, "patience": 0} | LOWEST).items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise UsageError(f"{name} must be at least {low}, got {value}.")

    @property
    def restarts(self) -> int:
        """The number of optimisations that are averaged per tile."""
        return RESTARTS[self.quality]

    @property
    def stops_by(self) -> str:
        """The criterion as text."""
        if self.criterion is not None:
            return self.criterion
        # the noise level is estimated once, from the whole picture, and every tile takes it as known
        return recommended(self.task, level_known=True).criterion

    @property
    def made_by(self) -> str:
        """The network as text."""
        return self.network or own_network(self.task, self.loss) or NETWORK

    @property
    def loss_needs(self) -> tuple[str, ...]:
        """The needs of the loss."""
        info = registry().get("loss", self.loss or self._task().loss).info
        assert isinstance(info, LossInfo)
        return info.needs

    @property
    def has_noise(self) -> bool:
        """Whether an observation of the task contains noise."""
        return self._task().noise != "none"

    @property
    def holdout(self) -> float:
        """The share of pixels excluded from the loss, if the task does not set it."""
        info = registry().get("criterion", self.stops_by).info
        return HOLDOUT if "holdout" in getattr(info, "needs", ()) else 0.0

    def steps(self, pixels: int) -> int:
        """Return the maximum number of steps for a picture of `pixels` pixels."""
        return self.iterations or round(ITERATIONS * max(1.0, math.sqrt(pixels) / 128))

    def settings(self, pixels: int) -> Settings:
        """Return the settings of the optimisation for a picture of `pixels` pixels."""
        return build.settings(self.task, self.made_by, iterations=self.steps(pixels), **given(self))

    def _task(self) -> TaskInfo:
        info = registry().get("task", self.task).info
        assert isinstance(info, TaskInfo)
        return info
