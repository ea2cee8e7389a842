"""Time threads on a shared CPU: `python -m benchmarks.threads`.

Loops take turns, each in a fresh process: one thread, all threads that spin while they wait, the default of OpenMP,
and all threads that sleep, the setting of esbench's commands. Busy processes run beside them. A ratio is a loop's
wall-clock time over that of one thread in the same turn; processor is the ratio of processor times. The last column
is the loss after ten steps: the number of threads changes the rounding of sums, the way they wait does not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

LOOPS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "spinning": {"OMP_WAIT_POLICY": "active"},
    "as OpenMP": {},
    "sleeping": {"OMP_WAIT_POLICY": "passive"},
}


def timed(side: int, channels: int, seconds: float) -> dict[str, float]:
    """Return the milliseconds of a step, and the loss after ten."""
    import torch

    from benchmarks.engine import noisy
    from esbench.builtin.tasks.denoise import Denoise
    from esbench.engine import build
    from esbench.observation import Observation

    settings = build.settings("denoise", f"skip[channels={channels}]", iterations=10**6)
    observation = Observation(noisy(side, side)[1])
    blocks = iter(build.trajectory(settings, Denoise(), observation, "cpu", network_seed=0, input_seed=0))
    losses = [next(blocks).losses[0] for _ in range(3)]
    started, processor = time.perf_counter(), time.process_time()
    while len(losses) < 10 or time.perf_counter() - started < seconds:
        losses += next(blocks).losses
    steps = len(losses) - 3
    return {
        "ms": 1000 * (time.perf_counter() - started) / steps,
        "processor": 1000 * (time.process_time() - processor) / steps,
        "loss": losses[9],
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--busy", type=int, default=0, help="processes beside")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(timed(args.side, args.channels, args.seconds)))
        return
    own = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_"))}
    command = [sys.executable, "-m", "benchmarks.threads", "--one", f"--side={args.side}"]
    command += [f"--channels={args.channels}", f"--seconds={args.seconds}"]
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in LOOPS}
    try:
        for _ in range(args.turns):
            for name, given in LOOPS.items():
                shown = subprocess.run(command, env=own | given, stdout=subprocess.PIPE, check=True, text=True).stdout
                found[name].append(json.loads(shown))
    finally:
        for process in busy:
            process.kill()
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{args.side} x {args.side}, {args.channels} channels, {args.busy} busy beside; load of the machine {load}")
    for name, rows in found.items():
        ratios = {
            key: statistics.median(row[key] / one[key] for row, one in zip(rows, found["one thread"], strict=True))
            for key in ("ms", "processor")
        }
        print(
            f"{name:12} {rows[0]['threads']:2.0f} threads {statistics.median(row['ms'] for row in rows):8.1f} ms, "
            f"{ratios['ms']:5.2f} by the clock {ratios['processor']:5.2f} processor   {rows[0]['loss']:.9f}"
        )


if __name__ == "__main__":
    main()
