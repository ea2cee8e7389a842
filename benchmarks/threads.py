"""Time threads on a shared CPU: `python -m benchmarks.threads`; or units side by side: `--units`.

Loops take turns, each in a fresh process: one thread, all threads that spin while they wait, the default of OpenMP,
all threads that sleep at once, and the setting of esbench's commands, that they sleep after a moment. Busy processes
run beside them. A ratio is a loop's wall-clock time over that of one thread in the same turn; processor is the ratio of
processor times. The last column is the loss after ten steps: the number of threads changes the rounding of sums, the
way they wait does not.

With `--units` one loop with all threads and as many loops at once, with a thread each, take turns for each size of the
picture: the ratio is the steps per second of all of them over those of the one. All of them wait as esbench's do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

from esbench.device import SLEEPING

LOOPS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "spinning": {"OMP_WAIT_POLICY": "active"},
    "as OpenMP": {},
    "sleeping": {"OMP_WAIT_POLICY": "passive"},
    "as esbench": SLEEPING,
}


def timed(side: int, network: str, loss: str, seconds: float) -> dict[str, float]:
    """Return the milliseconds of a step, and the loss after ten."""
    import torch

    from benchmarks.precisions import steps as begun  # `steps` is a number here

    blocks = begun(network, loss, side, "float32")
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
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def own() -> dict[str, str]:
    """Return the environment without the settings of threads."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_"))}


def units(sides: list[int], network: str, loss: str, turns: int, seconds: float) -> None:
    """Print what units side by side gain over units one after the other."""
    from esbench import limits

    n = limits.processors()

    def loops(side: int, at_once: int, **given: str) -> list[dict[str, float]]:
        command = [sys.executable, "-m", "benchmarks.threads", "--one", f"--side={side}"]
        command += [f"--network={network}", f"--loss={loss}", f"--seconds={seconds}"]
        environ = own() | SLEEPING | given
        started = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(at_once)]
        return [json.loads(process.communicate()[0]) for process in started]

    print(f"{network}, {loss}; {n} units with a thread each over one unit with {n}, in {turns} turns")
    for side in sides:
        ratios = []
        for _ in range(turns):
            (one,), many = loops(side, 1), loops(side, n, OMP_NUM_THREADS="1")
            ratios.append(one["ms"] * sum(1 / each["ms"] for each in many))
        most = max(each["mebibytes"] for each in many)
        print(
            f"{side:4} x {side:<4} {one['ms']:7.0f} ms a step; {statistics.fmean(each['ms'] for each in many):7.0f} ms "
            f"beside others; {statistics.median(ratios):5.2f} ({', '.join(f'{r:.2f}' for r in sorted(ratios))}); "
            f"{most:.0f} MiB each",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--network", default="skip[channels=64]")
    parser.add_argument("--loss", default="mse")
    parser.add_argument("--busy", type=int, default=0, help="processes beside")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--units", action="store_true", help="time units side by side instead")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 96, 128, 192, 256], help="with --units")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(timed(args.side, args.network, args.loss, args.seconds)))
        return
    if args.units:
        units(args.sides, args.network, args.loss, args.turns, args.seconds)
        return
    command = [sys.executable, "-m", "benchmarks.threads", "--one", f"--side={args.side}"]
    command += [f"--network={args.network}", f"--loss={args.loss}", f"--seconds={args.seconds}"]
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in LOOPS}
    try:
        for _ in range(args.turns):
            for name, given in LOOPS.items():
                shown = subprocess.run(command, env=own() | given, stdout=subprocess.PIPE, check=True, text=True).stdout
                found[name].append(json.loads(shown))
    finally:
        for process in busy:
            process.kill()
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(
        f"{args.side} x {args.side}, {args.network}, {args.loss}, {args.busy} busy beside; load of the machine {load}"
    )
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
