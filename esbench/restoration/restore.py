"""Restore a user's picture with a Deep Image Prior that stops automatically.

A picture of ordinary size is one optimisation. A larger one is cut into overlapping tiles, optimised one after another,
so that memory stays bounded. Quality `best` averages restarts with several seeds. The result is not the output of a
step but the exponential average of the outputs, which is better, at the step where the criterion was lowest.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esbench import images, seeds
from esbench.engine import build
from esbench.events import Event, Notice, Progress, UnitFinished
from esbench.noise import Noise, estimate
from esbench.observation import NoiseModel, Observation
from esbench.pictures import Bytes, Floats, Pictures
from esbench.registry import registry
from esbench.restoration.options import PATIENCE, Options
from esbench.restoration.piece import Optimised, Piece
from esbench.restoration.tiles import Tile, tiles

#: A picture of more pixels than WHOLE is cut into tiles of SIDE x SIDE that overlap by at least OVERLAP. The memory of
#: an optimisation is proportional to its pixels.
WHOLE = 640 * 640
SIDE = 512
OVERLAP = 48


@dataclass(frozen=True)
class Restored:
    """A restored picture and why it stopped there.

    Attributes:
        image: the picture, of the type and dtype of the observation.
        task: the task, as canonical text.
        criterion: the criterion, as canonical text.
        stop_step: the step that was chosen; the median of several optimisations; None before the first step.
        steps_run: the number of steps of all optimisations.
        reason: why it stopped, in a sentence.
        seconds: how long it took.
        sigma_estimate: the estimated noise level of the picture on the 0-255 scale; None for a task whose observation
            has no noise.
        values: the criterion at each step of the first optimisation; NaN where it has no value.
        optimised: the optimisations, by tile, then by restart.
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
    """Denoise a picture with a Deep Image Prior that stops automatically.

    Args:
        noisy: NumPy or torch, (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with C of 1 or 3; uint8, uint16 or float in
            [0, 1].
        criterion: the criterion to stop by: `name` or `name[key=value]` (see `esbench list-criteria`); None for
            `discrepancy`.
        sigma: the noise level on the 0-255 scale; None to estimate it from the picture.
        quality: `fast`, one optimisation, or `best`, the average of four.
        network: the network that parametrises the picture; None for the loss's default, or 'skip[channels=64]'.
        loss: the loss to minimise (see `esbench list losses`); None for the mean squared error.
        regulariser: a term added to the loss; None for nothing.
        input: the input of the network; None for the loss's or network's default.
        input_scale: the noise input is uniform in [0, input_scale].
        learning_rate: the learning rate of Adam; None for the loss's or network's default.
        depth: channels of the network's input; None for the network's default.
        perturbation: noise added to the input at each step; None for the loss's or network's default.
        device: auto, cpu, cuda or cuda:N.
        seed: the seed of the network's weights, its input and the perturbations.
        iterations: T, the maximum number of steps; None for 1800, and more for over 128 x 128 pixels.
        patience: S, the number of steps without a lower value after which to stop.

    Returns:
        The picture as `image`, of the type of `noisy`, and why it stopped there.

    Raises:
        UsageError: `noisy` is not a picture, or a name or a number is invalid.

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
    """Restore a picture from an observation with a Deep Image Prior that stops automatically.

    Args:
        observation: an array as for `denoise`, or the path of a PNG, JPEG, TIFF or WebP file (`jpeg` needs a file).
        task: the task that made the observation: `name` or `name[key=value]` (see `esbench list tasks`).
        mask: for a task that takes one: (H, W), above half where a pixel is missing.
        guide: for a task that takes one: the guide picture, an array as for `denoise`.
        criterion: the criterion to stop by; None for the task's default.
        sigma: the noise level on the 0-255 scale; None to estimate it, if the task has noise.
        quality: `fast`, one optimisation, or `best`, the average of four.
        network: the network that parametrises the picture; None for the loss's or task's default, or
            'skip[channels=64]'.
        loss: the loss to minimise; None for the task's default.
        regulariser: a term added to the loss; None for nothing.
        input: the input of the network; None for the loss's, task's or network's default.
        input_scale: the noise input is uniform in [0, input_scale].
        learning_rate: the learning rate of Adam; None for the loss's, task's or network's default.
        depth: channels of the network's input; None for the network's default.
        perturbation: noise added to the input at each step; None for the loss's, task's or network's default.
        device: auto, cpu, cuda or cuda:N.
        seed: the seed of the network's weights, its input and the perturbations.
        iterations: T, the maximum number of steps; None for 1800, and more for over 128 x 128 pixels.
        patience: S, the number of steps without a lower value after which to stop.

    Returns:
        The picture as `image`, of the type of `observation`, and why it stopped there.

    Raises:
        UsageError: the observation does not fit the task, or a name or a number is invalid.
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
    """Issue a notice as a Python warning, unless it is a detail."""
    if isinstance(event, Notice) and not event.detail:
        warnings.warn(event.text, stacklevel=2)


class Restoration:
    """A restoration: each iteration runs a block of steps; `result` is available at any time.

    Args:
        observation: an array as for `restore`.
        options: the options of the restoration.
        mask: as for `restore`.
        guide: as for `restore`.
        file: the bytes of the file that the observation was read from; None if it is an array.
        name: the name of the picture in messages and events.
        emit: called with every event.
        folder: an existing one, into which it writes what can be watched; None for nothing.

    Attributes:
        observation: the observation, with the noise level that the optimisations are given.
        noise: the noise estimated from the observation; None for a task without noise.
        piece: the running optimisation, or None.
        number: the number of optimisations done.
        pieces: the number of optimisations.
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
        folder: Path | None = None,
    ) -> None:
        y, self._back = images.unpacked(observation, name)
        self.options, self.name, self._emit, self._folder = options, name, emit, folder
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
        self._picture = self._baseline.copy()  # with the finished tiles restored
        self._tile = self._tiles[0]  # the current one
        self._outputs: list[Floats] = []  # those of its finished restarts
        self._optimised: list[Optimised] = []
        self._seconds = 0.0

    @property
    def number(self) -> int:
        """The number of optimisations done."""
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
                with self._watched(self.piece):
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
        """Return the result so far; tiles that were not started show the task's baseline.

        Args:
            interrupted: whether the reason says that the restoration was interrupted.
        """
        picture, outputs, optimised = self._picture, list(self._outputs), list(self._optimised)
        if self.piece is not None and self.piece.step:
            outputs.append(self.piece.picture())
            optimised.append(self.piece.optimised(*self._corner()))
        if outputs:
            picture = picture.copy()
            self._lay(picture, outputs)
        return Restored(
            image=self._back(self._upright(picture)),
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

    def _watched(self, piece: Piece) -> AbstractContextManager[Any]:
        """Write what can be watched of a piece, in a `with` block."""
        if self._folder is None:
            return nullcontext()
        # imported with PyTorch
        from esbench.engine.live import SIDE as SHOWN
        from esbench.engine.live import Live

        # of a large picture only some of the pixels are shown, so only these are computed
        every = max(1, max(self._picture.shape[:2]) // SHOWN)
        background, outputs = self._picture[::every, ::every].copy(), list(self._outputs)
        tile = self._tile.times(self._factor)
        top, left = -tile.rows.start % every, -tile.columns.start % every
        place = np.s_[-(-tile.rows.start // every) :, -(-tile.columns.start // every) :]

        def shown() -> Bytes:
            now = np.mean([*outputs, piece.picture()], axis=0)[top::every, left::every]
            background[place][: now.shape[0], : now.shape[1]] = now
            eight: Bytes = Pictures(self._upright(background)[None]).uint8[0]
            return eight

        return Live(self._folder, piece.session, self._upright(self.observation.y), shown)

    def _upright(self, picture: Floats) -> Floats:
        """Return a picture turned as it was handed in."""
        return self.task.upright(picture, self.observation).clip(0, 1)

    def _part(self, tile: Tile) -> Observation:
        return self.task.window(self.observation, tile.rows.slice, tile.columns.slice)

    def _model(self, y: Floats) -> NoiseModel:
        """Return the noise that the optimisations are given: its level is estimated once, from the whole picture."""
        if self.options.sigma is not None:
            return NoiseModel("gaussian", self.options.sigma)
        if self.noise is None:
            return NoiseModel("none")
        # without a level, a loss that needs one refuses the picture as too small to estimate it
        small = min(y.shape[:2]) < build.SMALLEST and "sigma" in self.options.loss_needs
        return NoiseModel("gaussian", None if small else self.noise.sigma)

    def _lay(self, picture: Floats, outputs: list[Floats]) -> None:
        """Blend the mean output of the current tile into the picture, weighted by its window."""
        # all windows sum to 1, so that nothing of the baseline is left once all tiles are blended
        tile = self._tile.times(self._factor)
        change = np.mean(outputs, axis=0) - tile.of(self._baseline)
        tile.of(picture)[...] += tile.window * change

    def _corner(self) -> tuple[int, int]:
        return self._tile.rows.start * self._factor, self._tile.columns.start * self._factor

    def _unit(self) -> str:
        return self.name if self.pieces == 1 else f"{self.name}, {self.number + 1} of {self.pieces}"

    def _told(self, event: Event) -> None:
        """Pass an event on, progress with the steps that may follow this optimisation."""
        if isinstance(event, Progress):
            event = dataclasses.replace(event, later=(self.pieces - self.number - 1) * event.iterations)
        self._emit(event)

    def _reason(self, optimised: list[Optimised], interrupted: bool) -> str:
        n = self.pieces
        if not optimised:
            return "interrupted before the first step: the picture is unchanged"
        if n == 1:
            return optimised[0].reason
        stopped = sum(each.stopped for each in optimised)
        text = f"{stopped} of {len(optimised)} optimisations were stopped by the rule"
        if stopped < len(optimised):
            others = next(each.reason for each in optimised if not each.stopped)
            text += f"; of the others the first: {others}"
        return f"interrupted in optimisation {len(optimised)} of {n}: {text}" if interrupted else text


def most(options: Options, h: int, w: int, factor: int = 1, grid: int = 1) -> int:
    """Return an upper bound of the work for an observation of h x w, in pixels of the picture times steps.

    Args:
        options: the options of the restoration.
        h: height of the observation.
        w: width of the observation.
        factor: how many times larger the picture is.
        grid: tiles start at multiples of this many pixels of the observation.
    """
    pixels = [tile.window.size * factor**2 for tile in cut((h, w), (h * factor, w * factor), grid)[0]]
    return sum(n * options.steps(n) for n in pixels) * options.restarts


def cut(observed: tuple[int, ...], restored: tuple[int, ...], grid: int = 1) -> tuple[list[Tile], int]:
    """Return the tiles of an observation, one or many, and how many times larger the picture is.

    A picture whose size is no integer multiple of the observation's is never cut.

    Args:
        observed: height and width of the observation.
        restored: height and width of the picture.
        grid: tiles start at multiples of this many pixels of the observation.
    """
    (h, w), (height, width) = observed, restored
    factor = height // h
    if height * width <= WHOLE or (height, width) != (h * factor, w * factor) or factor < 1:
        return tiles(h, w, max(h, w), OVERLAP), max(factor, 1)
    return tiles(h, w, SIDE // factor // grid * grid, math.ceil(OVERLAP / factor), grid), factor
