"""Run one unit after the other, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from esbench.bench.job import Job
from esbench.bench.spec import Outcome
from esbench.bench.watch import Watch
from esbench.events import Event


def serial(jobs: Iterable[Job], emit: Callable[[Event], None], halt: Callable[[], bool]) -> Iterator[Outcome]:
    """Yield the outcome of each unit as it ends."""
    with Watch() as watch:
        for job in jobs:
            if halt():
                return
            yield watch.run(job, emit, halt)
