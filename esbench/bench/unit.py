"""One unit: the optimisation, and all criteria measured on it. The one function that another process may call."""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import metrics
from esbench.bench import checkpoint, grid
from esbench.bench.build import observation, problem, trajectory
from esbench.bench.columns import Column, Inline, Lanes, Trace, Watched
from esbench.bench.replay import found
from esbench.bench.spec import Outcome, UnitSpec
from esbench.bench.store import Run, Unit
from esbench.errors import Busy, DataError, EsbenchError, UnitError, UsageError
from esbench.events import Event, Notice, Progress, UnitFailed, UnitFinished, UnitPaused, UnitStarted
from esbench.pictures import Pictures
from esbench.registry import made_by, registry
from esbench.stopping.rule import Running, Stop

if TYPE_CHECKING:
    from esbench.engine.loop import Trajectory

#: Seconds between two Progress events.
PROGRESS_EVERY = 0.25

#: A unit is run again for a criterion that was added later; its losses must then be those that are on the disk.
SAME = 1e-6


@dataclass(frozen=True)
class Job:
    """A unit to run, in plain values.

    Attributes:
        spec: the unit.
        run: the folder of the run.
        dataset: how the data set is opened: a name, or an absolute path.
        device: cpu, cuda or cuda:N.
        criteria: canonical texts.
        patience: of the rule, for the stops whose pictures are kept.
        live: end as soon as all criteria have stopped.
        time_limit: seconds that a call of a stranger's criterion may take.
        checkpoint_every: seconds between two checkpoints.
        struck: the criteria that were given up because they hang or end their process, and why.
        retry: measure anew what failed before.
    """

    spec: UnitSpec
    run: str
    dataset: str
    device: str
    criteria: tuple[str, ...]
    patience: int
    live: bool = False
    time_limit: float = 120.0
    checkpoint_every: float = 60.0
    struck: Mapping[str, str] = field(default_factory=dict)
    retry: bool = False


def never() -> bool:
    """Nobody asks a unit to halt."""
    return False


def unwatched(text: str, step: int) -> AbstractContextManager[None]:
    """Nobody watches who is at work."""
    return contextlib.nullcontext()


def run_unit(
    job: Job, emit: Callable[[Event], None], halt: Callable[[], bool] = never, watched: Watched = unwatched
) -> Outcome:
    """Run a unit and leave its numbers on the disk; what fails is said and written down, and the other units go on.

    Args:
        job: the unit.
        emit: called with every event.
        halt: asked after every block; once it says yes the unit is left at a checkpoint.
        watched: surrounds the work of strangers' criteria.
    """
    unit = Run(job.run).unit(grid.unit_id(job.spec))
    started = time.perf_counter()
    try:
        with unit.lock():
            paused = _run(job, unit, emit, halt, watched)
    except Exception as error:
        return failed(unit, error, time.perf_counter() - started, emit)
    seconds = time.perf_counter() - started
    if paused is not None:
        emit(UnitPaused(unit=unit.id, step=paused))
        return Outcome(unit=unit.id, status="paused", seconds=seconds)
    emit(UnitFinished(unit=unit.id, seconds=seconds))
    return Outcome(unit=unit.id, status="done", seconds=seconds)


def failed(unit: Unit, error: Exception, seconds: float, emit: Callable[[Event], None]) -> Outcome:
    """Say and write down that a unit failed."""
    reason = str(error) if isinstance(error, EsbenchError) else f"{type(error).__name__}: {error}"
    if not isinstance(error, Busy):  # it is somebody else's
        try:
            unit.write_error("".join(traceback.format_exception(error)))
        except OSError as disk:
            reason += f" (nor could it be written down: {disk})"
    emit(UnitFailed(unit=unit.id, reason=reason))
    return Outcome(unit=unit.id, status="failed", seconds=seconds, reason=reason)


def todo(job: Job, unit: Unit) -> tuple[str, ...]:
    """Return the criteria for which a unit has to be run: none where it is done, or failed and not to be tried again.

    Raises:
        UsageError: a criterion was measured by another version of its plugin.
        DataError: its result cannot be read.
    """
    result = _result(job, unit)
    if result is None:
        return () if unit.error() and not job.retry else job.criteria
    done = result["criteria"]
    for text in job.criteria:
        was, now = done.get(text, {}).get("made_by"), made_by(text)
        if was is not None and was != now and not done[text]["failed"]:  # where it failed there is nothing to mix
            raise UsageError(
                f"{text!r} was measured by {_maker(was)} in this run, and {_maker(now)} is installed: choose "
                "another --out."
            )
    missing = tuple(
        text
        for text in job.criteria
        if text not in done or (done[text]["failed"] and (job.retry or done[text]["made_by"] != made_by(text)))
    )
    if not result["complete"] and (missing or not job.live):
        # it ended early, and nothing can be joined to it: what other commands measured is measured again with the rest
        return tuple(dict.fromkeys([*job.criteria, *(text for text in done if _usable(text, done[text]))]))
    return missing


def _usable(text: str, entry: Mapping[str, Any]) -> bool:
    """Whether a criterion did not fail, and can be measured again as it was."""
    with contextlib.suppress(EsbenchError):
        return not entry["failed"] and entry["made_by"] == made_by(text)
    return False


def _result(job: Job, unit: Unit) -> dict[str, Any] | None:
    look = unit.look(whole=job.retry)
    if look.damage and not job.retry:
        raise DataError(look.damage)
    return look.result


def _maker(made: dict[str, Any]) -> str:
    return f"{made['distribution']} {made['distribution_version']} (version {made['version']})".replace("  ", " ")


def _run(job: Job, unit: Unit, emit: Callable[[Event], None], halt: Callable[[], bool], watched: Watched) -> int | None:
    """Run a unit to its end and return None, or to where it was asked to halt and return the step."""
    spec, before, texts = job.spec, _result(job, unit), todo(job, unit)
    if not texts:  # another process has done it since it was planned
        return None
    live = job.live and not (before is not None and before["complete"])  # what is complete stays so
    clean, noisy, sigma = observation(spec, job.dataset)
    given = problem(spec, noisy, sigma)
    columns = [Column(text, given, Running(job.patience), watched, failed=job.struck.get(text, "")) for text in texts]
    optimisation = trajectory(spec, noisy, job.device)
    trace = Trace(Pictures(clean[None]).tensor.to(optimisation.task.y.device))
    unit.begin(spec)
    resumed = _resume(unit, optimisation, trace, columns, emit)
    emit(UnitStarted(unit=unit.id, iterations=spec.iterations, step=optimisation.t))
    if not resumed:
        _tell_resolved(unit, columns, emit)

    lanes = Inline(columns) if job.device == "cpu" else Lanes(columns)
    blocks, begun = iter(optimisation), optimisation.t
    told, saved = -math.inf, time.monotonic()
    try:
        while True:
            complete = optimisation.t == spec.iterations
            if live:
                lanes.drain()  # so that where it ends does not depend on who is quicker
            ends = complete or (live and all(c.rule.stop or c.failed for c in columns))
            now = time.monotonic()
            if trace.loss and (ends or now - told >= PROGRESS_EVERY):
                told = now
                emit(_progress(unit, spec, trace, columns))
            if ends:
                break
            halts = optimisation.t > begun and halt()  # one step at least, or a small budget would never end
            if halts or now - saved >= job.checkpoint_every:
                saved = now
                lanes.drain()
                try:
                    checkpoint.save(unit, optimisation, trace, columns, resumed)
                except OSError as error:  # a full disk may have room again by the time that it matters
                    emit(Notice(unit=unit.id, text=f"no checkpoint at step {optimisation.t}: {error}"))
                if halts:
                    return optimisation.t
            started = time.perf_counter()
            block = next(blocks)
            trace.take(block, time.perf_counter() - started)
            lanes.take(block)
            while optimisation.notes:
                emit(Notice(unit=unit.id, text=optimisation.notes.pop(0)))
            for step in block.restored:
                loss = block.losses[step - block.first]
                text = f"the loss rose at step {step} ({loss:.3g}): back to an earlier state"
                emit(Notice(unit=unit.id, text=text))
        lanes.drain()
    finally:
        lanes.close()
    joined = before is not None and before["complete"] and complete
    if joined:
        _agree(trace, unit)
    _write(job, unit, trace, columns, clean, noisy, before if joined else None, optimisation.restored, resumed)
    return None


def _resume(
    unit: Unit, optimisation: Trajectory, trace: Trace, columns: list[Column], emit: Callable[[Event], None]
) -> list[int]:
    """Take a unit to its last checkpoint and return the steps at which it went on so far; none where it starts."""
    try:
        return checkpoint.load(unit, optimisation, trace, columns)
    except DataError as error:
        emit(Notice(unit=unit.id, text=f"begins anew: {error}"))
        return []


def _tell_resolved(unit: Unit, columns: list[Column], emit: Callable[[Event], None]) -> None:
    """Tell what `auto` came to."""
    for column in columns:
        values = registry().get("criterion", column.text).values
        for key, value in column.resolved.items():
            if value != values.get(key):
                number = f"{value:.6g}" if isinstance(value, float) else value
                emit(Notice(unit=unit.id, text=f"{column.text}: {key}={values.get(key)} is {number}"))


def _progress(unit: Unit, spec: UnitSpec, trace: Trace, columns: list[Column]) -> Progress:
    return Progress(
        unit=unit.id,
        step=len(trace.loss),
        iterations=spec.iterations,
        psnr_db=trace.psnr[-1],
        best={c.text: c.rule.best_step for c in columns if c.rule.best_step is not None},
        stopped={c.text: c.rule.stop.step for c in columns if c.rule.stop is not None},
    )


def _agree(trace: Trace, unit: Unit) -> None:
    """Check that this is the optimisation that is on the disk.

    Raises:
        UnitError: it is another one.
    """
    stored, loss = unit.trace(["loss"])["loss"], np.array(trace.loss)
    same = (loss == stored) | (np.isnan(loss) & np.isnan(stored))
    off = np.max(np.where(same, 0.0, np.abs(loss - stored) / np.abs(stored)))
    if not off <= SAME:
        raise UnitError(
            f"A different trajectory: the losses differ from those on the disk by up to {off:.2g} relative (allowed: "
            f"{SAME}). Values of the two cannot be mixed; another --out measures all criteria anew."
        )


def _write(
    job: Job,
    unit: Unit,
    trace: Trace,
    columns: list[Column],
    clean: Any,
    noisy: Any,
    before: dict[str, Any] | None,
    restored: list[int],
    resumed: list[int],
) -> None:
    complete = len(trace.loss) == job.spec.iterations
    pictures = {"clean": clean, "noisy": noisy, "peak": trace.peak, "last": trace.last}
    criteria = dict(before["criteria"]) if before else {}
    for column in columns:
        steps = len(trace.loss)
        stop = column.rule.stop or Stop(steps - 1, None, decided_at=steps - 1, fallback=True)
        output = trace.last if stop.fallback else column.output
        made = made_by(column.text)
        entry: dict[str, Any] = {"made_by": made, "resolved": column.resolved, "failed": column.failed}
        if not column.failed:
            entry |= {
                "patience": job.patience,
                **found(stop, trace.psnr, trace.average_psnr, column.ms),
                "ssim": metrics.finite(metrics.ssim(output, clean)) if min(clean.shape[:2]) >= 11 else None,
                "missing": column.missing,
                "reason": column.reason,
            }
            pictures[f"stop-{column.text}"] = output
            owner = made | {"criterion": column.text, "resolved": column.resolved}
            unit.write_criterion(column.text, column.table(), owner)
        criteria[column.text] = entry
    for name, picture in pictures.items():
        unit.write_image(name, Pictures(np.nan_to_num(np.array(picture))[None]).uint8[0])
    if before is None:
        unit.write_trace(trace.table())
    from esbench.bench.stamp import machine

    unit.write_result(
        {
            "complete": complete,
            "steps": len(trace.loss),
            "peak_step": int(np.argmax(trace.psnr)) if complete else None,
            "peak_db": metrics.finite(max(trace.psnr)) if complete else None,
            "last_db": metrics.finite(trace.psnr[-1]) if complete else None,
            "average_peak_db": metrics.finite(max(trace.average_psnr)) if complete else None,
            "seconds": trace.seconds[-1],
            "restored": restored,
            "resumed": resumed,
            "machine": machine(job.device),
            "criteria": criteria,
        }
    )
    unit.drop_checkpoint()
