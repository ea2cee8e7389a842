"""Time the ways to compute a convolution and its gradients, channels last: `python -m benchmarks.convolutions`.

In float32 on a CPU, without padding, for kernels of 3 x 3 between some numbers of channels and of square outputs of
some sides: PyTorch's own; with the gradient of the weights as products of matrices; and by Winograd's algorithm. They
take turns. A ratio is PyTorch's time over a way's in the same turn, the median with its quartiles; an error is the
largest of an output of 64 x 64, divided by the largest exact value. `esbench.engine` takes the products and the tiles
on processors without AVX-512, from the limits in `engine/convolution.py` on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.engine import machine
from esbench.engine.convolution import Products, Tiles
from esbench.engine.fast import kept_memory

SHAPES = ((132, 128, 256), (128, 128, 64), (128, 128, 32), (68, 64, 256), (64, 64, 128), (64, 64, 64), (48, 48, 128))
NARROW = ((128, 32, 128), (32, 128, 128), (36, 32, 256), (36, 32, 128), (48, 16, 256))

WAYS: dict[str, Callable[..., torch.Tensor]] = {
    "PyTorch": nn.functional.conv2d,
    "products": lambda x, weight, bias: Products.apply(x, weight, bias, 1),
    "tiles": Tiles.apply,
}


def race(c: int, d: int, side: int, turns: int) -> dict[str, Any]:
    last = torch.channels_last
    x = torch.randn(1, c, side + 2, side + 2).contiguous(memory_format=last).requires_grad_()
    weight = torch.randn(d, c, 3, 3).contiguous(memory_format=last).requires_grad_()
    bias, g = torch.zeros(d, requires_grad=True), torch.randn(1, d, side, side).contiguous(memory_format=last)
    ms: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(turns + 1):
        for way, convolution in WAYS.items():
            started = time.perf_counter()
            torch.autograd.grad(convolution(x, weight, bias), (x, weight, bias), g)
            if turn:  # the first is not counted
                ms[way].append(1000 * (time.perf_counter() - started))
    part = x[..., :66, :66]
    with torch.no_grad():
        exact = nn.functional.conv2d(part.double(), weight.double(), bias.double())
        errors = {
            way: float((f(part, weight, bias) - exact).abs().max() / exact.abs().max()) for way, f in WAYS.items()
        }
    rows = []
    for way, mine in ms.items():
        ratios = [a / b for a, b in zip(ms["PyTorch"], mine, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {"way": way, "ms": statistics.median(mine), "ratio": middle, "quartiles": [low, high], "error": errors[way]}
        )
    return {"channels": [c, d], "side": side, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with kept_memory():
        found = [race(*shape, args.turns) for shape in (*SHAPES, *NARROW)]
    if args.json:
        print(json.dumps({"machine": machine("cpu"), "shapes": found}, indent=1))
        return
    print(machine("cpu"))
    for each in found:
        (c, d), side = each["channels"], each["side"]
        for row in each["rows"]:
            low, high = row["quartiles"]
            times = f"{row['ms']:8.2f} ms, {row['ratio']:.2f} ({low:.2f} to {high:.2f}), error {row['error']:.0e}"
            print(f"{c:3d} to {d:3d} channels, {side:3d} x {side:3d}  {row['way']:9s}{times}")


if __name__ == "__main__":
    main()
