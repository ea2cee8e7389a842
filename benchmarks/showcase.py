"""Four tasks in one picture, before and after: `python -m benchmarks.showcase docs/images/tasks.png`.

Crops of 96 x 96 of pictures that are in the public domain or CC0: `samples` of esbench, and `coffee`, `chelsea` and
`astronaut` of scikit-image. Each is restored by `restore` as a user would, and shown twice as large.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import esbench
from esbench import images
from esbench.bench.grid import open_dataset
from esbench.builtin.degradations.additive import gaussian
from esbench.metrics import psnr

SIDE, SCALE, GAP, LINE = 96, 2, 8, 20


def crop(picture: np.ndarray, top: int, left: int, reduced: int = 1) -> np.ndarray:
    """Return SIDE x SIDE pixels of a picture that is reduced first."""
    small = Image.fromarray(picture).reduce(reduced)
    return np.asarray(small)[top : top + SIDE, left : left + SIDE]


def tasks() -> dict[str, tuple[np.ndarray, Any, dict[str, Any]]]:
    """Return, for each title, the clean picture, the observation and the arguments of `restore`."""
    from skimage import data

    rng = np.random.default_rng(0)
    opened = open_dataset("samples")[1]
    hopper = opened.load(opened.ids()[0])
    noisy = np.rint(255 * gaussian(images.unit(hopper), rng, sigma=25.0)).astype(np.uint8)
    coffee, cat, astronaut = (
        crop(data.coffee(), 60, 90, 2),
        crop(data.chelsea(), 20, 75, 2),
        crop(data.astronaut(), 0, 65, 2),
    )
    missing = rng.random((SIDE, SIDE)) < 0.5
    holes = np.where(missing[..., None], np.uint8(0), coffee)
    small = np.asarray(Image.fromarray(cat).resize((SIDE // 2, SIDE // 2), Image.Resampling.LANCZOS))
    path = Path(tempfile.mkdtemp()) / "astronaut.jpg"
    Image.fromarray(astronaut).save(path, quality=10, subsampling="4:2:0")
    return {
        "denoise (sigma 25)": (hopper, noisy, {"task": "denoise"}),
        "inpaint (half missing)": (coffee, holes, {"task": "inpaint", "mask": missing}),
        "superres (factor 2)": (cat, small, {"task": "superres[factor=2]"}),
        "jpeg (quality 10)": (astronaut, path, {"task": "jpeg"}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    cell, found = SIDE * SCALE + GAP, tasks()
    sheet = Image.new("RGB", (len(found) * cell + GAP, 2 * cell + 2 * LINE + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (title, (clean, observed, given)) in enumerate(found.items()):
        restored = esbench.restore(observed, device="cpu", **given)
        before = images.read(observed) if isinstance(observed, Path) else observed
        shown = np.asarray(Image.fromarray(before).resize((SIDE, SIDE), Image.Resampling.NEAREST))
        truth = images.unit(clean)
        db = [psnr(images.unit(picture), truth) for picture in (shown, restored.image)]
        print(f"{title}: {db[0]:.2f} dB before, {db[1]:.2f} dB after; {restored.reason}", flush=True)
        draw.text((GAP + i * cell, 3), title, "black", font)
        for j, picture in enumerate((shown, restored.image)):
            tile = Image.fromarray(picture).resize((SIDE * SCALE,) * 2, Image.Resampling.NEAREST)
            sheet.paste(tile, (GAP + i * cell, LINE + j * cell))
    sheet.crop((0, 0, sheet.width, LINE + 2 * cell)).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
