"""Run units on this machine: several at once if they share its processors, else one after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from esbench.bench.job import Job
from esbench.bench.share import at_once
from esbench.bench.spec import Outcome
from esbench.bench.watch import LOOK_EVERY, Watch
from esbench.events import Event, Notice
from esbench.executors.serial import serial


def auto(jobs: Iterable[Job], emit: Callable[[Event], None], halt: Callable[[], bool]) -> Iterator[Outcome]:
    """Yield the outcome of each unit as it ends."""
    jobs = tuple(jobs)
    if not jobs or jobs[0].share is None:
        yield from serial(jobs, emit, halt)
        return
    n, threads = at_once(jobs), jobs[0].share
    each = f"{threads} thread{'s' if threads > 1 else ''}" + (" each" if n > 1 else "")
    emit(Notice(text=f"{n} unit{'s' if n > 1 else ''} at once, with {each}", detail=True))
    yield from _side_by_side(jobs, emit, halt, n)


def _side_by_side(
    jobs: tuple[Job, ...], emit: Callable[[Event], None], halt: Callable[[], bool], n: int
) -> Iterator[Outcome]:
    """Yield the outcomes of units that run in n processes; a thread waits for each, and only this one emits."""
    waiting, said = iter(jobs), queue.SimpleQueue[Event | Outcome | BaseException | None]()
    halting, leaving = threading.Event(), threading.Event()

    def halted() -> bool:
        if leaving.is_set():
            raise _Left
        return halting.is_set()

    def work() -> None:
        try:
            with Watch() as watch:
                for job in waiting:
                    if halted():
                        break
                    said.put(watch.run(job, said.put, halted))
            said.put(None)
        except BaseException as error:  # a bug: raised in the thread of the driver
            said.put(error)

    workers = [threading.Thread(target=work, name="esbench-unit", daemon=True) for _ in range(n)]
    for worker in workers:
        worker.start()
    try:
        while n:
            if halt():
                halting.set()
            try:
                message = said.get(timeout=LOOK_EVERY)
            except queue.Empty:
                continue
            match message:
                case None:
                    n -= 1
                case Outcome():
                    yield message
                case Event():
                    emit(message)
                case BaseException():
                    raise message
    finally:
        leaving.set()
        for worker in workers:
            worker.join()


class _Left(Exception):
    """The driver does not wait for the units any more."""
