"""Restore a user's picture with a Deep Image Prior that stops automatically.

A picture of ordinary size is one optimisation. A larger one is cut into overlapping tiles, so that memory stays
bounded. Quality `best` averages restarts with several seeds, and so does a time that is longer than one optimisation.
Optimisations run one after another, or several at once, each in a process of its own. The result is not the output of a
step but the exponential average of the outputs, which is better, at the step where the criterion was lowest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esbench import __version__, images, limits, notebook, seeds
from esbench import device as devices
from esbench.engine import build
from esbench.errors import DataError
from esbench.events import Event, Notice, Progress, UnitFinished, ignore
from esbench.noise import Noise, estimate, estimate_gain, impulses_of
from esbench.observation import NoiseModel, Observation, without
from esbench.pictures import Bytes, Floats, Pictures, is_grey
from esbench.registry import registry
from esbench.restoration.aside import Aside, Assignment
from esbench.restoration.options import Options, clean, in_time, knowing
from esbench.restoration.piece import Optimised, Piece, Product
from esbench.restoration.tiles import Tile, tiles

#: A picture of more pixels than WHOLE is cut into tiles of SIDE x SIDE that overlap by at least OVERLAP. The memory of
#: an optimisation is proportional to its pixels.
WHOLE = 640 * 640
SIDE = 512
OVERLAP = 48

#: Steps of a trial that measures the speed: three blocks of a GPU.
TRIAL = 60

#: Pixels times steps from which on it is worth to start processes, which takes seconds, and the bytes of memory that
#: each takes, at most: some of its own, and some per pixel.
SEVERAL = 3e7
OWN, EACH = 2**29, 7000

#: The share of the time that is reserved for writing the picture.
RESERVE = 0.03

#: Seconds within which two interrupts count as one.
TWICE = 0.5

#: The options that a time decides.
CHOSEN = ("quality", "network", "loss", "iterations")

#: A restart that has not stopped counts if it has done this share of the steps of the tile's first optimisation.
WORTH = 0.5


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
        sigma_estimate: the estimated noise level of the observation on the 0-255 scale; None for a task without noise,
            unless no level was given and it found some.
        values: the criterion at each step of the first optimisation; NaN where it has no value.
        disagreement: the difference of tiles where they overlap, as a standard deviation on the 0-255 scale; None if
            there is one tile, or one is not finished.
        optimised: the optimisations, by tile, then by restart.
        impulses: the share of the values that were taken for impulses and filled in.
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
    disagreement: float | None = None
    impulses: float = 0.0

    def __repr__(self) -> str:
        return f"Restored({notebook.said(self.image)}, {self.task}, {self.criterion}: {self.reason})"

    def _repr_html_(self) -> str:
        """Return the picture and why it stopped, for a notebook."""
        facts = {
            "task": self.task,
            "criterion": self.criterion,
            "stop step": "none" if self.stop_step is None else self.stop_step,
            "steps run": self.steps_run,
            "seconds": f"{self.seconds:.0f}",
            "picture": notebook.said(self.image),
        }
        return notebook.card(f"{self.reason}.", facts, self.image)


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
        processors: how many processors optimisations in processes of their own may share; 1 for no such processes.

    Attributes:
        observation: the observation, with the noise level that the optimisations are given.
        noise: the noise estimated from the observation; None for a task without noise.
        sigma_estimate: its level; None without noise.
        impulses: the share of the values that are taken for impulses and filled in.
        piece: the optimisation that runs in this process, or None.
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
        processors: int = 1,
    ) -> None:
        self.options, self.name, self._emit, self._folder = options, name, emit, folder
        self._processors = processors
        self._end = math.inf  # when the last step has to be done
        self.count_from(time.monotonic())
        y, self._back = images.unpacked(observation, name)
        self.task = build.task(options.task)
        if self.task.takes_grey and y.shape[2] > 1 and is_grey(y):
            own, channels = self._back, y.shape[2]
            y, self._back = y[..., :1].copy(), lambda picture: own(picture.repeat(channels, 2))
        observed = self.task.observe(y, mask=mask, guide=guide, file=file)
        self.noise: Noise | None = estimate(y) if options.has_noise else None
        self._small = options.sigma is None and min(y.shape[:2]) < build.SMALLEST
        sought = self.noise is None and options.sigma is None and not self._small
        found = self.task.level(observed) if sought else None
        self.sigma_estimate = self._level = found if self.noise is None else self.noise.sigma
        self.impulses = 0.0
        if not self._small:
            self.options = knowing(options, self.sigma_estimate, self.noise, lambda: estimate_gain(y))
        if self.options.task != options.task:
            observed = self._without_impulses(y)
        self.observation = dataclasses.replace(observed, noise=self._model())
        self._tiles, self._factor = cut(
            self.observation.y.shape[:2], self.task.shape(self.observation)[:2], self.task.grid
        )
        self._tiles = [tile for tile in self._tiles if not (clean(self.options) or self.task.idle(self._part(tile)))]
        self.pieces = len(self._tiles) * self.restarts
        self.piece: Piece | None = None
        self._baseline = self.task.baseline(self.observation)
        # optimisations are numbered by restart, then by tile
        self._at = 0  # the one that runs in this process
        self._begun = 0.0  # when that was begun
        self._aside: Aside | None = None  # those that run in processes of their own
        self._left: dict[int, Product] = {}  # what these had made when they were left
        self._sums: list[Floats | None] = [None for _ in self._tiles]  # of the results of each tile
        self._counts = [0 for _ in self._tiles]  # how many they are of
        self._optimised: dict[int, Optimised] = {}
        self._seconds = 0.0
        self._resumed: dict[int, dict[str, Any]] = {}  # the sessions that optimisations resume
        self._asked = options

    @property
    def number(self) -> int:
        """The number of optimisations done."""
        return len(self._optimised)

    def count_from(self, started: float) -> None:
        """Let the minutes count from a time of `time.monotonic`, before this was made."""
        if self.options.minutes is not None:
            self._end = started + 60 * self.options.minutes * (1 - RESERVE)

    def __iter__(self) -> Iterator[None]:
        if self.options.minutes is not None:
            left = self._end - time.monotonic()
            self.options = in_time(self.options, self._areas(), left, self.speed)
        if (at_once := self._at_once()) is None:
            yield from self._in_turn()
        else:
            yield from self._at_the_same_time(*at_once)

    def _in_turn(self) -> Iterator[None]:
        """Run the optimisations one after another."""
        planned = self.pieces
        for number in itertools.count():
            if not self._tiles or (number >= planned and self._end == math.inf):
                return
            if number in self._optimised:
                continue
            self._at = number
            if self._optimised and not self._worth():
                return
            self.pieces = max(self.pieces, len(self._tiles) * (self._place(number)[0] + 1))
            yield from self._optimise()

    def _optimise(self) -> Iterator[None]:
        """Run the current optimisation until it stops, or its time is up."""
        assignment = self._assignment(self._at)
        before, started = self._seconds, time.perf_counter()
        self._begun = time.monotonic()
        self.piece = Piece(
            assignment.name, self.task, assignment.observation, self.options, assignment.seed, self._told
        )
        if assignment.state is not None:
            self.piece.session.load_state_dict(assignment.state)
        with self._watched(self.piece):
            for _ in self.piece:
                self._seconds = before + time.perf_counter() - started
                yield
                if time.monotonic() >= self._until():
                    self.piece.cut_off = True
                    break
        self._seconds = before + time.perf_counter() - started
        product, self.piece = self.piece.product(*assignment.corner), None
        self._finish(assignment, product, self._seconds - before)

    def _at_once(self) -> tuple[int, int] | None:
        """Return how many optimisations run at once and the threads of each; None if they run one after another.

        The rounding of sums depends on the number of threads. So it follows from all optimisations, done or not: a
        restoration that was interrupted continues with the same number.
        """
        if self.options.minutes is not None or devices.named(self.options.device) != "cpu" or self.work < SEVERAL:
            return None
        threads = self._processors // max(1, min(self._processors, self.pieces))
        room = limits.memory() // (OWN + EACH * max(self._areas()))
        n = min(self.pieces, self._processors // threads, room)
        return (n, threads) if n > 1 else None

    def _at_the_same_time(self, n: int, threads: int) -> Iterator[None]:
        """Run n optimisations at once, each in its own process; each iteration takes what one of them has said."""
        each = f"{threads} thread{'s' if threads > 1 else ''} each"
        self._emit(Notice(text=f"{n} optimisations at once, with {each}", detail=True))
        waiting = (self._assignment(number) for number in range(self.pieces) if number not in self._optimised)
        before, started, begun = self._seconds, time.perf_counter(), dict[int, tuple[Assignment, float]]()
        aside = self._aside = Aside(threads)
        try:
            while True:
                for assignment in itertools.islice(waiting, n - len(aside.running)):
                    aside.begin(assignment)
                    begun[assignment.number] = assignment, time.perf_counter()
                if not aside.running:
                    return
                message = aside.wait()
                self._seconds = before + time.perf_counter() - started
                if message is not None and message[1] == "event":
                    self._told(message[2])
                elif message is not None and message[1] == "done":
                    assignment, since = begun.pop(message[0])
                    self._finish(assignment, message[2], time.perf_counter() - since)
                yield
        except (KeyboardInterrupt, GeneratorExit):
            self._left = _products(aside)
            raise
        finally:
            self._aside = None
            aside.close()

    def _assignment(self, number: int) -> Assignment:
        """Return an optimisation to run."""
        restart, t = self._place(number)
        tile = self._tiles[t]
        return Assignment(
            number,
            self.name if self.pieces == 1 else f"{self.name}, {number + 1} of {self.pieces}",
            self._part(tile),
            self.options,
            seeds.derive(self.options.seed, "denoise", t, restart),
            self._corner(number),
            self._resumed.pop(number, None),
        )

    def _finish(self, assignment: Assignment, product: Product | None, seconds: float) -> None:
        """Take the result of an optimisation that has ended."""
        if product is not None:
            self._sums, self._counts, self._optimised = self._with({assignment.number: product})
        self._emit(UnitFinished(unit=assignment.name, seconds=seconds))

    def _place(self, number: int) -> tuple[int, int]:
        """Return restart and tile of an optimisation."""
        return divmod(number, len(self._tiles))

    def _corner(self, number: int) -> tuple[int, int]:
        """Return top and left of the tile of an optimisation, in the restored picture."""
        tile = self._tiles[self._place(number)[1]].times(self._factor)
        return tile.rows.start, tile.columns.start

    def _worth(self) -> bool:
        """Whether there is time for the next optimisation; a restart has to get far enough to count."""
        restart, t = self._place(self._at)
        needed = WORTH * self._optimised[t].steps_run * self._areas()[t] * self._pace() if restart else 0
        return time.monotonic() + needed < self._end

    def _until(self) -> float:
        """Return when the current optimisation has to end.

        Each tile gets its share of the time, and a restart, which may stop by itself, all of the rest. A loss with a
        plan of its steps divides the time among as many optimisations as give each about that many, at the pace so far.
        """
        (restart, t), areas, left = self._place(self._at), self._areas(), self._end - self._begun
        plan, rest = self.options.plan(areas[t]), sum(areas[t:])
        if self._end == math.inf or (restart and plan is None):
            return self._end
        if plan is not None:
            rounds = 1 + (left / (plan * self._pace()) - rest) / sum(areas)
            rest += max(0, round(rounds) - 1) * sum(areas)
        return self._begun + left * areas[t] / rest

    def _pace(self) -> float:
        """Return the seconds per step and pixel so far."""
        areas, n = self._areas(), len(self._tiles)
        done = sum(each.steps_run * areas[number % n] for number, each in self._optimised.items())
        now = self.piece.step * areas[self._at % n] if self.piece else 0
        return self._seconds / (done + now)

    def speed(self, options: Options | None = None) -> float:
        """Return the seconds per step and pixel of the picture, from a few steps of which nothing is kept.

        Args:
            options: other options than its own.
        """
        if not self._tiles:
            return 0.0
        options = dataclasses.replace(options or self.options, iterations=TRIAL)
        piece = Piece(self.name, self.task, self._part(self._tiles[0]), options, 0, ignore)
        blocks = iter(piece.session.trajectory)
        next(blocks)  # the first one is slow
        first, started = piece.step, time.perf_counter()
        while piece.step < first + 2:
            next(blocks)
        return (time.perf_counter() - started) / ((piece.step - first) * self._areas()[0])

    def result(self, interrupted: bool = False) -> Restored:
        """Return the result so far; tiles that were not started show the task's baseline.

        Args:
            interrupted: whether the reason says that the restoration was interrupted.
        """
        sums, counts, found = self._with(self._running())
        optimised = [found[number] for number in sorted(found)]
        picture, disagreement = self._blended(sums, counts)
        return Restored(
            image=self._back(self._upright(picture)),
            task=registry().get("task", self.options.task).text,
            criterion=registry().get("criterion", self.options.stops_by).text,
            stop_step=statistics.median_low(each.stop_step for each in optimised) if optimised else None,
            steps_run=sum(each.steps_run for each in optimised),
            reason=self._reason(optimised, interrupted),
            seconds=self._seconds,
            sigma_estimate=self.sigma_estimate,
            values=optimised[0].values if optimised else [],
            optimised=tuple(optimised),
            disagreement=disagreement,
            impulses=self.impulses,
        )

    def _watched(self, piece: Piece) -> AbstractContextManager[Any]:
        """Write what can be watched of a piece, in a `with` block."""
        if self._folder is None:
            return nullcontext()
        # imported with PyTorch
        from esbench.engine.live import SIDE as SHOWN
        from esbench.engine.live import Live

        # of a large picture only some of the pixels are shown, so only these are computed
        t, (picture, _) = self._place(self._at)[1], self._blended(self._sums, self._counts)
        every = max(1, max(picture.shape[:2]) // SHOWN)
        background, tile = picture[::every, ::every].copy(), self._tiles[t].times(self._factor)
        top, left = -tile.rows.start % every, -tile.columns.start % every
        place = np.s_[-(-tile.rows.start // every) :, -(-tile.columns.start // every) :]

        def shown() -> Bytes:
            before, picture = self._sums[t], piece.picture()
            mean = picture if before is None else (before + picture) / (self._counts[t] + 1)
            now = mean[top::every, left::every]
            background[place][: now.shape[0], : now.shape[1]] = now
            eight: Bytes = Pictures(self._upright(background)[None]).uint8[0]
            return eight

        return Live(self._folder, piece.session, self._upright(self.observation.y), shown)

    def _upright(self, picture: Floats) -> Floats:
        """Return a picture in the orientation of the input."""
        return self.task.upright(picture, self.observation).clip(0, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest depends on, in the middle of optimisations."""
        if self._aside is not None:
            running = self._aside.ask("state")
            sums, counts, optimised = self._with(self._aside.ended)
        else:
            assert self.piece is not None
            running = {self._at: self.piece.session.state_dict()}
            sums, counts, optimised = self._with({})
        return {
            "of": self._identity(),
            "chosen": {name: getattr(self.options, name) for name in CHOSEN},
            "sums": sums,
            "counts": counts,
            "optimised": {number: dataclasses.asdict(each) for number, each in optimised.items()},
            "seconds": self._seconds,
            "running": running,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another restoration of the same picture with the same options, to the bit.

        Raises:
            DataError: it is of another picture, or of other options.
        """
        if state["of"] != self._identity():
            raise DataError("it is of another picture, other options, another kind of device or another version")
        self.options = dataclasses.replace(self.options, minutes=None, **state["chosen"])
        self._sums, self._counts = list(state["sums"]), list(state["counts"])
        done = state["optimised"].items()
        self._optimised = {number: Optimised(**each | {"tile": tuple(each["tile"])}) for number, each in done}
        self._seconds = state["seconds"]
        self._end -= self._seconds
        self._resumed = dict(state["running"])

    def _identity(self) -> str:
        """Return a hash of everything that the result depends on: of the machine, the kind of device and precision."""
        import torch

        device = torch.device(devices.named(self._asked.device)).type
        precision = devices.precise(self._asked.precision, device)
        asked = dataclasses.replace(self._asked, threads=None, precision=precision)
        hashed = hashlib.sha256(repr((asked, device, __version__, torch.__version__)).encode())
        for array in (self.observation.y, self.observation.known, *self.observation.extra.values()):
            hashed.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()

    def _part(self, tile: Tile) -> Observation:
        return self.task.window(self.observation, tile.rows.slice, tile.columns.slice)

    def _without_impulses(self, y: Floats) -> Observation:
        """Return the observation without its impulses, and set the task that fills them in.

        The other values are kept if no noise is found in them.
        """
        found = impulses_of(y)
        observed = without(y, found)
        self.impulses, self._level = float(found.mean()), build.task(self.options.task).level(observed)
        if self._level is not None:
            self.options = dataclasses.replace(self.options, task="inpaint[keep=false]", loss=None, level=self._level)
        self.task = build.task(self.options.task)
        return observed

    def _model(self) -> NoiseModel:
        """Return the noise that the optimisations are given: its level is estimated once, from the whole picture."""
        level = self._level if self.options.sigma is None else self.options.sigma
        if level is None:
            return NoiseModel("none")
        if self._small and "sigma" in self.options.loss_needs:
            level = None  # a loss that needs it refuses the picture as too small to estimate it
        if self.noise is None or self.impulses:
            return NoiseModel("gaussian", level)
        return NoiseModel(self.noise.kind, level, correlation=self.noise.correlation, typical=self.noise.typical)

    def _running(self) -> dict[int, Product]:
        """Return what the running optimisations have made so far."""
        if self._aside is not None:
            return self._aside.ask("product")
        product = None if self.piece is None else self.piece.product(*self._corner(self._at))
        return self._left if product is None else {self._at: product}

    def _with(self, more: Mapping[int, Product]) -> tuple[list[Floats | None], list[int], dict[int, Optimised]]:
        """Return the sums and counts of the tiles and the results of the optimisations, with further ones."""
        sums, counts, optimised = list(self._sums), list(self._counts), dict(self._optimised)
        for number, product in sorted(more.items()):
            restart, t = self._place(number)
            first = self._optimised.get(t)
            enough = first is None or product.optimised.steps_run >= WORTH * first.steps_run
            if restart and not product.ended and not enough:
                continue
            before = sums[t]
            sums[t] = product.picture if before is None else before + product.picture
            counts[t] += 1
            optimised[number] = product.optimised
        return sums, counts, optimised

    def _blended(self, sums: list[Floats | None], counts: list[int]) -> tuple[Floats, float | None]:
        """Return the picture, and how far its tiles are from each other where they overlap."""
        picture, squares, alone = self._baseline.copy(), np.zeros_like(self._baseline), self._baseline[..., :1] * 0
        for tile, sum, n in zip(self._tiles, sums, counts, strict=True):
            if sum is None:
                continue
            # all windows sum to 1, so that nothing of the baseline is left once all tiles are blended
            tile, mean = tile.times(self._factor), sum / n
            tile.of(picture)[...] += tile.window * (mean - tile.of(self._baseline))
            tile.of(squares)[...] += tile.window * mean**2
            tile.of(alone)[...] += tile.window == 1
        shared = alone[..., 0] == 0
        if 0 in counts or len(counts) <= 1 or not shared.any():
            return picture, None
        variance = (squares - picture**2)[shared].clip(0)
        return picture, 255 * float(np.sqrt(variance.mean()))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each tile, in the restored picture."""
        return [(len(t.rows.window) * self._factor, len(t.columns.window) * self._factor) for t in self._tiles]

    @property
    def restarts(self) -> int:
        """How many optimisations are averaged per tile."""
        return self.options.restarts(max(self._areas(), default=1))

    @property
    def work(self) -> int:
        """Pixels times steps, at most."""
        return sum(n * self.options.steps(n) for n in self._areas()) * self.restarts

    def _areas(self) -> list[int]:
        return [h * w for h, w in self.sizes]

    def _told(self, event: Event) -> None:
        """Pass an event on; progress with the steps that may follow this optimisation, or that there is time for."""
        if isinstance(event, Progress) and self._end < math.inf:
            if self._seconds:
                now, each = time.monotonic(), self._pace() * self._areas()[self._place(self._at)[1]]
                own, later = (max(0, round((end - now) / each)) for end in (self._until(), self._end))
                most = min(event.iterations, event.step + own)
                event = dataclasses.replace(event, iterations=most, later=max(0, later - own))
        elif isinstance(event, Progress):
            running = 1 if self._aside is None else len(self._aside.running)
            waiting = max(0, self.pieces - self.number - running)
            event = dataclasses.replace(event, later=waiting * event.iterations // running)
        self._emit(event)

    def _reason(self, optimised: list[Optimised], interrupted: bool) -> str:
        n = self.pieces
        if not n:
            return "no noise was found: the picture is unchanged"
        if not optimised:
            return "interrupted before the first step: the picture is unchanged"
        if n == 1:
            return optimised[0].reason
        if all(each.planned for each in optimised) and not interrupted:
            return f"{len(optimised)} optimisations done, as planned; the first: {optimised[0].reason}"
        stopped = sum(each.stopped for each in optimised)
        text = f"{stopped} of {len(optimised)} optimisations were stopped by the rule"
        if self.options.plan(1) is not None:
            text = f"{len(optimised)} optimisations done; the first: {optimised[0].reason}"
        elif stopped < len(optimised):
            others = next(each.reason for each in optimised if not each.stopped)
            text += f"; of the others the first: {others}"
        return f"interrupted in optimisation {len(optimised)} of {n}: {text}" if interrupted else text


def _products(aside: Aside) -> dict[int, Product]:
    """Return the products of running pieces, even if a Ctrl-C arrives twice, as from `timeout` of the coreutils."""
    since = time.monotonic()
    while True:
        try:
            return aside.ask("product")
        except KeyboardInterrupt:
            if time.monotonic() - since > TWICE:
                raise


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
    return sum(n * options.steps(n) for n in pixels) * options.restarts(max(pixels))


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
