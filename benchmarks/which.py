"""Which criterion stops best, and what else there is: `python -m benchmarks.which RUN...`.

From finished runs, of whatever pictures and noise. For each criterion the mean, 95th percentile and largest gap to the
peak of the outputs (`raw`) and to that of the averaged outputs, over all units; the units in which its rule never
fired, where it counts with the last step; its median stop, and what it costs a step. Then the mean gap to the averaged
peak, and the largest, for each noise.

With `--others` also what one would try instead, on the same pictures: wavelets, non-local means and total variation of
scikit-image, and BM3D where `bm3d` can be imported (its licence is for research only; see there). They are told the
noise level that `esbench.noise` estimates.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from esbench.bench.build import observation
from esbench.bench.results import Results
from esbench.bench.store import Run
from esbench.metrics import psnr
from esbench.noise import estimate

Row = dict[str, Any]


def spread(gaps: Sequence[float]) -> list[float]:
    """Return mean, 95th percentile and largest."""
    return [float(np.mean(gaps)), float(np.percentile(gaps, 95)), float(max(gaps))]


def noise_of(row: Row) -> str:
    return row["noise"] if row["sigma"] is None or row["noise"] != "gaussian" else f"{row['noise']} {row['sigma']:g}"


def judged(found: Sequence[Row]) -> list[Row]:
    """Return a row for each criterion, the smallest 95th percentile to the averaged peak first."""
    by = defaultdict(list)
    for row in found:
        by[row["criterion"]].append(row)
    rows = []
    for criterion, mine in by.items():
        noises = defaultdict(list)
        for row in mine:
            noises[noise_of(row)].append(row["average_gap_db"])
        rows.append(
            {
                "criterion": criterion,
                "units": len(mine),
                "raw": spread([row["gap_db"] for row in mine]),
                "average": spread([row["average_gap_db"] for row in mine]),
                "never": sum(row["fallback"] for row in mine),
                "stop": statistics.median(row["stop_step"] for row in mine),
                "ms": statistics.median(row["criterion_ms_per_step"] for row in mine),
                "noises": {noise: [float(np.mean(gaps)), max(gaps)] for noise, gaps in noises.items()},
            }
        )
    return sorted(rows, key=lambda row: row["average"][1])


def others() -> dict[str, Callable[[np.ndarray, float, float], np.ndarray]]:
    """Return what is tried instead of DIP: functions of a noisy picture, its sigma and variance, all in [0, 1]."""
    from skimage import restoration

    def wavelets(y: np.ndarray, sigma: float, v: float) -> np.ndarray:
        return restoration.denoise_wavelet(y, sigma=sigma, convert2ycbcr=True, rescale_sigma=True, channel_axis=-1)

    def non_local_means(y: np.ndarray, sigma: float, v: float) -> np.ndarray:
        return restoration.denoise_nl_means(
            y, h=0.8 * sigma, sigma=sigma, patch_size=5, patch_distance=6, channel_axis=-1
        )

    def tv(y: np.ndarray, sigma: float, v: float) -> np.ndarray:
        low, high = 1e-4, 2.0
        for _ in range(18):
            weight = (low * high) ** 0.5
            x = restoration.denoise_tv_chambolle(y, weight=weight, channel_axis=-1)
            low, high = (weight, high) if np.mean((x - y) ** 2) < v else (low, weight)
        return x

    def bm3d(y: np.ndarray, sigma: float, v: float) -> np.ndarray:
        from bm3d import bm3d_rgb

        return bm3d_rgb(y, sigma)

    free = {"wavelets": wavelets, "non-local means": non_local_means, "TV": tv}
    return free | ({"BM3D": bm3d} if importlib.util.find_spec("bm3d") else {})


def instead(path: str) -> Iterator[Row]:
    """Give, for each picture of a run, its noise and the PSNR of what is tried instead."""
    run, methods = Run(path), others()
    for unit in run.units():
        if not (unit.result() or {}).get("complete"):
            continue
        clean, noisy, _ = observation(unit.spec(), run.config().dataset)
        noise = estimate(noisy)
        y, sigma = noisy.astype(np.float64), noise.sigma / 255
        db = {name: psnr(denoise(y, sigma, noise.variance), clean) for name, denoise in methods.items()}
        yield {"unit": unit.id, "noisy": psnr(noisy, clean), **db}


def compared(found: Sequence[Row], paths: Sequence[str], winner: str) -> list[Row]:
    """Return mean PSNRs for each noise: of the peaks, of what a criterion delivers, and of what is tried instead."""
    at = {row["unit"]: row for row in found if row["criterion"] == winner}
    by: dict[str, list[Row]] = defaultdict(list)
    for row in (row for path in paths for row in instead(path)):
        mine = at[row.pop("unit")]
        dip = {"raw peak": mine["peak_db"], "averaged peak": mine["average_peak_db"], winner: mine["average_psnr_db"]}
        by[noise_of(mine)].append(row | dip)
    return [
        {
            "noise": noise,
            "pictures": len(rows),
            "db": {name: float(np.mean([r[name] for r in rows])) for name in rows[0]},
        }
        for noise, rows in by.items()
    ]


def gap(mean_and_largest: Sequence[float] | None) -> str:
    return "" if mean_and_largest is None else "{:.2f} ({:.2f})".format(*mean_and_largest)


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--patience", type=int, help="another one than that of the runs")
    parser.add_argument("--others", action="store_true", help="also what is not DIP, on the same pictures")
    parser.add_argument("--winner", default="discrepancy", help="what --others are compared with [discrepancy]")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = [row for path in args.runs for row in Results(path).replay(patience=args.patience)]
    rows = judged(found)
    instead = compared(found, args.runs, args.winner) if args.others else []
    if args.json:
        print(json.dumps({"criteria": rows, "others": instead}, indent=1))
        return
    header = ["criterion", "units", "raw: mean", "95 %", "largest", "averaged: mean", "95 %", "largest"]
    lines = [
        [f"`{row['criterion']}`", str(row["units"])]
        + [f"{db:.2f}" for db in row["raw"] + row["average"]]
        + [str(row["never"]), f"{row['stop']:.0f}", f"{row['ms']:.2f}"]
        for row in rows
    ]
    print(table([*header, "never", "stop", "ms a step"], lines), end="\n\n")
    noises = list(dict.fromkeys(noise for row in rows for noise in row["noises"]))
    lines = [[f"`{row['criterion']}`", *(gap(row["noises"].get(noise)) for noise in noises)] for row in rows]
    print(table(["criterion", *noises], lines))
    if instead:
        names = list(instead[0]["db"])
        lines = [[row["noise"], str(row["pictures"])] + [f"{row['db'][name]:.2f}" for name in names] for row in instead]
        print("\n" + table(["noise", "pictures", *names], lines))


if __name__ == "__main__":
    main()
