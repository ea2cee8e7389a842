"""Compare the stops of criteria, and other denoisers: `python -m benchmarks.which [RUN...]`.

From the curves in results/recordings (see benchmarks/recordings.py) or in the folder of `--curves`, or from finished
runs of any tasks, pictures and noise. For each task and criterion the mean gap to the peak of the averaged outputs
with its 95 % interval (a bootstrap over pictures), the 95th percentile and the largest; the mean gap to the peak of
the outputs (`raw`); the units on which it did not stop, where its last step counts; its median stop, and its cost per
step.
Then, for each noise, the mean gap to the averaged peak (with `--gap raw`, to the peak of the outputs), and the
largest; and, of curves, the same for other patiences, wins and losses for each two criteria, and whether gaps grow
with texture.

With `--write` it also writes `esbench/recommended.json`, from which `esbench recommend`, `denoise` and `restore` take
their criterion: for each task with at least three pictures the criterion whose 95th percentile of the gap to the
averaged peak is smallest, among those that need no noise level and, with and without noise, among those that do not
estimate it.

With `--others`, for runs, also the alternatives on the same pictures: all installed baselines of `esbench list
baselines`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recordings import PATIENCES, Recording
from esbench.bench.baselines import computed, resolved, scores
from esbench.bench.build import scene
from esbench.bench.compare import interval
from esbench.bench.levels import is_reference, of_kind
from esbench.bench.replay import stop_of
from esbench.bench.results import Results
from esbench.bench.store import Run
from esbench.disk import write
from esbench.metrics import psnr
from esbench.registry import registry
from esbench.restoration.options import Options

Row = dict[str, Any]

RECORDINGS = Path("results/recordings")

#: The table of the package.
RECOMMENDED = Path(__file__).parents[1] / "esbench/recommended.json"

#: The minimum number of pictures for a recommendation.
PICTURES = 3

#: Which gap: to the peak of the averaged outputs, or to that of the outputs.
GAPS = {"average": "average_gap_db", "raw": "gap_db"}

#: How it is called in the tables.
CALLED = {"average": "averaged", "raw": "raw"}

#: One gap is smaller than another if it is by more than this, in dB.
CLEARLY = 0.05

#: Criteria that get the noise level.
NEED_THE_LEVEL = ("discrepancy[variance=sigma]", "cifs-jpeg")

#: Criteria that estimate it. If it is known, in `denoise` from the whole picture, it is not estimated again.
ESTIMATE_THE_LEVEL = ("discrepancy",)


def spread(gaps: Sequence[float]) -> list[float]:
    """Return mean, 95th percentile and largest."""
    return [float(np.mean(gaps)), float(np.percentile(gaps, 95)), float(max(gaps))]


def noise_of(row: Row) -> str:
    return row["noise"] if row["sigma"] is None or row["noise"] != "gaussian" else f"{row['noise']} {row['sigma']:g}"


def by_level(noise: str) -> tuple[str, float]:
    """Return the place of a noise in a table: by kind, then by level."""
    kind, _, level = noise.partition(" ")
    return kind, float(level or 0)


def recorded(found: Sequence[Recording], patience: int | None) -> list[Row]:
    """Return a row per criterion and recording, with that patience or, if None, that of `denoise` or `restore`."""
    rows = []
    for recording in found:
        about, psnr_db, average = recording.about, recording.columns["psnr_db"], recording.columns["average_psnr_db"]
        window = Options(task=about["task"]).window if patience is None else patience
        for criterion, values in recording.values().items():
            if registry().get("criterion", criterion).text not in (criterion, "loss") or len(values) <= window:
                continue
            stop = stop_of(values, window)
            rows.append(
                {name: about[name] for name in ("dataset", "image", "task", "noise", "sigma", "network", "crop")}
                | {
                    "criterion": criterion,
                    "bytes_per_pixel": recording.noisy,
                    "stop_step": stop.step,
                    "fallback": stop.fallback,
                    "gap_db": float(psnr_db.max() - psnr_db[stop.step]),
                    "average_gap_db": float(average.max() - average[stop.step]),
                    "average_fall_db": float(average.max() - average[-1]),
                    "patience": window,
                    "criterion_ms_per_step": about["ms"].get(criterion, np.nan),
                }
            )
    return rows


def judged(found: Sequence[Row], which: str = "average") -> list[Row]:
    """Return a row for each task and criterion, the smallest 95th percentile of a gap first."""
    by = defaultdict(list)
    for row in found:
        by[row["task"], row["criterion"]].append(row)
    rows = []
    for (task, criterion), mine in by.items():
        noises = defaultdict(list)
        for row in mine:
            noises[noise_of(row)].append(row[GAPS[which]])
        gaps = np.array([row[GAPS[which]] for row in mine])
        rows.append(
            {
                "task": task,
                "criterion": criterion,
                "units": len(mine),
                "raw": spread([row["gap_db"] for row in mine]),
                "average": spread([row["average_gap_db"] for row in mine]),
                "interval": interval(gaps, [(row["dataset"], row["image"]) for row in mine]),
                "never": sum(row["fallback"] for row in mine),
                "stop": statistics.median(row["stop_step"] for row in mine),
                "ms": statistics.median(row["criterion_ms_per_step"] for row in mine),
                "noises": {noise: [float(np.mean(gaps)), max(gaps)] for noise, gaps in noises.items()},
            }
        )
    return sorted(rows, key=lambda row: (row["task"], row[which][1]))


def recommended(found: Sequence[Row]) -> dict[str, Any]:
    """Return the document of recommendations: for each task, with the noise level unknown and known.

    If it is known, it is also known whether there is noise. A criterion that was not measured in all optimisations is
    not ranked: the others may be the difficult ones. The default of the task stays if none is clearly better.
    """
    rows = []
    for task in sorted({row["task"] for row in found}):
        every = [row for row in found if row["task"] == task]
        noiseless = [row for row in every if row["noise"] == "none"]
        known = [row for row in every if row["sigma"] is not None]
        for noisy, mine in ((None, every), (False, noiseless), (True, known)):
            if len({row["image"] for row in mine}) < PICTURES:
                continue
            ranked = ranking(mine, level_known=noisy is not None)
            default = registry().get("task", task).info.criterion
            least = ranked[0]["percentile_95_db"] + CLEARLY
            near = [row["criterion"] for row in ranked if row["percentile_95_db"] <= least]
            criterion = default if default in near else near[0]
            best = [row for row in mine if row["criterion"] == criterion]
            falls = [row for row in best if row["average_fall_db"] > CLEARLY]  # of the others the last step is right
            if 2 * sum(row["fallback"] for row in falls) > len(falls):  # too short to tell
                continue
            rows.append(
                {
                    "task": task,
                    "level_known": noisy is not None,
                    "noisy": noisy,
                    "criterion": criterion,
                    "patience": mine[0]["patience"],
                    "networks": sorted({row["network"] for row in mine}),
                    "noise": list(dict.fromkeys(noise_of(row) for row in mine)),
                    "pictures": len({row["image"] for row in mine}),
                    "side": sorted({row["crop"] for row in mine}),
                    "last_db": round(max(row["average_fall_db"] for row in best), 3),
                    "ranked": ranked,
                }
            )
    return {"command": "python -m benchmarks.which --write", "rows": rows}


def ranking(mine: Sequence[Row], *, level_known: bool) -> list[dict[str, Any]]:
    """Return the criteria from the best to the worst."""
    every = judged(mine)
    out = ESTIMATE_THE_LEVEL if level_known else NEED_THE_LEVEL
    most = max(row["units"] for row in every)
    return [
        {
            "criterion": row["criterion"],
            "units": row["units"],
            "mean_db": round(row["average"][0], 3),
            "percentile_95_db": round(row["average"][1], 3),
            "largest_db": round(row["average"][2], 3),
            "never": row["never"],
        }
        for row in every
        if row["units"] == most and not is_reference(row["criterion"]) and row["criterion"] not in out
    ]


def instead(path: str) -> Iterator[Row]:
    """Yield, for each picture of a run, its noise and the PSNR of the installed baselines."""
    run, found = Run(path), [record.info.name for record in registry().records["baseline"] if record.status == "ok"]
    for unit in run.units():
        if not (unit.result() or {}).get("complete"):
            continue
        at = scene(unit.spec(), run.config().dataset)
        methods = [registry().get("baseline", name) for name in found]
        db = {m.text: scores(at, computed(m, resolved(m, at.observation), at, "cpu"))["psnr_db"] for m in methods}
        yield {"unit": unit.id, "noisy": psnr(at.observation.y, at.clean), **db}


def compared(found: Sequence[Row], paths: Sequence[str], winner: str) -> list[Row]:
    """Return mean PSNRs for each noise: of the peaks, of a criterion's result, and of the baselines."""
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


def patiences(found: Sequence[Recording], which: str) -> str:
    """Return the mean gap and the largest, for other patiences, as a table."""
    by: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for patience in PATIENCES:
        for row in judged(recorded(found, patience), which):
            mean, _, largest = row[which]
            by[row["task"], row["criterion"]][patience] = gap((mean, largest))
    lines = [
        [task, f"`{criterion}`", *(cells.get(patience, "") for patience in PATIENCES)]
        for (task, criterion), cells in sorted(by.items())
    ]
    return table(["task", "criterion", *map(str, PATIENCES)], lines)


def units(found: Sequence[Row], criterion: str, which: str) -> dict[tuple[Any, ...], float]:
    """Return the gap of a criterion on each unit."""
    return {
        (row["dataset"], row["image"], row["task"], noise_of(row)): row[GAPS[which]]
        for row in found
        if row["criterion"] == criterion
    }


def duels(found: Sequence[Row], criteria: Sequence[str], which: str) -> str:
    """Return on how many units the criterion of a row is clearly better, and clearly worse, than that of a column."""
    gaps = {name: units(found, name, which) for name in criteria}
    lines = []
    for mine in criteria:
        cells = [f"`{mine}`"]
        for other in criteria:
            both = gaps[mine].keys() & gaps[other].keys()
            apart = np.array([gaps[other][unit] - gaps[mine][unit] for unit in both])
            cells.append("" if mine == other else f"{(apart > CLEARLY).sum()} : {(apart < -CLEARLY).sum()}")
        lines.append(cells)
    return table(["better : worse than", *(f"`{name}`" for name in criteria)], lines)


def by_texture(found: Sequence[Row], criteria: Sequence[str], which: str) -> str:
    """Return Spearman's correlation of the gap with the bytes per pixel of the noisy picture as a JPEG."""
    noises = list(dict.fromkeys(map(noise_of, found)))
    lines = []
    for name in criteria:
        cells = [f"`{name}`"]
        for noise in noises:
            mine = [row for row in found if row["criterion"] == name and noise_of(row) == noise]
            ranks = np.argsort(np.argsort([[row[GAPS[which]], row["bytes_per_pixel"]] for row in mine], axis=0), axis=0)
            cells.append(f"{np.corrcoef(ranks.T)[0, 1]:+.2f}" if len(mine) > 2 else "")
        lines.append(cells)
    return table(["gap with texture", *noises], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="finished runs [the curves in results/recordings]")
    parser.add_argument("--curves", type=Path, default=RECORDINGS, help=f"recorded curves, without RUN [{RECORDINGS}]")
    parser.add_argument("--gap", choices=GAPS, default="average", help="to which peak [average]")
    parser.add_argument("--patience", type=int, help="instead of that of the runs, or of restore")
    parser.add_argument("--others", action="store_true", help="also denoisers other than DIP, on the same pictures")
    parser.add_argument("--winner", default="discrepancy", help="the criterion to compare --others with [discrepancy]")
    parser.add_argument("--write", action="store_true", help="write esbench/recommended.json")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.write and args.curves != RECORDINGS:
        parser.error(f"The recommendation is made from {RECORDINGS}, whose pictures are those for fitting.")
    curves = [] if args.runs else [Recording(path) for path in sorted(args.curves.glob("*.csv.gz"))]
    if args.runs:
        rows = [row for path in args.runs for row in Results(path).replay(patience=args.patience)]
        found = [dict(row) for row in of_kind(rows, "criterion")]
    else:
        found = recorded(curves, args.patience)
    if args.write:
        write(RECOMMENDED, (json.dumps(recommended(found), indent=1) + "\n").encode())
    rows = judged(found, args.gap)
    instead = compared(found, args.runs, args.winner) if args.others else []
    if args.json:
        print(json.dumps({"criteria": rows, "others": instead}, indent=1))
        return
    other = "raw" if args.gap == "average" else "average"
    header = ["task", "criterion", "units", f"{CALLED[args.gap]}: mean", "95 % interval", "95th percentile", "largest"]
    lines = [
        [row["task"], f"`{row['criterion']}`", str(row["units"]), f"{row[args.gap][0]:.2f}"]
        + ["" if row["interval"][0] is None else "{:.2f} to {:.2f}".format(*row["interval"])]
        + [f"{db:.2f}" for db in (*row[args.gap][1:], row[other][0])]
        + [str(row["never"]), f"{row['stop']:.0f}", "" if np.isnan(row["ms"]) else f"{row['ms']:.2f}"]
        for row in rows
    ]
    header += [f"{CALLED[other]}: mean", "not stopped", "stop", "ms per step"]
    print(table(header, lines), end="\n\n")
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        noises = sorted({noise for row in mine for noise in row["noises"]}, key=by_level)
        lines = [[f"`{row['criterion']}`", *(gap(row["noises"].get(noise)) for noise in noises)] for row in mine]
        print(table([task, *noises], lines), end="\n\n")
    if curves:
        print(patiences(curves, args.gap), end="\n\n")
        for task in dict.fromkeys(row["task"] for row in rows):
            mine = [row for row in found if row["task"] == task]
            criteria = [row["criterion"] for row in rows if row["task"] == task and not is_reference(row["criterion"])]
            print(duels(mine, criteria, args.gap), end="\n\n")
            print(by_texture(mine, criteria, args.gap), end="\n\n")
    if instead:
        names = list(instead[0]["db"])
        lines = [[row["noise"], str(row["pictures"])] + [f"{row['db'][name]:.2f}" for name in names] for row in instead]
        print("\n" + table(["noise", "pictures", *names], lines))


if __name__ == "__main__":
    main()
