"""A user's own picture restored by a Deep Image Prior that stops by itself.

One optimisation for a picture of ordinary size. A larger one is cut into tiles that overlap, one optimisation after
another, so that memory stays bounded. For a better picture the restarts of several seeds are averaged. What is
delivered is not the output of a step but the exponential average of the outputs, which is better, at the step at which
the criterion was lowest.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esbench import images, seeds
from esbench.engine import build
from esbench.events import Event, Notice, Progress, UnitFinished
from esbench.noise import Noise, estimate
from esbench.observation import NoiseModel, Observation
from esbench.pictures import Floats
from esbench.registry import registry
from esbench.restoration.options import PATIENCE, Options
from esbench.restoration.piece import Optimised, Piece
from esbench.restoration.tiles import Tile, tiles

#: A picture of more pixels than WHOLE is cut into tiles of SIDE x SIDE that overlap by OVERLAP or more. What an
#: optimisation needs of memory is proportional to its pixels.
WHOLE = 640 * 640
SIDE = 512
OVERLAP = 48


@dataclass(frozen=True)
class Restored:
    """A restored picture, and why it is this one.

    Attributes:
        image: the picture, of the kind and dtype that was handed in.
        task: what was restored, as canonical text.
        criterion: what stopped it, as canonical text.
        stop_step: the step that was stopped at; of several optimisations the middle one. None before there is any.
        steps_run: how many steps were done, of all optimisations together.
        reason: why it stopped, in a sentence.
        seconds: how long it took.
        sigma_estimate: the noise level of the picture, on the 0-255 scale, as estimated from it alone; None for a task
            whose observation has no noise.
        values: the criterion at each step of the first optimisation; NaN where it has none.
        optimised: the optimisations, tile by tile, each restart of a tile after the other.
    """

    image: Any
    task: str
    criterion: str
    stop_step: int | None
    steps_run: int
    reason: str
    seconds: float
    sigma_estimate: float | None
    values: list[float]
    optimised: tuple[Optimised, ...]


def denoise(
    noisy: Any,
    criterion: str | None = None,
    *,
    sigma: float | None = None,
    quality: str = "fast",
    network: str | None = None,
    loss: str | None = None,
    regulariser: str | None = None,
    input: str | None = None,
    input_scale: float = Options.input_scale,
    learning_rate: float | None = None,
    depth: int | None = None,
    perturbation: float | None = None,
    device: str = "auto",
    seed: int = 0,
    iterations: int | None = None,
    patience: int = PATIENCE,
) -> Restored:
    """Denoise a picture with a Deep Image Prior that stops by itself.

    Args:
        noisy: NumPy or torch, (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with C of 1 or 3; uint8, uint16 or float in
            [0, 1].
        criterion: what it stops by: `name` or `name[key=value]`, as `esbench list-criteria` shows them; None for the
            discrepancy.
        sigma: the noise level on the 0-255 scale, if it is known; else it is estimated from the picture.
        quality: `fast`, one optimisation, or `best`, the average of four.
        network: what parametrises the picture; None for the loss's own, or 'skip[channels=64]'.
        loss: what is minimised, as `esbench list losses` shows; None for the mean squared error.
        regulariser: what is added to the loss; None for nothing.
        input: what the network is given; None for the loss's or network's own.
        input_scale: the network's input is uniform in [0, this].
        learning_rate: of Adam; None for the loss's or network's own.
        depth: channels of the network's input; None for the network's own.
        perturbation: of the input at each step; None for the loss's or network's own.
        device: auto, cpu, cuda or cuda:N.
        seed: of the network's weights, its input and the perturbations.
        iterations: T, the most steps of an optimisation; None for 1800, and more if it has over 128 x 128 pixels.
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
        loss=loss,
        regulariser=regulariser,
        input=input,
        input_scale=input_scale,
        learning_rate=learning_rate,
        depth=depth,
        perturbation=perturbation,
        device=device,
        seed=seed,
        iterations=iterations,
        patience=patience,
    )
    return _to_the_end(Restoration(noisy, options, name="noisy"))


def restore(
    observation: Any,
    task: str = "denoise",
    *,
    mask: Any = None,
    guide: Any = None,
    criterion: str | None = None,
    sigma: float | None = None,
    quality: str = "fast",
    network: str | None = None,
    loss: str | None = None,
    regulariser: str | None = None,
    input: str | None = None,
    input_scale: float = Options.input_scale,
    learning_rate: float | None = None,
    depth: int | None = None,
    perturbation: float | None = None,
    device: str = "auto",
    seed: int = 0,
    iterations: int | None = None,
    patience: int = PATIENCE,
) -> Restored:
    """Restore a picture from what was observed of it, with a Deep Image Prior that stops by itself.

    Args:
        observation: what was observed; of the kinds that `denoise` takes, or the path of a PNG, JPEG, TIFF or WebP
            file, which `jpeg` needs.
        task: what was observed, as `esbench list tasks` shows: `name` or `name[key=value]`.
        mask: for a task that takes one: (H, W), above half where a pixel is missing.
        guide: for a task that takes one: the picture that guides it, of the same kinds.
        criterion: what it stops by; None for the task's own.
        sigma: the noise level on the 0-255 scale, if it is known.
        quality: `fast`, one optimisation, or `best`, the average of four.
        network: what parametrises the picture; None for the loss's or task's own.
        loss: what is minimised; None for the task's own.
        regulariser: what is added to the loss; None for nothing.
        input: what the network is given; None for the loss's, task's or network's own.
        input_scale: the network's input is uniform in [0, this].
        learning_rate: of Adam; None for the loss's, task's or network's own.
        depth: channels of the network's input; None for the network's own.
        perturbation: of the input at each step; None for the loss's, task's or network's own.
        device: auto, cpu, cuda or cuda:N.
        seed: of the network's weights, its input and the perturbations.
        iterations: T, the most steps of an optimisation; None for 1800, and more if it has over 128 x 128 pixels.
        patience: S, the steps that must pass without a better value.

    Returns:
        The picture as `image`, of the kind that was handed in, and why it is this one.

    Raises:
        UsageError: the observation does not fit the task, or a name or a number does not fit.
    """
    file = None
    if isinstance(observation, str | os.PathLike):
        path = Path(observation)
        observation, file = images.read_photo(path).pixels, path.read_bytes()
    options = Options(
        task=task,
        criterion=criterion,
        sigma=sigma,
        quality=quality,
        network=network,
        loss=loss,
        regulariser=regulariser,
        input=input,
        input_scale=input_scale,
        learning_rate=learning_rate,
        depth=depth,
        perturbation=perturbation,
        device=device,
        seed=seed,
        iterations=iterations,
        patience=patience,
    )
    return _to_the_end(Restoration(observation, options, mask=mask, guide=guide, file=file))


def _to_the_end(at_work: Restoration) -> Restored:
    for _ in at_work:
        pass
    return at_work.result()


def warn(event: Event) -> None:
    """Tell a Python user what should be seen, as a warning."""
    if isinstance(event, Notice) and not event.detail:
        warnings.warn(event.text, stacklevel=2)


class Restoration:
    """A picture at work: iterate to go on, and ask for the result at any time.

    Args:
        observation: what was observed, as for `restore`.
        options: how it is restored.
        mask: as for `restore`.
        guide: as for `restore`.
        file: the file that the observation was read from; None if it is an array.
        name: of the picture, in messages and events.
        emit: called with every event.

    Attributes:
        observation: what was observed, with the noise level that the optimisations are told.
        noise: what the noise is, as estimated from the observation alone; None for a task without noise.
        piece: the optimisation at work, or None.
        number: how many are done.
        pieces: how many there are.
    """

    def __init__(
        self,
        observation: Any,
        options: Options,
        *,
        mask: Any = None,
        guide: Any = None,
        file: bytes | None = None,
        name: str = "observation",
        emit: Callable[[Event], None] = warn,
    ) -> None:
        y, self._back = images.unpacked(observation, name)
        self.options, self.name, self._emit = options, name, emit
        self.task = build.task(options.task)
        observed = self.task.observe(y, mask=mask, guide=guide, file=file)
        self.noise: Noise | None = estimate(y) if options.has_noise else None
        self.observation = dataclasses.replace(observed, noise=self._model(y))
        self._tiles, self._factor = cut(
            self.observation.y.shape[:2], self.task.shape(self.observation)[:2], self.task.grid
        )
        self._tiles = [tile for tile in self._tiles if not self.task.idle(self._part(tile))]
        self.pieces = len(self._tiles) * options.restarts
        self.piece: Piece | None = None
        self._baseline = self.task.baseline(self.observation)
        self._picture = self._baseline.copy()  # restored where a tile is finished
        self._tile = self._tiles[0]  # at work
        self._outputs: list[Floats] = []  # of its finished restarts
        self._optimised: list[Optimised] = []
        self._seconds = 0.0

    @property
    def number(self) -> int:
        """How many optimisations are done."""
        return len(self._optimised)

    def __iter__(self) -> Iterator[None]:
        for t, tile in enumerate(self._tiles):
            self._tile, self._outputs = tile, []
            for restart in range(self.options.restarts):
                before, started = self._seconds, time.perf_counter()
                self.piece = Piece(
                    self._unit(),
                    self.task,
                    self._part(tile),
                    self.options,
                    seeds.derive(self.options.seed, "denoise", t, restart),
                    self._told,
                )
                for _ in self.piece:
                    self._seconds = before + time.perf_counter() - started
                    yield
                self._seconds = before + time.perf_counter() - started
                self._optimised.append(self.piece.optimised(*self._corner()))
                self._outputs.append(self.piece.picture())
                self._emit(UnitFinished(unit=self.piece.session.name, seconds=self._seconds - before))
                self.piece = None
            self._lay(self._picture, self._outputs)
            self._outputs = []

    def result(self, interrupted: bool = False) -> Restored:
        """Return the picture as it is now: of tiles that were not begun what needs no optimisation.

        Args:
            interrupted: whether to say so.
        """
        picture, outputs, optimised = self._picture, list(self._outputs), list(self._optimised)
        if self.piece is not None and self.piece.step:
            outputs.append(self.piece.picture())
            optimised.append(self.piece.optimised(*self._corner()))
        if outputs:
            picture = picture.copy()
            self._lay(picture, outputs)
        return Restored(
            image=self._back(self.task.upright(picture, self.observation).clip(0, 1)),
            task=registry().get("task", self.options.task).text,
            criterion=registry().get("criterion", self.options.stops_by).text,
            stop_step=statistics.median_low(each.stop_step for each in optimised) if optimised else None,
            steps_run=sum(each.steps_run for each in optimised),
            reason=self._reason(optimised, interrupted),
            seconds=self._seconds,
            sigma_estimate=None if self.noise is None else self.noise.sigma,
            values=optimised[0].values if optimised else [],
            optimised=tuple(optimised),
        )

    def _part(self, tile: Tile) -> Observation:
        return self.task.window(self.observation, tile.rows.slice, tile.columns.slice)

    def _model(self, y: Floats) -> NoiseModel:
        """Return what the optimisations are told of the noise: its level once, from the whole picture."""
        if self.options.sigma is not None:
            return NoiseModel("gaussian", self.options.sigma)
        if self.noise is None:
            return NoiseModel("none")
        # a loss that needs a level refuses a picture that is too small to estimate it
        small = min(y.shape[:2]) < build.SMALLEST and "sigma" in self.options.loss_needs
        return NoiseModel("gaussian", None if small else self.noise.sigma)

    def _lay(self, picture: Floats, outputs: list[Floats]) -> None:
        """Lay the mean output of the tile at work into the picture, under its window."""
        # all windows sum to 1, so that nothing of the baseline is left once all tiles lie
        tile = self._tile.times(self._factor)
        change = np.mean(outputs, axis=0) - tile.of(self._baseline)
        tile.of(picture)[...] += tile.window * change

    def _corner(self) -> tuple[int, int]:
        return self._tile.rows.start * self._factor, self._tile.columns.start * self._factor

    def _unit(self) -> str:
        return self.name if self.pieces == 1 else f"{self.name}, {self.number + 1} of {self.pieces}"

    def _told(self, event: Event) -> None:
        """Pass an event on; progress with the steps that may come after this optimisation."""
        if isinstance(event, Progress):
            event = dataclasses.replace(event, later=(self.pieces - self.number - 1) * event.iterations)
        self._emit(event)

    def _reason(self, optimised: list[Optimised], interrupted: bool) -> str:
        n = self.pieces
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


def most(options: Options, h: int, w: int, factor: int = 1, grid: int = 1) -> int:
    """Return the most that there can be to do for an observation of h x w, in pixels of the picture times steps.

    Args:
        options: of the restoration.
        h: height of the observation.
        w: width of the observation.
        factor: how many times larger the picture is.
        grid: tiles begin at multiples of so many pixels of the observation.
    """
    pixels = [tile.window.size * factor**2 for tile in cut((h, w), (h * factor, w * factor), grid)[0]]
    return sum(n * options.steps(n) for n in pixels) * options.restarts


def cut(observed: tuple[int, ...], restored: tuple[int, ...], grid: int = 1) -> tuple[list[Tile], int]:
    """Return the tiles of an observation, the whole of it or many, and how many times larger the picture is.

    A picture that is not so many times larger than its observation is never cut.

    Args:
        observed: height and width of the observation.
        restored: of the picture.
        grid: tiles begin at multiples of so many pixels of the observation.
    """
    (h, w), (height, width) = observed, restored
    factor = height // h
    if height * width <= WHOLE or (height, width) != (h * factor, w * factor) or factor < 1:
        return tiles(h, w, max(h, w), OVERLAP), max(factor, 1)
    return tiles(h, w, SIDE // factor // grid * grid, math.ceil(OVERLAP / factor), grid), factor
