"""Time a step in bfloat16 against one in float32, by network and size: `python -m benchmarks.precisions`.

The two take turns; a ratio is the time in float32 over that in bfloat16 in the same turn, the median with its
quartiles. Only a CPU with units for bfloat16 gains anything.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

from benchmarks.engine import machine, noisy
from esbench import device
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build
from esbench.frames import Block
from esbench.observation import NoiseModel, Observation

#: Networks and losses: that of the papers, those of `denoise`, the narrowest and the others.
NETWORKS = (
    ("skip", "mse"),
    ("skip[channels=64]", "mse"),
    ("skip[channels=32]", "mse"),
    ("skip[channels=16,skips=32]", "r2r"),
    ("skip[channels=8]", "mse"),
    ("unet", "mse"),
    ("decoder", "mse"),
)

#: Turns that are not counted: memory is allocated in them.
WARM = 4


def steps(network: str, loss: str, side: int, precision: str) -> Iterator[Block]:
    """Yield the blocks of an optimisation on the CPU."""
    settings = build.settings("denoise", network, loss=loss, iterations=10**6, precision=precision)
    observation = Observation(noisy(side, side)[1], noise=NoiseModel("gaussian", 25.0))
    return iter(build.trajectory(settings, Denoise(), observation, "cpu", network_seed=0, input_seed=0))


def ratios(network: str, loss: str, side: int, turns: int) -> tuple[dict[str, float], list[float]]:
    """Return the median milliseconds of a step by precision, and the quartiles of the ratio."""
    loops = {precision: steps(network, loss, side, precision) for precision in ("float32", "bfloat16")}
    ms: dict[str, list[float]] = {precision: [] for precision in loops}
    for turn in range(WARM + turns):
        for precision, blocks in loops.items():
            started, done = time.perf_counter(), 0
            while done < 2:
                done += len(next(blocks))
            if turn >= WARM:
                ms[precision].append(1000 * (time.perf_counter() - started) / done)
    found = [slow / quick for slow, quick in zip(ms["float32"], ms["bfloat16"], strict=True)]
    return {precision: statistics.median(each) for precision, each in ms.items()}, statistics.quantiles(found, n=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    with device.threads(args.threads):
        print(machine("cpu"))
        for network, loss in NETWORKS:
            for side in args.sides:
                ms, (low, middle, high) = ratios(network, loss, side, args.turns)
                print(
                    f"{network}, {loss}, {side} x {side}: {ms['float32']:.1f} and {ms['bfloat16']:.1f} ms, "
                    f"{middle:.2f} ({low:.2f} to {high:.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
