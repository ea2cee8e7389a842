"""What the harness costs, and what it survives: `python -m benchmarks.harness overhead|many|workers|kills`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from esbench.bench import driver, grid
from esbench.bench.build import observation, trajectory
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run, status
from esbench.types import Outcome, UnitSpec

NETWORK = "skip[channels=4,scales=2]"
TIMES = ("ms_per_step", "criterion_ms_per_step")


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
    """The driver over the same optimisations in a plain loop, without criteria's time (`last` costs nothing)."""
    with tempfile.TemporaryDirectory() as folder:
        where = pictures(Path(folder) / "pictures", 4, 96)
        config = Config(
            dataset=str(where), criterion=("last",), network="skip[channels=16]", iterations=300, device="cpu"
        )
        ratios = []
        for i in range(runs):
            specs = list(grid.units(config))
            started = time.perf_counter()
            for spec in specs:
                _, noisy, _ = observation(spec, config.dataset)
                for _ in trajectory(spec, noisy, "cpu"):
                    pass
            plain = time.perf_counter() - started
            started = time.perf_counter()
            do(config, Path(folder) / f"run{i}")
            ratios.append((time.perf_counter() - started) / plain)
    return {"driver / plain loop": f"{statistics.median(ratios):.3f}", "all": [round(r, 3) for r in ratios]}


def nothing(job: dict[str, Any], wanted: dict[str, Any], name: str) -> dict[str, Any]:
    """A unit that takes no time, but leaves what a real one leaves on the disk."""
    spec = UnitSpec(**job["spec"])
    unit = Run(job["run"]).unit(grid.unit_id(spec))
    unit.begin(spec)
    steps = np.arange(20)
    unit.write_trace({"step": steps, "loss": steps, "psnr_db": steps, "average_psnr_db": steps})
    unit.write_criterion("last", {"step": steps, "value": -steps.astype(float), "ms": steps}, {})
    entry = {"failed": "", "made_by": {}, "patience": 5, "stop_step": 19, "ssim": 0.5, "missing": 0, "reason": ""}
    peaks = {"peak_step": 19, "peak_db": 19.0, "last_db": 19.0, "average_peak_db": 19.0}
    unit.write_result({"complete": True, "steps": 20, "seconds": 1.0, "criteria": {"last": entry}, **peaks})
    return {"outcome": dataclasses.asdict(Outcome(unit=unit.id, status="done", seconds=0.0))}


def many(units: int, workers: int) -> dict[str, Any]:
    """Units that do nothing, through the Dask executor and the store."""
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
            started = time.perf_counter()
            done = sum(1 for _ in dask.dispatch(client, planned.left, lambda event: None, lambda: False, nothing))
            seconds = time.perf_counter() - started
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert done == len(planned.jobs)

        def timed(function: Any) -> float:
            started = time.perf_counter()
            function()
            return round(time.perf_counter() - started, 2)

        ms = 1000 * seconds / done
        return {
            "units": done,
            "workers": workers,
            "ms a unit": round(ms, 2),
            "driver memory (MB)": round(memory),
            "status (s)": timed(lambda: [status(unit) for unit in store.units()]),
            "resume: plan (s)": timed(lambda: driver.plan(config, out)),
            "table (s)": timed(lambda: Results(out).table()),
        }


def workers(runs: int) -> dict[str, Any]:
    """Eight small units on two workers with a thread each over one such worker."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        where = pictures(Path(folder) / "pictures", 8, 64)
        for i in range(runs):
            seconds = {}
            for n in (1, 2):
                config = Config(
                    dataset=str(where), criterion=("last",), network="skip[channels=32]", iterations=150, device="cpu"
                )
                config = dataclasses.replace(config, executor=f"dask[workers={n}]")
                planned = driver.plan(config, Path(folder) / f"{i}-{n}")
                marks: list[float] = []
                driver.run(config, Path(folder) / f"{i}-{n}", planned, lambda e, m=marks: m.append(time.perf_counter()))
                seconds[n] = marks[-1] - marks[1]  # from the first unit's start: starting processes is not compared
            ratios.append(seconds[1] / seconds[2])
    return {"two workers over one": f"{statistics.median(ratios):.2f}", "all": [round(r, 2) for r in ratios]}


def kills(times: int, executor: str, seed: int = 0) -> dict[str, Any]:
    """Random SIGKILLs of the driver, and of workers, over a grid of 30 small units."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        where = pictures(Path(folder) / "pictures", 10, 32)
        config = Config(
            dataset=str(where),
            criterion=("cifs-jpeg", "emv"),
            sigma=(15.0, 25.0, 50.0),
            network=NETWORK,
            iterations=300,
            patience=40,
            device="cpu",
            checkpoint_every=0.3,
        )
        do(config, Path(folder) / "whole")
        file = Path(folder) / "config.toml"
        file.write_text(dataclasses.replace(config, executor=executor).to_toml())
        out = Path(folder) / "killed"
        command = [sys.executable, "-m", "esbench", "run", "--config", str(file), "--out", str(out), "-q"]
        killed, starts = {"driver": 0, "worker": 0}, 0
        while sum(killed.values()) < times:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            starts += 1
            while sum(killed.values()) < times:
                time.sleep(rng.uniform(0.5, 6))
                below = _children(process.pid)
                if process.poll() is not None:
                    break
                if below and rng.random() < 0.5:
                    os.kill(rng.choice(below), signal.SIGKILL)
                    killed["worker"] += 1
                    continue
                process.kill()
                process.wait()
                killed["driver"] += 1
                break
            if process.poll() == 0:  # everything is done: begin with fresh units
                break
            process.kill()
        last = subprocess.run([*command, "--retry-failed"], stdout=subprocess.DEVNULL, check=False).returncode
        same = _numbers(out) == _numbers(Path(folder) / "whole")
        return {"executor": executor, "kills": killed, "starts": starts, "exit code": last, "results equal": same}


def _children(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did, by /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(after[1]), []).append(int(entry.parent.name))
    found, queue = [], [pid]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _numbers(out: Path) -> Any:
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in Results(out).table()]
    traces = {u.id: {k: v.tolist() for k, v in u.trace().items() if k != "seconds"} for u in Run(out).units()}
    return rows, traces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["overhead", "many", "workers", "kills"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--executor", default="serial")
    a = parser.parse_args()
    asked = {
        "overhead": lambda: overhead(a.runs),
        "many": lambda: many(a.units, a.workers),
        "workers": lambda: workers(a.runs),
        "kills": lambda: kills(a.kills, a.executor),
    }
    print(json.dumps(asked[a.what](), indent=1))


if __name__ == "__main__":
    main()
