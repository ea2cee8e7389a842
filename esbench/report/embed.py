"""The data of units in a page: their curves, thinned, and their pictures, reduced if needed."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esbench import disk, images, thinning
from esbench.bench.files import unsigned
from esbench.bench.levels import level, levels
from esbench.bench.store import Run, Unit
from esbench.report.figures import psnr_range, value_range
from esbench.report.worst import worst

Rows = Sequence[Mapping[str, Any]]

#: The maximum number of characters of curves, of pictures, and of both with the outputs over the steps, to keep a page
#: under 15 MB.
CURVES, PICTURES, ALL = 5_000_000, 7_500_000, 14_000_000

#: The maximum number of units whose curves and pictures are in the page.
UNITS = 400

#: A curve of more steps than twice this is stored as the lowest and the highest value of this many stretches, or of
#: fewer if there are many units. A number takes about nine characters.
STRETCHES, NUMBER = 200, 9

#: Candidates for the longest side of a reduced picture: the first that fits is used.
SIDES = (512, 384, 256, 192, 128, 96, 64, 48)

#: The quality of a reduced picture, and how many pictures are tried to find the side.
QUALITY, TRIED = 80, 24

#: The quality of a reduced output over the steps.
FILM_QUALITY = 60


#: Candidates for the outputs over the steps of a unit: how many, and their longest side (None: as they are). The first
#: that fits is used, or the last.
FILMS: tuple[tuple[int, int | None], ...] = ((60, None), (30, None), (30, 96), (15, 96), (12, 64), (8, 48))


@dataclass(frozen=True)
class Embedded:
    """The units of a page.

    Attributes:
        units: their JSON by id, in the order of the run.
        stretches: the number of stretches of a long curve.
        pictured: how many of them have pictures.
        side: the longest side of the pictures; None if they are not reduced.
    """

    units: dict[str, str]
    stretches: int
    pictured: int
    side: int | None


def embedded(run: Run, rows: Rows, failed: Sequence[tuple[str, str, str]] = ()) -> Embedded:
    """Return as many units as fit: those of the worst stops, then alternating between noise levels.

    Args:
        run: the run.
        rows: its results table.
        failed: the unit, criterion and reason of each failure.
    """
    by_unit, found = units_of(rows), dict[str, dict[str, Any]]()
    # the worst of each criterion, then the second worst of each, ...
    places = itertools.zip_longest(*([row["unit"] for row in each.rows] for each in worst(rows)))
    ids = list(dict.fromkeys([id for place in places for id in place if id is not None] + in_turn(rows)))[:UNITS]
    lines = sum(2 + len(by_unit[id]) for id in ids)
    stretches = max(25, min(STRETCHES, CURVES // max(1, 2 * NUMBER * lines)))
    room = CURVES
    for id in ids:
        data = curves(run.unit(id), by_unit[id], stretches)
        data["failed"] = [(criterion, reason) for unit, criterion, reason in failed if unit == id]
        room -= len(script(data))
        if room < 0 and found:
            break
        found[id] = data
    shown = {id: list(pictures(run.unit(id), by_unit[id])) for id in found}
    side, pictured, room = _side([path for tiles in shown.values() for *_, path in tiles]), 0, PICTURES
    for id, made in _made(shown, side):
        sources = list(dict.fromkeys(made))  # criteria with the same stop share a picture
        room -= sum(map(len, sources))
        if room < 0 and pictured:
            break
        pictured += bool(made)
        found[id]["sources"] = sources
        found[id]["pictures"] = [
            {"title": title, "note": note, "source": sources.index(source), "file": path.name}
            for (title, note, path), source in zip(shown[id], made, strict=True)
        ]
    room = ALL - sum(len(script(data)) for data in found.values())
    for id, film in _films(run, list(found), room):
        room -= len(script(film))
        if room < 0:
            break
        found[id]["film"] = film
    return Embedded({id: script(found[id]) for id in by_unit if id in found}, stretches, pictured, side)


def units_of(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of each unit."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["unit"], []).append(row)
    return groups


def in_turn(rows: Rows) -> list[str]:
    """Return the ids of the units: the first of each noise level, then the second of each, ..."""
    turns = itertools.zip_longest(*(dict.fromkeys(row["unit"] for row in group) for group in levels(rows).values()))
    return [id for turn in turns for id in turn if id is not None]


def thinned(values: npt.ArrayLike, stretches: int = STRETCHES) -> tuple[int, list[float | None]]:
    """Return a curve as at most two numbers per stretch, and the number of steps per stretch."""
    curve = np.asarray(values, float)
    steps = -(-len(curve) // stretches) if len(curve) > 2 * stretches else 1
    return steps, thinning.thinned(curve, steps)


def curves(unit: Unit, rows: Rows, stretches: int = STRETCHES) -> dict[str, Any]:
    """Return the data for the curves of a unit.

    Args:
        unit: the unit.
        rows: its rows of the results table.
        stretches: see `thinned`.
    """
    trace, rows = unit.trace(["psnr_db", "average_psnr_db"]), [row for row in rows if row["stop_step"] is not None]
    psnr, first = trace["psnr_db"], rows[0]
    stretch, output = thinned(psnr, stretches)
    panels: list[dict[str, Any]] = [
        {
            "name": "PSNR (dB)",
            "range": psnr_range(psnr, trace["average_psnr_db"]),
            "lines": [
                {"name": "averaged output", "values": thinned(trace["average_psnr_db"], stretches)[1]},
                {"name": "output", "values": output},
            ],
        }
    ]
    for row in rows:
        values = unit.criterion(row["criterion"], ["value"])[0]["value"]
        if np.isfinite(values).any():
            line = {"name": row["criterion"], "values": thinned(values, stretches)[1]}
            panels.append({"name": row["criterion"], "range": value_range(values), "lines": [line]})
    kept = ("criterion", "stop_step", "fallback", "psnr_db", "gap_db", "average_psnr_db", "ssim")
    return {
        "id": unit.id,
        "steps": len(psnr),
        "stretch": stretch,
        "peak": None if first["peak_db"] is None else [first["peak_step"], first["peak_db"]],
        "panels": panels,
        "rows": [{key: row[key] for key in kept} for row in rows],
    }


def pictures(unit: Unit, rows: Rows) -> Iterator[tuple[str, str, Path]]:
    """Yield the available pictures of a unit, each with a title and a note, the observation first.

    Args:
        unit: the unit.
        rows: its rows of the results table.
    """
    first, done = rows[0], unit.result() or {"criteria": {}}
    found = [("noisy", "noisy", level(first)), ("clean", "clean", "never shown to a criterion")]
    if first["peak_db"] is not None:
        found += [
            ("peak", "peak", f"step {first['peak_step']}, {_db(first['peak_db'])}"),
            ("last", "no early stopping", f"step {first['iterations'] - 1}, {_db(first['last_db'])}"),
        ]
    for row in rows:
        if row["stop_step"] is None:  # a baseline
            found.append((f"baseline-{row['criterion']}", row["criterion"], _db(row["psnr_db"])))
            continue
        kept = done["criteria"].get(row["criterion"], {}).get("stop_step")
        if not row["fallback"] and kept == row["stop_step"]:  # no picture was saved for the stop of another patience
            note = f"step {row['stop_step']}, {_db(row['psnr_db'])}"
            found.append((f"stop-{row['criterion']}", row["criterion"], note))
    for name, title, note in found:
        if (path := unit.image(name)) is not None:
            yield title, note, path


def picture(path: Path, side: int | None) -> str:
    """Return a picture as a data URL: the file as it is, or a WebP reduced to a longest side."""
    disk.regular(path)
    if side is None:
        return images.data_url(unsigned(path.read_bytes()), "png")
    return images.data_url(_reduced(path, side), "webp")


def script(value: Any) -> str:
    """Return JSON that is safe in a `<script>` element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _side(paths: Sequence[Path]) -> int | None:
    """Return the longest side to which pictures must be reduced to fit; None if they fit unchanged."""
    if sum(4 * path.stat().st_size // 3 for path in paths) <= PICTURES:
        return None
    tried = paths[:: -(-len(paths) // TRIED)]
    for side in SIDES:
        mean = sum(4 * len(_reduced(path, side)) // 3 for path in tried) / len(tried)
        if mean * len(paths) <= 0.9 * PICTURES:
            return side
    return SIDES[-1]


def _films(run: Run, ids: Sequence[str], room: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each unit that has outputs over the steps with them: fewer and smaller ones if all would not fit."""
    kept = [(id, film) for id in ids[:: -(-len(ids) // TRIED) or 1] if (film := run.unit(id).film())]
    for most, side in FILMS:
        size = sum(len(script(_shortened(film, most, side))) for _, film in kept) / max(1, len(kept))
        if size * len(ids) <= 0.9 * room:
            break
    for id in ids:
        if film := run.unit(id).film():
            yield id, _shortened(film, most, side)


def _shortened(film: Sequence[Mapping[str, Any]], most: int, side: int | None) -> list[dict[str, Any]]:
    """Return some of the outputs of a unit, evenly, with the first and the last."""
    places = np.unique(np.linspace(0, len(film) - 1, min(most, len(film))).round().astype(int))
    return [
        dict(film[i]) if side is None else dict(film[i]) | {"webp": _smaller(film[i]["webp"], side)} for i in places
    ]


def _smaller(webp: str, side: int) -> str:
    try:
        data = base64.b64decode(webp, validate=True)
    except ValueError:
        return webp
    return base64.b64encode(images.smaller(data, side, FILM_QUALITY)).decode()


def _made(
    shown: Mapping[str, Sequence[tuple[str, str, Path]]], side: int | None
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each unit with its pictures as data URLs, encoded by several threads: decoding takes most of the time."""
    with ThreadPoolExecutor() as pool:
        yield from zip(
            shown,
            pool.map(lambda tiles: tuple(picture(path, side) for *_, path in tiles), shown.values()),
            strict=True,
        )


def _reduced(path: Path, side: int) -> bytes:
    return images.encoded(images.read(path), side, "WEBP", quality=QUALITY)


def _db(value: float | None) -> str:
    return "no value" if value is None else f"{value:.2f} dB"
