"""Plan a run, skip what is done, pass the rest to an executor, and forward its events."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import __version__, torch_state
from esbench.bench import baselines as others
from esbench.bench import build, grid, share
from esbench.bench.config import Config
from esbench.bench.control import Control
from esbench.bench.job import Job, is_left, lacking, todo
from esbench.bench.spec import Outcome, unit_id
from esbench.bench.stamp import command, commit, stamp
from esbench.bench.store import Run
from esbench.device import threads
from esbench.errors import DataError, ParamError, Unavailable, UsageError
from esbench.events import Event, Notice, RunFinished, RunStarted
from esbench.observation import Problem
from esbench.pictures import Pictures
from esbench.plugins import Interrupted
from esbench.printable import is_unicode
from esbench.registry import Component, Record, registry, untouched
from esbench.stopping.column import is_third_party
from esbench.stopping.criterion import Criterion

if TYPE_CHECKING:
    from esbench.engine.fast import Fast

#: Work longer than this is announced before it starts, in seconds.
LONG = 3600


@dataclass(frozen=True)
class Plan:
    """The units and criteria of a command.

    Attributes:
        criteria: canonical texts.
        baselines: canonical texts.
        jobs: all units of its shard.
        left: the units still to run.
        everything: the ids of the units of all shards.
        left_out: criteria that `all` skips because they are not available, and why.
        beyond: sentences about what was requested but is not in the dataset.
    """

    criteria: tuple[str, ...]
    baselines: tuple[str, ...]
    jobs: tuple[Job, ...]
    left: tuple[Job, ...]
    everything: tuple[str, ...]
    left_out: Mapping[str, str]
    beyond: tuple[str, ...]

    @property
    def units(self) -> list[str]:
        """The ids of all units."""
        return [unit_id(job.spec) for job in self.jobs]

    def without(self, units: Collection[str]) -> Plan:
        """Return the plan without some units, by id."""
        jobs, left = ([j for j in jobs if unit_id(j.spec) not in units] for jobs in (self.jobs, self.left))
        return dataclasses.replace(self, jobs=tuple(jobs), left=tuple(left))


def plan(config: Config, folder: Path) -> Plan:
    """Return the units of a configuration, and which of them are not done yet.

    Raises:
        EsbenchError: something in it does not exist or is not available.
    """
    if not is_unicode(str(folder.resolve())):
        raise UsageError(f"The folder of a run must have a name in valid Unicode, got {str(folder)!r}.")
    texts, left_out = expand(config.criterion)
    criteria = tuple(dict.fromkeys(registry().get("criterion", text).text for text in texts))
    baselines = tuple(dict.fromkeys(registry().get("baseline", text).text for text in config.baseline))
    registry().get("executor", config.executor)
    store = Run(folder)
    store.grown(config)
    config = settled(config, folder)
    beyond: list[str] = []
    everything = _jobs(config, folder, criteria, baselines, beyond)
    i, n = config.part
    jobs = everything[i - 1 :: n]
    if config.executor == "auto" and (each := share.threads_of_each(jobs)) is not None:
        jobs = tuple(dataclasses.replace(job, share=each) for job in jobs)
    left = tuple(_left(store, jobs))
    for job in _one_each(left).values():
        _check(job)
    units = tuple(unit_id(job.spec) for job in everything)
    return Plan(criteria, baselines, jobs, left, units, left_out, tuple(beyond))


def settled(config: Config, folder: Path) -> Config:
    """Return a configuration with the precision of the units in a folder, if it leaves the precision to the machine.

    So a run keeps its units on another machine, and with a newer version of esbench.
    """
    if config.precision == "auto":
        for path in folder.glob("units/*/spec.json"):
            with contextlib.suppress(DataError):
                return dataclasses.replace(config, precision=Run(folder).unit(path.parent.name).spec().precision)
    return config


def _jobs(
    config: Config, folder: Path, criteria: tuple[str, ...], baselines: tuple[str, ...], beyond: list[str]
) -> tuple[Job, ...]:
    """Return the units of a configuration, of all shards, with what to measure on them."""
    specs, path = list(grid.units(config, beyond)), Path(config.dataset)
    known = {record.info.name for record in registry().records["dataset"]}
    # another process may have another working directory
    dataset = str(path.resolve()) if path.exists() and config.dataset not in known else config.dataset
    device = specs[0].device if config.device == "auto" else config.device
    since = time.time()
    return tuple(
        Job(
            spec,
            str(folder.resolve()),
            dataset,
            device,
            criteria,
            config.patience,
            config.live,
            config.time_limit,
            config.checkpoint_every,
            max_pixels=config.max_pixels,
            retry=config.retry_failed,
            baselines=baselines,
            since=since,
            threads=config.threads,
        )
        for spec in specs
    )


def _left(store: Run, jobs: Iterable[Job]) -> Iterator[Job]:
    """Yield the jobs that are not done, each with all criteria to measure: also those of a unit that starts again."""
    for job in jobs:
        with contextlib.suppress(DataError):  # a damaged unit counts as failed; --retry-failed runs it again
            unit = store.unit(unit_id(job.spec))
            if wanted := todo(job, unit):
                yield dataclasses.replace(job, criteria=tuple(dict.fromkeys([*job.criteria, *wanted])))
            elif lacking(job, unit):
                yield dataclasses.replace(job, criteria=())


def _one_each(jobs: Iterable[Job]) -> dict[str, Job]:
    """Return one job per picture, by the picture's name: what depends only on the picture is examined once."""
    return {job.spec.image: job for job in jobs}


def run(config: Config, folder: Path, planned: Plan, listen: Callable[[Event], None]) -> int:
    """Run the units left of a plan and return how many failed.

    Once the budget is spent, or the user interrupts, the running units are paused at a checkpoint.

    Args:
        config: the configuration.
        folder: the folder of the run.
        planned: the result of `plan`.
        listen: called with every event; plugins get them as well.

    Raises:
        KeyboardInterrupt: the user interrupted; all progress is on disk.
    """

    def emit(event: Event) -> None:
        listen(event)
        if registry().host.listeners:
            with torch_state.same(), untouched()():
                registry().host.emit(event)

    store, units = Run(folder), planned.units
    outcomes: list[Outcome] = []
    with store.lock(config.part):
        store.begin(config, list(planned.everything), stamp(), _entry(config))
        # another command may have finished some of them since they were planned
        left = tuple(job for job in planned.left if is_left(job, store.unit(unit_id(job.spec))))
        done = len(units) - len(left)
        emit(RunStarted(folder=str(folder), units=len(units), done=done, iterations=config.iterations))
        if left and (warning := long_work(left)):
            emit(Notice(text=warning))
        executor = registry().get("executor", config.executor)
        control = Control(folder, min((job.since for job in planned.jobs), default=0.0))
        with Halt(config.seconds, emit, lambda: control() == "stop") as halt:
            for outcome in executor.target(left, emit, halt, **executor.values):
                outcomes.append(outcome)
        failed = sum(outcome.status == "failed" for outcome in outcomes)
        ended = sum(outcome.status == "done" for outcome in outcomes)
        unfinished = len(left) - ended - failed
        emit(RunFinished(folder=str(folder), done=done + ended, failed=failed, left=unfinished))
    if halt.interrupted:
        raise KeyboardInterrupt
    return failed


def _entry(config: Config) -> dict[str, Any]:
    """Return the record of this command for the folder of the run."""
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command(),
        "esbench": __version__,
        "commit": commit(),
        "host": platform.node(),
        "shard": config.shard,
    }


class Halt:
    """Decides when to pause a run: the budget is spent, or the user interrupts or asks for it with `esbench ctl`.

    A second interrupt stops immediately.

    Args:
        seconds: the budget, or None.
        emit: called with a notice of the interrupt.
        asked: whether `esbench ctl` asks for it.
    """

    def __init__(self, seconds: float | None, emit: Callable[[Event], None], asked: Callable[[], bool]) -> None:
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds
        self._emit, self._asked = emit, asked
        self.interrupted = False

    def __call__(self) -> bool:
        """Whether to pause now."""
        return self.interrupted or time.monotonic() >= self._deadline or self._asked()

    def __enter__(self) -> Halt:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # signals can be caught only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, *_: object) -> None:
        if self.interrupted:
            raise Interrupted  # by the user, whichever plugin is running
        self.interrupted = True
        self._emit(Notice(text="stopping after this step, at a checkpoint; press Ctrl-C again to stop immediately"))


def long_work(left: tuple[Job, ...]) -> str:
    """Return a warning about work of more than an hour, else an empty string."""
    device = left[0].spec.device
    # time a few steps only if an hour is possible
    pixel_steps = sum((job.spec.crop or 512) ** 2 * job.spec.iterations for job in left)
    if pixel_steps < {"cpu": 2e7}.get(device, 2e10):
        return ""
    seconds = estimate(left)
    if seconds < LONG:
        return ""
    return (
        f"This will take about {duration(seconds)} on this {device.upper()}, plus the time of the criteria. --images, "
        "--crop and --iterations make it shorter; --preset quick is a first look. It can be interrupted at any time; "
        "the same command continues it."
    )


def duration(seconds: float) -> str:
    """Return a readable duration: 42 s, 3:05 min, 7.2 h, 12 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def expand(criteria: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Return the criteria with `all` written out: every available one whose parameters have defaults.

    Returns:
        The texts, and what `all` leaves out because it is not available, with the reason.
    """
    texts: list[str] = []
    left_out: dict[str, str] = {}
    for text in criteria:
        if text != "all":
            texts.append(text)
            continue
        for record in registry().records["criterion"]:
            try:
                if _by_default(record):
                    texts.append(record.info.name)
            except Unavailable as error:
                left_out[record.info.name] = str(error)
    return texts, left_out


def _by_default(record: Record) -> bool:
    """Whether a criterion works with its defaults; `lam=auto` does not without a calibration.

    Raises:
        Unavailable: a package is missing, or a model cannot be fetched.
    """
    some = Problem(noisy=Pictures(np.zeros((1, 8, 8, 3), np.uint8))[0], sigma=25.0)
    try:
        component = registry().get("criterion", record.info.name)
        if not runs_third_party(component):
            Criterion(component, some)
    except ParamError:
        return False
    return True


def estimate(left: tuple[Job, ...]) -> float:
    """Estimate the seconds that the optimisations of some jobs take, without criteria, from a few steps of one of them.

    The time of a step is proportional to the pixels, so a small picture is timed.
    """
    left = tuple(job for job in left if job.criteria)
    if not left:
        return 0.0
    size, sample = _sample(left[0])
    blocks = iter(sample)
    with threads(left[0].threads or left[0].share):
        next(blocks)  # the first one is slow
        started, steps = time.perf_counter(), 0
        while steps < 2:
            steps += len(next(blocks))
    per_pixel = (time.perf_counter() - started) / (steps * size)
    pixels = {image: share.pixels(job) for image, job in _one_each(left).items()}
    return sum(per_pixel * pixels[job.spec.image] * job.spec.iterations for job in left) / share.at_once(left)


def _sample(job: Job) -> tuple[int, Fast]:
    """Return the optimisation of the smallest part of a unit's picture that the network can produce, and its pixels."""
    spec = dataclasses.replace(job.spec, iterations=100)
    for side in (96, 160, 288, 544):
        if side < (spec.crop or math.inf):
            scene = build.scene(dataclasses.replace(spec, crop=side, pixels=""), job.dataset, job.max_pixels)
            with contextlib.suppress(UsageError):
                return math.prod(scene.clean.shape[:2]), scene.trajectory(job.device)
    scene = build.scene(spec, job.dataset, job.max_pixels)  # the plan has checked that it fits
    return math.prod(scene.clean.shape[:2]), scene.trajectory(job.device)


def _check(job: Job) -> None:
    """Raise before the first step if a unit would fail: a small picture, a parameter that cannot be resolved."""
    scene = build.scene(job.spec, job.dataset, job.max_pixels)
    scene.fits()
    given = scene.problem
    for text in job.baselines:
        others.check(scene, text)
    for text in job.criteria:
        component = registry().get("criterion", text)
        if not runs_third_party(component):
            Criterion(component, given)


def runs_third_party(component: Component) -> bool:
    """Whether making a criterion runs third-party code, which is left to the watched process."""
    made_of_codec = bool(getattr(component.info, "codec", ""))
    return is_third_party(component.record) and not made_of_codec
