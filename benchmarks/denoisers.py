"""Compare denoisers by PSNR and time, blind, on one thread: `python -m benchmarks.denoisers measure`, then `table`.

The pictures are the centres of the middle picture of each quarter of Kodak24 and CBSD68, as in benchmarks.tasks, with
white Gaussian noise, shot noise or that of a camera, clipped, or with impulses. esbench is told nothing; the others get
the noise level that esbench estimates. BM3D gets shot noise after Anscombe's transform, with the estimated gain and the
exact unbiased inverse in the closed form of Makitalo and Foi (IEEE TIP 2011). `bm3d-psd` is BM3D with the spectrum of
the noise of a camera that esbench estimates. For impulses, `median` is the median of 5 x 5, and `biharmonic` fills in
what esbench takes for impulses by the method of scikit-image (Damelin and Hoang, 2018).

`measure` adds rows to `--out`; what is there is not computed again, so it may be interrupted. Without `--noise` it
leaves out impulses. `table` prints their averages, and `figure` draws them. `photograph` times all of them on 512 x 512
pixels, scikit-image's astronaut with Gaussian noise of sigma 25, or a single `--noise`, on `--threads`; or esbench with
each of `--minutes`.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import esbench
from benchmarks.guides import drawn, figure
from benchmarks.tasks import pictures
from esbench import images
from esbench.builtin.degradations import additive, blind
from esbench.correlated import around, filter_of
from esbench.looks import COLOURS
from esbench.metrics import psnr
from esbench.noise import estimate, estimate_gain, impulses_of
from esbench.pictures import Floats
from esbench.registry import registry

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results/denoisers.csv"

#: The levels of Gaussian noise, the rates of shot noise, and the levels of the noise of a camera.
NOISES = ("gaussian 15", "gaussian 25", "gaussian 50", "poisson 25", "poisson 5", "camera 10", "camera 20")

#: The share of values that are impulses, and what is for them alone.
IMPULSES, FOR_IMPULSES = ("impulse 0.1", "impulse 0.3"), ("median", "biharmonic")

#: esbench with a quality or the squared error, and baselines.
OURS = {"draft": {"quality": "draft"}, "fast": {}, "best": {"quality": "best"}, "mse": {"loss": "mse"}}
OTHERS = ("nlm", "tv", "wavelet", "zs-n2n", "bm3d", "bm3d-psd")

#: Where the name of a method is beside its mark, in points; above it by default.
BESIDE = {
    "draft": (8, -12, "left"),
    "bm3d": (-7, -3, "right"),
    "bm3d-psd": (0, 18, "center"),
    "mse": (0, -24, "center"),
    "tv": (7, -4, "left"),
    "wavelet": (-7, -4, "right"),
    "zs-n2n": (0, -14, "center"),
}

COLUMNS = ("picture", "noise", "method", "psnr_db", "seconds", "steps")


def noisy(clean: Floats, noise: str) -> Floats:
    """Return a picture with noise, which is the same each time."""
    kind, level = noise.split()
    rng = np.random.default_rng(0)
    if kind == "poisson":
        return blind.poisson(clean, rng, rate=float(level))
    if kind == "impulse":
        return blind.impulse(clean, rng, share=float(level))
    if kind == "camera":
        return blind.camera(clean, rng, sigma=float(level))
    return additive.gaussian(clean, rng, sigma=float(level))


def other(method: str, noise: str) -> Callable[[Floats], Floats]:
    """Return a baseline as a function of the noisy picture alone."""
    if method == "bm3d-psd":
        return by_spectrum
    if method == "median":
        return lambda y: cv2.medianBlur(y, 5)
    if method == "biharmonic":
        return filled_in
    component = registry().get("baseline", method)

    def gaussian(y: Floats, sigma: float | None = None) -> Floats:
        values = dict(component.values)
        if "sigma" in values:
            values["sigma"] = estimate(y).sigma if sigma is None else sigma
        x: Floats = component.target(y, torch.Generator().manual_seed(0), **values)
        return x.clip(0, 1)

    def shot(y: Floats) -> Floats:
        gain = estimate_gain(y)
        root = 2 * np.sqrt(y / gain + 3 / 8)  # Anscombe's: noise of variance 1
        x: Floats = component.target(root / root.max(), torch.Generator().manual_seed(0), sigma=255 / root.max())
        d = np.maximum(x * root.max(), 2 * math.sqrt(3 / 8))
        back = d**2 / 4 + math.sqrt(1.5) * (1 / d + 5 / (2 * d**3)) / 4 - 11 / (8 * d**2) - 1 / 8
        return (gain * back).clip(0, 1).astype(np.float32)

    return shot if noise.startswith("poisson") and method == "bm3d" else gaussian


def by_spectrum(y: Floats, sigma: float | None = None) -> Floats:
    """Return a picture by BM3D, which gets the estimated spectrum of the noise of each channel."""
    import bm3d

    if not hasattr(np, "trapz"):  # bm3d 4.0.3 was written for a NumPy that had it
        np.trapz = np.trapezoid
    found, (h, w, c) = estimate(y), y.shape
    variance, power = ((found.sigma if sigma is None else sigma) / 255) ** 2, np.ones((c, h, w))
    if found.correlation is not None:
        power = (np.abs(np.fft.fft2(around(filter_of(found.correlation), h, w))) ** 2).sum(1)
    spectrum = variance * h * w * power.transpose(1, 2, 0)
    x: Floats = bm3d.bm3d_rgb(y.astype(float), spectrum).astype(np.float32)
    return x.clip(0, 1)


def filled_in(y: Floats) -> Floats:
    """Return a picture with what is taken for impulses filled in."""
    from skimage.restoration import inpaint_biharmonic

    found = impulses_of(y)
    channels = [inpaint_biharmonic(y[..., i].copy(), found[..., i].copy()) for i in range(y.shape[2])]
    return np.stack(channels, -1).astype(np.float32).clip(0, 1)


def result(method: str, noise: str, y: Floats) -> tuple[Floats, int]:
    """Return a denoised picture and the number of steps."""
    if method == "noisy":
        return y, 0
    if method in OURS:
        restored = esbench.denoise(y, threads=1, **OURS[method])
        return restored.image, restored.steps_run
    return other(method, noise)(y), 0


def measure(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    done = {(row["picture"], row["noise"], row["method"]) for row in rows(args.out)}
    for method in args.method:  # the methods that take long come last
        for noise in args.noise:
            for name, picture in pictures(args):
                if (name, noise, method) in done:
                    continue
                clean = images.unit(picture)
                y, started = noisy(clean, noise), time.process_time()
                x, steps = result(method, noise, y)
                seconds = time.process_time() - started
                row = dict(
                    zip(COLUMNS, (name, noise, method, f"{psnr(x, clean):.3f}", f"{seconds:.2f}", steps), strict=True)
                )
                add(args.out, row)
                print(*row.values(), flush=True)


def photograph(args: argparse.Namespace) -> None:
    """Print PSNR and seconds by the clock for a large picture."""
    from skimage import data

    torch.set_num_threads(args.threads)
    clean = images.unit(data.astronaut())
    noise = args.noise[0] if len(args.noise) == 1 else "gaussian 25"
    y = np.rint(255 * noisy(clean, noise)).astype(np.uint8)
    print(f"noisy: {psnr(images.unit(y), clean):.2f} dB", flush=True)
    told = estimate(images.unit(y)).sigma
    ways: dict[str, Callable[[], Any]] = {}
    for method in args.method:
        if method in OURS and not args.minutes:
            ways[method] = functools.partial(esbench.denoise, y, threads=args.threads, **OURS[method])
        elif method in OTHERS:
            ways[method] = functools.partial(other(method, noise), images.unit(y), told)
    for minutes in args.minutes:
        name = f"{minutes:g} minutes"
        ways[name] = functools.partial(esbench.denoise, y, threads=args.threads, minutes=minutes)
    for name, way in ways.items():
        started = time.perf_counter()
        x = way()
        seconds, reason = time.perf_counter() - started, getattr(x, "reason", "")
        image = images.unit(x.image) if hasattr(x, "image") else x
        print(f"{name}: {psnr(image, clean):.2f} dB in {seconds:.0f} s  {reason}", flush=True)


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a file, if there is one."""
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def add(path: Path, row: dict[str, Any]) -> None:
    begun = path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not begun:
            writer.writeheader()
        writer.writerow(row)


def averages(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return the means over the pictures by noise and method, where all pictures are done."""
    by: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows(path):
        by[row["noise"], row["method"]].append(row)
    most = max(map(len, by.values()))
    return {
        key: {name: statistics.mean(float(row[name]) for row in found) for name in ("psnr_db", "seconds")}
        for key, found in by.items()
        if len(found) == most
    }


def table(args: argparse.Namespace) -> None:
    """Print the means as a table in Markdown: a row for each method, a column for each noise."""
    found = averages(args.out)
    print("| | " + " | ".join(args.noise) + " | seconds |")
    print("|---" * (len(args.noise) + 2) + "|")
    for method in ("noisy", *args.method):
        cells = [found.get((noise, method)) for noise in args.noise]
        seconds = statistics.mean(cell["seconds"] for cell in cells if cell) if any(cells) else math.nan
        values = [f"{cell['psnr_db']:.2f}" if cell else "" for cell in cells]
        print(f"| {method} | " + " | ".join(values) + f" | {seconds:.1f} |")


def frontier(args: argparse.Namespace) -> None:
    """Draw the mean PSNR over the seconds of each method, an axis for each noise, as docs/images/denoisers.svg."""
    found = averages(args.out)
    noises = [noise for noise in args.noise if (noise, "best") in found]
    lines = math.ceil(len(noises) / 3)
    made, axes = figure(7.8, 2.8 * lines, columns=3, rows=lines)
    for axis, noise in itertools.zip_longest(axes.flat, noises):
        if noise is None:
            axis.remove()
            continue
        for method in args.method:
            if (cell := found.get((noise, method))) is None:
                continue
            ours, at = method in OURS, (cell["seconds"], cell["psnr_db"])
            axis.plot(*at, "o" if ours else "s", color=COLOURS[0] if ours else "0.5", ms=6 if ours else 5)
            *offset, side = BESIDE.get(method, (0, 8, "center"))
            axis.annotate(method, at, offset, textcoords="offset points", ha=side, fontsize=9)
        kind, level = noise.split()
        title = {"gaussian": "sigma", "poisson": "photons, rate", "camera": "camera, sigma", "impulse": "impulses"}[
            kind
        ] + f" {level}"
        axis.set(xscale="log", xlabel="seconds", title=title, xlim=(0.004, 500))
        axis.margins(y=0.12)
    for axis in axes[:, 0]:
        axis.set_ylabel("PSNR, dB")
    label = "Mean PSNR of denoisers over their time: " + ", ".join(args.method)
    (ROOT / "docs/images/denoisers.svg").write_text(drawn(made, "denoisers", label), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["measure", "table", "figure", "photograph"])
    parser.add_argument(
        "--method", nargs="+", choices=["noisy", *OTHERS, *FOR_IMPULSES, *OURS], default=[*OTHERS, *OURS]
    )
    parser.add_argument("--noise", nargs="+", choices=[*NOISES, *IMPULSES], default=list(NOISES))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2, help="of photograph [2]")
    parser.add_argument("--minutes", type=float, nargs="+", default=[], help="of photograph, instead of qualities")
    args = parser.parse_args()
    args.dataset = None
    {"measure": measure, "table": table, "figure": frontier, "photograph": photograph}[args.what](args)


if __name__ == "__main__":
    main()
