"""Measure the accuracy of the noise estimate: `python -m benchmarks.noise`.

Every picture of Kodak24 and CBSD68, as centre crops and whole, with Gaussian noise of sigma 5 to 75 and with the other
degradations. The truth is the mean variance of the noise in the picture after clipping. Compared are ours, the method
of Chen, Zhu and Heng (ICCV 2015) as published, with one level for all channels, and the variance computed from the
known sigma, which `discrepancy[variance=sigma]` uses.

With `--processed` the noisy picture is processed as in cameras and afterwards. The truth is then the difference to the
clean picture after the same processing; ours is compared with the estimate of white noise alone. Without noise, the
columns show the standard deviation that is mistaken for it.

With `--task` it is the noise that a task without noise of its own finds in its observation, with Gaussian noise of
`--sigma`, and `--crop` of the observation: how often it finds some, and its level, median (5 to 95 %) of those.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image

from esbench import images, noise
from esbench.builtin.datasets import named
from esbench.builtin.degradations.additive import gaussian
from esbench.builtin.degradations.blind import demosaiced
from esbench.engine import build
from esbench.noise.white import single_variance
from esbench.registry import registry

GAUSSIAN = [f"gaussian[sigma={s}]" for s in (5, 10, 15, 25, 35, 50, 75)]
OTHERS = [
    *(f"poisson[rate={rate}]" for rate in (100, 25, 12, 5)),
    *(f"speckle[deviation={d}]" for d in (0.1, 0.2, 0.35, 0.45)),
    *(f"impulse[share={share}]" for share in (0.03, 0.1, 0.3, 0.5)),
]

#: The number of values drawn for the truth, at least four times the picture.
DRAWN = 500_000


def pictures(datasets: list[str], limit: int | None, crop: int | None, grey: bool) -> Iterator[np.ndarray]:
    """Yield clean pictures (H, W, C) in [0, 1]."""
    for dataset in datasets:
        folder = named.named(dataset)
        for name in folder.ids()[:limit]:
            clean = images.unit(folder.load(name) if crop is None else images.centre_crop(folder.load(name), crop))
            yield clean.mean(2, keepdims=True) if grey else clean


def chen(image: np.ndarray, patch: int = 5) -> float:
    """Return the variance by the eigenvalues of the patches of all channels together."""
    side = min(patch, *image.shape[:2])
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
    patches = windows.reshape(-1, side * side * image.shape[2]).astype(np.float64)
    spectrum = np.linalg.eigvalsh(np.cov(patches, rowvar=False, bias=True))
    return next((t.mean() for k in range(len(spectrum), 0, -1) if (t := spectrum[:k]).mean() <= np.median(t)), 0.0)


def truth(clean: np.ndarray, degradation: Any, rng: np.random.Generator) -> np.ndarray:
    """Return the variance of each channel, from several draws of the same noise."""
    n = max(4, DRAWN // clean.size)
    draws = (degradation.target(clean, rng, **degradation.values).astype(np.float64) for _ in range(n))
    total, square = np.zeros(clean.shape), np.zeros(clean.shape)
    for draw in draws:
        total += draw
        square += draw**2
    return ((square - total**2 / n) / (n - 1)).mean((0, 1))


def rows(
    datasets: list[str], limit: int | None, crops: list[int | None], grey: bool, noises: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield a row per size and degradation."""
    for crop in crops:
        for text in noises:
            degradation = registry().get("degradation", text)
            found: dict[str, list[float]] = {"ours": [], "chen": [], "known": [], "channel": [], "sigma": []}
            kinds: Counter[str] = Counter()
            for index, clean in enumerate(pictures(datasets, limit, crop, grey)):
                rng = np.random.default_rng([index, crop or 0])
                true = truth(clean, degradation, rng)
                noisy = degradation.target(clean, rng, **degradation.values)
                estimate = noise.estimate(noisy)
                found["ours"].append(estimate.variance / true.mean())
                found["chen"].append(chen(noisy) / true.mean())
                found["channel"] += (np.array(estimate.per_channel) / true).tolist()
                if sigma := degradation.values.get("sigma"):
                    found["known"].append(noise.clipped_variance(noisy, sigma) / true.mean())
                    found["sigma"].append(estimate.sigma / sigma)
                kinds[estimate.kind] += 1
            name = text.partition("[")[0]
            row = {key: summary(ratios) for key, ratios in found.items() if ratios}
            yield {"crop": crop, "noise": text, "kind": kinds[name] / kinds.total(), **row}


def summary(ratios: list[float]) -> dict[str, float]:
    """Return mean, root mean square distance from 1, and range of ratios to the truth."""
    r = np.array(ratios)
    return {"mean": r.mean(), "rms": np.sqrt(np.mean((r - 1) ** 2)), "min": r.min(), "max": r.max()}


def blurred(clean: np.ndarray, noise: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    return rounded(clean + cv2.GaussianBlur(noise, (0, 0), radius).reshape(noise.shape)), clean


def mosaic(clean: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture of a camera that measures one colour per pixel, with and without the noise."""
    return rounded(demosaiced((clean + noise).clip(0, 1))), rounded(demosaiced(clean))


def jpeg(pair: tuple[np.ndarray, np.ndarray], quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Compress the noisy one."""
    file = io.BytesIO()
    eight = eight_bits(pair[0])
    Image.fromarray(eight if eight.shape[2] > 1 else eight[..., 0]).save(file, "JPEG", quality=quality)
    return images.unit(np.asarray(Image.open(file)).reshape(eight.shape)), pair[1]


def rounded(picture: np.ndarray) -> np.ndarray:
    return images.unit(eight_bits(picture))


def eight_bits(picture: np.ndarray) -> np.ndarray:
    return np.rint(255 * picture.clip(0, 1)).astype(np.uint8)


PROCESSED: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "white": lambda clean, noise: (rounded(clean + noise), clean),
    "blurred, 0.6 pixels": lambda clean, noise: blurred(clean, noise, 0.6),
    "blurred, 1 pixel": lambda clean, noise: blurred(clean, noise, 1),
    "JPEG, quality 95": lambda clean, noise: jpeg((clean + noise, clean), 95),
    "JPEG, quality 85": lambda clean, noise: jpeg((clean + noise, clean), 85),
    "JPEG, quality 70": lambda clean, noise: jpeg((clean + noise, clean), 70),
    "demosaiced": mosaic,
    "demosaiced, JPEG, quality 90": lambda clean, noise: jpeg(mosaic(clean, noise), 90),
}


def processed(
    datasets: list[str], limit: int | None, crops: list[int | None], sigmas: list[float], grey: bool
) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| size | sigma | noise | variance | as white noise | reported as not white |"
    yield "|---|---|---|---|---|---|"
    for crop in crops:
        for sigma in sigmas:
            for name, process in PROCESSED.items():
                if grey and "demosaiced" in name:
                    continue
                ours, alone, told = [], [], 0
                for index, clean in enumerate(pictures(datasets, limit, crop, grey)):
                    rng = np.random.default_rng([index, crop or 0])
                    y, x = process(clean, sigma / 255 * rng.standard_normal(clean.shape, dtype=np.float32))
                    true, estimate = np.mean((y - x) ** 2) if sigma else 255**-2, noise.estimate(y)
                    ours.append(estimate.variance / true)
                    alone.append((single_variance(y) if grey else noise.channel_variances(y).mean()) / true)
                    told += not estimate.white
                if not sigma:
                    ours, alone = ([r**0.5 for r in ratios] for ratios in (ours, alone))
                cells = ["{:.2f} ({:.2f}-{:.2f})".format(*np.percentile(r, [50, 5, 95])) for r in (ours, alone)]
                yield f"| {crop or 'whole'} | {sigma:g} | {name} | {' | '.join(cells)} | {told / len(ours):.0%} |"


def middle(n: int, length: int) -> slice:
    return slice((n - length) // 2, (n - length) // 2 + length)


def levels(
    tasks: list[str], datasets: list[str], limit: int | None, crops: list[int | None], sigmas: list[float], grey: bool
) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| task | size | sigma | found | level |"
    yield "|---|---|---|---|---|"
    for text in tasks:
        task = build.task(text)
        for crop in crops:
            for sigma in sigmas:
                found = []
                for index, clean in enumerate(pictures(datasets, limit, None, grey)):
                    rng = np.random.default_rng([index, crop or 0])
                    seen = task.degrade(
                        clean, rng, lambda x, rng=rng, sigma=sigma: gaussian(x, rng, sigma=sigma) if sigma else x, {}
                    )
                    h, w = seen.y.shape[:2]
                    if crop is None or min(h, w) >= crop:
                        part = seen.window(*(middle(n, crop or n) for n in (h, w)))
                        found.append(task.level(part))
                some = [level for level in found if level is not None]
                cells = "{1:.2f} ({0:.2f}-{2:.2f})".format(*np.percentile(some, [5, 50, 95])) if some else ""
                share = f"{len(some)} of {len(found)}"
                yield f"| `{text}` | {crop or 'whole'} | {sigma:g} | {share} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", action="append", help="[kodak24 and cbsd68]")
    parser.add_argument("--images", type=int, help="only the first N of each")
    parser.add_argument("--crop", type=int, nargs="+", default=[96, 128, 256, 0], help="0: whole pictures")
    parser.add_argument("--grey", action="store_true", help="the mean of the channels")
    parser.add_argument("--noise", action="append", help="a degradation [Gaussian of seven levels, and the others]")
    parser.add_argument("--processed", action="store_true", help="noise that was blurred, demosaiced, compressed")
    parser.add_argument("--sigma", type=float, nargs="+", default=[15, 25, 0], help="with --processed, --task")
    parser.add_argument("--task", nargs="+", help="tasks that find noise in their observation")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    where = args.dataset or ["kodak24", "cbsd68"], args.images, [crop or None for crop in args.crop]
    if args.processed or args.task:
        asked = *where, args.sigma, args.grey
        for line in levels(args.task, *asked) if args.task else processed(*asked):
            print(line, flush=True)
        return
    found = rows(*where, args.grey, args.noise or [*GAUSSIAN, *OTHERS])
    if args.json:
        print(json.dumps(list(found), indent=1))
        return
    print("| size | noise | variance | Chen et al. | known sigma | each channel | sigma | kind right |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for row in found:
        cells = [row["crop"] or "whole", row["noise"]]
        for key in ("ours", "chen", "known", "channel", "sigma"):
            r = row.get(key)
            cells.append(f"{r['mean']:.3f} ± {r['rms']:.3f} ({r['min']:.2f}-{r['max']:.2f})" if r else "")
        print("|", " | ".join(map(str, [*cells, f"{row['kind']:.0%}"])), "|", flush=True)


if __name__ == "__main__":
    main()
