"""One unit: the optimisation, and all criteria measured on it. The one function that another process may call."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from esbench import metrics
from esbench.bench import grid
from esbench.bench.build import observation, trajectory
from esbench.bench.measure import Column, Trace
from esbench.bench.store import Run, Unit
from esbench.criterion import Criterion
from esbench.errors import EsbenchError, UnitError, UsageError
from esbench.registry import registry
from esbench.rule import Running
from esbench.types import (
    Event,
    Notice,
    Outcome,
    Pictures,
    Problem,
    Progress,
    UnitFailed,
    UnitFinished,
    UnitSpec,
    UnitStarted,
)

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
    """

    spec: UnitSpec
    run: str
    dataset: str
    device: str
    criteria: tuple[str, ...]
    patience: int
    live: bool = False


def run_unit(job: Job, emit: Callable[[Event], None]) -> Outcome:
    """Run a unit and leave its numbers on the disk; what fails is said and written down, and the other units go on."""
    unit = Run(job.run).unit(grid.unit_id(job.spec))
    started = time.perf_counter()
    emit(UnitStarted(unit=unit.id, iterations=job.spec.iterations))
    try:
        _run(job, unit, emit)
    except Exception as error:
        reason = str(error) if isinstance(error, EsbenchError) else f"{type(error).__name__}: {error}"
        try:
            unit.write_error(traceback.format_exc())
        except OSError as disk:
            reason += f" (nor could it be written down: {disk})"
        emit(UnitFailed(unit=unit.id, reason=reason))
        return Outcome(unit=unit.id, status="failed", seconds=time.perf_counter() - started, reason=reason)
    seconds = time.perf_counter() - started
    emit(UnitFinished(unit=unit.id, seconds=seconds))
    return Outcome(unit=unit.id, status="done", seconds=seconds)


def todo(job: Job, unit: Unit) -> tuple[str, ...]:
    """Return the criteria for which a unit has to be run: none where it is done.

    Raises:
        UsageError: a criterion was measured by another version of its plugin.
    """
    result = unit.result()
    if result is None:
        return job.criteria
    done = result["criteria"]
    for text in job.criteria:
        was, now = done.get(text, {}).get("made_by"), made_by(text)
        if was is not None and was != now and not done[text]["failed"]:  # where it failed there is nothing to mix
            raise UsageError(
                f"{text!r} was measured by {_maker(was)} in this run, and {_maker(now)} is installed: choose "
                "another --out."
            )
    missing = tuple(text for text in job.criteria if text not in done or done[text]["failed"])
    if not result["complete"] and (missing or not job.live):
        return job.criteria  # it ended early: nothing of it can be joined
    return missing


@functools.cache
def made_by(text: str) -> dict[str, Any]:
    """Return whose numbers a criterion's are: what is recorded with every value, and must not be mixed."""
    record = registry().get("criterion", text).record
    version = record.distribution_version if record.distribution != "esbench" else ""
    return {"distribution": record.distribution, "distribution_version": version, "version": record.info.version}


def _maker(made: dict[str, Any]) -> str:
    return f"{made['distribution']} {made['distribution_version']} (version {made['version']})".replace("  ", " ")


def _run(job: Job, unit: Unit, emit: Callable[[Event], None]) -> None:
    spec, before = job.spec, unit.result()
    live = job.live and not (before is not None and before["complete"])  # what is complete stays so
    clean, noisy, sigma = observation(spec, job.dataset)
    problem = Problem(noisy=Pictures(noisy[None])[0], sigma=sigma, task=spec.task)
    columns = [Column(_criterion(text, problem, unit, emit), Running(job.patience)) for text in todo(job, unit)]
    optimisation = trajectory(spec, noisy, job.device)
    unit.begin(spec)

    trace = Trace(Pictures(clean[None]).tensor.to(optimisation.task.y.device))
    told = time.perf_counter()
    blocks = iter(optimisation)
    while True:
        started = time.perf_counter()
        block = next(blocks)
        trace.take(block, time.perf_counter() - started)
        frames = list(block.frames(problem))
        for column in columns:
            column.take(frames)
        for step in block.restored:
            text = f"the loss rose at step {step} ({block.losses[step - block.first]:.3g}): back to an earlier state"
            emit(Notice(unit=unit.id, text=text))
        ends = len(trace.loss) == spec.iterations or (live and all(c.rule.stop or c.failed for c in columns))
        if ends or time.perf_counter() - told >= PROGRESS_EVERY:
            told = time.perf_counter()
            emit(_progress(unit, spec, trace, columns))
        if ends:
            break
    complete = len(trace.loss) == spec.iterations
    joined = before is not None and before["complete"] and complete
    if joined:
        _agree(trace, unit)
    _write(job, unit, trace, columns, clean, noisy, before if joined else None, optimisation.restored)


def _criterion(text: str, problem: Problem, unit: Unit, emit: Callable[[Event], None]) -> Criterion:
    """Return a criterion for a unit, and tell what `auto` came to."""
    criterion = Criterion(registry().get("criterion", text), problem)
    values = criterion.component.values
    for key, value in criterion.resolved.items():
        if value != values[key]:
            emit(Notice(unit=unit.id, text=f"{text}: {key}={values[key]} is {value:.6g}"))
    return criterion


def _progress(unit: Unit, spec: UnitSpec, trace: Trace, columns: list[Column]) -> Progress:
    return Progress(
        unit=unit.id,
        step=len(trace.loss),
        iterations=spec.iterations,
        psnr_db=trace.psnr[-1],
        best={c.criterion.text: c.rule.best_step for c in columns if c.rule.best_step is not None},
        stopped={c.criterion.text: c.rule.stop.step for c in columns if c.rule.stop is not None},
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
) -> None:
    complete = len(trace.loss) == job.spec.iterations
    pictures = {"clean": clean, "noisy": noisy, "peak": trace.peak, "last": trace.last.float}
    criteria = dict(before["criteria"]) if before else {}
    for column in columns:
        c, stop = column.criterion, column.rule.stop
        output = column.output if stop is not None else trace.last.float
        entry: dict[str, Any] = {"made_by": made_by(c.text), "resolved": c.resolved, "failed": column.failed}
        if not column.failed:
            entry |= {
                "patience": job.patience,
                "stop_step": stop.step if stop is not None else len(trace.loss) - 1,
                "ssim": metrics.finite(metrics.ssim(output, clean)) if min(clean.shape[:2]) >= 11 else None,
                "missing": column.missing,
                "reason": column.reason,
            }
            pictures[f"stop-{c.text}"] = output
            unit.write_criterion(
                c.text, column.table(), entry["made_by"] | {"criterion": c.text, "resolved": c.resolved}
            )
        criteria[c.text] = entry
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
            "machine": machine(job.device),
            "criteria": criteria,
        }
    )
