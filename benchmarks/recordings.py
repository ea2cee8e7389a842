"""Whole curves of optimisations as small files: what a study of criteria and of lambda is made from.

    python -m benchmarks.recordings take RUN [--results results/recordings]
    python -m benchmarks.recordings study [--results results/recordings] [--patience 500]
    python -m benchmarks.recordings fit [--results results/recordings] [--patience 500]
    python -m benchmarks.recordings grey [--results results/grey]

`take` writes a file for each finished unit of a run that has none yet: the loss, the PSNR of outputs and averages,
with three decimals, and the columns of every criterion at every step, with six digits; in its first line the unit, the
size of the observation as a JPEG, the variance of its noise as its sigma and its clipping have it, and what the
criteria cost a step. The runs of `denoise` that are in results/recordings were made with, for each sigma,

    esbench run -d bsd400 --image ... --crop 128 --network 'skip[channels=64]' --iterations 3000 --patience 500 \\
        --sigma 25 -c 'cifs-jpeg[lam=0]' -c wmv -c emv -c discrepancy -c loss

on pictures from every 25th of bsd400, from the 7th by name; `esbench export RUN -o results/bsd400.csv` wrote the rows
of that at sigma 25. Those of other tasks are of twelve pictures (`ls results/recordings`), each with and without
`--sigma 10` or, of flash, with `--noise gaussian --sigma 30`:

    esbench run -d bsd400 --image ... --crop 96 --patience 300 -c wmv -c emv -c 'wmv[on=average]' -c discrepancy \\
        -c 'discrepancy[variance=sigma]' -c csr-like -c cifs-jpeg -c loss ...
        --task inpaint --network 'skip[channels=32]' --iterations 1500
        --task 'superres[factor=4]' --network 'skip[channels=32]' --regulariser 'tv[weight=2.17e-07]' --iterations 1000
        --task flash --iterations 600 --patience 100
        --noise 'camera[sigma=20]' --network 'skip[channels=32]' --iterations 2000 --patience 500
        --noise poisson --network 'skip[channels=32]' --iterations 2000 --patience 500
        --noise impulse --network 'skip[channels=32]' --iterations 1500 --patience 500

Those in results/grey are of pictures turned grey, with `-d` a folder `bsd400-grey` of them. `study` prints the exact
effect of mu = lam / (H W) on those of `denoise`: the range of mu that stops each near its peak and the mu above which
it does not stop; the mu that `esbench calibrate` would choose for each patience and rule, its gaps, its distance from
not stopping, and what happens to a picture that was left out of the search; and what patience and a first admissible
step do to the other criteria. It rates the powers of the bytes per pixel of texture with which mu may fall.
`fit` writes the mu of each level into the table of the package, and at the levels without a recording the paper's, in
the proportion of the nearest one; and the bytes per pixel of texture that it is for, the power, and from results/grey
what is different if a picture is grey. `grey` prints where CIFS stops on those.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from esbench.bench.build import scene
from esbench.bench.levels import of_kind
from esbench.bench.results import Results
from esbench.builtin.codecs.opencv import jpeg
from esbench.builtin.criteria.cifs import at, mu, smoothed
from esbench.disk import write
from esbench.noise import clipped_variance
from esbench.paper import calibrate
from esbench.paper.artefacts import FIG2_MU
from esbench.paper.calibrate import Curve, Pieces
from esbench.pictures import Pictures
from esbench.stopping.rule import first_stop

#: How far from the peak a stop still counts as near it, in dB.
NEAR = 0.35

PATIENCES = (100, 200, 300, 500, 700, 1000)

#: First admissible steps.
STARTS = (0, 100, 200)

#: Levels at which the table of the package takes the paper's figure 2 as long as too little is recorded there.
OUTSIDE = (5.0, 10.0, 75.0)

#: The power of the bytes per pixel of texture with which mu falls, and those that `study` compares.
POWER = 1.5
POWERS = (0, 1, 1.5, 2, 3)

#: Mu is known better with the texture, so the search keeps less distance from not stopping than `esbench calibrate`:
#: the least with which every picture that was left out stopped, and the one above it.
MARGINS = (1.1, 1.2)

#: Multiples of the mu of the package, to see what an error costs.
FACTORS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)

#: The minimum number of pictures that decide the mu of a level.
PICTURES = 3

#: Criteria beside CIFS, with the column that their gaps are read from.
OTHERS = {"wmv": "psnr_db", "emv": "psnr_db", "discrepancy": "average_psnr_db"}

#: The table of the package.
TABLE = Path(__file__).parents[1] / "esbench/builtin/criteria/calibration/cifs.json"


def take(args: argparse.Namespace) -> None:
    results = Results(args.run)
    rows = of_kind(results.table(), "criterion")
    args.results.mkdir(parents=True, exist_ok=True)
    for unit in results.run.units():
        result, path = unit.result(), args.results / f"{unit.id}.csv.gz"
        if result is None or not result["complete"] or path.exists():
            continue
        trace = unit.trace(["loss", "psnr_db", "average_psnr_db"])
        columns = dict(trace)
        for text, entry in result["criteria"].items():
            # the value of `loss` is a column already, and that of cifs[lam=0] follows from its bytes
            known = {"loss": ("value",), "cifs-jpeg[lam=0]": ("value",)}.get(text, ())
            if not entry["failed"]:
                table, _ = unit.criterion(text)
                columns |= {f"{text}:{name}": table[name] for name in table if name not in ("step", "ms", *known)}
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        formats = [".3f" if name.endswith("_db") else ".6g" for name in columns]
        for row in zip(*columns.values(), strict=True):
            writer.writerow([format(value, digits) for value, digits in zip(row, formats, strict=True)])
        spec = unit.spec()
        observation = scene(spec, results.config.dataset).observation
        noisy, known = Pictures(observation.y[None])[0], observation.known
        about = {
            "noisy_bytes": len(jpeg(noisy.uint8)),
            "texture_bytes": len(jpeg(smoothed(noisy.uint8))),
            "channels": noisy.uint8.shape[-1],
            "variance": None if spec.sigma is None else clipped_variance(noisy.float, spec.sigma, known),
            "ms": {row["criterion"]: row["criterion_ms_per_step"] for row in rows if row["unit"] == unit.id},
        }
        head = json.dumps(vars(spec) | about, sort_keys=True)
        data = f"# {head}\n{text.getvalue()}".encode()
        write(path, gzip.compress(data, mtime=0))  # the same numbers are the same file
        print(unit.id)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what the first line of a recorded unit says of it, and its columns."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        spec = json.loads(file.readline().removeprefix("# "))
        head, *rows = csv.reader(file)
    return spec, dict(zip(head, np.array(rows, float).T, strict=True))


class Recording:
    """A recorded unit.

    Attributes:
        about: the fields of its spec, `noisy_bytes`, `texture_bytes`, `variance` and `ms`; `channels`, 3 if missing.
        image: its picture.
        sigma: the noise level.
        columns: the recorded numbers.
    """

    def __init__(self, path: Path) -> None:
        self.about, self.columns = read(path)
        self.image, self.sigma = self.about["image"], self.about["sigma"]

    @property
    def size(self) -> np.ndarray:
        """Bytes per pixel of each output."""
        return self.columns["cifs-jpeg[lam=0]:bytes"] / self.about["crop"] ** 2

    @property
    def noisy(self) -> float:
        """Bytes per pixel of the noisy picture."""
        return self.about["noisy_bytes"] / self.about["crop"] ** 2

    @property
    def texture(self) -> float:
        """Bytes per pixel of texture: of the noisy picture without most of its noise, more than of a flat one."""
        side, channels = self.about["crop"], self.about.get("channels", 3)
        return (self.about["texture_bytes"] - len(jpeg(np.zeros((side, side, channels), np.uint8)))) / side**2

    @property
    def mu(self) -> float:
        """Mu as it is in the package."""
        return mu("jpeg", "jpeg", self.sigma, self.texture, grey=self.about.get("channels", 3) == 1)

    def curve(self, start: int = 0) -> Curve:
        """Return what a search needs, from a first admissible step.

        At the last step, where a rule is that did not stop, the PSNR is that of the noisy picture, where a longer
        optimisation would end.
        """
        psnr_db = self.columns["psnr_db"][start:].copy()
        psnr_db[-1] = -10 * np.log10(self.about["variance"])
        return Curve(self.columns["loss"][start:], self.size[start:] ** 2, psnr_db)

    def values(self) -> dict[str, np.ndarray]:
        """Return the values of each criterion: as recorded, and what follows exactly from what was recorded."""
        found = {name.removesuffix(":value"): v for name, v in self.columns.items() if name.endswith(":value")}
        if "cifs-jpeg[lam=0]:bytes" in self.columns:
            found["cifs-jpeg"] = self.mu * self.columns["loss"] + self.size**2
        if "discrepancy" in found and self.about["variance"]:
            r, s = self.columns["discrepancy:residual"], self.columns["discrepancy:fall"]
            found["discrepancy[variance=sigma]"] = np.abs(r + 0.3 * s - self.about["variance"])
        return found


def recordings(folder: Path) -> dict[float, list[Recording]]:
    """Return the recordings of Gaussian noise of a folder by its level: those that CIFS was measured on."""
    found: dict[float, list[Recording]] = {}
    every = [Recording(path) for path in sorted(folder.glob("*-denoise-gaussian*.csv.gz"))]
    for recording in sorted(every, key=lambda r: (r.sigma, r.image)):
        found.setdefault(recording.sigma, []).append(recording)
    return found


def ordinary(found: Sequence[Recording]) -> float:
    """Return the bytes per pixel of texture of a level: the geometric mean."""
    return float(np.exp(np.mean(np.log([recording.texture for recording in found]))))


def curves(found: Sequence[Recording], power: float, start: int = 0) -> list[Curve]:
    """Return the curves of a level for the mu of a picture with ordinary texture: their loss is that much larger."""
    weights = [(ordinary(found) / recording.texture) ** power for recording in found]
    made = [recording.curve(start) for recording in found]
    return [replace(curve, loss=curve.loss * w) for curve, w in zip(made, weights, strict=True)]


def of_grey(
    document: Mapping[str, Any],
    colour: Mapping[float, Sequence[Recording]],
    found: Sequence[Recording],
    patience: int,
) -> dict[str, float]:
    """Return what is different if a picture is grey: the bytes of texture and mu, as shares of those of a colour one.

    Args:
        document: the table with the mu of colour pictures.
        colour: the recordings of colour pictures.
        found: those of the same pictures turned grey.
        patience: the patience of the rule.
    """
    of_colour = {(r.sigma, r.image): r.texture for level in colour.values() for r in level}
    bytes_ = float(np.mean([r.texture / of_colour[r.sigma, r.image] for r in found]))
    psnr = []
    for recording in found:
        curve, texture = recording.curve(), recording.texture / bytes_
        mus, ordinary_ones = (at(document[name]["jpeg"], recording.sigma) for name in ("mu", "texture"))
        own = mus * (ordinary_ones / texture) ** POWER
        psnr.append(calibrate.windowed(replace(curve, loss=curve.loss * own), patience).of(curve.psnr_db))
    best = calibrate.search(psnr, MARGINS[0])
    assert best is not None
    return {"texture": calibrate.shown(bytes_), "mu": calibrate.shown(best.mu)}


def pieces(stops: Pieces) -> tuple[np.ndarray, np.ndarray]:
    """Return where each piece begins and ends."""
    return np.concatenate([[0.0], stops.edges]), np.concatenate([stops.edges, [np.inf]])


def window(recording: Recording, patience: int) -> tuple[float, float]:
    """Return the lowest and highest mu that stop near the peak; NaN if none does."""
    stops, psnr = calibrate.windowed(recording.curve(), patience), recording.columns["psnr_db"]
    begins, ends = pieces(stops)
    near = psnr[stops.values] >= psnr.max() - NEAR
    return (float(begins[near].min()), float(ends[near].max())) if near.any() else (np.nan, np.nan)


def never(curve: Curve, stops: Pieces) -> float:
    """Return the mu above which an optimisation does not stop."""
    begins, _ = pieces(stops)
    runs_on = stops.values == len(curve.loss) - 1
    return float(begins[runs_on].min()) if runs_on.any() else np.inf


@dataclass(frozen=True)
class Searched:
    """The result of a search on a level.

    Attributes:
        mu: what it found.
        gaps: how far from the peak each picture stops.
        margin: the mu from which the first picture does not stop, as a multiple.
        left_out: how far each stops with the mu that is found on the others, and whether it does not stop.
    """

    mu: float
    gaps: list[float]
    margin: float
    left_out: list[tuple[float, bool]]

    @property
    def cells(self) -> list[str]:
        """The cells of a table: mu, gaps, the margin, and gaps of pictures left out of it."""
        left_out = of([gap for gap, _ in self.left_out]) if self.left_out else ""
        runs_on = str(sum(runs_on for _, runs_on in self.left_out)) if self.left_out else ""
        return [
            f"{self.mu:.1f}",
            of(self.gaps),
            "" if np.isinf(self.margin) else f"{self.margin:.2f}",
            left_out,
            runs_on,
        ]


def searched(
    found: Sequence[Recording],
    objective: calibrate.Objective,
    patience: int,
    *,
    start: int = 0,
    power: float = POWER,
    margin: float = MARGINS[0],
) -> Searched:
    """Search the mu of a level."""
    made = curves(found, power, start)
    stops = [calibrate.stops(curve, objective, patience) for curve in made]
    psnr = [s.of(c.psnr_db) for s, c in zip(stops, made, strict=True)]
    peaks = [float(recording.columns["psnr_db"].max()) for recording in found]
    best = calibrate.search(psnr, margin)
    assert best is not None
    first = min(never(c, s) for c, s in zip(made, stops, strict=True)) if objective == "windowed" else np.inf
    left_out = []
    for i, peak in enumerate(peaks):
        others = calibrate.search([p for j, p in enumerate(psnr) if j != i], margin) if len(psnr) > 1 else None
        if others is not None:
            gap, runs_on = peak - float(psnr[i](others.mu)), stops[i](others.mu) == len(made[i].loss) - 1
            left_out.append((gap, bool(runs_on)))
    gaps = [peak - float(p(best.mu)) for peak, p in zip(peaks, psnr, strict=True)]
    return Searched(best.mu, gaps, first / best.mu, left_out)


def of(gaps: Sequence[float]) -> str:
    """Return the mean and the largest of some gaps."""
    return f"{np.mean(gaps):.2f} ({max(gaps):.2f})"


def stopped(recording: Recording, criterion: str, patience: int | None, start: int) -> float:
    """Return the gap of another criterion, by the rule or, without patience, at its smallest value."""
    psnr, values = recording.columns[OTHERS[criterion]], recording.columns[f"{criterion}:value"][start:]
    step = int(np.nanargmin(values)) if patience is None else first_stop(values.tolist(), patience=patience).step
    return float(psnr.max() - psnr[start + step])


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print("\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *lines]), end="\n\n")


def study(args: argparse.Namespace) -> None:
    found = recordings(args.results)
    lines = []
    for sigma, units in found.items():
        for unit in units:
            low, high = window(unit, args.patience)
            curve, psnr = unit.curve(), unit.columns["psnr_db"]
            first, peak = never(curve, calibrate.windowed(curve, args.patience)), int(psnr.argmax())
            sizes = f"{unit.texture:.3f}", f"{unit.size[peak]:.3f}"
            near = f"{low:.1f} to {high:.1f}"
            lines.append([unit.image, f"{sigma:g}", f"{psnr.max():.2f}", str(peak), near, f"{first:.1f}", *sizes])
    header = ["picture", "sigma", "peak", "at", f"mu within {NEAR} dB", "not stopped from mu"]
    table([*header, "bytes per pixel: texture", "at the peak"], lines)
    lines = []
    enough = [units for units in found.values() if len(units) >= PICTURES]
    for margin, power in itertools.product(MARGINS, POWERS):
        levels = [searched(units, "windowed", args.patience, power=power, margin=margin) for units in enough]
        left_out = [pair for level in levels for pair in level.left_out]
        lines.append(
            [
                f"{margin:g}",
                f"{power:g}",
                of([gap for level in levels for gap in level.gaps]),
                f"{min(level.margin for level in levels):.2f}",
                of([gap for gap, _ in left_out]),
                str(sum(runs_on for _, runs_on in left_out)),
            ]
        )
    gap = ["gap", "not stopped from mu times", "left out: gap", "not stopped"]
    table(["distance", "power of texture", *gap], lines)
    every = [[(unit.curve(), unit.mu) for unit in units] for units in enough]
    stopping = [[calibrate.windowed(curve, args.patience) for curve, _ in level] for level in every]
    lines = []
    for factor in FACTORS:
        cells = [f"{factor:.2f}"]
        for level, stops in zip(every, stopping, strict=True):
            steps = [int(stop(mu * factor)) for stop, (_, mu) in zip(stops, level, strict=True)]
            gaps = [curve.psnr_db.max() - curve.psnr_db[t] for t, (curve, _) in zip(steps, level, strict=True)]
            runs_on = sum(t == len(curve.loss) - 1 for t, (curve, _) in zip(steps, level, strict=True))
            cells.append(of(gaps) + (f", {runs_on} not stopped" if runs_on else ""))
        lines.append(cells)
    table(["mu of the package times", *(f"sigma {units[0].sigma:g}" for units in enough)], lines)
    header = ["sigma", "rule", "patience", "mu", *gap]
    lines = [
        [f"{sigma:g}", "first window", str(patience), *searched(units, "windowed", patience).cells]
        for sigma, units in found.items()
        for patience in PATIENCES
    ]
    for sigma, units in found.items():
        for start in STARTS[1:]:
            cells = searched(units, "windowed", args.patience, start=start).cells
            lines.append([f"{sigma:g}", f"first window from step {start}", str(args.patience), *cells])
        lines.append([f"{sigma:g}", "smallest of all", "", *searched(units, "global", args.patience).cells])
    table(header, lines)
    lines = [
        [f"`{criterion}`", f"{sigma:g}", "smallest of all" if patience is None else str(patience)]
        + [of([stopped(unit, criterion, patience, start) for unit in units]) for start in STARTS]
        for criterion in OTHERS
        for sigma, units in found.items()
        for patience in (100, 300, 500, 1000, None)
    ]
    table(["criterion", "sigma", "patience", *(f"from step {start}" for start in STARTS)], lines)


def grey(args: argparse.Namespace) -> None:
    lines = []
    for units in recordings(args.results).values():
        for unit in units:
            curve, psnr = unit.curve(), unit.columns["psnr_db"]
            stops, (low, high) = calibrate.windowed(curve, args.patience), window(unit, args.patience)
            stop = int(stops(unit.mu))
            gap = "not stopped" if stop == len(psnr) - 1 else f"{psnr.max() - psnr[stop]:.2f}"
            mus = f"{low:.1f} to {high:.1f}", f"{never(curve, stops):.1f}", f"{unit.mu:.1f}"
            lines.append([unit.image, f"{unit.sigma:g}", *mus, gap])
    header = ["picture", "sigma", f"mu within {NEAR} dB", "not stopped from mu", "mu", "gap"]
    table(header, lines)


def fit(args: argparse.Namespace) -> None:
    document, found = json.loads(TABLE.read_text(encoding="utf-8")), recordings(args.results)
    rows = {}
    for sigma, units in found.items():
        if len(units) < PICTURES:
            continue
        made = curves(units, POWER)
        row = calibrate.calibrate(made, "windowed", args.patience, MARGINS[0])
        first = min(never(curve, calibrate.windowed(curve, args.patience)) for curve in made)
        rows[sigma] = {key: value for key, value in row.items() if key != "curve"}
        rows[sigma] |= {"never_stops_from": calibrate.shown(first), "images": [unit.image for unit in units]}
    mu = {sigma: row["mu"] for sigma, row in rows.items()}
    for sigma in OUTSIDE:  # what is not recorded yet: the paper's, in the proportion of the nearest that is
        nearest = min(rows, key=lambda level: abs(np.log(level / sigma)))
        mu.setdefault(sigma, calibrate.shown(FIG2_MU[sigma] * rows[nearest]["mu"] / FIG2_MU[nearest]))
    document["mu"]["jpeg"] = {f"{sigma:g}": mu[sigma] for sigma in sorted(mu)}
    document["texture"] = {"jpeg": {f"{sigma:g}": calibrate.shown(ordinary(found[sigma])) for sigma in sorted(rows)}}
    document["power"] = POWER
    document["origin"]["jpeg"] = {
        "command": "python -m benchmarks.recordings fit",
        "run": "bsd400, 128 x 128, skip[channels=64], 3000 steps, on the curves in results/recordings",
        "search": f"mean PSNR at the stop of the rule, patience {args.patience}, every mu, averaged over those within "
        f"a factor {MARGINS[0]}",
        "found": [{"sigma": sigma} | row for sigma, row in rows.items()],
        "from the paper": "figure 2, in the proportion of the nearest level that was found: "
        + ", ".join(f"{sigma:g}" for sigma in sorted(set(mu) - set(rows))),
    }
    grey_ones = [unit for units in recordings(args.grey).values() for unit in units]
    document["grey"] = {"jpeg": of_grey(document, found, grey_ones, args.patience)}
    write(TABLE, (json.dumps(document, indent=1) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("take", take), ("study", study), ("fit", fit), ("grey", grey)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        where = "results/grey" if name == "grey" else "results/recordings"
        command.add_argument("--results", type=Path, default=Path(where))
        if name == "fit":
            command.add_argument("--grey", type=Path, default=Path("results/grey"))
        if name == "take":
            command.add_argument("run", type=Path)
        else:
            command.add_argument("--patience", type=int, default=500)
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
