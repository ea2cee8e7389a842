"""The results of passes over the paper's units: a folder of small files, from which the next pass continues.

    results/
      rows.csv               a row per unit and criterion: the results table, and the origin of the row
      curves/<unit>.csv.gz   at most 200 steps of a unit: loss, PSNR, and the value of each criterion
      lam/<unit>-p<S>.csv.gz the stop of CIFS for every mu = lam / (H W), with patience S
      sizes-<dataset>.csv    JPEG sizes, for figure 1

A run contains all of this and more, but takes megabytes per unit; this folder is small enough to keep with the code.
Units that were run on another kind of device or in another precision count too: digits differ, conclusions do not.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esbench import disk, images
from esbench.bench.results import Results
from esbench.bench.rows import TYPES
from esbench.bench.spec import UnitSpec, unit_id
from esbench.bench.store import Unit
from esbench.builtin.criteria import cifs
from esbench.errors import DataError
from esbench.observation import Problem
from esbench.paper import artefacts, calibrate
from esbench.paper.calibrate import Array, Curve, Objective, Pieces
from esbench.params import split
from esbench.pictures import Picture, Pictures
from esbench.registry import made_by, registry

Row = dict[str, Any]

#: The columns of rows.csv: those of the results table about a criterion, and for CIFS lam / (H W) and the bytes per
#: pixel that texture takes.
COLUMNS: dict[str, type] = {name: kind for name, kind in TYPES.items() if name not in ("kind", "seconds")} | {
    "mu": float,
    "texture": float,
}

#: Columns that an older rows.csv may not have.
LATER = (
    *("loss", "input", "score_db", "score_peak_db", "score_gap_db", "score_last_db", "baseline_db"),
    *("pixels", "regulariser", "learning_rate", "perturbation", "depth", "precision", "engine"),
    *("distribution", "distribution_version", "texture"),
)

#: The parts of a unit's id. They are written with all digits, so that the id can be computed from them.
SPEC = frozenset(field.name for field in dataclasses.fields(UnitSpec))

SIZES: dict[str, type] = {"dataset": str, "image": str, "crop": int, "sigma": float, "pixels": int, "bytes": int}

#: The number of steps of a curve that are kept.
POINTS = 200


class Passes:
    """The folder.

    Args:
        path: the path of the folder, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = map(_completed, _read(path / "rows.csv", COLUMNS))
        self._rows = {(row["unit"], row["criterion"], row["patience"]): row for row in rows}

    def rows(self, spec: UnitSpec, criteria: Sequence[str], patience: int) -> list[Row]:
        """Return the available rows of a unit, brought up to date; if it has all of them, the unit is done.

        The stop of CIFS with lam=auto is recomputed if the calibrated table has changed since.
        """
        found = [[self._row(unit, text, patience, spec.sigma) for text in criteria] for unit in _ids(spec)]
        return max(([row for row in rows if row is not None] for rows in found), key=len)

    def take(self, results: Results, units: Iterable[str], criteria: Sequence[str]) -> None:
        """Keep the results of some units of a run, if they are done.

        Raises:
            Unavailable: the folder cannot be written.
        """
        for unit in map(results.run.unit, units):
            try:
                result = unit.result()
            except DataError:  # it failed, and is reported as a failure
                continue
            if result is None or not result["complete"]:
                continue
            rows = results.table(units=[unit.id], criteria=criteria, baselines=())
            for row in rows:
                text, patience = row["criterion"], results.config.patience
                own = {"mu": _mu(unit, result, text), "texture": _texture(unit, text)}
                self._rows[unit.id, text, patience] = _as_written(row | own)
                if split(text)[0] == "cifs-jpeg":
                    stops = _stops(calibrate.curve_of(unit, text), patience)
                    self._write(self._lam(unit.id, patience), stops)
            self._write(self._curve(unit.id), _thinned(unit, [row["criterion"] for row in rows]))
        kept = sorted(self._rows.values(), key=lambda row: (row["unit"], row["criterion"], row["patience"]))
        self._write(self.path / "rows.csv", _text(kept, COLUMNS))

    def curve(self, unit: str) -> dict[str, Array]:
        """Return the kept steps of a unit, by column: step, loss, psnr_db, average_psnr_db, and the criteria.

        Raises:
            DataError: they are missing.
        """
        return _columns(self._curve(unit))

    def stops(self, unit: str, objective: Objective, patience: int) -> tuple[Pieces, Pieces]:
        """Return for every mu the step at which CIFS stops, and the PSNR there.

        Raises:
            DataError: they are missing.
        """
        columns = _columns(self._lam(unit, patience))
        mine = columns["objective"] == calibrate.OBJECTIVES.index(objective)
        mu, step, psnr = (columns[name][mine] for name in ("mu", "step", "psnr_db"))
        return Pieces(mu[1:], step.astype(int)), Pieces(mu[1:], psnr)

    def with_mu(self, row: Row, mu: float) -> Row:
        """Return a row of CIFS recomputed for another lam / (H W)."""
        steps, psnr = self.stops(row["unit"], "windowed", row["patience"])
        step, psnr_db = int(steps(mu)), float(psnr(mu))
        fallback = step >= row["iterations"] - row["patience"]
        return row | {
            "mu": mu,
            "stop_step": step,
            "fallback": fallback,
            "steps_run": row["iterations"] if fallback else step + row["patience"] + 1,
            "psnr_db": psnr_db,
            "gap_db": row["peak_db"] - psnr_db,
            "score_db": psnr_db,
            "score_gap_db": row["peak_db"] - psnr_db,
            "ssim": None,
            "average_psnr_db": None,
            "average_gap_db": None,
        }

    def beside_fig2(self, rows: Iterable[Row]) -> list[Row]:
        """Return rows, and after each of CIFS one recomputed with the lam of the paper's figure 2."""
        found = []
        for row in rows:
            found.append(row)
            if row["criterion"] == artefacts.METHODS["CIFS"] and row["sigma"] in artefacts.FIG2_MU:
                found.append(self.with_mu(row, artefacts.FIG2_MU[row["sigma"]]) | {"criterion": artefacts.CIFS_OF_FIG2})
        return found

    def lams(self, rows: Iterable[Row]) -> list[Row]:
        """Return the results of a search for lam per noise level, with both objectives, and those of the paper."""
        levels: dict[float, list[Row]] = {}
        for row in rows:
            levels.setdefault(row["sigma"], []).append(row)
        return [self._lam_of(sigma, mine) for sigma, mine in sorted(levels.items())]

    def sizes(self, rows: Iterable[Row]) -> None:
        """Keep JPEG sizes.

        Raises:
            Unavailable: the folder cannot be written.
        """
        files: dict[str, dict[Any, Row]] = {}
        for row in rows:
            name = f"sizes-{row['dataset']}.csv"
            if name not in files:
                files[name] = {_size(kept): kept for kept in _read(self.path / name, SIZES)}
            files[name][_size(row)] = row
        for name, found in files.items():
            self._write(self.path / name, _text([found[key] for key in sorted(found, key=str)], SIZES))

    def _lam_of(self, sigma: float, rows: Sequence[Row]) -> Row:
        found: Row = {"sigma": sigma, "pictures": len(rows)}
        for objective in calibrate.OBJECTIVES:
            best = calibrate.search([self.stops(row["unit"], objective, row["patience"])[1] for row in rows])
            found |= {
                f"{objective}_mu": best and calibrate.shown(best.mu),
                f"{objective}_psnr_db": best and best.psnr_db,
                f"{objective}_best_mu": best and calibrate.shown(best.best_mu),
                f"{objective}_best_psnr_db": best and best.best_db,
            }
        peak = statistics.fmean(row["peak_db"] for row in rows)
        return found | {"peak_db": peak, "paper_mu": artefacts.FIG2_MU.get(sigma)}

    def _row(self, unit: str, text: str, patience: int, sigma: float | None) -> Row | None:
        row = self._rows.get((unit, text, patience))
        if row is None or row["version"] != made_by(text)["version"]:
            return None
        mu = _auto(text, sigma, row["texture"])
        if mu is None or math.isclose(mu, row["mu"], rel_tol=1e-6):
            return row
        return self.with_mu(row, mu) if self._lam(unit, patience).exists() else None

    def _curve(self, unit: str) -> Path:
        return self.path / f"curves/{unit}.csv.gz"

    def _lam(self, unit: str, patience: int) -> Path:
        return self.path / f"lam/{unit}-p{patience}.csv.gz"

    def _write(self, path: Path, text: str) -> None:
        data = text.encode()
        with disk.writing(path, "Choose another --results."):
            path.parent.mkdir(parents=True, exist_ok=True)
            # without a time stamp, so that the same numbers give the same file
            disk.write(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _mu(unit: Unit, result: Mapping[str, Any], text: str) -> float | None:
    lam = result["criteria"][text]["resolved"].get("lam")
    return None if lam is None else float(lam / calibrate.pixels(unit))


def _ids(spec: UnitSpec) -> list[str]:
    """Return the id of a unit, and its ids on the other kind of device and in the other precision."""
    devices = sorted(("cpu", "cuda"), key=spec.device.__ne__)
    precisions = sorted(("float32", "bfloat16"), key=spec.precision.__ne__)
    kinds = itertools.product(devices, precisions)
    return [unit_id(dataclasses.replace(spec, device=d, precision=p)) for d, p in kinds]


def _texture(unit: Unit, text: str) -> float | None:
    """Return the bytes per pixel that texture takes in a unit's picture, for CIFS with lam=auto."""
    if (found := _automatic(text)) is None or (path := unit.image("noisy")) is None:
        return None
    target, options = found
    return target.texture(Problem(Picture(Pictures(images.read(path)[None]))), **options)


def _auto(text: str, sigma: float | None, texture: float | None) -> float | None:
    """Return lam / (H W) of lam=auto, or None for a criterion without this parameter."""
    if (found := _automatic(text)) is None or sigma is None:
        return None
    target, options = found
    return cifs.mu(target.codec.name, target.codec_text(options), sigma, texture)


def _automatic(text: str) -> tuple[cifs.Cifs, dict[str, Any]] | None:
    """Return CIFS with lam=auto and the options of its codec; None for another criterion."""
    component = registry().get("criterion", text)
    options = dict(component.values)
    if not isinstance(component.target, cifs.Cifs) or options["lam"] != "auto":
        return None
    for name in ("lam", "every", "on"):
        del options[name]
    return component.target, options


def _thinned(unit: Unit, criteria: Sequence[str]) -> str:
    """Return some steps of a unit as CSV: half of them evenly, half of them logarithmically spaced."""
    columns = unit.trace(["step", "loss", "psnr_db", "average_psnr_db"])
    columns |= {text: unit.criterion(text, ["value"])[0]["value"] for text in criteria}
    last = len(columns["step"]) - 1
    apart = np.concatenate([np.linspace(0, last, POINTS // 2), np.geomspace(1, last + 1, POINTS // 2) - 1])
    rows = [{name: values[i] for name, values in columns.items()} for i in np.unique(np.rint(apart).astype(int))]
    return _text(rows, dict.fromkeys(columns, float))


def _stops(curve: Curve, patience: int) -> str:
    """Return the stops of CIFS as CSV: each is valid from its mu to the next."""
    rows = []
    for i, objective in enumerate(calibrate.OBJECTIVES):
        stops = calibrate.stops(curve, objective, patience)
        for mu, step in zip([0.0, *stops.edges], stops.values, strict=True):
            rows.append({"objective": i, "mu": mu, "step": int(step), "psnr_db": curve.psnr_db[step]})
    return _text(rows, {"objective": int, "mu": float, "step": int, "psnr_db": float})


def _size(row: Row) -> tuple[Any, ...]:
    return row["image"], row["crop"] or 0, row["sigma"]


def _text(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, type]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(name, row[name]) for name in columns] for row in rows)
    return text.getvalue()


def _as_written(row: Row) -> Row:
    """Return a row as it is read from the file, so that this pass and the next one print the same."""
    return {key: float(_cell(key, value)) if isinstance(value, float) else value for key, value in row.items()}


def _cell(name: str, value: Any) -> Any:
    if not isinstance(value, float | np.floating):
        return value
    short = f"{value:.9g}"
    return short if name not in SPEC or float(short) == value else float(value)


def _read(path: Path, columns: Mapping[str, type]) -> list[Row]:
    if not path.exists():
        return []
    kinds: dict[type, Any] = {bool: "True".__eq__}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [
                {
                    name: kinds.get(kind, kind)(row[name]) if row[name] or kind is str else None
                    for name, kind in columns.items()
                }
                for row in (dict.fromkeys(LATER, "") | row for row in csv.DictReader(file))
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error


def _completed(row: Row) -> Row:
    """Return a row with all columns, if it was written by an older version."""
    if row["loss"]:
        return row
    known = {"loss": "mse", "input": "noise", "score_db": row["psnr_db"], "score_last_db": row["last_db"]}
    return row | known | {"score_peak_db": row["peak_db"], "score_gap_db": row["gap_db"]}


def _columns(path: Path) -> dict[str, Array]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
            values = np.array(rows, dtype=float)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error
    return dict(zip(head, values.T, strict=True))
