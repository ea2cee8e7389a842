"""How long brisque, niqe and niqe-live take beside the programs that they follow: `python -m benchmarks.criteria`.

All on the same noisy 512 x 768 frames, in turns within one run. A ratio is the other's time over ours in the same
turn; the median and the quartiles of these ratios are printed. Compared with what is installed: opencv-contrib, pyiqa,
and live_python_qa (`--live FOLDER` that holds it).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.parity import grey, live_python_qa, pyiqa_niqe
from esbench import models
from esbench.criteria import brisque, niqe
from esbench.types import Frame, Pictures


def frames(n: int, h: int, w: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.uniform(0, 255, (h // 16, w // 16, 3)), (w, h), interpolation=cv2.INTER_CUBIC)
    return np.stack([(smooth + rng.normal(0, 15, smooth.shape)).clip(0, 255) for _ in range(n)]).astype(np.uint8)


def milliseconds(compute: Callable[[], Any]) -> float:
    started = time.perf_counter()
    compute()
    return 1000 * (time.perf_counter() - started)


def race(
    name: str, rival: str, ours: Callable[[], Any], theirs: Callable[[], Any], n: int, runs: int
) -> dict[str, Any]:
    """Time both in turns; `ours` does n frames, `theirs` one."""
    ours(), theirs()
    mine, other = [], []
    for _ in range(runs):
        mine.append(milliseconds(ours) / n)
        other.append(milliseconds(theirs))
    ratios = [b / a for a, b in zip(mine, other, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "criterion": name,
        "batch": n,
        "ms_per_frame": statistics.median(mine),
        "than": rival,
        "its_ms": statistics.median(other),
        "ratio": statistics.median(ratios),
        "quartiles": [low, high],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 768), metavar=("H", "W"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--live", help="folder that holds live_python_qa/")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    rows = []
    for n in args.batch:
        images = frames(n, *args.size)
        outputs = torch.from_numpy(images).movedim(-1, 1).float().div(255).to(args.device)

        def block(outputs: torch.Tensor = outputs, n: int = n) -> list[Frame]:
            # new pictures each time, or the views of the last turn would be there already
            pictures = Pictures(outputs)
            vars(pictures)["finite"] = [True] * n  # asked once for all criteria, and not part of any
            return [Frame(pictures, i) for i in range(n)]

        def same(compute: Callable[[list[Frame]], Any], block: Callable[[], list[Frame]] = block) -> Callable[[], Any]:
            return lambda: compute(block())

        rivals: list[tuple[str, str, Callable[[], Any], Callable[[], Any]]] = []
        image = images[0]
        if hasattr(cv2, "quality"):
            paths = [str(models.path(name)) for name in (models.BRISQUE_MODEL, models.BRISQUE_RANGE)]
            reference, bgr = cv2.quality.QualityBRISQUE_create(*paths), image[:, :, ::-1].copy()
            ours = same(brisque.brisque_block)
            rivals.append(("brisque", "OpenCV", ours, lambda r=reference, b=bgr: r.compute(b)))
        if args.live:
            live = live_python_qa(args.live)("float64")
            rivals.append(("niqe-live", "live_python_qa", same(niqe.niqe_live_block), lambda f=live, x=image: f(x)))
        if importlib.util.find_spec("pyiqa"):
            compute = pyiqa_niqe(niqe._prior(models.NIQE_LIVE_PRIOR, torch.device("cpu")))
            rivals.append(("niqe", "pyiqa", same(niqe.niqe_block), lambda f=compute, x=image: f(x)))
        rows += [race(*rival, n, args.runs) for rival in rivals]
        if not rivals:
            for name, ours in (
                ("brisque", brisque.brisque_block),
                ("niqe", niqe.niqe_block),
                ("niqe-live", niqe.niqe_live_block),
            ):
                same(ours)()
                ms = statistics.median(milliseconds(same(ours)) / n for _ in range(args.runs))
                rows.append({"criterion": name, "batch": n, "ms_per_frame": ms})
        assert grey(image).shape == image.shape[:2]
    memory = {"device": args.device, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if args.device != "cpu":
        memory["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    if args.json:
        print(json.dumps({"threads": args.threads, "rows": rows, "memory": memory}, indent=1))
        return
    for row in rows:
        line = f"{row['criterion']:10} batch {row['batch']}: {row['ms_per_frame']:7.2f} ms a frame"
        if "than" in row:
            low, high = row["quartiles"]
            line += f"; {row['than']} {row['its_ms']:7.1f} ms, {row['ratio']:.1f} times ours ({low:.1f} to {high:.1f})"
        print(line)
    print(f"peak memory of the process on {memory['device']}: {memory['peak_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
