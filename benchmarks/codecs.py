"""The JPEG encoders that are at hand, same bytes, and how long each takes: `python -m benchmarks.codecs`."""

from __future__ import annotations

import argparse
import io
import statistics
import time

import imagecodecs
import numpy as np
from PIL import Image

from esbench.codecs.opencv import jpeg
from esbench.datasets.samples import Samples


def pillow(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


ENCODERS = {
    "OpenCV (ours)": jpeg,
    "Pillow": pillow,
    "imagecodecs": lambda image: bytes(imagecodecs.jpeg8_encode(image, level=95, subsampling="420")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=51)
    runs = parser.parse_args().runs
    sample = Samples().load("hopper")
    for repeat in ((1, 1), (6, 8)):
        image = np.tile(sample, (*repeat, 1))
        noisy = (image + np.random.default_rng(0).normal(0, 15, image.shape)).clip(0, 255).astype(np.uint8)
        ours = jpeg(noisy)
        times: dict[str, list[float]] = {name: [] for name in ENCODERS}
        for _ in range(runs):
            for name, encode in ENCODERS.items():
                started = time.perf_counter()
                data = encode(noisy)
                times[name].append(1000 * (time.perf_counter() - started))
                assert data == ours, f"{name} gives other bytes"
        base = statistics.median(times["OpenCV (ours)"])
        print(f"{image.shape[1]} x {image.shape[0]}, {len(ours)} bytes each")
        for name, ms in times.items():
            low, median, high = min(ms), statistics.median(ms), max(ms)
            print(f"  {name:14} median {median:6.3f} ms ({low:.3f} to {high:.3f}), {median / base:4.2f} x ours")


if __name__ == "__main__":
    main()
