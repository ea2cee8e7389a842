"""Run several units at a time: on workers of this machine, or on any Dask cluster by its address.

Jobs, events and outcomes are sent as plain JSON. The folder of the run must have the same path everywhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from esbench import __version__
from esbench.bench.job import Job
from esbench.bench.spec import Outcome, unit_id
from esbench.bench.store import Run
from esbench.bench.unit import failed
from esbench.bench.watch import Watch
from esbench.bench.wire import event_from_json, event_to_json, job_from_json, job_to_json, outcome_from_json
from esbench.errors import Unavailable, UnitError
from esbench.events import Event, Progress
from esbench.limits import processors
from esbench.records import Range
from esbench.registry import registry

#: Units that are submitted ahead per thread of a worker, so that none waits for the driver.
AHEAD = 2

#: Seconds between two checks for results.
LOOK_EVERY = 0.1

#: Seconds between two checks of a worker whether to halt, and between two reports of a unit's progress.
HALT_EVERY, TELL_EVERY = 1.0, 1.0

#: Seconds between two checks of the number of workers: a cluster may grow.
COUNT_EVERY = 1.0

#: Seconds to wait for a scheduler to respond.
CONNECT = 10


def dask(
    jobs: Iterable[Job],
    emit: Callable[[Event], None],
    halt: Callable[[], bool],
    *,
    workers: Annotated[int, Range(0)] = 0,
    slots_per_gpu: Annotated[int, Range(1)] = 1,
    address: str = "",
) -> Iterator[Outcome]:
    """Yield the outcome of each unit as it ends.

    Args:
        jobs: the units.
        emit: called with every event.
        halt: whether to pause the units at a checkpoint.
        workers: how many on this machine; 0 for one per slot of each GPU, or one per four cores without a GPU.
        slots_per_gpu: units at a time on each GPU.
        address: the address of a running scheduler, as in tcp://host:8786; the other two are then not used.
    """
    # the worker chooses the GPU
    placed = (dataclasses.replace(job, device=job.device.partition(":")[0]) for job in jobs)
    with _client(workers, slots_per_gpu, address) as client:
        yield from dispatch(client, placed, emit, halt, work)


def dispatch(
    client: Any,
    jobs: Iterable[Job],
    emit: Callable[[Event], None],
    halt: Callable[[], bool],
    work: Callable[[dict[str, Any], dict[str, Any], str], dict[str, Any]],
) -> Iterator[Outcome]:
    """Submit jobs to the workers of a cluster, a few ahead of the running ones, and yield their outcomes."""
    from distributed import Event as Flag
    from distributed import KilledWorker

    name, mine = f"esbench-{uuid.uuid4().hex[:8]}", installed()
    flag = Flag(name, client=client)
    client.subscribe_topic(name, lambda message: emit(event_from_json(message[1]["esbench"])))
    waiting = iter(jobs)
    back: queue.Queue[Any] = queue.Queue()
    out: dict[Any, Job] = {}
    halted, threads, counted = False, 0, -math.inf
    try:
        while True:
            if not halted and (halted := halt()):
                flag.set()
            if time.monotonic() - counted >= COUNT_EVERY:
                threads, counted = sum(client.nthreads().values()), time.monotonic()
            room = 0 if halted else max(0, AHEAD * max(1, threads) - len(out))
            # several per message, and their results in another: sending messages is most of the driver's work
            if ahead := list(itertools.islice(waiting, room)):
                sent = client.map(work, [job_to_json(job) for job in ahead], wanted=mine, name=name, pure=False)
                out |= zip(sent, ahead, strict=True)
                for future in sent:
                    future.add_done_callback(back.put)
            if not out:
                return
            if not (returned := {future.key: future for future in _returned(back)}):
                continue
            answers = client.gather(returned, errors="skip")
            for key, future in returned.items():
                job = out.pop(future)
                try:
                    outcome = _outcome(answers[key] or future.result())
                except KilledWorker:
                    unit = Run(job.run).unit(unit_id(job.spec))
                    outcome = failed(unit, UnitError("The worker that ran it was lost repeatedly."), 0.0, emit)
                yield outcome
    finally:
        client.cancel(list(out))
        client.unsubscribe_topic(name)


def _outcome(answer: dict[str, Any]) -> Outcome:
    """Return the outcome in the answer of a worker.

    Raises:
        Unavailable: the worker has other versions or no device, and refused.
    """
    if "refused" in answer:
        raise Unavailable(answer["refused"])
    return outcome_from_json(answer["outcome"])


def work(job: dict[str, Any], wanted: dict[str, Any], name: str) -> dict[str, Any]:
    """Run a unit on a worker.

    Args:
        job: the unit, as plain values.
        wanted: what the driver has installed.
        name: the name of the run for its events and its signal to halt.
    """
    from distributed import Event as Flag
    from distributed import get_worker

    worker = get_worker()
    if lacking := _lacking(job, wanted, str(worker.address)):
        return {"refused": lacking}
    flag, seen, looked, told = Flag(name), False, 0.0, -math.inf

    def halt() -> bool:
        nonlocal seen, looked
        if not seen and time.monotonic() - looked >= HALT_EVERY:
            seen, looked = flag.is_set(), time.monotonic()
        return seen

    def emit(event: Event) -> None:
        nonlocal told
        if isinstance(event, Progress):
            if time.monotonic() - told < TELL_EVERY:
                return
            told = time.monotonic()
        worker.log_event(name, {"esbench": event_to_json(event)})

    unit = job_from_json(job)
    if halt():
        return {"outcome": dataclasses.asdict(Outcome(unit=unit_id(unit.spec), status="paused", seconds=0.0))}
    if not hasattr(_HERE, "watch"):
        _HERE.watch = Watch()  # one per thread of a worker
    return {"outcome": dataclasses.asdict(_HERE.watch.run(unit, emit, halt))}


_HERE = threading.local()


def installed() -> dict[str, Any]:
    """Return the versions that must be the same on both sides: esbench, torch and the plugins."""
    import torch

    plugins = {p.distribution: p.version for p in registry().host.plugins if not p.built_in}
    return {"esbench": __version__, "torch": torch.__version__.partition("+")[0], **plugins}


def _lacking(job: dict[str, Any], wanted: dict[str, Any], where: str) -> str:
    """Return why a worker cannot run a unit, or an empty string."""
    mine = installed()
    for name in sorted({*wanted, *mine}):
        if wanted.get(name) != mine.get(name):
            here, there = mine.get(name) or f"no {name}", wanted.get(name) or f"no {name}"
            return (
                f"Worker {where} has {name} {here}, this command {there}: install the same versions on both."
            ).replace(f"{name} no {name}", f"no {name}")
    if not Path(job["run"]).is_dir():
        return f"Worker {where} does not have {job['run']!r}: --out must be a folder with the same path everywhere."
    return ""


def _returned(back: queue.Queue[Any]) -> Iterator[Any]:
    """Yield all results; wait a moment for the first."""
    with contextlib.suppress(queue.Empty):
        yield back.get(timeout=LOOK_EVERY)
        while True:
            yield back.get_nowait()


@contextlib.contextmanager
def _client(workers: int, slots_per_gpu: int, address: str) -> Iterator[Any]:
    """Yield a client of a cluster: the one at the address, or one made of processes on this machine."""
    try:
        import distributed
    except ImportError as error:
        raise Unavailable("Executor 'dask' needs distributed: pip install 'esbench[dask]'.") from error

    if address:
        try:
            client = distributed.Client(address, timeout=CONNECT)
        except (OSError, TimeoutError, ValueError, TypeError) as error:  # the last: tls without certificates
            raise Unavailable(f"No Dask scheduler responds at {address!r}: {error}.") from error
        with client:
            yield client
        return
    slots = _slots(workers, slots_per_gpu)
    spec = {
        i: {"cls": distributed.Nanny, "options": {"nthreads": 1, "env": env, "memory_limit": 0, "silence_logs": 40}}
        for i, env in enumerate(slots)
    }
    options = {"port": 0, "dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1"}
    scheduler = {"cls": distributed.Scheduler, "options": options}
    with (
        _safe_path(),
        distributed.SpecCluster(spec, scheduler, silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Prevent processes started in this block, and their helpers, from importing from the current directory."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def _slots(workers: int, slots_per_gpu: int) -> list[dict[str, str]]:
    """Return the environment of each worker on this machine: its GPU, or its share of the threads."""
    import torch

    gpus = _visible() if torch.cuda.is_available() else []
    if gpus:
        n = workers or len(gpus) * slots_per_gpu
        return [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} for i in range(n)]
    cores = processors()
    n = workers or max(1, cores // 4)
    return [{"OMP_NUM_THREADS": str(max(1, cores // n))}] * n


def _visible() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(i) for i in range(torch.cuda.device_count())]
