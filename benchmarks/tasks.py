"""Measure the results of `restore`, blind, against its input: `python -m benchmarks.tasks WHAT`; or its steps.

The pictures are the middle one of each quarter of Kodak24 and CBSD68, sorted by name, or `--dataset` and `--image`.

* jpeg: each is compressed at `--quality`, 4:2:0, and the file restored: PSNR over all channels, and the mean of those
  of Cb and Cr, and SSIM, of the file and of the result;
* flash: each gets noise of `--sigma` and, as its guide, the clean picture in other light; `restore --task flash` is
  compared with `denoise` of the same picture;
* camera: each gets noise of `--sigma` as that of a camera, which measures one colour per pixel and compresses, and is
  denoised: PSNR before and after;
* fill: each is observed as `--task` has it, with noise of `--sigma` or none, and restored without knowing that:
  PSNR without restoration, and of the result;
* step: the time of a step of each task, over that of a step of `denoise` with the same network and the same size of
  the output. They take turns of some steps; medians and quartiles of the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import esbench
from esbench import images
from esbench.bench.grid import open_dataset
from esbench.builtin.degradations.additive import gaussian
from esbench.builtin.degradations.blind import camera as photographed
from esbench.builtin.tasks.flash import relit
from esbench.device import PRECISIONS, named
from esbench.engine import build
from esbench.kinds import Task
from esbench.metrics import psnr, ssim
from esbench.observation import Observation

KODAK = ("kodim03", "kodim09", "kodim15", "kodim21")
BERKELEY = ("108082", "16077", "220075", "299086")

#: The tasks whose steps are compared with those of `denoise`, and the least steps of a turn.
STEPS = ("superres[factor=4]", "inpaint", "flash", "jpeg", "jpeg[fit=interval]")
TURN = 4

#: Options of `restore`, passed on.
GIVEN = ("criterion", "network", "loss", "input", "input_scale", "quality_of", "iterations", "device", "precision")


def pictures(args: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and clean pictures, uint8 (H, W, C)."""
    chosen = {"kodak24": KODAK, "cbsd68": BERKELEY} if args.dataset is None else {args.dataset: args.image}
    for dataset, names in chosen.items():
        opened = open_dataset(dataset)[1]
        for name in names:
            yield name, images.centre_crop(opened.load(name), args.crop)


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `restore` that were given."""
    options = {name: getattr(args, name) for name in GIVEN}
    options["quality"] = options.pop("quality_of")
    return {name: value for name, value in options.items() if value is not None}


def jpeg(name: str, clean: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    """Return the gain on a file."""
    truth, colours = images.unit(clean), build.task("jpeg")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        Image.fromarray(clean).save(path, quality=args.quality, subsampling="4:2:0")
        file = images.unit(images.read(path))
        restored = esbench.restore(path, "jpeg", **given(args))
    found = {}
    for what, picture in (("file", file), ("restored", images.unit(restored.image))):
        found |= {f"{what}_db": psnr(picture, truth), f"{what}_colours_db": colours.score(picture, truth, None)}
        found[f"{what}_ssim"] = ssim(picture, truth)
    return found | {"steps": restored.steps_run, "reason": restored.reason}


def flash(name: str, clean: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    """Return the gain with and without a guide."""
    truth, rng = images.unit(clean), np.random.default_rng(0)
    noisy, guide = gaussian(truth, rng, sigma=30.0 if args.sigma is None else args.sigma), relit(truth, rng)
    found: dict[str, Any] = {"noisy_db": psnr(noisy, truth)}
    guided = esbench.restore(noisy, "flash", guide=guide, **given(args))
    alone = esbench.denoise(noisy, **{k: v for k, v in given(args).items() if k not in ("network", "criterion")})
    found |= {"flash_db": psnr(guided.image, truth), "denoise_db": psnr(alone.image, truth)}
    return found | {"steps": guided.steps_run, "reason": guided.reason}


def camera(name: str, clean: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    """Return the gain on a picture with noise that is not white."""
    truth, rng = images.unit(clean), np.random.default_rng(0)
    noisy = photographed(truth, rng, sigma=20.0 if args.sigma is None else args.sigma)
    found = esbench.denoise(noisy, **given(args))
    gain = {"noisy_db": psnr(noisy, truth), "denoised_db": psnr(found.image, truth)}
    return gain | {"steps": found.steps_run, "reason": found.reason}


def measured(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the gain on each picture, and the seconds that it took."""
    for name, clean in pictures(args):
        started = time.perf_counter()
        gain = WHAT[args.what](name, clean, args)
        yield {"image": name, **gain, "seconds": round(time.perf_counter() - started, 1)}


def observed(task: Task, truth: np.ndarray, args: argparse.Namespace) -> Observation:
    """Return the observation of a picture, with noise if there is a level."""
    rng = np.random.default_rng(0)

    def noise(picture: np.ndarray) -> np.ndarray:
        return gaussian(picture, rng, sigma=args.sigma) if args.sigma else picture

    return task.degrade(truth, rng, noise, {})


def fill(name: str, clean: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    """Return the PSNR of a restored picture, and without restoration."""
    truth, task = images.unit(clean), build.task(args.task)
    observation = observed(task, truth, args)
    mask = {} if observation.known is None else {"mask": ~observation.known}
    found = esbench.restore(observation.y, args.task, **mask, **given(args))
    before = psnr(task.baseline(observation), truth)
    return {"baseline_db": before, "restored_db": psnr(found.image, truth), "reason": found.reason}


WHAT = {"jpeg": jpeg, "flash": flash, "camera": camera, "fill": fill}


def steps(task: str, clean: np.ndarray, args: argparse.Namespace) -> Callable[[], float]:
    """Return a function that does some steps of a task and returns the seconds per step."""
    text, settings = build.task(task), build.settings(task, args.network or "skip")
    companions = {"guide": relit(clean, np.random.default_rng(1))}
    observation = text.degrade(clean, np.random.default_rng(0), lambda picture: picture, companions)
    device = named(args.device or "auto")
    blocks = iter(build.trajectory(settings, text, observation, device, network_seed=0, input_seed=0))

    def go() -> float:
        done, started = 0, time.perf_counter()
        while done < TURN:
            block = next(blocks)
            done += len(block)
            float(block.outputs.tensor[-1, 0, 0, 0])  # waits for a GPU
        return (time.perf_counter() - started) / done

    return go


def step(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return, for each task, the time of a step over that of `denoise`."""
    clean = images.unit(next(pictures(args))[1])
    turns = {task: steps(task, clean, args) for task in ("denoise", *STEPS)}
    seconds = [{task: go() for task, go in turns.items()} for _ in range(args.turns + 1)][1:]
    rows = []
    for task in STEPS:
        low, middle, high = statistics.quantiles([turn[task] / turn["denoise"] for turn in seconds], n=4)
        ms = 1000 * statistics.median(turn[task] for turn in seconds)
        rows.append({"task": task, "ms": ms, "ratio": middle, "from": low, "to": high})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*WHAT, "step"])
    parser.add_argument("--dataset", help="other pictures than those of Kodak24 and CBSD68")
    parser.add_argument("--image", nargs="+", default=[])
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--quality", type=int, default=10, help="of the JPEG [10]")
    parser.add_argument("--sigma", type=float, help="of the picture without flash [30], of camera [20], of others [0]")
    parser.add_argument("--network")
    parser.add_argument("--loss")
    parser.add_argument("--input")
    parser.add_argument("--input-scale", type=float)
    parser.add_argument("--criterion")
    parser.add_argument("--task", default="superres[factor=4]", help="of fill [superres[factor=4]]")
    parser.add_argument("--as", dest="quality_of", choices=["draft", "fast", "best"], help="restore's --quality [fast]")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--turns", type=int, default=9, help="of step [9]")
    parser.add_argument("--device")
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    for row in step(args) if args.what == "step" else measured(args):
        rows.append(row)
        if not args.json:
            print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    if args.what == "step":
        return
    means = {k: statistics.fmean(row[k] for row in rows) for k in rows[0] if k.endswith(("_db", "_ssim"))}
    print(f"mean of {len(rows)}: " + ", ".join(f"{k} {v:.3f}" for k, v in means.items()))


if __name__ == "__main__":
    main()
