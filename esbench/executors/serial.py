"""One unit after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from esbench.bench.unit import Job, run_unit
from esbench.types import Event, Outcome


def serial(jobs: Iterable[Job], emit: Callable[[Event], None]) -> Iterator[Outcome]:
    """Give the outcome of each unit as it ends."""
    for job in jobs:
        yield run_unit(job, emit)
