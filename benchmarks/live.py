"""Measure the cost of the live page: `python -m benchmarks.live [--side 256] [--seconds 60] [--device cpu]`.

One optimisation that writes the files for `esbench watch`. The cost is the processor time of the writing thread as a
share of that of the whole process, in the same run, so that other work on the machine does not count. On a GPU the
steps wait for the thread only where both need Python: turns of some seconds with and without it are compared, and the
median ratio is printed with its quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.engine import noisy
from esbench.engine import build
from esbench.engine.live import LOG, Live
from esbench.engine.session import Session
from esbench.engine.settings import Settings
from esbench.engine.trace import Reference, Trace
from esbench.observation import NoiseModel, Observation
from esbench.pictures import Pictures
from esbench.stopping.column import Column
from esbench.stopping.rule import Running

CRITERIA = ("cifs-jpeg", "wmv", "emv", "discrepancy")

#: Seconds of a turn with or without the thread, on a GPU.
TURN = 5.0


class Timed(Live):
    """Records the processor time of each write."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self.took: list[float] = []

    def _write(self) -> None:
        started = time.thread_time()
        super()._write()
        self.took.append(time.thread_time() - started)


def session(side: int, device: str) -> Session:
    clean, y = noisy(side, side)
    task = build.task("denoise")
    observation = Observation(y, noise=NoiseModel("gaussian", 25.0))
    trajectory = build.trajectory(Settings(iterations=20_000), task, observation, device, network_seed=0, input_seed=1)
    problem = build.problem("denoise", task, observation)
    columns = [Column(text, problem, Running(1000)) for text in CRITERIA]
    trace = Trace(Reference(Pictures(clean[None]).tensor.to(device)))
    return Session("live", trajectory, columns, lambda event: None, trace)


def until(steps: Iterator[object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        next(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    made = session(given.side, given.device)
    steps = iter(made)
    with tempfile.TemporaryDirectory() as folder:
        observation = made.trajectory.fit.observation.y
        with Live(Path(folder), made, observation):  # the first steps are slow, and the first write imports
            until(steps, 5)
        first, before, wall = made.step, time.process_time(), time.monotonic()
        with Timed(Path(folder), made, observation) as live:
            until(steps, given.seconds)
        total, wall, n = time.process_time() - before, time.monotonic() - wall, made.step - first
        size = (Path(folder) / LOG).stat().st_size
        print(f"{given.side} x {given.side} on {given.device}: {n} steps, {n / wall:.3g} a second")
        print(f"{len(live.took)} writes, {1000 * statistics.median(live.took):.2f} ms each, {size / 1e3:.0f} kB of log")
        written = sum(live.took)
        print(f"cost: {100 * written / total:.3f} % of the process, {100 * written / wall:.3f} % of the time")
        if given.device == "cpu":
            return
        rates: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(12):
            began, first = time.monotonic(), made.step
            if turn % 2:
                with Timed(Path(folder), made, observation):
                    until(steps, TURN)
            else:
                until(steps, TURN)
            rates[bool(turn % 2)].append((made.step - first) / (time.monotonic() - began))
        ratios = [w / o for w, o in zip(rates[True], rates[False], strict=True)]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"steps per second with / without: {middle:.4f} ({low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
