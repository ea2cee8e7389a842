"""Measure how an optimisation scales: `python -m benchmarks.scaling [units|sizes|steps ...]`.

* units: one, two and four optimisations at once on one device, a process each, and their total speed;
* sizes: steps per second and memory for squares from 128 to 1024, on a CPU to 512;
* steps: memory after the first steps and at intervals up to the last; it must not grow.

On a CPU the threads are shared out among the units. Memory is that of the GPU, or of the process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.engine import loop, machine, noisy
from esbench.engine.fast import Fast


def memory_mib(device: str) -> float:
    if device != "cpu":
        return torch.cuda.memory_reserved(device) / 2**20
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4096 / 2**20


def unit(size: int, seconds: float, device: str, precision: str, threads: int, end: Connection) -> None:
    """Compute steps for some seconds once all units are ready, and report their number and the memory."""
    torch.set_num_threads(threads)
    trajectory = loop(Fast, noisy(size, size)[1], device, precision)
    blocks = iter(trajectory)
    for _ in range(2):
        next(blocks)
    end.send(None)
    end.recv()
    begun, started = trajectory.t, time.perf_counter()
    while time.perf_counter() - started < seconds or trajectory.t == begun:
        next(blocks)
    end.send(((trajectory.t - begun) / (time.perf_counter() - started), memory_mib(device)))


def together(n: int, size: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run n units at once."""
    context = multiprocessing.get_context("spawn")
    ends = []
    threads = max(1, args.threads // n)
    for _ in range(n):
        mine, theirs = context.Pipe()
        call = (size, args.seconds, args.device, args.precision, threads, theirs)
        context.Process(target=unit, args=call, daemon=True).start()
        theirs.close()  # so that `recv` ends if the process does
        ends.append(mine)
    for what in ("ready", "go"):
        for end in ends:
            end.recv() if what == "ready" else end.send(None)
    rates, memory = zip(*(end.recv() for end in ends), strict=True)
    return {"units": n, "size": size, "steps_per_s": sum(rates), "memory_mib": sum(memory)}


def over_steps(size: int, steps: int, end: Connection, device: str, precision: str, threads: int) -> None:
    """Report the memory ten times during an optimisation."""
    torch.set_num_threads(threads)
    trajectory = loop(Fast, noisy(size, size)[1], device, precision)
    found: list[tuple[int, float]] = []
    for _ in trajectory:
        if trajectory.t >= steps * (len(found) + 1) / 10:
            found.append((trajectory.t, memory_mib(device)))
        if trajectory.t >= steps:
            break
    end.send(found)


def memory_of_steps(args: argparse.Namespace) -> list[tuple[int, float]]:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    call = (args.steps_size, args.steps, theirs, args.device, args.precision, args.threads)
    context.Process(target=over_steps, args=call, daemon=True).start()
    theirs.close()
    found: list[tuple[int, float]] = mine.recv()
    return found


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "units": lambda args: [together(n, args.units_size, args) for n in args.units],
    "sizes": lambda args: [together(1, size, args) for size in args.sizes],
    "steps": memory_of_steps,
}


def table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}")
    base = rows[0]["steps_per_s"]
    for row in rows:
        print(
            f"  {row['units']} at once, {row['size']:4} x {row['size']:<4} {row['steps_per_s']:8.2f} steps/s together, "
            f"{row['steps_per_s'] / base:5.2f}, {row['memory_mib']:7.0f} MiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = torch.cuda.is_available()
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [all]")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--precision", default="bfloat16" if cuda else "float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU, for all units")
    parser.add_argument("--units", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--units-size", type=int, default=512 if cuda else 128)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, *([1024] if cuda else [])])
    parser.add_argument("--seconds", type=float, default=10, help="for each row")
    parser.add_argument("--steps", type=int, default=20_000 if cuda else 1000)
    parser.add_argument("--steps-size", type=int, default=256 if cuda else 64)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    parts = args.parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"PART is of {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    found = machine(args.device) | {part: PARTS[part](args) for part in parts}
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['processor']}, {args.precision}")
    if "units" in found:
        table("units at once", found["units"])
    if "sizes" in found:
        table("sizes", found["sizes"])
    if "steps" in found:
        print(f"\nmemory over the steps, {args.steps_size} x {args.steps_size}")
        for step, mib in found["steps"]:
            print(f"  step {step:6}: {mib:7.1f} MiB, {mib / found['steps'][0][1]:.3f} of the first")


if __name__ == "__main__":
    main()
