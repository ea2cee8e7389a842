"""Measure the overhead of the harness, and kill its processes.

python -m benchmarks.harness overhead|many|traffic|workers|units|kills
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.results import seconds as measured
from esbench import cli, device
from esbench.bench import driver, share
from esbench.bench.config import Config
from esbench.bench.replay import found, stop_of
from esbench.bench.results import Results
from esbench.bench.spec import Outcome, UnitSpec, unit_id
from esbench.bench.store import Run, status
from esbench.bench.wire import event_to_json
from esbench.events import Progress
from esbench.limits import processors
from esbench.registry import made_by, registry

NETWORK = "skip[channels=4,scales=2]"
CLOCK = ("ms_per_step", "criterion_ms_per_step", "seconds")

#: The number of events of a unit of `traffic`.
TIMES = 200


def pictures(folder: Path, n: int, side: int = 32) -> Path:
    """Write n pictures with a texture."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        image = rng.random((side // 4, side // 4, 3)).repeat(4, 0).repeat(4, 1)
        Image.fromarray((255 * image).astype(np.uint8)).save(folder / f"{i:05}.png")
    return folder


def do(config: Config, out: Path) -> None:
    driver.run(config, out, driver.plan(config, out), lambda event: None)


def overhead(runs: int) -> dict[str, Any]:
    """The overhead of the driver per step, unit and run: wall-clock time without that of the steps."""
    few, many, adds = 50, 250, []
    with tempfile.TemporaryDirectory() as folder:

        def outside(name: str, units: int, steps: int) -> float:
            """Return the milliseconds outside the steps of a run of a number of units of a number of steps."""
            config = Config(
                dataset=str(pictures(Path(folder) / f"{name} pictures", units, 96)),
                criterion=("last",),
                network="skip[channels=16]",
                iterations=steps,
                device="cpu",
                executor="serial",
            )
            out = Path(folder) / name
            times, _ = measured(lambda: do(config, out), 1)
            return 1000 * (times[0] - sum(unit.trace(["seconds"])["seconds"][-1] for unit in Run(out).units()))

        outside("warm", 1, few)
        for i in range(runs):
            small, long, wide = (outside(f"{i} {n} {t}", n, t) for n, t in ((1, few), (1, many), (5, few)))
            step = (long - small) / (many - few)
            unit = (wide - small) / 4 - few * step
            adds.append((step, unit, small - unit - few * step))
    step, unit, run = np.median(adds, axis=0).round(2).tolist()
    return {
        "ms per step": step,
        "ms per unit": unit,
        "ms a run": run,
        "all": np.round(adds, 2).tolist(),
    }


def nothing(job: dict[str, Any], wanted: dict[str, Any], name: str) -> dict[str, Any]:
    """A unit that takes no time, but writes the files of a real one."""
    started = time.perf_counter()
    spec = UnitSpec(**job["spec"])
    unit = Run(job["run"]).unit(unit_id(spec))
    unit.begin(spec)
    steps = np.arange(20.0)
    unit.write_trace({"step": steps, "loss": steps, "psnr_db": steps, "average_psnr_db": steps})
    unit.write_criterion("last", {"step": steps, "value": -steps, "ms": steps}, {})
    entry = {"made_by": made_by("last"), "resolved": {}, "failed": "", "patience": 1000, "ssim": 0.5}
    entry |= found(stop_of(-steps, 1000), steps, steps, steps) | {"missing": 0, "reason": ""}
    peaks = {"peak_step": 19, "peak_db": 19.0, "last_db": 19.0, "average_peak_db": 19.0}
    unit.write_result({"complete": True, "steps": 20, "seconds": 1.0, "criteria": {"last": entry}, **peaks})
    seconds = time.perf_counter() - started
    return {"outcome": dataclasses.asdict(Outcome(unit=unit.id, status="done", seconds=seconds))}


def many(units: int, workers: int) -> dict[str, Any]:
    """Units that do nothing, through the Dask executor and the store."""
    from benchmarks import harness  # a function of __main__ would be sent as a whole, each time
    from esbench.executors import dask

    with tempfile.TemporaryDirectory() as folder:
        where = pictures(Path(folder) / "pictures", 100, 8)
        seeds = tuple(range(-(-units // 100)))
        config = Config(
            dataset=str(where), criterion=("last",), network=NETWORK, iterations=20, seed=seeds, device="cpu"
        )
        out = Path(folder) / "run"
        planned = driver.plan(config, out)
        store = Run(out)
        out.mkdir()
        store.begin(config, planned.units, {}, {})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with dask._client(workers, 1, "") as client:
            started, cpu = time.perf_counter(), time.process_time()
            outcomes = dask.dispatch(client, planned.left, registry().host.emit, lambda: False, harness.nothing)
            took = [outcome.seconds for outcome in outcomes]
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        done = len(took)
        assert done == len(planned.jobs)

        def timed(function: Callable[[], Any]) -> list[float]:
            times, processor = measured(function, 1)
            return [round(times[0], 2), round(processor[0], 2)]

        return {
            "units": done,
            "workers": workers,
            "ms per unit": round(1000 * seconds / done, 2),
            "of it the driver's processor": round(1000 * cpu / done, 2),
            "ms per unit on its worker": round(1000 * statistics.fmean(took), 2),
            "driver memory (MB)": round(memory),
            "status (s, and on the processor)": timed(lambda: [status(unit) for unit in store.units()]),
            "resume (s, and on the processor)": timed(lambda: driver.plan(config, out)),
            "table (s, and on the processor)": timed(lambda: Results(out).table()),
        }


def traffic(workers: int) -> dict[str, Any]:
    """The work of the driver for a running unit: its events, and its checks whether to halt."""
    from benchmarks import harness
    from esbench.executors import dask

    with tempfile.TemporaryDirectory() as folder:
        where = pictures(Path(folder) / "pictures", 2 * workers, 32)
        config = Config(dataset=str(where), criterion=("last",), network=NETWORK, iterations=20, device="cpu")
        jobs = driver.plan(config, Path(folder) / "run").jobs
        ms = {}
        with dask._client(workers, 1, "") as client:
            for what in (harness.idle, harness.tell, harness.look):
                cpu = time.process_time()
                told = [*dask.dispatch(client, jobs, registry().host.emit, lambda: False, what)]
                ms[what.__name__] = 1000 * (time.process_time() - cpu) / (TIMES * len(told))
    cost = {f"the driver's ms to {what}": round(ms[what] - ms["idle"], 3) for what in ("tell", "look")}
    return {"workers": workers} | cost


def idle(job: dict[str, Any], wanted: dict[str, Any], name: str) -> dict[str, Any]:
    """A unit that only waits."""
    return _again_and_again(job, lambda: None)


def tell(job: dict[str, Any], wanted: dict[str, Any], name: str) -> dict[str, Any]:
    """A unit that reports its progress."""
    from distributed import get_worker

    far = {"step": 1000, "iterations": 20_000, "psnr_db": 25.0, "best": {"cifs-jpeg": 900, "wmv": 800}, "stopped": {}}
    event = {"esbench": event_to_json(Progress(unit=unit_id(UnitSpec(**job["spec"])), **far))}
    return _again_and_again(job, lambda: get_worker().log_event(name, event))


def look(job: dict[str, Any], wanted: dict[str, Any], name: str) -> dict[str, Any]:
    """A unit that checks whether to halt."""
    from distributed import Event

    return _again_and_again(job, Event(name).is_set)


def _again_and_again(job: dict[str, Any], what: Callable[[], Any]) -> dict[str, Any]:
    for _ in range(TIMES):
        what()
        time.sleep(0.01)  # events that follow closely would share a message, and those of many units do not
    return {"outcome": {"unit": unit_id(UnitSpec(**job["spec"])), "status": "done", "seconds": 0.0}}


def workers(runs: int) -> dict[str, Any]:
    """Eight small units on two workers with a thread each over one such worker."""
    from esbench.executors import dask

    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        where = pictures(Path(folder) / "pictures", 8, 64)
        config = Config(
            dataset=str(where), criterion=("last",), network="skip[channels=32]", iterations=150, device="cpu"
        )
        one_thread = patch.object(dask, "_slots", lambda n, _: [{"OMP_NUM_THREADS": "1"}] * n)  # a single one has all
        for i in range(runs):
            seconds = {}
            for n in (1, 2):
                out, on = Path(folder) / f"{i}-{n}", dataclasses.replace(config, executor=f"dask[workers={n}]")
                marks: list[float] = []
                with one_thread:
                    driver.run(on, out, driver.plan(on, out), lambda e, m=marks: m.append(time.perf_counter()))
                seconds[n] = marks[-1] - marks[1]  # from the first unit's start: starting processes is not compared
            ratios.append(seconds[1] / seconds[2])
    return {"two workers over one": f"{statistics.median(ratios):.2f}", "all": [round(r, 2) for r in ratios]}


def units(runs: int) -> dict[str, Any]:
    """Eight units of 96 x 96: `auto` over one after the other, by the clock, with the start of processes."""
    device.let_threads_sleep()  # as the commands do; PyTorch is not imported yet
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        where = pictures(Path(folder) / "pictures", 8, 96)
        config = Config(dataset=str(where), iterations=100, patience=20, device="cpu")
        for i in range(runs):
            seconds = {}
            for executor in ("serial", "auto"):
                out, on = Path(folder) / f"{i}-{executor}", dataclasses.replace(config, executor=executor)
                planned, started = driver.plan(on, out), time.perf_counter()
                assert driver.run(on, out, planned, lambda event: None) == 0
                seconds[executor] = time.perf_counter() - started
                threads = {unit.result()["machine"]["threads"] for unit in Run(out).units()}
                print(f"{executor}: {seconds[executor]:.0f} s, {threads} threads a unit", file=sys.stderr)
            ratios.append(seconds["serial"] / seconds["auto"])
    return {"auto over serial": f"{statistics.median(ratios):.2f}", "all": [round(r, 2) for r in ratios]}


def kills(times: int, executor: str, seed: int = 0) -> dict[str, Any]:
    """Random SIGKILLs of the driver, and of workers, over grids of 30 small units; a new one where one is done."""
    import pyarrow.parquet  # noqa: F401
    import torch

    rng, killed, codes, starts = random.Random(seed), Counter(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            dataset=str(pictures(Path(folder) / "pictures", 10, 32)),
            criterion=("cifs-jpeg", "emv"),
            sigma=(15.0, 25.0, 50.0),
            network=NETWORK,
            iterations=50,
            patience=10,
            device="cpu",
        )
        torch.set_num_threads(1)  # the numbers of a worker are those of a thread
        driver.plan(config, Path(folder) / "none")  # so that every copy has the imports of a run
        file, whole = Path(folder) / "config.toml", Path(folder) / "whole"
        file.write_text(config.to_toml())
        _begin(file, whole).join()
        if executor == "auto":  # side by side, although they are so short
            share.WORTH = 0
            torch.set_num_threads(processors())
        file.write_text(dataclasses.replace(config, executor=executor, checkpoint_every=0.5).to_toml())
        same = True
        while killed.total() < times:
            out = Path(folder) / f"killed-{len(codes)}"
            while True:
                run, starts = _begin(file, out), starts + 1
                while killed.total() < times and _works(run, out):
                    time.sleep(rng.expovariate(1 / 3))
                    victims = _workers(run.pid) if rng.random() < 0.75 else []
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(rng.choice(victims) if victims else run.pid, signal.SIGKILL)
                        killed["worker" if victims else "driver"] += 1
                    if not victims:
                        break
                run.join()
                if run.exitcode != -signal.SIGKILL:
                    break
            codes.append(run.exitcode)
            same = same and _numbers(out) == _numbers(whole)
            print(f"{killed.total()} kills: a grid is done, {'equal' if same else 'NOT EQUAL'}", file=sys.stderr)
    counts = {"kills": dict(killed), "starts": starts, "grids": len(codes), "exit codes": sorted(set(codes))}
    return {"executor": executor} | counts | {"results equal": same}


def _begin(file: Path, out: Path) -> Any:
    """Start `esbench run` on a folder; in a fork of this process, because importing everything takes seconds."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(file, out))
    process.start()
    return process


def _run(file: Path, out: Path) -> None:
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.argv = ["esbench", "run", "--config", str(file), "--out", str(out), "--retry-failed", "-q"]
    cli.main()


def _works(run: Any, out: Path) -> bool:
    """Wait until a run has written something, and return whether it is still running."""
    begun = time.time()
    while run.is_alive():
        if any(file.stat().st_mtime > begun for file in out.glob("units/*/*.*")):
            return True
        time.sleep(0.05)
    return False


def _workers(pid: int) -> list[int]:
    """Return the processes that run units for a process, by /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
            if parent == pid and (b"spawn_main" in command or b"esbench.bench.watch" in command):
                found.append(int(entry.name))
    return found


def _numbers(out: Path) -> Any:
    rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in Results(out).table()]
    traces = {u.id: {k: v.tolist() for k, v in u.trace().items() if k != "seconds"} for u in Run(out).units()}
    return rows, traces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["overhead", "many", "traffic", "workers", "units", "kills"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--executor", default="serial")
    a = parser.parse_args()
    asked = {
        "overhead": lambda: overhead(a.runs),
        "many": lambda: many(a.units, a.workers),
        "traffic": lambda: traffic(a.workers),
        "workers": lambda: workers(a.runs),
        "units": lambda: units(a.runs),
        "kills": lambda: kills(a.kills, a.executor),
    }
    print(json.dumps(asked[a.what](), indent=1))


if __name__ == "__main__":
    main()
