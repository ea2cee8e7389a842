"""Compare the authors' code of Deep Image Prior with ours: `python -m benchmarks.reference CHECKOUT`.

CHECKOUT is a clone of github.com/DmitryUlyanov/deep-image-prior, which is not part of esbench: its network
(`models/skip.py`) and its downsampler (`models/downsampler.py`) are imported from there, and the loop of its notebooks
for super-resolution and inpainting is written out here. Both sides start with the same weights and the same input.

* at the first step, in float64: the largest difference of the outputs, and the relative difference of the gradients as
  vectors;
* curves: with perturbations, each side its own, the mean distance between the PSNRs of the outputs at the same step,
  theirs and ours, beside that of ours with two seeds of the perturbations; and the peaks.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.functional import mse_loss

from esbench.bench.grid import open_dataset
from esbench.builtin.inputs.noise import UniformNoise
from esbench.builtin.losses.mse import mse
from esbench.builtin.networks.skip import skip
from esbench.engine import build
from esbench.engine.loop import Fit, Trajectory
from esbench.engine.settings import Settings
from esbench.images import centre_crop
from esbench.kinds import Task
from esbench.metrics import psnr
from esbench.observation import Observation


class Pair:
    """Their optimisation and ours of one observation.

    Args:
        args: the arguments of the command.
        task: the task as text.
        dtype: the dtype of weights, input and losses.
        perturbation: the perturbation of the input.
    """

    def __init__(self, args: argparse.Namespace, task: str, dtype: torch.dtype, perturbation: float) -> None:
        whole = open_dataset(args.dataset)[1].load(args.image)
        self.clean = centre_crop(whole, args.crop).astype(np.float32) / np.float32(255)
        self.task: Task = build.task(task)
        self.observation: Observation = self.task.degrade(
            self.clean, np.random.default_rng(0), lambda picture: picture, None
        )
        self.settings = dataclasses.replace(Settings(), iterations=args.steps, perturbation=perturbation)
        self.args, self.dtype = args, dtype

    def ours(self, seed: int = 0) -> Trajectory:
        torch.manual_seed(0)
        f = skip(self.settings.depth, 3, channels=self.args.channels).to(self.dtype)
        fit = Fit(self.task, self.observation, mse, captured=True)
        trajectory = build.begin(Trajectory, fit, f, UniformNoise(), self.settings, 0)
        trajectory.z = trajectory.z.to(self.dtype)
        trajectory.generator.manual_seed(1 + seed)
        return trajectory

    def theirs(self) -> tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
        """Return their network with our weights, and the loss of the notebook, a mean over the known pixels as ours."""
        make = importlib.import_module("models.skip").skip
        widths = [self.args.channels] * 5
        net = make(
            *(self.settings.depth, 3, widths, widths, [4] * 5),
            upsample_mode="bilinear",
            pad="reflection",
            act_fun="LeakyReLU",
        ).to(self.dtype)
        mine, others = list(self.ours().f.parameters()), list(net.parameters())
        assert [p.shape for p in mine] == [p.shape for p in others], "the networks differ"
        with torch.no_grad():
            for a, b in zip(mine, others, strict=True):
                b.copy_(a)
        y = torch.from_numpy(self.observation.y).permute(2, 0, 1)[None].to(self.dtype)
        if self.observation.known is None:
            down = importlib.import_module("models.downsampler").Downsampler
            torch.set_default_dtype(torch.float64)  # the kernel with all its digits
            shrink = down(3, self.task.factor, "lanczos2", phase=0.5, preserve_size=True)
            torch.set_default_dtype(torch.float32)
            shrink.to(self.dtype)
            return net, lambda x: mse_loss(shrink(x), y)
        mask = torch.from_numpy(self.observation.known).to(y)
        return net, lambda x: mse_loss(x * mask, y * mask) / mask.mean()

    def their_steps(self) -> Iterator[np.ndarray]:
        """Yield the output of each step of the notebooks' loop."""
        z, (net, loss) = self.ours().z, self.theirs()
        generator = torch.Generator().manual_seed(3)
        optimiser = torch.optim.Adam(net.parameters(), lr=self.settings.learning_rate)
        for _ in range(self.settings.iterations):
            optimiser.zero_grad()
            x = net(z + self.settings.perturbation * torch.randn(z.shape, generator=generator, dtype=self.dtype))
            loss(x).backward()
            optimiser.step()
            yield picture(x)


def picture(x: torch.Tensor) -> np.ndarray:
    return x.detach()[0].permute(1, 2, 0).float().numpy()


def our_steps(trajectory: Trajectory) -> Iterator[np.ndarray]:
    for block in trajectory:
        for output in block.outputs.tensor:
            yield picture(output[None])


def first_step(args: argparse.Namespace, task: str) -> dict[str, float]:
    """Return the differences of outputs and gradients at the first step."""
    pair = Pair(args, task, torch.float64, perturbation=0.0)
    begin, (net, loss) = pair.ours(), pair.theirs()
    x, other = begin.f(begin.z), net(begin.z)
    pair.task.distance(x, pair.observation).backward()
    loss(other).backward()
    ours, theirs = (torch.cat([p.grad.flatten() for p in f.parameters()]) for f in (begin.f, net))
    return {"outputs": (x - other).abs().max().item(), "gradients": ((ours - theirs).norm() / theirs.norm()).item()}


def curves(args: argparse.Namespace, task: str) -> dict[str, Any]:
    """Return a summary of the PSNRs of the outputs."""
    pair = Pair(args, task, torch.float32, args.perturbation)
    found = {
        "theirs": pair.their_steps(),
        "ours": our_steps(pair.ours()),
        "ours, another seed": our_steps(pair.ours(1)),
    }
    db = {name: np.array([psnr(x, pair.clean) for x in steps]) for name, steps in found.items()}
    smooth = {name: np.convolve(values, np.ones(args.window) / args.window, "valid") for name, values in db.items()}

    def apart(a: str, b: str) -> float:
        return float(np.mean(np.abs(smooth[a] - smooth[b])))

    return {
        "theirs_to_ours_db": (apart("theirs", "ours") + apart("theirs", "ours, another seed")) / 2,
        "seed_to_seed_db": apart("ours", "ours, another seed"),
        "peaks_db": {name: float(values.max()) for name, values in smooth.items()},
        "last_db": {name: float(values[-1]) for name, values in smooth.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", metavar="CHECKOUT", help="the folder of their repository")
    parser.add_argument("--task", nargs="+", default=["superres[factor=4]", "inpaint[missing=0.5]"])
    parser.add_argument("--dataset", default="bsd400")
    parser.add_argument("--image", default="100075")
    parser.add_argument("--crop", type=int, default=128, help="a multiple of 32 [128]")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--perturbation", type=float, default=0.03)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--window", type=int, default=20, help="steps of the mean that smooths the curves [20]")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sys.path.insert(0, args.checkout)
    found = {task: first_step(args, task) | curves(args, task) for task in args.task}
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for task, row in found.items():
        print(f"{task}: at the first step outputs differ by {row['outputs']:.1e}, gradients by {row['gradients']:.1e}")
        print(
            f"  PSNR, theirs to ours {row['theirs_to_ours_db']:.2f} dB, ours with two seeds "
            f"{row['seed_to_seed_db']:.2f} dB, mean over {args.steps} steps"
        )
        for name in row["peaks_db"]:
            print(f"  {name}: peak {row['peaks_db'][name]:.2f} dB, last {row['last_db'][name]:.2f} dB")


if __name__ == "__main__":
    main()
