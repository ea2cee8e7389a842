"""Share the processors among the units of a run: small ones are done sooner side by side than one after the other.

A small picture gains little from a second thread: its operations are short, and the threads wait for each other after
each of them. So units of small pictures run several at once, each in its own process with its share of the threads.
"""

from __future__ import annotations

from collections.abc import Sequence

from esbench import limits
from esbench.bench import grid
from esbench.bench.job import Job

#: Pictures of at most this many pixels are small: `python -m benchmarks.threads --units`.
SMALL = 192 * 192

#: Pixels times steps of all units from which on it is worth to start processes, which takes seconds.
WORTH = 2e6

#: Bytes of memory for each process, more than one with a small picture takes.
MEMORY = 3 * 2**29


def threads_of_each(jobs: Sequence[Job]) -> int | None:
    """Return the threads of each of some units that run side by side; None if they run one after the other.

    The sum of a layer depends on the number of threads, in its last bits. So this number follows from all units of a
    command, finished or not: a command that was interrupted continues with the same numbers.
    """
    if len(jobs) < 2 or jobs[0].spec.device != "cpu" or jobs[0].threads is not None:
        return None
    n = min(len(jobs), processors())
    if n < 2:
        return None
    sizes: dict[str, int] = {}
    for job in jobs:
        if job.spec.image not in sizes:
            sizes[job.spec.image] = pixels(job, SMALL)
            if sizes[job.spec.image] > SMALL:
                return None
    work = sum(sizes[job.spec.image] * job.spec.iterations for job in jobs)
    return processors() // n if work >= WORTH else None


def at_once(jobs: Sequence[Job]) -> int:
    """Return how many of some units run at once: as many as the processors and the memory allow."""
    if not jobs or (share := jobs[0].share) is None:
        return 1
    return max(1, min(len(jobs), processors() // share, limits.memory() // MEMORY))


def processors() -> int:
    """Return how many processors units can share: PyTorch's threads, but not more than this process may use."""
    import torch

    return min(torch.get_num_threads(), limits.processors())


def pixels(job: Job, enough: int = 0) -> int:
    """Return the pixels of a unit's picture.

    Args:
        job: the unit.
        enough: the picture is not read if its crop has at most this many; the crop is the largest that it can have.
    """
    if job.spec.crop is not None and job.spec.crop**2 <= enough:
        return job.spec.crop**2
    dataset = grid.open_dataset(job.dataset, job.max_pixels)[1]
    image = grid.picture(dataset, job.spec.image, job.spec.crop)
    return int(image.shape[0] * image.shape[1])
