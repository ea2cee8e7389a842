"""Run one unit: a session with a clean picture, and its numbers on the disk.

`run_unit` is the only function that another process may call.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from esbench.bench import baselines, build, checkpoint, finish
from esbench.bench.control import LOOK_EVERY, Control
from esbench.bench.job import Job, lacking, result_of, todo
from esbench.bench.spec import Outcome, unit_id
from esbench.bench.store import Run, Unit
from esbench.device import threads
from esbench.engine.live import Live
from esbench.engine.session import Session
from esbench.errors import Busy, DataError, EsbenchError
from esbench.events import Event, Notice, UnitFailed, UnitFinished, UnitPaused
from esbench.limits import processors
from esbench.stopping.column import Column, Watched, unwatched
from esbench.stopping.rule import Running


def never() -> bool:
    """Never halt (the default)."""
    return False


def run_unit(
    job: Job, emit: Callable[[Event], None], halt: Callable[[], bool] = never, watched: Watched = unwatched
) -> Outcome:
    """Run a unit and write its numbers to the disk; a failure is emitted and written, and other units continue.

    Args:
        job: the unit.
        emit: called with every event.
        halt: called after every block; once it returns True, the unit is paused at a checkpoint.
        watched: surrounds the calls of third-party criteria.
    """
    unit = Run(job.run).unit(unit_id(job.spec))
    started = time.perf_counter()
    try:
        with unit.lock(), threads(job.threads or job.share):
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
    """Emit and write that a unit failed."""
    reason = str(error) if isinstance(error, EsbenchError) else f"{type(error).__name__}: {error}"
    if not isinstance(error, Busy):  # another process is running the unit
        try:
            unit.write_error("".join(traceback.format_exception(error)))
        except OSError as disk:
            reason += f" (and this could not be written: {disk})"
    emit(UnitFailed(unit=unit.id, reason=reason))
    return Outcome(unit=unit.id, status="failed", seconds=seconds, reason=reason)


def _run(job: Job, unit: Unit, emit: Callable[[Event], None], halt: Callable[[], bool], watched: Watched) -> int | None:
    """Run a unit to its end and return None, or until it is halted and return the step."""
    before, texts, others = result_of(job, unit), todo(job, unit), lacking(job, unit)
    if not texts and not others:  # another process has finished it since it was planned
        return None
    complete = before is not None and before["complete"]  # it must remain complete
    scene = build.scene(job.spec, job.dataset, job.max_pixels)
    unit.begin(job.spec)
    for text in others:
        baselines.write(job, unit, scene, text, emit)
        if halt():
            return 0
    if not texts:
        return None
    problem = scene.problem
    columns = [
        Column(text, problem, Running(job.patience), watched, failed=job.disabled.get(text, "")) for text in texts
    ]
    session = scene.session(job.device, columns, emit, live=job.live and not complete)
    begun: Any = (before or {}).get("machine", {}).get("threads")
    try:
        begun = checkpoint.load(unit, session) or begun
    except DataError as error:
        emit(Notice(unit=unit.id, text=f"restarts: {error}"))
    if job.threads is None and begun in range(1, processors() + 1):
        torch.set_num_threads(begun)  # with another number it would be another optimisation
    working = [column for column in columns if not column.failed]
    saved, control = time.monotonic(), Control(unit.path.parents[1], job.since, unit.id)
    with Live(unit.path, session, scene.observation.y) as live:
        for _ in session:
            for column in [column for column in working if column.failed]:
                emit(Notice(unit=unit.id, text=column.failed))
                working.remove(column)
            if session.ended:
                continue
            halts = halt() or control() == "stop"
            pauses = control() == "pause"
            if halts or pauses or time.monotonic() - saved >= job.checkpoint_every:
                saved = time.monotonic()
                _save(unit, session, emit)
            if pauses and not halts:
                emit(Notice(unit=unit.id, text=f"paused at step {session.step}, until 'esbench ctl RUN resume'"))
                with live.paused():
                    while not halts and control() == "pause":
                        time.sleep(LOOK_EVERY / 2)
                        halts = halt()
                halts = halts or control() == "stop"
            if halts:
                return session.step
    joined = before if complete and session.complete else None
    if joined is not None:
        finish.agree(session.trace, unit)
    finish.write(job, unit, scene, session, joined)
    return None


def _save(unit: Unit, session: Session, emit: Callable[[Event], None]) -> None:
    """Write a checkpoint; on a full disk only emit a notice, because there may be room again later."""
    state: dict[str, Any] = session.state_dict()
    try:
        checkpoint.save(unit, session, state)
    except OSError as error:
        emit(Notice(unit=unit.id, text=f"no checkpoint at step {session.step}: {error}"))
