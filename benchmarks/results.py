"""Time reading and replaying a run: `python -m benchmarks.results`.

The runs are synthetic, with the files of a real one: one as long as the paper's (276 units of 20,000 steps, two
criteria), and one of many small units.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from esbench.bench.config import Config
from esbench.bench.replay import found, stop_of
from esbench.bench.results import Results
from esbench.bench.spec import UnitSpec, unit_id
from esbench.bench.stamp import machine, stamp
from esbench.bench.store import Run, status
from esbench.live.source import WatchedRun
from esbench.registry import made_by
from esbench.report.files import report

CRITERIA = ("cifs-jpeg", "wmv")
SIZE = (512, 768)


def made_up(folder: Path, units: int, steps: int) -> Results:
    """Write a run whose curves look like those of a DIP: a fall, a turn, and independent noise on each."""
    config = Config(criterion=CRITERIA, dataset="made-up", iterations=steps, patience=max(1, steps // 20))
    specs = [spec(i, steps) for i in range(units)]
    run, rng = Run(folder), np.random.default_rng(0)
    with run.lock():
        run.begin(config, [unit_id(each) for each in specs], stamp(), {"command": "made up"})
    t = np.arange(steps) / steps
    for each in specs:
        unit = run.unit(unit_id(each))
        unit.begin(each)
        noise = rng.standard_normal((4, steps))
        loss = 0.004 + 0.05 * np.exp(-30 * t) - 0.002 * t + 1e-5 * noise[0]
        psnr = 30 - 20 * np.exp(-15 * t) - 6 * t + 0.1 * noise[1]
        size = np.rint(1e5 * (1 + 0.5 * np.sqrt(t)) + 100 * noise[2])
        ms = rng.random(steps).astype(np.float32)
        trace = {"loss": loss, "psnr_db": psnr, "average_loss": loss, "average_psnr_db": psnr, "seconds": 600 * t}
        lam = 3e7
        columns = {
            "cifs-jpeg": {"value": lam * loss + size**2 / (SIZE[0] * SIZE[1]), "ms": ms, "bytes": size},
            "wmv": {"value": 1e-3 * np.exp(-20 * t) + 1e-4 * t + 1e-6 * noise[3], "ms": ms},
        }
        step, entries = np.arange(steps, dtype=np.int32), {}
        for text, column in columns.items():
            unit.write_criterion(text, {"step": step, **column}, {})
            stop = found(stop_of(column["value"], config.patience), psnr, psnr, ms)
            entry = {"made_by": made_by(text), "resolved": {"lam": lam}, "missing": 0, "reason": "", "failed": ""}
            entries[text] = entry | {"patience": config.patience, "ssim": 0.9, **stop}
        if units < 1000:  # only needed for another lam
            unit.write_image("clean", np.zeros((*SIZE, 3), np.uint8))
        unit.write_trace({"step": step, **trace})
        peak = {"peak_step": int(psnr.argmax()), "peak_db": psnr.max(), "average_peak_db": psnr.max()}
        whole = {"complete": True, "steps": steps, "seconds": 600.0, "machine": machine("cpu"), "criteria": entries}
        unit.write_result(whole | peak | {"last_db": psnr[-1]})
    return Results(folder)


def grown(results: Results, units: int) -> Results:
    """Return a run of many more units, each with the files of an existing one."""
    run, there = results.run, results.run.units()
    for i in range(len(there), units):
        one = there[i % len(there)].path
        shutil.copytree(one, one.with_name(f"{one.name}-{i}"), copy_function=os.link)
    with run.lock():
        run.begin(results.config, sorted(path.name for path in one.parent.iterdir()), {}, {"command": "made up"})
    return Results(run.path)


def spec(i: int, steps: int) -> UnitSpec:
    """Return the spec of one of the units."""
    return UnitSpec(
        dataset="made-up",
        image=f"{i // 3:05}",
        pixels=f"{i // 3:064}",
        crop=None,
        task="denoise",
        noise="gaussian",
        sigma=(15.0, 25.0, 50.0)[i % 3],
        network="skip",
        seed=0,
        iterations=steps,
        input_scale=0.1,
        learning_rate=0.01,
        perturbation=1 / 30,
        depth=32,
        precision="float32",
        device="cpu",
        engine=1,
    )


def seconds(what: Callable[[], Any], runs: int) -> tuple[list[float], list[float]]:
    """Return the wall-clock and the processor time of each call."""
    times, processor = [], []
    for _ in range(runs):
        started, before = time.perf_counter(), time.process_time()
        what()
        times.append(time.perf_counter() - started)
        processor.append(time.process_time() - before)
    return times, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=276)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    measured = []

    # as a command would do it: a Results object caches what it has read
    def measure(what: str, function: Callable[[], Any], bar: float | None = None) -> None:
        times, processor = ([round(s, 3) for s in found] for found in seconds(function, arguments.runs))
        measured.append({"what": what, "seconds": times, "processor": processor, "bar": bar})

    with tempfile.TemporaryDirectory() as folder:
        long = made_up(Path(folder) / "long", arguments.units, arguments.steps).run.path
        name = f"{arguments.units} units x {arguments.steps} steps x 2 criteria"
        other = arguments.steps // 40
        measure(f"{name}: replay, other patience", lambda: Results(long).replay(patience=other), 5)
        with_lam = ["cifs-jpeg[lam=1e7]", "wmv"]
        measure(f"{name}: replay, other lam", lambda: Results(long).replay(patience=other, criteria=with_lam), 5)
        measure(f"{name}: compare two criteria", lambda: Results(long).compare(criteria=["wmv", "cifs-jpeg"]))
    with tempfile.TemporaryDirectory() as folder:
        many = grown(made_up(Path(folder) / "many", 100, 30), arguments.many).run.path
        name = f"{arguments.many} units x 30 steps x 2 criteria"
        measure(f"{name}: status", lambda: [status(unit) for unit in Run(many).units()], 5)
        measure(f"{name}: table", lambda: Results(many).table(), 10)
        measure(f"{name}: report", lambda: report(Results(many), Path(folder)))
        measure(f"{name}: replay, other patience", lambda: Results(many).replay(patience=3))
        watched = WatchedRun(many)
        watched.state()
        measure(f"{name}: live page, every half second", watched.state)

    if arguments.json:
        print(json.dumps(measured, indent=1))
        return
    print(f"{'':66} {'best':>7} {'worst':>7} {'processor':>9} {'bar':>5}   (seconds, {arguments.runs} runs)")
    for row in measured:
        bar = "" if row["bar"] is None else f"{row['bar']}"
        best, worst, processor = min(row["seconds"]), max(row["seconds"]), min(row["processor"])
        print(f"{row['what']:66} {best:7.2f} {worst:7.2f} {processor:9.2f} {bar:>5}")


if __name__ == "__main__":
    main()
