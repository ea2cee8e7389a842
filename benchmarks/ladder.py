"""Measure the PSNR of networks against time: `python -m benchmarks.ladder`.

Crops of photographs with noise are denoised with each entry of the ladder, on one thread, for some seconds of that
thread's processor time. The table has, for each entry and each time, the highest PSNR of the averaged output so far:
the result of a perfect stop. Averages of several decays are computed from the same outputs. For comparison,
scikit-image is run with the known noise level. Times are those of 128 x 128 pixels: 512 x 512 take 16 times as long.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks.agreement import pairs
from esbench.average import Average
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build
from esbench.errors import UnitError
from esbench.observation import NoiseModel, Observation

DECAYS = (0.9, 0.97, 0.99)

#: network, and the settings that differ from its defaults.
LADDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("skip[channels=64]", {}),
    ("skip[channels=64]", {"input_scale": 1.0}),
    ("skip[channels=32]", {}),
    ("skip[channels=32]", {"input_scale": 1.0}),
    ("skip[channels=32]", {"input_scale": 0.3}),
    ("skip[channels=16]", {"input_scale": 1.0}),
    ("decoder", {}),
    ("decoder", {"input_scale": 1.0}),
    ("unet", {}),
    ("skip[channels=16]", {"loss": "sure", "learning_rate": 0.01}),
    ("skip[channels=32]", {"loss": "sure", "learning_rate": 0.003}),
)


def db(x: Any, clean: Any) -> float:
    return -10 * math.log10(float(np.mean((np.clip(x, 0, 1) - clean) ** 2)))


def others(clean: np.ndarray, noisy: np.ndarray, sigma: float) -> dict[str, float]:
    """Return the PSNR of scikit-image's denoisers; of total variation at the best of five weights."""
    from skimage import restoration

    s = sigma / 255
    nlm = restoration.denoise_nl_means(noisy, 7, 11, h=0.6 * s, sigma=s, fast_mode=True, channel_axis=2)
    wavelet = restoration.denoise_wavelet(noisy, sigma=s, channel_axis=2, convert2ycbcr=True, rescale_sigma=True)
    tv = [restoration.denoise_tv_chambolle(noisy, weight=w * s, channel_axis=2) for w in (0.6, 0.9, 1.2, 1.6, 2.2)]
    return {"nlm": db(nlm, clean), "wavelet": db(wavelet, clean), "tv": max(db(x, clean) for x in tv)}


def climb(
    network: str, given: dict[str, Any], clean: np.ndarray, noisy: np.ndarray, sigma: float, seconds: list[float]
) -> dict[str, Any]:
    """Return the steps done, and for each decay and time the highest PSNR of the average so far."""
    settings = build.settings("denoise", network, iterations=10**6, **given)
    observation = Observation(noisy, noise=NoiseModel("gaussian", sigma))
    trajectory = build.trajectory(settings, Denoise(), observation, "cpu", network_seed=0, input_seed=0)
    averages = {decay: Average(decay, unbiased=True) for decay in DECAYS}
    best = dict.fromkeys(DECAYS, -math.inf)
    found: dict[str, Any] = {"steps": [], **{str(decay): [] for decay in DECAYS}}
    blocks, left, spent = iter(trajectory), list(seconds), 0.0
    while left:
        started = time.process_time()
        try:
            outputs = next(blocks).outputs.tensor
        except UnitError:  # it diverged repeatedly: this is as far as it gets
            spent = math.inf
        spent += time.process_time() - started
        for decay, average in () if spent == math.inf else averages.items():
            value = average.update(outputs)[0].permute(1, 2, 0).numpy()
            if trajectory.t % 5 == 0:
                best[decay] = max(best[decay], db(value, clean))
        while left and spent >= left[0]:
            left.pop(0)
            found["steps"].append(trajectory.t)
            for decay in DECAYS:
                found[str(decay)].append(round(best[decay], 3))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="bsd400")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--sigma", type=float, nargs="+", default=[25])
    parser.add_argument("--seconds", type=float, nargs="+", default=[7, 15, 35], help="of 128 x 128 pixels")
    parser.add_argument("--only", nargs="*", help="entries by their number")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ladder = [LADDER[int(i)] for i in args.only] if args.only else list(LADDER)
    share = (args.crop / 128) ** 2
    table: dict[str, list[dict[str, Any]]] = {}
    for i, (name, clean, noisy) in enumerate(pairs(args)):
        sigma = args.sigma[i % len(args.sigma)]
        print(json.dumps({"picture": name, "noisy": db(noisy, clean), **others(clean, noisy, sigma)}), flush=True)
        for network, given in ladder:
            found = climb(network, given, clean, noisy, sigma, [share * s for s in args.seconds])
            entry = " ".join([network, *(f"{key}={value}" for key, value in given.items())])
            print(json.dumps({"picture": name, "entry": entry, **found}), flush=True)
            table.setdefault(entry, []).append(found)
    for entry, rows in table.items():
        for decay in map(str, DECAYS):
            means = (statistics.mean(row[decay][j] for row in rows) for j in range(len(args.seconds)))
            print(f"{entry:45} decay {decay:5}" + "".join(f"{mean:8.2f}" for mean in means))


if __name__ == "__main__":
    main()
