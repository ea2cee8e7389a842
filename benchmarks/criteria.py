"""Time brisque, niqe and niqe-live against the programs that they follow: `python -m benchmarks.criteria`.

All on the same noisy 512 x 768 frames, in turns within one run: ours as a batch, the others frame by frame,
because they have no batches. A ratio is the other's time over ours in the same turn, in wall-clock and in
processor time; the median and the quartiles of these ratios are printed. Compared with the installed ones of:
opencv-contrib (with IPP if the wheel has it), pyiqa, and live_python_qa (`--live FOLDER` that contains it).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.parity import live_python_qa, pyiqa_niqe
from esbench import models
from esbench.builtin.criteria import brisque, niqe
from esbench.frames import Frame
from esbench.pictures import Pictures

OURS: dict[str, Callable[..., Any]] = {
    "brisque": brisque.brisque_block,
    "niqe-live": niqe.niqe_live_block,
    "niqe": niqe.niqe_block,
}


def frames(n: int, h: int, w: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.uniform(0, 255, (h // 16, w // 16, 3)), (w, h), interpolation=cv2.INTER_CUBIC)
    return np.stack([(smooth + rng.normal(0, 15, smooth.shape)).clip(0, 255) for _ in range(n)]).astype(np.uint8)


def block(images: np.ndarray, device: str) -> Callable[[], list[Frame]]:
    """Return a function that creates frames of new pictures: those of the last turn have their views already."""
    outputs = torch.from_numpy(images).movedim(-1, 1).float().div(255).contiguous().to(device)

    def frames() -> list[Frame]:
        pictures = Pictures(outputs)
        vars(pictures)["finite"] = [True] * len(images)  # computed once for all criteria, and not part of any
        return [Frame(pictures, i) for i in range(len(images))]

    return frames


class Times:
    """Milliseconds per frame of each turn, in wall-clock time and of all threads together."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.processor: list[float] = []

    def add(self, compute: Callable[[], Any], n: int) -> None:
        started = time.perf_counter(), time.process_time()
        compute()
        self.wall.append(1000 * (time.perf_counter() - started[0]) / n)
        self.processor.append(1000 * (time.process_time() - started[1]) / n)

    def medians(self) -> dict[str, float]:
        return {"wall": statistics.median(self.wall), "processor": statistics.median(self.processor)}


def race(ours: Callable[[], Any], theirs: Callable[[], Any], n: int, runs: int) -> tuple[Times, Times]:
    """Time both in turns, n frames each."""
    mine, its = Times(), Times()
    ours(), theirs()
    for _ in range(runs):
        mine.add(ours, n)
        its.add(lambda: [theirs() for _ in range(n)], n)
    return mine, its


def ratio(mine: list[float], its: list[float]) -> dict[str, float]:
    of_turns = [b / a for a, b in zip(mine, its, strict=True)]
    low, median, high = statistics.quantiles(of_turns, n=4)
    return {"ratio": median, "low": low, "high": high}


def rivals(image: np.ndarray, live: str | None) -> dict[str, tuple[str, Callable[[], Any]]]:
    """Return the name of the program that a criterion follows, and a function that measures the image with it."""
    found: dict[str, tuple[str, Callable[[], Any]]] = {}
    if hasattr(cv2, "quality"):
        paths = [str(models.path(name)) for name in (models.BRISQUE_MODEL, models.BRISQUE_RANGE)]
        reference, bgr = cv2.quality.QualityBRISQUE_create(*paths), image[:, :, ::-1].copy()
        found["brisque"] = "OpenCV", lambda: reference.compute(bgr)
    if live:
        package = live_python_qa(live)("float64")
        found["niqe-live"] = "live_python_qa", lambda: package(image)
    if importlib.util.find_spec("pyiqa"):
        compute = pyiqa_niqe(niqe._prior(models.NIQE_LIVE_PRIOR, torch.device("cpu")))  # any will do
        found["niqe"] = "pyiqa", lambda: compute(image)
    return found


def memory(name: str, size: tuple[int, int]) -> float:
    """Return how many MiB it takes to measure one frame, beside the frame's own pixels; on Linux."""

    def resident(what: str) -> float:
        return float(re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024

    small, large = (block(frames(1, *s), "cpu") for s in ((288, 288), size))
    OURS[name](small())  # including everything that is created once
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = resident("VmRSS")
    OURS[name](large())
    return resident("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 768), metavar=("H", "W"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--only", choices=OURS, action="append", help="may be given more than once")
    parser.add_argument("--live", help="folder that holds live_python_qa/")
    parser.add_argument("--memory", action="store_true", help="print the memory for one frame of the criterion alone")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    names = [name for name in OURS if name in (args.only or OURS)]
    if args.memory:
        print(memory(names[0], args.size))
        return
    rows = []
    for n in args.batch:
        images = frames(n, *args.size)
        others = rivals(images[0], args.live) if args.device == "cpu" else {}
        for name in names:
            new = block(images, args.device)

            def ours(name: str = name, new: Callable[[], list[Frame]] = new) -> None:
                OURS[name](new())

            rival, theirs = others.get(name, ("", lambda: None))
            if name == "brisque":
                cv2.ipp.setUseIPP(True)  # live_python_qa is measured without
            mine, its = race(ours, theirs, n, args.runs)
            row: dict[str, Any] = {"criterion": name, "batch": n, "ms": mine.medians()}
            if rival:
                row |= {"than": rival, "its_ms": its.medians()}
                row |= {"wall": ratio(mine.wall, its.wall), "processor": ratio(mine.processor, its.processor)}
            rows.append(row)
    grown = {}
    if args.device == "cpu":
        this = [sys.executable, "-m", "benchmarks.criteria", "--memory", "--size", *map(str, args.size), "--only"]
        grown = {name: float(subprocess.check_output([*this, name])) for name in names}
    else:
        grown = {"all": torch.cuda.max_memory_allocated() / 2**20}
    if args.json:
        print(json.dumps({"threads": args.threads, "rows": rows, "mib_a_frame": grown}, indent=1))
        return
    for row in rows:
        print("{criterion:10} batch {batch}: {ms[wall]:6.1f} ms a frame".format(**row), end="")
        if "than" in row:
            print("; {than} {its_ms[wall]:6.1f}".format(**row), end="")
            for clock in ("wall", "processor"):
                print("; {ratio:.2f} times ours ({low:.2f} to {high:.2f})".format(**row[clock]), f"by {clock}", end="")
        print()
    for name, mib in grown.items():
        print(f"memory beside the frame's own pixels, {name}: {mib:.0f} MiB")


if __name__ == "__main__":
    main()
