"""Fit the constants of `discrepancy` on the traces of ordinary runs: `python -m benchmarks.constants RUN...`.

A run keeps the loss and the PSNR of the averaged output of every step. The noisy picture is created again from the
spec, and with it the variance v of its noise, estimated (`blind`) and exact (`true`: the mean of (y - x)^2). For any
`slope` and `c` they give the curve |loss + slope * fall - c v| and its stop, without another optimisation. Fit on
pictures that are not used for testing:

    esbench run -d bsd400 --crop 96 --sigma 15 --sigma 25 --sigma 50 --images 8 --iterations 1600 -c emv -c wmv
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esbench.bench.build import scene
from esbench.bench.store import Run
from esbench.builtin.criteria.discrepancy import WINDOW, _fall
from esbench.noise import estimate
from esbench.stopping.rule import Stop, first_stop

#: The values to try: of `slope` with c = 1, and of c with no slope.
SLOPE = np.round(np.arange(0, 0.601, 0.05), 2)
C = np.round(np.arange(0.80, 1.051, 0.025), 3)


@dataclass(frozen=True)
class Curve:
    """One optimisation: its spec, the variance of its noise, its trace, and the rate at which the loss falls."""

    image: str
    sigma: float | None
    pixels: int
    blind: float
    true: float
    trace: dict[str, Any]
    fall: Any
    others: dict[str, Any]

    def stop(self, patience: int, v: float, slope: float, c: float = 1.0) -> Stop:
        """Return the stop of the discrepancy on the averaged output."""
        return first_stop(np.abs(self.trace["average_loss"] + slope * self.fall - c * v).tolist(), patience)

    def gap(self, step: int) -> float:
        """Return how far the averaged output of a step is below the best averaged one, in dB."""
        average = self.trace["average_psnr_db"]
        return float(average.max() - average[step])


def curves(path: str) -> list[Curve]:
    """Return the finished optimisations of a run."""
    run = Run(path)
    found = []
    for unit in run.units():
        result = unit.result()
        if result is None or not result["complete"]:
            continue
        spec = unit.spec()
        at = scene(spec, run.config().dataset)
        clean, noisy = at.clean, at.observation.y
        trace = unit.trace()
        found.append(
            Curve(
                image=spec.image,
                sigma=spec.sigma,
                pixels=clean.shape[0] * clean.shape[1],
                blind=estimate(noisy).variance,
                true=float(np.mean((noisy - clean) ** 2, dtype=np.float64)),
                trace=trace,
                fall=falls(trace["average_loss"]),
                others={text: unit.criterion(text, ["value"])[0]["value"] for text in result["criteria"]},
            )
        )
    return found


def falls(losses: np.ndarray) -> np.ndarray:
    """Return the rate at which the losses fall at each step, as in the criterion."""
    points = [(math.log(step + 1), loss) for step, loss in enumerate(losses.tolist())]
    return np.array([_fall(points[max(0, step + 1 - WINDOW) : step + 1]) for step in range(len(points))])


def summary(gaps: Sequence[float]) -> dict[str, float]:
    """Return mean, 95th percentile and largest of gaps."""
    return {"mean": float(np.mean(gaps)), "p95": float(np.percentile(gaps, 95)), "max": max(gaps)}


def sweep(found: Sequence[Curve], values: Sequence[float], stop: Callable[[Curve, float], Stop]) -> list[dict]:
    """Return the summary of the gaps for each value of a parameter, and how often the rule did not stop."""
    rows = []
    for value in values:
        stops = [stop(curve, value) for curve in found]
        gaps = [curve.gap(s.step) for curve, s in zip(found, stops, strict=True)]
        rows.append({"value": float(value), **summary(gaps), "never": sum(s.fallback for s in stops)})
    return rows


def best(rows: Sequence[dict], key: str) -> dict:
    """Return the row that is lowest, together with its two neighbours: the optimum of other pictures is not far."""
    judged = [max(row[key] for row in rows[max(0, i - 1) : i + 2]) for i in range(len(rows))]
    return rows[judged.index(min(judged))]


def alternatives(found: Sequence[Curve], slope: float, patience: int) -> dict[str, list[float]]:
    """Return the gaps of other ways to stop on the same optimisations, all to the peak of the averaged output."""
    gaps: dict[str, list[float]] = {}
    for curve in found:
        ours = curve.stop(patience, curve.blind, slope)
        raw = first_stop(
            np.abs(curve.trace["loss"] + slope * falls(curve.trace["loss"]) - curve.blind).tolist(), patience
        )
        steps = {
            f"discrepancy[slope={slope:g}]": ours.step,
            f"discrepancy[slope={slope:g},on=output]": raw.step,
            **{
                f"discrepancy[c={c:g},slope=0]": curve.stop(patience, curve.blind, 0, c).step
                for c in (0.9, 0.925, 0.95)
            },
        }
        for text, values in curve.others.items():
            other = first_stop(values.tolist(), patience)
            steps[text] = other.step
            steps[f"later of discrepancy and {text}"] = max(ours.step, other.step)
            steps[f"earlier of discrepancy and {text}"] = min(ours.step, other.step)
        for name, step in steps.items():
            gaps.setdefault(name, []).append(curve.gap(step))
    return gaps


def groups(found: Sequence[Curve]) -> dict[tuple[int, float | None], list[Curve]]:
    """Return the optimisations by number of pixels and noise level."""
    by: dict[tuple[int, float | None], list[Curve]] = {}
    for curve in sorted(found, key=lambda c: (c.pixels, c.sigma or 0)):
        by.setdefault((curve.pixels, curve.sigma), []).append(curve)
    return by


def show(rows: Sequence[dict], head: str) -> None:
    """Print a sweep as a Markdown table."""
    print(f"\n| {head} | mean | p95 | max | not stopped |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['value']:g} | {row['mean']:.3f} | {row['p95']:.3f} | {row['max']:.3f} | {row['never']} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+")
    parser.add_argument("--patience", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = [curve for path in args.run for curve in curves(path)]
    s = args.patience
    report: dict[str, Any] = {"patience": s, "units": [unit(curve, s) for curve in found], "by_slope": {}, "by_c": {}}
    for v in ("blind", "true"):
        for (pixels, sigma), group in {**groups(found), (0, None): found}.items():
            name = f"{v} v, {pixels or 'all'} pixels, sigma {sigma or 'all'}, {len(group)} units"
            report["by_slope"][name] = sweep(group, SLOPE, lambda k, x, v=v: k.stop(s, getattr(k, v), x))
            report["by_c"][name] = sweep(group, C, lambda k, x, v=v: k.stop(s, getattr(k, v), 0, x))
    report["slope"] = best(sweep(found, SLOPE, lambda k, x: k.stop(s, k.blind, x)), "p95")["value"]
    report["alternatives"] = {name: summary(gaps) for name, gaps in alternatives(found, report["slope"], s).items()}
    if args.json:
        print(json.dumps(report, indent=1))
        return
    show_units(report["units"])
    for key, head in (("by_slope", "slope, c = 1"), ("by_c", "c, slope = 0")):
        for name, rows in report[key].items():
            show(rows, f"{head} ({name})")
    print(f"\nslope = {report['slope']:g} has the lowest 95th percentile together with its neighbours (blind v)")
    print("\n| stop | mean | p95 | max |\n|---|---|---|---|")
    for name, row in report["alternatives"].items():
        print(f"| {name} | {row['mean']:.3f} | {row['p95']:.3f} | {row['max']:.3f} |")


def unit(curve: Curve, patience: int) -> dict[str, Any]:
    """Return the row of one optimisation; the ranges are those within 0.05 dB of the best value."""
    average = curve.trace["average_psnr_db"]
    peak = int(average.argmax())
    row = {
        "image": curve.image,
        "pixels": curve.pixels,
        "sigma": curve.sigma,
        "raw_peak_db": float(curve.trace["psnr_db"].max()),
        "average_peak_db": float(average.max()),
        "average_peak_step": peak,
        "blind_over_true": curve.blind / curve.true,
        "loss_over_true_at_peak": float(curve.trace["average_loss"][peak] / curve.true),
    }
    for key, values, at in (("slope", SLOPE, lambda x: (x, 1.0)), ("c", C, lambda x: (0.0, x))):
        gaps = [curve.gap(curve.stop(patience, curve.blind, *at(x)).step) for x in values]
        near = [x for x, gap in zip(values, gaps, strict=True) if gap <= min(gaps) + 0.05]
        row[key] = [float(near[0]), float(near[-1])]
    return row


def show_units(units: Sequence[dict[str, Any]]) -> None:
    """Print the optimisations as a Markdown table."""
    print("| picture | pixels | sigma | raw peak | averaged peak | step | blind/true v | loss/v there | slope | c |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for u in units:
        cells = [
            *(u["image"], u["pixels"], u["sigma"], f"{u['raw_peak_db']:.2f}", f"{u['average_peak_db']:.2f}"),
            *(u["average_peak_step"], f"{u['blind_over_true']:.3f}", f"{u['loss_over_true_at_peak']:.3f}"),
            *(f"{u[key][0]:g} to {u[key][1]:g}" for key in ("slope", "c")),
        ]
        print("|", " | ".join(map(str, cells)), "|")


if __name__ == "__main__":
    main()
