"""Compare brisque, niqe and niqe-live with the programs that they follow: `python -m benchmarks.parity`.

Kodak24 and CBSD68, each clean, with Gaussian noise of sigma 15, 25 and 50, and blurred. Compared with what is
installed:
opencv-contrib (with IPP and without), live_python_qa (`--live FOLDER` that holds it), pyiqa, and BasicSR's niqe.py
(`--basicsr FOLDER` that holds niqe.py and matlab_functions.py).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from esbench import models
from esbench.builtin.criteria import brisque, niqe, nss
from esbench.builtin.datasets import named
from esbench.frames import Frame
from esbench.pictures import Pictures

SHAPES = [0, 2, 6, 10, 14, 18, 20, 24, 28, 32]
KINDS = ("clean", "15", "25", "50", "blurred")


def pictures(limit: int | None, kinds: tuple[str, ...]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield kind, name and uint8 (H, W, 3) RGB."""
    for dataset in ("kodak24", "cbsd68"):
        folder = named.named(dataset)
        for index, name in enumerate(folder.ids()[:limit]):
            clean = folder.load(name)
            rng = np.random.default_rng(index)
            for kind in kinds:
                image = clean
                if kind == "blurred":
                    image = cv2.GaussianBlur(clean, (0, 0), 1.5)
                elif kind != "clean":
                    image = np.rint(clean + rng.normal(0, float(kind), clean.shape)).clip(0, 255).astype(np.uint8)
                yield kind, f"{dataset}/{name}", image


def frame(image: np.ndarray) -> Frame:
    return Frame(Pictures(image[None] if image.ndim == 3 else image[None, ..., None]))


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


class Differences:
    """Numbers by name and kind, and their summary for printing."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.found: dict[str, list[float]] = {}

    def add(self, kind: str, value: float) -> None:
        self.found.setdefault(kind, []).append(abs(value))

    def rows(self) -> list[dict[str, Any]]:
        everything = [v for values in self.found.values() for v in values]
        return [
            {
                "what": self.title,
                "pictures": kind,
                "n": len(values),
                "median": float(np.median(values)),
                "p95": float(np.percentile(values, 95)),
                "max": float(np.max(values)),
            }
            for kind, values in {**self.found, "all": everything}.items()
            if values
        ]


def against_opencv(limit: int | None) -> list[dict[str, Any]]:
    paths = [str(models.path(name)) for name in (models.BRISQUE_MODEL, models.BRISQUE_RANGE)]
    reference = cv2.quality.QualityBRISQUE_create(*paths)
    rows = []
    tables = {
        (ipp, colour, what): Differences(f"{what}, {colour}, OpenCV {'with' if ipp else 'without'} IPP")
        for ipp in (False, True)
        for colour in ("colour", "grey")
        for what in ("score", "features but shapes that flip")
    }
    itself = Differences("score, colour, OpenCV with IPP against without")
    flips = dict.fromkeys([(ipp, colour) for ipp in (False, True) for colour in ("colour", "grey")], 0)
    for kind, _, image in pictures(limit, KINDS):
        for colour, picture in (("colour", image[:, :, ::-1].copy()), ("grey", grey(image))):
            ours = brisque.features(nss.grey(frame(image if colour == "colour" else picture).tensor[None]))
            score = brisque.score(ours).clamp(0, 100).item()
            theirs = []
            for ipp in (False, True):
                cv2.ipp.setUseIPP(ipp)
                features = cv2.quality.QualityBRISQUE_computeFeatures(picture).ravel()
                theirs.append(reference.compute(picture)[0])
                difference = np.abs(ours[0].numpy() - features)
                flipped = [i for i in SHAPES if 5e-4 < difference[i] < 1.5e-3]
                flips[ipp, colour] += len(flipped)
                # the mean of a product is computed from its shape, and flips with it
                kept = np.delete(difference, flipped + [i + 1 for i in flipped if i not in (0, 18)])
                tables[ipp, colour, "score"].add(kind, score - theirs[-1])
                tables[ipp, colour, "features but shapes that flip"].add(kind, kept.max())
            if colour == "colour":
                itself.add(kind, theirs[0] - theirs[1])
    for table in tables.values():
        rows += table.rows()
    rows += itself.rows()
    for (ipp, colour), count in flips.items():
        rows.append({"what": f"flips, {colour}, OpenCV {'with' if ipp else 'without'} IPP", "count": count})
    return rows


def relative(
    title: str, ours: Callable[[Frame], Any], theirs: Callable[[np.ndarray], float], limit: int | None
) -> list[dict[str, Any]]:
    table = Differences(title)
    for kind, _, image in pictures(limit, ("clean", "25")):
        table.add(kind, ours(frame(image)).value / theirs(image) - 1)
    return table.rows()


def live_python_qa(folder: str) -> Callable[[str], Callable[[np.ndarray], float]]:
    """Return a function that computes the package's score, for a window of float64 or float32 weights."""
    np.int = int  # type: ignore[attr-defined]  # gone since NumPy 1.24
    sys.path.insert(0, folder)
    package = importlib.import_module("live_python_qa.niqe")
    utils = importlib.import_module("live_python_qa.utils")
    as_it_is = utils.gen_gauss_window

    def with_window(dtype: str) -> Callable[[np.ndarray], float]:
        def compute(image: np.ndarray) -> float:
            cv2.ipp.setUseIPP(False)
            utils.gen_gauss_window = as_it_is if dtype == "float32" else lambda *_: list(nss.GAUSSIAN)
            return float(package.niqe(grey(image))[-1])

        return compute

    return with_window


def pyiqa_niqe(prior: niqe.Prior) -> Callable[[np.ndarray], float]:
    compute = importlib.import_module("pyiqa.archs.niqe_arch").calculate_niqe

    def value(image: np.ndarray) -> float:
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        return float(compute(x, mu_pris_param=prior.mu[None], cov_pris_param=prior.covariance[None]))

    return value


def basicsr_niqe(prior: niqe.Prior, folder: str) -> Callable[[np.ndarray], float]:
    """Load niqe.py alone, because its package has many dependencies."""
    matlab: dict[str, Any] = {}
    exec(Path(folder, "matlab_functions.py").read_text(), matlab)
    module = types.ModuleType("niqe")
    module.__dict__["imresize"] = matlab["imresize"]
    text = Path(folder, "niqe.py").read_text().splitlines()
    exec("\n".join(x for x in text if not x.startswith(("from basicsr", "@METRIC"))), module.__dict__)
    line = np.array(nss.GAUSSIAN)

    def value(image: np.ndarray) -> float:
        luma = niqe.luma(frame(image).tensor[None])[0].numpy()
        return float(module.niqe(luma, prior.mu.numpy()[None], prior.covariance.numpy(), np.outer(line, line)))

    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, help="only the first N of each set")
    parser.add_argument("--live", help="folder that holds live_python_qa/")
    parser.add_argument("--basicsr", help="folder that holds BasicSR's niqe.py and matlab_functions.py")
    parser.add_argument("--only", choices=("brisque", "niqe", "niqe-live"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if args.only in (None, "brisque") and hasattr(cv2, "quality"):
        rows += against_opencv(args.images)
    if args.only in (None, "niqe-live") and args.live:
        with_window = live_python_qa(args.live)
        for window in ("float64", "float32"):
            title = f"niqe-live[window={window}], relative, live_python_qa"
            rows += relative(title, lambda f, w=window: niqe.niqe_live(f, window=w), with_window(window), args.images)
    if args.only in (None, "niqe"):
        prior = niqe._prior(models.NIQE_RELEASE_PRIOR, torch.device("cpu"))

        def ours(f: Frame) -> Any:
            return niqe.niqe(f, prior="release")

        if args.basicsr:
            rows += relative("niqe, relative, BasicSR", ours, basicsr_niqe(prior, args.basicsr), args.images)
        if importlib.util.find_spec("pyiqa"):
            rows += relative("niqe, relative, pyiqa", ours, pyiqa_niqe(prior), args.images)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        numbers = "  ".join(f"{k} {v:.2e}" if isinstance(v, float) else f"{k} {v}" for k, v in list(row.items())[1:])
        print(f"{row['what']:60} {numbers}")


if __name__ == "__main__":
    main()
