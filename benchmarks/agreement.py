"""Check that the fast loop agrees with the plain one, or bfloat16 with float32: `python -m benchmarks.agreement`.

Over pairs of a picture and a noise level:

* first steps: the largest relative difference between the losses of ours and plain. In float64, where rounding does not
  separate them, and in float32, compared with a plain loop whose initial weights were changed by 1e-7, less than a
  rounding: the effect of any other order of summation;
* peaks: the highest PSNR of ours and of plain with one seed, and of plain with two seeds. Ours may differ from plain by
  no more than plain with one seed from plain with another.

With `--bfloat16`, the peaks of ours in bfloat16 and in float32, and in float32 with another seed; nothing of plain.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from esbench.bench.grid import open_dataset
from esbench.builtin.inputs.noise import UniformNoise
from esbench.builtin.losses.mse import mse
from esbench.builtin.networks.skip import skip
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build
from esbench.engine.fast import Fast
from esbench.engine.loop import Fit, Trajectory
from esbench.engine.settings import Settings
from esbench.observation import Observation


def pairs(args: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield names, clean and noisy pictures, (H, W, C) float32."""
    dataset = open_dataset(args.dataset)[1]
    for i in range(args.pairs):
        name, sigma = dataset.ids()[i // len(args.sigma)], args.sigma[i % len(args.sigma)]
        clean = dataset.load(name).astype(np.float32) / 255
        top, left = ((n - min(n, args.crop)) // 2 for n in clean.shape[:2])
        clean = clean[top : top + args.crop, left : left + args.crop]
        noise = np.random.default_rng(i).normal(0, sigma / 255, clean.shape)
        yield f"{name}, sigma {sigma:g}", clean, (clean + noise).astype(np.float32)


def made(
    kind: type[Trajectory],
    noisy: np.ndarray,
    args: argparse.Namespace,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    precision: str = "float32",
) -> Trajectory:
    settings = Settings(iterations=args.steps, precision=precision, input_scale=args.input_scale)
    torch.manual_seed(seed)
    f = skip(settings.depth, noisy.shape[2], channels=args.channels).to(args.device, dtype)
    fit = Fit(Denoise(), Observation(noisy), mse, captured=True)
    trajectory = build.begin(kind, fit, f, UniformNoise(), settings, seed)
    trajectory.z = trajectory.z.to(dtype)
    return trajectory


def losses(trajectory: Trajectory, n: int) -> list[float]:
    found: list[float] = []
    for block in trajectory:
        found += block.losses
        if len(found) >= n:
            break
    return found[:n]


def apart(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) / x for x, y in zip(a, b, strict=True))


def first_steps(noisy: np.ndarray, args: argparse.Namespace) -> dict[str, float]:
    n = args.first
    exact = apart(
        losses(made(Trajectory, noisy, args, dtype=torch.float64), n),
        losses(made(Fast, noisy, args, dtype=torch.float64), n),
    )
    plain, ours, changed = (made(kind, noisy, args) for kind in (Trajectory, Fast, Trajectory))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in changed.f.parameters():
            p *= 1 + 1e-7 * torch.randn(p.shape, generator=generator).to(p.device)
    base = losses(plain, n)
    return {
        "float64": exact,
        "float32": apart(base, losses(ours, n)),
        "plain, weights changed by 1e-7": apart(base, losses(changed, n)),
    }


def peak_db(trajectory: Trajectory, clean: np.ndarray) -> float:
    x = torch.from_numpy(clean).movedim(-1, 0).to(trajectory.z.device)
    best = -math.inf
    for block in trajectory:
        error = (block.outputs.tensor.clamp(0, 1) - x).double().square().mean((1, 2, 3)).min().item()
        best = max(best, -10 * math.log10(error))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dataset", default="bsd400")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--sigma", type=float, nargs="+", default=[15, 50])
    parser.add_argument("--crop", type=int, default=10_000)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--input-scale", type=float, default=Settings().input_scale)
    parser.add_argument("--first", type=int, default=50, help="steps whose losses are compared")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--bfloat16", action="store_true", help="the peaks of bfloat16 and float32")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    kind: type[Trajectory] = Fast if args.bfloat16 else Trajectory
    base, other = ("float32", "bfloat16") if args.bfloat16 else ("plain", "ours")
    rows: list[dict[str, Any]] = []
    for name, clean, noisy in pairs(args):
        row: dict[str, Any] = {"pair": name, "first": {} if args.bfloat16 else first_steps(noisy, args)}
        row["peaks_db"] = {
            base: peak_db(made(kind, noisy, args), clean),
            f"{base}, another seed": peak_db(made(kind, noisy, args, seed=1), clean),
            other: peak_db(made(Fast, noisy, args, precision="bfloat16" if args.bfloat16 else "float32"), clean),
        }
        rows.append(row)
        if not args.json:
            first = "  ".join(f"{k} {v:.1e}" for k, v in row["first"].items())
            print(f"{name}: first {args.first} losses: {first}" if first else f"{name}:")
            print("  peaks: " + "  ".join(f"{k} {v:.3f} dB" for k, v in row["peaks_db"].items()), flush=True)
    differences = {
        name: [row["peaks_db"][name] - row["peaks_db"][base] for row in rows]
        for name in rows[0]["peaks_db"]
        if name != base
    }
    summary = {
        name: {
            "mean_db": statistics.mean(d),
            "mean_absolute_db": statistics.mean(map(abs, d)),
            "max_db": max(map(abs, d)),
        }
        for name, d in differences.items()
    }
    if args.json:
        print(json.dumps({"arguments": vars(args), "pairs": rows, f"differences_to_{base}": summary}, indent=1))
        return
    for name, d in summary.items():
        print(f"{name} against {base}: " + ", ".join(f"{k} {v:+.3f}" for k, v in d.items()))


if __name__ == "__main__":
    main()
