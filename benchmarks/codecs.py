"""Time the installed JPEG encoders, which give the same bytes: `python -m benchmarks.codecs`.

Single frames in sequence, and a block of frames on several threads, in turns within one run. A ratio is an encoder's
time over that of OpenCV, one frame after the other, in the same turn.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import imagecodecs
import numpy as np
from PIL import Image

from esbench.builtin.codecs.opencv import jpeg
from esbench.builtin.datasets.samples import Samples

BLOCK = 8  # frames


def pillow(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


OURS = "OpenCV (ours)"
ENCODERS = {
    OURS: jpeg,
    "Pillow": pillow,
    "imagecodecs": lambda image: bytes(imagecodecs.jpeg8_encode(image, level=95, subsampling="420")),
}


def race(h: int, w: int, runs: int, threads: int) -> dict[str, Any]:
    sample = Samples().load("hopper")
    image = np.tile(sample, (-(-h // sample.shape[0]), -(-w // sample.shape[1]), 1))[:h, :w]
    rng = np.random.default_rng(0)
    block = [(image + rng.normal(0, 15, image.shape)).clip(0, 255).astype(np.uint8) for _ in range(BLOCK)]
    first = jpeg(block[0])
    ms: dict[tuple[str, int], list[float]] = {(name, n): [] for n in (1, threads) for name in ENCODERS}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(runs):
            for name, n in ms:
                started = time.perf_counter()
                files = list((map if n == 1 else pool.map)(ENCODERS[name], block))
                ms[name, n].append(1000 * (time.perf_counter() - started) / BLOCK)
                assert files[0] == first, f"{name} gives other bytes"
    rows = []
    for (name, n), mine in ms.items():
        ratios = [a / b for a, b in zip(mine, ms[OURS, 1], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "encoder": name,
                "threads": n,
                "ms_per_frame": statistics.median(mine),
                "ratio": middle,
                "quartiles": [low, high],
            }
        )
    return {"height": h, "width": w, "bytes": len(first), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    found = [race(h, w, args.runs, args.threads) for h, w in ((256, 256), (321, 481), (512, 768))]
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for size in found:
        print(f"{size['width']} x {size['height']}, {size['bytes']} bytes each")
        for row in size["rows"]:
            low, high = row["quartiles"]
            name = f"{row['encoder']}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
            print(f"  {name:26} {row['ms_per_frame']:6.3f} ms a frame, {row['ratio']:4.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
