"""A person's own picture: noisy in, denoised out, stopped by itself.

One optimisation for a picture of ordinary size. A larger one is cut into tiles that overlap, one optimisation after
another, so that memory stays bounded. For a better picture the restarts of several seeds are averaged. What is
delivered is not the output of a step but the exponential average of the outputs, which is better, at the step at which
the criterion was lowest.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import device as devices
from esbench import images, seeds
from esbench.errors import UnitError, UsageError
from esbench.frames import Block
from esbench.noise import Noise, clipped_variance, estimate
from esbench.observation import Problem
from esbench.pictures import Floats, Pictures
from esbench.records import CriterionInfo
from esbench.registry import registry
from esbench.restoration.tiles import Tile, tiles
from esbench.stopping.criterion import Criterion
from esbench.stopping.rule import Running

if TYPE_CHECKING:
    import torch

#: What stops it where nothing else is asked for: needs nothing from the user. The noise level is estimated once, from
#: the whole picture, and every tile takes it as known.
CRITERION = "discrepancy[variance=sigma]"

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

#: A picture of more pixels than WHOLE is cut into tiles of SIDE x SIDE that overlap by OVERLAP or more. What an
#: optimisation needs of memory is proportional to its pixels.
WHOLE = 640 * 640
SIDE = 512
OVERLAP = 48


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a picture is denoised.

    Attributes:
        criterion: what it stops by: `name` or `name[key=value]`.
        sigma: the noise level on the 0-255 scale, where it is known; else it is estimated.
        quality: `fast`, one optimisation, or `best`, the average of four.
        network: what parametrises the picture.
        device: auto, cpu, cuda or cuda:N.
        seed: of the network's weights, its input and the perturbations.
        iterations: T, the most steps of an optimisation; None for `ITERATIONS`, and more for a large picture.
        patience: S, the steps that must pass without a better value.

    Raises:
        UsageError: a name or a number does not fit.
    """

    criterion: str = CRITERION
    sigma: float | None = None
    quality: str = "fast"
    network: str = NETWORK
    device: str = "auto"
    seed: int = 0
    iterations: int | None = None
    patience: int = PATIENCE

    def __post_init__(self) -> None:
        info = registry().get("criterion", self.criterion).info
        assert isinstance(info, CriterionInfo)
        for need in info.needs:
            if need not in ("loss", "noisy", "sigma", "holdout"):
                raise UsageError(f"{self.criterion!r} needs the {need}, which there is not when a picture is denoised.")
        registry().get("network", self.network)
        devices.named(self.device)
        if self.quality not in RESTARTS:
            raise UsageError(f"quality must be {' or '.join(RESTARTS)}, got {self.quality!r}.")
        for name, low in (("sigma", 0), ("iterations", 1), ("patience", 0)):
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise UsageError(f"{name} must be at least {low}, got {value}.")

    def steps(self, pixels: int) -> int:
        """Return the most steps of an optimisation of so many pixels."""
        return self.iterations or round(ITERATIONS * max(1.0, math.sqrt(pixels) / 128))

    def pixel_steps(self, height: int, width: int) -> int:
        """Return the most that there can be to do, in pixels times steps."""
        sizes = [tile.rows.window.size * tile.columns.window.size for tile in _cut(height, width)]
        return sum(pixels * self.steps(pixels) for pixels in sizes) * RESTARTS[self.quality]


@dataclass(frozen=True)
class Optimised:
    """What became of one optimisation: one restart of one tile.

    Attributes:
        tile: its top, left, height and width in the picture.
        stop_step: the step whose average was taken.
        steps_run: how many steps were done.
        stopped: whether the rule chose the step; else it is where the criterion was lowest so far.
        reason: why, in a sentence.
        values: the criterion at each step; NaN where it has none.
    """

    tile: tuple[int, int, int, int]
    stop_step: int
    steps_run: int
    stopped: bool
    reason: str
    values: list[float]


@dataclass(frozen=True)
class Denoised:
    """A denoised picture, and why it is this one.

    Attributes:
        image: the picture, of the kind, shape and dtype that was handed in.
        criterion: what stopped it, as canonical text.
        stop_step: the step that was stopped at; of several optimisations the middle one. None before there is any.
        steps_run: how many steps were done, of all optimisations together.
        reason: why it stopped, in a sentence.
        seconds: how long it took.
        sigma_estimate: the noise level of the picture, on the 0-255 scale, as estimated from it alone.
        values: the criterion at each step of the first optimisation; NaN where it has none.
        optimised: the optimisations, tile by tile, each restart of a tile after the other.
    """

    image: Any
    criterion: str
    stop_step: int | None
    steps_run: int
    reason: str
    seconds: float
    sigma_estimate: float
    values: list[float]
    optimised: tuple[Optimised, ...]


@dataclass(frozen=True)
class Position:
    """How far a denoising has come.

    Attributes:
        optimisation: the one at work, from 0.
        optimisations: how many there are.
        step: the steps that it has done.
        iterations: the most that it may do.
        best_step: where the criterion is lowest so far.
        value: the criterion there.
        pixels: of the tile at work on.
    """

    optimisation: int
    optimisations: int
    step: int
    iterations: int
    best_step: int | None
    value: float
    pixels: int


def denoise(
    noisy: Any,
    criterion: str = CRITERION,
    *,
    sigma: float | None = None,
    quality: str = "fast",
    network: str = NETWORK,
    device: str = "auto",
    seed: int = 0,
    iterations: int | None = None,
    patience: int = PATIENCE,
) -> Denoised:
    """Denoise a picture with a Deep Image Prior that stops by itself.

    Args:
        noisy: NumPy or torch, (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with C of 1 or 3; uint8, uint16 or float in
            [0, 1].
        criterion: what it stops by: `name` or `name[key=value]`, as `esbench list-criteria` shows them.
        sigma: the noise level on the 0-255 scale, where it is known; else it is estimated from the picture.
        quality: `fast`, one optimisation, or `best`, the average of four.
        network: what parametrises the picture.
        device: auto, cpu, cuda or cuda:N.
        seed: of the network's weights, its input and the perturbations.
        iterations: T, the most steps of an optimisation; None for 1800, and more where it has over 128 x 128 pixels.
        patience: S, the steps that must pass without a better value.

    Returns:
        The picture as `image`, of the kind that was handed in, and why it is this one.

    Raises:
        UsageError: the picture is none, or a name or a number does not fit.

    Example:
        ```python
        import esbench
        import numpy as np

        rng = np.random.default_rng(0)
        noisy = 0.5 + 0.1 * rng.standard_normal((40, 48))
        denoised = esbench.denoise(noisy, network="skip[channels=8,scales=2]", iterations=60, patience=20)
        print(denoised.image.shape, denoised.reason)
        ```
    """
    options = Options(
        criterion=criterion,
        sigma=sigma,
        quality=quality,
        network=network,
        device=device,
        seed=seed,
        iterations=iterations,
        patience=patience,
    )
    at_work = Denoising(noisy, options)
    for _ in at_work:
        pass
    return at_work.result()


class Denoising:
    """A picture at work: iterate to go on, and ask for the result at any time.

    Args:
        noisy: the picture, as for `denoise`.
        options: how it is denoised.

    Attributes:
        noisy: the picture, (H, W, C) in [0, 1].
        noise: what its noise is, as estimated from it alone.
    """

    def __init__(self, noisy: Any, options: Options) -> None:
        self.noisy, self._back = images.unpacked(noisy, "noisy")
        self.options = options
        self.noise: Noise = estimate(self.noisy)
        self._restarts = RESTARTS[options.quality]
        self._tiles = _cut(*self.noisy.shape[:2])
        self._picture = self.noisy.copy()  # denoised where a tile is finished
        self._tile = self._tiles[0]  # at work
        self._outputs: list[Floats] = []  # of its finished restarts
        self._optimised: list[Optimised] = []
        self._at_work: Optimisation | None = None
        self._seconds = 0.0

    def __iter__(self) -> Iterator[Position]:
        sigma = self.noise.sigma if self.options.sigma is None else self.options.sigma
        for t, tile in enumerate(self._tiles):
            self._tile, self._outputs = tile, []
            for restart in range(self._restarts):
                before, started = self._seconds, time.perf_counter()
                seed = seeds.derive(self.options.seed, "denoise", t, restart)
                self._at_work = Optimisation(tile.of(self.noisy), sigma, self.options, seed)
                for _ in self._at_work:
                    self._seconds = before + time.perf_counter() - started
                    yield self._position()
                self._optimised.append(self._at_work.optimised(tile))
                self._outputs.append(self._at_work.picture())
                self._at_work = None
            self._lay(self._picture, self._outputs)
            self._outputs = []

    def result(self, interrupted: bool = False) -> Denoised:
        """Return the picture as it is now: tiles that were not begun are as they were.

        Args:
            interrupted: whether to say so.
        """
        picture, outputs, optimised = self._picture, list(self._outputs), list(self._optimised)
        if self._at_work is not None and self._at_work.step:
            outputs.append(self._at_work.picture())
            optimised.append(self._at_work.optimised(self._tile))
        if outputs:
            picture = picture.copy()
            self._lay(picture, outputs)
        return Denoised(
            image=self._back(picture.clip(0, 1)),
            criterion=registry().get("criterion", self.options.criterion).text,
            stop_step=statistics.median_low(each.stop_step for each in optimised) if optimised else None,
            steps_run=sum(each.steps_run for each in optimised),
            reason=self._reason(optimised, interrupted),
            seconds=self._seconds,
            sigma_estimate=self.noise.sigma,
            values=optimised[0].values if optimised else [],
            optimised=tuple(optimised),
        )

    def _lay(self, picture: Floats, outputs: list[Floats]) -> None:
        """Lay the mean output of the tile at work into the picture, under its window."""
        # all windows sum to 1, so that nothing of the noisy picture is left once all tiles lie
        change = np.mean(outputs, axis=0) - self._tile.of(self.noisy)
        self._tile.of(picture)[...] += self._tile.window * change

    def _position(self) -> Position:
        assert self._at_work is not None
        rule = self._at_work.rule
        return Position(
            optimisation=len(self._optimised),
            optimisations=len(self._tiles) * self._restarts,
            step=self._at_work.step,
            iterations=self.options.steps(self._tile.window.size),
            best_step=rule.best_step,
            value=rule.best_value,
            pixels=self._tile.window.size,
        )

    def _reason(self, optimised: list[Optimised], interrupted: bool) -> str:
        n = len(self._tiles) * self._restarts
        if not optimised:
            return "interrupted before the first step: the picture is as it was"
        if n == 1:
            return optimised[0].reason
        stopped = sum(each.stopped for each in optimised)
        text = f"{stopped} of {len(optimised)} optimisations were stopped by the rule"
        if stopped < len(optimised):
            others = next(each.reason for each in optimised if not each.stopped)
            text += f"; of the others the first: {others}"
        return f"interrupted in optimisation {len(optimised)} of {n}: {text}" if interrupted else text


class Optimisation:
    """One optimisation at work: iterate to go on, a block of steps at a time.

    Args:
        noisy: (H, W, C) in [0, 1].
        sigma: its noise level, on the 0-255 scale.
        options: of the denoising.
        seed: of everything that is drawn.

    Attributes:
        rule: what has been decided so far.
    """

    def __init__(self, noisy: Floats, sigma: float, options: Options, seed: int) -> None:
        from esbench.engine.fast import Fast
        from esbench.engine.settings import Settings

        settings = Settings(iterations=options.steps(noisy.shape[0] * noisy.shape[1]))
        device = devices.named(options.device)
        f = _network(options.network, settings.depth, noisy.shape[2], seeds.derive(seed, "network"))
        self._noisy, self._variance = noisy, clipped_variance(noisy, sigma)
        noisy = _at_least(f.smallest(), noisy)
        pictures, criterion = Pictures(noisy[None]), registry().get("criterion", options.criterion)
        assert isinstance(criterion.info, CriterionInfo)
        share = HOLDOUT if "holdout" in criterion.info.needs else 0.0
        task = registry().get("task", "denoise").target(pictures.tensor.to(device), holdout=share)
        self._problem = Problem(noisy=pictures[0], sigma=sigma, holdout=task.holdout)
        self._criterion = Criterion(criterion, self._problem)
        self._trajectory = Fast(task, f.to(device), settings, seeds.derive(seed, "input"))
        self._average = Average(settings.decay)
        self._best: torch.Tensor | None = None
        self._diverged = ""
        self.rule, self.values = Running(options.patience), list[float]()

    def __iter__(self) -> Iterator[None]:
        import torch

        try:
            for block in self._trajectory:
                self._take(block)
                while self._trajectory.notes:
                    warnings.warn(self._trajectory.notes.pop(0), stacklevel=2)
                yield
                if self.rule.stop is not None:
                    return
        except UnitError as error:  # it diverged, again and again: what there is, is still good
            if self.rule.best_step is None:
                raise
            self._diverged = str(error)
        except torch.OutOfMemoryError:
            h, w, _ = self._noisy.shape
            raise UnitError(
                f"The GPU has not enough memory for {w} x {h} pixels: --device cpu, a smaller picture or a smaller "
                "network such as 'skip[channels=32]' may do."
            ) from None

    @property
    def step(self) -> int:
        """How many steps were done."""
        return self.rule.step + 1

    def picture(self) -> Floats:
        """Return the averaged output where the criterion was lowest, (H, W, C) in [0, 1].

        Where the rule has not fired, the picture may not have been learned yet, and what the average leaves out is more
        than the noise. Then so much of it is put back that the result is closest to the clean picture if noise and
        missing parts have nothing to do with each other: never worse than the noisy picture.
        """
        x = self._averaged_output()
        return x + np.float32(self._put_back(x)) * (self._noisy - x)

    def _averaged_output(self) -> Floats:
        h, w, _ = self._noisy.shape
        best = self._average.value if self._best is None else self._best
        picture: Floats = Pictures(best).float[0][:h, :w]
        return picture

    def _put_back(self, x: Floats) -> float:
        """Return the share of y - x that is put back: r is missing parts and noise, v the noise; 1 - v / r."""
        if self.rule.stop is not None:
            return 0.0
        r = float(np.mean((x - self._noisy) ** 2))
        return max(0.0, 1 - self._variance / r) if r else 0.0

    def optimised(self, tile: Tile) -> Optimised:
        """Return what has become of it so far."""
        return Optimised(
            tile=(tile.rows.start, tile.columns.start, *self._noisy.shape[:2]),
            stop_step=self.rule.step if self.rule.best_step is None else self.rule.best_step,
            steps_run=self.step,
            stopped=self.rule.stop is not None,
            reason=self._reason(),
            values=list(self.values),
        )

    def _take(self, block: Block) -> None:
        """Measure a block and keep its best average."""
        frames = list(self._averaged(block).frames(self._problem))
        for frame, value in zip(frames, self._criterion.update_block(frames), strict=True):
            number = None if value is None else value.value
            self.values.append(math.nan if number is None else number)
            if self.rule.update(number):
                assert frame.average is not None
                self._best = frame.average.tensor[None].clone()  # a view would keep its whole block
            if self.rule.stop is not None:
                return

    def _averaged(self, block: Block) -> Block:
        """Return a block with the averages that are delivered in the place of the loop's."""
        import torch

        averages = self._average.update(block.outputs)
        losses = [self._trajectory.task.loss(average[None]) for average in averages]
        return replace(block, averages=Pictures(averages), average_losses=torch.stack(losses).tolist())

    def _reason(self) -> str:
        text, rule = self._criterion.text, self.rule
        if rule.best_step is None:
            return f"{text} had no value in {self.step} steps: the last average was taken"
        lowest = f"{text} was lowest at step {rule.best_step} ({rule.best_value:.4g})"
        if rule.stop is not None:
            return f"stopped: {lowest}, not undercut in {rule.patience} steps"
        if (share := self._put_back(self._averaged_output())) >= 0.005:
            lowest += f", and {share:.0%} of what was left out there, more than noise, was put back"
        if self._diverged:
            return f"given up at step {self.step}: {self._diverged.rstrip('.')}; {lowest}"
        if self.step < self._trajectory.settings.iterations:
            return f"interrupted at step {self.step}: {lowest}"
        return f"not stopped in {self.step} steps: {lowest}; more iterations may do better"


class Average:
    """The exponential average of the outputs, without the weight that a_0 = x_0 gives the first one for long.

    b_t = decay b_{t-1} + (1 - decay) x_t from b_{-1} = 0, over the sum of the weights, 1 - decay^(t + 1). The loop's
    own average is the one of the literature, which traces record; after some 400 steps the two are the same.

    Args:
        decay: of the weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self._weights = decay, 0.0
        self._b: Any = 0.0

    @property
    def value(self) -> Any:
        """The average, (1, C, H, W)."""
        return self._b / self._weights

    def update(self, outputs: Pictures) -> Any:
        """Take consecutive outputs and return the average after each, (B, C, H, W); what is not finite is left out."""
        import torch

        averages = []
        for x, finite in zip(outputs.tensor[:, None], outputs.finite, strict=True):
            self._b = torch.zeros_like(x) if self._weights == 0 else self._b
            if finite:
                self._b = self.decay * self._b + (1 - self.decay) * x
                self._weights = self.decay * self._weights + (1 - self.decay)
            averages.append(self.value)
        return torch.cat(averages)


def _cut(height: int, width: int) -> list[Tile]:
    """Return the tiles of a picture: the whole of it, or many."""
    return tiles(height, width, max(height, width) if height * width <= WHOLE else SIDE, OVERLAP)


def _network(text: str, depth: int, channels: int, seed: int) -> Any:
    import torch

    component = registry().get("network", text)
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from the global generator
        torch.manual_seed(seed)
        return component.target(depth, channels, **component.values)


def _at_least(side: int, picture: Floats) -> Floats:
    """Return a picture whose sides are long enough, mirrored at its right and lower edge where they were not."""
    h, w, _ = picture.shape
    return np.pad(picture, ((0, max(0, side - h)), (0, max(0, side - w)), (0, 0)), mode="symmetric")
