"""Options of a restoration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from esbench import device as devices
from esbench import params
from esbench.correlated import coarseness
from esbench.engine import build
from esbench.engine.settings import LOWEST, Settings, given
from esbench.errors import UsageError
from esbench.noise import Noise
from esbench.recommendation import recommended
from esbench.records import CriterionInfo, LossInfo, TaskInfo
from esbench.registry import own_network, registry

#: The share of pixels excluded from the loss, for a criterion that needs held-out pixels.
HOLDOUT = 0.02

#: A quarter of the channels of the papers: a fraction of their time, and the averaged output is as good
#: (docs/denoise.md).
NETWORK = "skip[channels=32]"

#: With noise of a lower level there is nothing to gain: rounding to 8 bits has 0.29.
CLEAN = 0.5

#: With noise of a lower level there is little to gain: the noisy picture already has 42 dB.
NEARLY_CLEAN = 2.0

#: The noise level at which T is what the qualities say, and below which it is not increased.
TYPICAL, LITTLE = 25.0, 8.0

#: Default T and S. With 64 channels the averaged output of 96 x 96 pixels is best after about 300 steps at sigma 50,
#: 550 at 25 and 1,000 at 15, that of 256 x 256 pixels at 25 after 1,700; with 32 it takes a quarter more. So T is for
#: pictures up to 128 x 128 and grows with the side of larger ones. The curve of the averages is smooth: on BSD400 a
#: patience of 100 stopped at the same steps as 300. The 20,000 and 1,000 of the papers are for outputs that are not
#: averaged.
ITERATIONS = 2400
PATIENCE = 100


@dataclass(frozen=True)
class Quality:
    """Defaults of a quality.

    Attributes:
        network: the network, unless the loss or the task has its own.
        input_scale: z is uniform in [0, input_scale].
        decay: the decay of the average that is the result.
        iterations: T of a picture up to `side` x `side`; it grows with the side of larger ones.
        falls: the power of the noise level with which T falls, from `iterations` at sigma 25.
        side: a side in pixels; infinite if the steps do not grow.
        work: pixels times steps of an optimisation, at most; a large picture gets fewer steps.
        patience: S.
        restarts: how many optimisations are averaged per tile, at most.
        total: pixels times steps of all of them, at most; of a large picture fewer are averaged, but one at least.
        learning_rate: of Adam; None for the loss's, task's or network's default.
        criterion: what to stop by; None for what is recommended for the task.
        variation: the weight of the mean total variation of a pixel, unless a regulariser is given.
    """

    network: str = NETWORK
    input_scale: float = Settings.input_scale
    decay: float = 0.99
    iterations: int = ITERATIONS
    side: float = 128
    falls: float = 0.0
    work: float = math.inf
    patience: int = PATIENCE
    restarts: int = 1
    total: float = math.inf
    learning_rate: float | None = None
    criterion: str | None = None
    variation: float = 0.0


#: With a larger input scale the outputs peak three to five times as early and need a shorter average. On BSD400 a
#: draft is better than `fast` up to some 350 steps of 128 x 128. 110 steps of 512 x 512 are a minute on two cores
#: (docs/denoise.md, benchmarks/ladder.py).
QUALITIES = {
    "draft": Quality(input_scale=1.0, decay=0.95, iterations=350, work=110 * 512 * 512, patience=20),
    "fast": Quality(),
    "best": Quality(restarts=4),
}

#: The same of a loss that knows the noise. Its network is given the noisy picture and learns to denoise it; small
#: networks do it well (docs/which-denoiser.md).
RISK = Quality(iterations=600, side=math.inf, learning_rate=0.003, criterion="last")
#: The more noise, the sooner the average is best: on BSD400 at sigma 15, 25, 50 after 600, 430, 270 steps of 128 x 128,
#: and with photons at rates 25 and 5 after 490 and 350, in smooth and textured pictures alike. From a larger picture
#: the network learns more, and takes longer: from 481 x 321 of BSD400 more than 1,000 steps.
SPLIT = Quality(
    "skip[channels=16,skips=32]", decay=0.98, iterations=430, falls=0.7, learning_rate=0.01, criterion="last"
)
THIN = replace(SPLIT, iterations=470, falls=0.3)
#: The more steps the better, by less and less.
MASK = replace(SPLIT, iterations=800, falls=0.0, side=128)

#: The same of tasks without noise that fill in what was never observed. With a little total variation, enlarged
#: pictures of BSD400 are 0.1 to 0.4 dB better, and fewer steps are enough. Inpainted ones get better for longer: on
#: three of 64 x 64 pixels the average of two optimisations of 3000 steps was 0.64 and 0.12 dB better than that of four
#: of 1500, and 0.16 worse; at 96 x 96 an average still gained 0.3 dB in the last 250 of 1500 steps.
FILL = Quality(iterations=1500, patience=300)
ENLARGE = replace(FILL, iterations=1000, variation=0.002)


def ladder(own: Quality, draft: int, fast: float, best: float) -> dict[str, Quality]:
    """Return the qualities of a loss that knows the noise.

    Args:
        own: what they have in common.
        draft: the most steps of 512 x 512 pixels of a draft: one minute on two cores.
        fast: the same of `fast`: five minutes.
        best: the same of all optimisations of `best`: half an hour.
    """
    pixels = 512 * 512
    return {
        "draft": replace(own, decay=0.95, iterations=200, side=math.inf, work=draft * pixels),
        "fast": replace(own, work=fast * pixels),
        "best": replace(own, restarts=4, total=best * pixels),
    }


BY_LOSS = {
    "sure": ladder(RISK, 50, math.inf, math.inf),
    "r2r": ladder(SPLIT, 150, 720, 3500),
    "thinning": ladder(THIN, 150, 720, 3500),
    "masking": ladder(MASK, 150, 720, 3500),
}


def filling(own: Quality, best: Quality) -> dict[str, Quality]:
    """Return the qualities of a task that fills in."""
    draft = replace(own, decay=0.95, iterations=300, side=math.inf, work=QUALITIES["draft"].work, patience=50)
    return {"draft": draft, "fast": own, "best": best}


FILLING = {
    "superres": filling(ENLARGE, replace(ENLARGE, restarts=4)),
    "inpaint": filling(FILL, replace(FILL, iterations=2 * FILL.iterations, restarts=2)),
}

#: With less than this share of the steps of `fast` a draft is made. With up to this many times as many steps an average
#: of BSD400 at sigma 50 has lost 0.1 to 0.2 dB, one with photons up to 0.5 dB. Neither was tuned.
SHORT, LONG = 0.6, 1.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a restoration.

    Attributes:
        task: the task that made the observation.
        criterion: the criterion to stop by: `name` or `name[key=value]`; None for the task's default.
        sigma: the noise level on the 0-255 scale; None to estimate it, if the task has noise.
        quality: `draft`, few steps; `fast`, one optimisation; or `best`, the average of up to four; None
            for `fast`.
        minutes: the time in which to deliver the best result; it decides quality, steps and number of optimisations.
        network: the network that parametrises the picture; None for the loss's or task's default, or `NETWORK`.
        loss: the loss to minimise; None for the task's default.
        regulariser: a term added to the loss; None for nothing.
        input: the input of the network; None for the loss's, task's or network's default.
        input_scale: z is uniform in [0, input_scale]; None for the quality's.
        learning_rate: the learning rate of Adam; None for the loss's, task's or network's default.
        depth: channels of the network's input; None for the network's default.
        perturbation: noise added to the input at each step; None for the loss's, task's or network's default.
        device: auto, cpu, cuda or cuda:N.
        threads: the number of threads on a CPU; None for PyTorch's default.
        precision: float32, bfloat16, or auto: bfloat16 on a CPU with units for it, else float32.
        seed: the seed of the network's weights, its input and the perturbations.
        iterations: T, the maximum number of steps; None for the quality's, and more for a large picture.
        patience: S, the number of steps without a lower value after which to stop; None for the quality's.
        level: the noise level of the observation, which decides T of a loss that knows the noise, and what a task
            without noise stops by; None if not known yet.
        coarse: the level of white noise that is as strong in coarse structure, relative to the level: T follows it.

    Raises:
        UsageError: a name or a number is invalid.
    """

    task: str = "denoise"
    criterion: str | None = None
    sigma: float | None = None
    quality: str | None = None
    minutes: float | None = None
    network: str | None = None
    loss: str | None = None
    regulariser: str | None = None
    input: str | None = None
    input_scale: float | None = None
    learning_rate: float | None = None
    depth: int | None = None
    perturbation: float | None = None
    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"
    seed: int = 0
    iterations: int | None = None
    patience: int | None = None
    level: float | None = None
    coarse: float = 1.0

    def __post_init__(self) -> None:
        if self.quality is not None and self.quality not in QUALITIES:
            raise UsageError(f"quality must be {' or '.join(QUALITIES)}, got {self.quality!r}.")
        info = registry().get("criterion", self.stops_by).info
        assert isinstance(info, CriterionInfo)
        for need in info.needs:
            if need == "network":
                raise UsageError(f"{self.stops_by!r} needs the network, which is not available when restoring.")
        if "observation" in info.needs and self.settings(1).input != "observation":
            raise UsageError(
                f"{self.stops_by!r} needs the observation as the input of the network: choose the input 'observation' "
                "without perturbation, or a loss such as 'sure'."
            )
        build.settings(self.task, self.made_by)
        devices.precise(self.precision, devices.named(self.device))
        if self.quality is not None and self.minutes is not None:
            raise UsageError("Give either quality or minutes, not both: the time decides the quality.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UsageError(f"minutes must be more than 0, got {self.minutes}.")
        for name, low in ({"sigma": 0, "patience": 0, "threads": 1} | LOWEST).items():
            value = getattr(self, name)
            try:
                valid = value is None or low <= value < math.inf
            except TypeError:  # no number
                valid = False
            if not valid:
                raise UsageError(f"{name} must be at least {low}, got {value!r}.")
        if self.threads is not None and self.threads > devices.THREADS:
            raise UsageError(f"threads must be at most {devices.THREADS}, got {self.threads}.")

    @property
    def own(self) -> Quality:
        """The defaults of the quality, for the loss."""
        known = BY_LOSS.get(self._loss) or FILLING.get(params.split(self.task)[0]) or QUALITIES
        return known[self.quality or "fast"]

    @property
    def by_loss(self) -> bool:
        """Whether the loss has qualities of its own."""
        return self._loss in BY_LOSS

    @property
    def window(self) -> int:
        """S, the patience of the rule."""
        return self.own.patience if self.patience is None else self.patience

    @property
    def stops_by(self) -> str:
        """The criterion as text."""
        if (named := self.criterion or self.own.criterion) is not None:
            return named
        # the noise level is estimated once, from the whole picture, and is known to every tile
        return recommended(self.task, level_known=True, noise=bool(self.sigma or self.level)).criterion

    @property
    def made_by(self) -> str:
        """The network as text."""
        return self.network or own_network(self.task, self.loss) or self.own.network

    @property
    def loss_needs(self) -> tuple[str, ...]:
        """The needs of the loss."""
        info = registry().get("loss", self.loss or self._task().loss).info
        assert isinstance(info, LossInfo)
        return info.needs

    @property
    def has_noise(self) -> bool:
        """Whether an observation of the task contains noise."""
        return self._task().noisy

    @property
    def holdout(self) -> float:
        """The share of pixels excluded from the loss, if the task does not set it."""
        info = registry().get("criterion", self.stops_by).info
        return HOLDOUT if "holdout" in getattr(info, "needs", ()) else 0.0

    def steps(self, pixels: int) -> int:
        """Return the maximum number of steps for a picture of `pixels` pixels."""
        own = self.own
        times = 1 if self.level is None else (TYPICAL / max(self.coarse * self.level, LITTLE)) ** own.falls
        steps = times * grown(own, own.iterations, pixels)
        return self.iterations or max(1, round(min(steps, own.work / pixels)))

    def restarts(self, pixels: int) -> int:
        """Return how many optimisations are averaged for a tile of `pixels` pixels."""
        return int(max(1, min(self.own.restarts, self.own.total / (pixels * self.steps(pixels)))))

    def plan(self, pixels: int) -> int | None:
        """Return the number of steps after which a loss ends that no criterion has to stop; None for other losses."""
        unstopped = self.criterion is None and self.own.criterion == "last"
        return replace(self, iterations=None).steps(pixels) if unstopped else None

    def settings(self, pixels: int) -> Settings:
        """Return the settings of the optimisation for a picture of `pixels` pixels."""
        precision = devices.precise(self.precision, devices.named(self.device))
        chosen = given(self) | {"iterations": self.steps(pixels), "precision": precision}
        if self.own.variation and self.regulariser is None:
            chosen["regulariser"] = f"tv[weight={self.own.variation / pixels:.3g}]"
        for name in ("input_scale", "learning_rate"):
            if chosen.get(name) is None:
                chosen[name] = getattr(self.own, name)
        return build.settings(self.task, self.made_by, **chosen)

    @property
    def _loss(self) -> str:
        return params.split(self.loss)[0] if self.loss else self._task().loss

    def _task(self) -> TaskInfo:
        info = registry().get("task", self.task).info
        assert isinstance(info, TaskInfo)
        return info


#: What, if it is chosen, decides the loss too.
DECIDES = (
    "criterion",
    "patience",
    "network",
    "loss",
    "regulariser",
    "input",
    "input_scale",
    "depth",
    "learning_rate",
    "perturbation",
)


def chosen(options: Options) -> bool:
    """Whether an option was given that decides the loss too."""
    return any(getattr(options, name) is not None for name in DECIDES)


def clean(options: Options) -> bool:
    """Whether there is nothing to do: the noise level is that of a clean picture, and nothing else was asked for."""
    return options.task == "denoise" and options.level is not None and options.level < CLEAN and not chosen(options)


def knowing(options: Options, level: float | None, noise: Noise | None, gain: Callable[[], float]) -> Options:
    """Return the options with the noise level, and what suits the noise if nothing decides it.

    That is a loss that knows the noise, or of impulses the task to fill them in.

    Args:
        options: the requested options.
        level: the estimated noise level, if there is noise.
        noise: the noise of the picture, for a task with noise.
        gain: estimates the gain of shot noise, from the whole picture.
    """
    options = replace(options, level=level if options.sigma is None else options.sigma)
    if noise is None or options.task != "denoise" or chosen(options) or clean(options):
        return options
    if noise.kind == "impulse" and options.sigma is None:
        return replace(options, task="inpaint", loss="masking", level=None)
    if not noise.even:  # they split the noise of all channels alike
        return options
    if noise.kind in ("gaussian", "speckle") or (not noise.white and noise.kind != "impulse"):
        return replace(options, loss="r2r", coarse=coarseness(noise.correlation))
    if noise.kind == "poisson" and options.sigma is None:
        return replace(options, loss=f"thinning[gain={gain():.5g}]")
    return options


def in_time(options: Options, areas: list[int], seconds: float, speed: Callable[[Options], float]) -> Options:
    """Return the options that give the best picture in a time, without that time.

    Args:
        options: the requested options.
        areas: the number of pixels of each tile.
        seconds: the time.
        speed: times a few steps with options; returns the seconds per step and pixel.
    """
    options = replace(options, minutes=None)
    if options.by_loss:
        enough = SHORT * speed(options) * sum(n * options.steps(n) for n in areas)
        options = replace(options, quality="draft" if seconds < enough else "best")
        return replace(options, iterations=options.iterations or round(LONG * options.steps(max(areas))))
    fast, draft = options.own, QUALITIES["draft"]
    if options.network or own_network(options.task, options.loss) or fast is not QUALITIES["fast"]:
        return options  # nothing to choose: it gets as far as it can
    better = speed(options) * sum(n * grown(fast, draft.iterations, n) for n in areas)
    if better <= seconds:
        return options
    steps = round(grown(draft, draft.iterations, max(areas)))
    return replace(options, quality="draft", iterations=options.iterations or steps)


def grown(quality: Quality, steps: int, pixels: int) -> float:
    """Return the steps of a picture of `pixels` pixels for those of a small one: more, in proportion to its side."""
    return steps * max(1.0, math.sqrt(pixels) / quality.side)
