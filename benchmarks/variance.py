"""Time wmv and emv against recomputing the variance of the window: `python -m benchmarks.variance`.

On the same outputs and the same device, in turns within one run; also the difference of the values to the formula in
float64. The window is recomputed by the formula, in the float32 of the outputs, which is faster, and at every hundredth
step. Means are over the number of steps between two at which wmv recomputes its sums.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from esbench.builtin.criteria.variance import ExponentialVariance, WindowedVariance
from esbench.frames import Frame
from esbench.pictures import Pictures

WINDOW = 100


def outputs(n: int, size: int, device: str) -> Iterator[torch.Tensor]:
    """Yield outputs that converge, (3, size, size) each."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(3, size, size, generator=generator)
    noise = (torch.randn(picture.shape, generator=generator) for _ in range(n))
    return ((picture + 0.1 * x / (1 + t / 50)).to(device) for t, x in enumerate(noise))


def recomputed(window: torch.Tensor) -> float:
    """Return (1/W) sum over w of |x_w - mean|^2 / N."""
    return float((window - window.mean(0)).square().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    wmv, emv = WindowedVariance(), ExponentialVariance(burn_in=0)
    xs = enumerate(outputs(WINDOW * (1 + wmv.EVERY), args.size, args.device))
    window = torch.empty(WINDOW, 3, args.size, args.size, device=args.device)
    for t, x in itertools.islice(xs, WINDOW):
        window[t] = x
        wmv.update(frame := Frame(Pictures(x[None]), step=t)), emv.update(frame)

    def timed(compute: Callable[[], float | None]) -> tuple[float, float]:
        started = time.perf_counter()
        value = compute()  # a float on the host, so the device has finished
        assert value is not None
        return 1000 * (time.perf_counter() - started), value

    ms: dict[str, list[float]] = {"wmv": [], "emv": [], "recomputed": []}
    off = 0.0
    for t, x in xs:
        window[t % WINDOW] = x
        frame = Frame(Pictures(x[None]), step=t)
        mine, value = timed(lambda frame=frame: wmv.update(frame))
        ms["wmv"].append(mine)
        ms["emv"].append(timed(lambda frame=frame: emv.update(frame))[0])
        if t % WINDOW == 0:
            ms["recomputed"].append(timed(lambda: recomputed(window))[0])
            off = max(off, abs(value / recomputed(window.double()) - 1))
    rows: list[dict[str, Any]] = []
    for name, mine in ms.items():
        low, middle, high = statistics.quantiles(mine, n=4)
        mean = statistics.mean(mine)
        ratio = statistics.mean(ms["recomputed"]) / mean
        rows.append({"what": name, "mean_ms": mean, "median_ms": middle, "quartiles_ms": [low, high], "ratio": ratio})
    found = {"device": args.device, "size": args.size, "window": WINDOW, "rows": rows, "wmv_relative_error": off}
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{args.size} x {args.size}, {WINDOW} outputs, {args.device}")
    for row in rows:
        low, high = row["quartiles_ms"]
        spread = f"median {row['median_ms']:.3f}, {low:.3f} to {high:.3f}"
        faster = f"recomputing takes {row['ratio']:.1f} times as long"
        print(f"  {row['what']:16} {row['mean_ms']:9.3f} ms per step ({spread}); {faster}")
    print(f"  wmv differs from the formula in float64 by {off:.1e}, relative")


if __name__ == "__main__":
    main()
