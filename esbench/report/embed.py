"""What a page holds of the units: their curves, thinned, and their pictures, as many as there is room for."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esbench import disk, images
from esbench.bench.store import Run, Unit
from esbench.report.figures import psnr_range, value_range
from esbench.report.levels import criteria, level, levels

Rows = Sequence[dict[str, Any]]

#: Characters that curves and pictures may take, so that a page stays under 15 MB.
CURVES, PICTURES = 4_000_000, 9_500_000

#: The most units that one can choose among.
UNITS = 300

#: A curve of more steps than twice this is the lowest and the highest value of so many stretches.
STRETCHES = 200

#: The side of the middle of a picture, where whole ones are too much.
SIDE = 256


@dataclass(frozen=True)
class Embedded:
    """The units of a page.

    Attributes:
        units: their JSON by id, in the order of the run.
        pictured: how many of them have pictures.
        whole: whether the pictures are whole, or their middle.
    """

    units: dict[str, str]
    pictured: int
    whole: bool


def embedded(run: Run, rows: Rows) -> Embedded:
    """Return as many units as there is room for, those of each noise level in turn."""
    names, by_unit = criteria(rows), units_of(rows)
    found: dict[str, dict[str, Any]] = {}
    room = CURVES
    for id in in_turn(rows)[:UNITS]:
        data = curves(run.unit(id), by_unit[id], names)
        room -= len(script(data))
        if room < 0 and found:
            break
        found[id] = data
    whole, pictured, room = _fit(run, {id: by_unit[id] for id in found}), 0, PICTURES
    for id, data in found.items():
        tiles = [(title, note, picture(path, whole)) for title, note, path in pictures(run.unit(id), by_unit[id])]
        sources = list(dict.fromkeys(source for *_, source in tiles))  # two that stopped at one step have one picture
        room -= sum(map(len, sources))
        if room < 0 and pictured:
            break
        pictured += bool(tiles)
        data["sources"] = sources
        data["pictures"] = [
            {"title": title, "note": note, "source": sources.index(source)} for title, note, source in tiles
        ]
    return Embedded({id: script(found[id]) for id in by_unit if id in found}, pictured, whole)


def units_of(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each unit."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["unit"], []).append(row)
    return groups


def in_turn(rows: Rows) -> list[str]:
    """Return the ids of the units: the first of each noise level, then the second of each, ..."""
    turns = itertools.zip_longest(*(dict.fromkeys(row["unit"] for row in group) for group in levels(rows).values()))
    return [id for turn in turns for id in turn if id is not None]


def thinned(values: npt.ArrayLike) -> tuple[int, list[float | None]]:
    """Return a curve in at most 400 numbers, and how many steps there are to a stretch of it.

    A stretch of one step is its value. A longer one is its lowest and its highest value, in the order in which they
    come: drawn at its ends, they are a smooth curve as it is, and of a rough one all that sticks out.
    """
    curve = np.asarray(values, float)
    steps = -(-len(curve) // STRETCHES) if len(curve) > 2 * STRETCHES else 1
    if steps == 1:
        return 1, [_number(value) for value in curve]
    padded = np.append(curve, np.full(-len(curve) % steps, np.nan)).reshape(-1, steps)
    known = np.isfinite(padded)
    low, high = np.where(known, padded, np.inf).argmin(1), np.where(known, padded, -np.inf).argmax(1)
    ends = np.sort(np.stack([low, high], 1), 1)
    return steps, [_number(value) for value in np.take_along_axis(padded, ends, 1).ravel()]


def curves(unit: Unit, rows: Rows, names: Sequence[str]) -> dict[str, Any]:
    """Return what the curves of a unit are drawn from.

    Args:
        unit: the unit.
        rows: its rows of the results table.
        names: the criteria of the run, in the order of their colours.
    """
    trace = unit.trace(["psnr_db", "average_psnr_db"])
    psnr, first = trace["psnr_db"], rows[0]
    stretch, output = thinned(psnr)
    panels: list[dict[str, Any]] = [
        {
            "name": "PSNR (dB)",
            "range": psnr_range(psnr, trace["average_psnr_db"]),
            "lines": [
                {"name": "output", "values": output},
                {"name": "averaged output", "values": thinned(trace["average_psnr_db"])[1]},
            ],
        }
    ]
    for row in rows:
        values = unit.criterion(row["criterion"], ["value"])[0]["value"]
        if np.isfinite(values).any():
            line = {"name": row["criterion"], "values": thinned(values)[1]}
            colour = names.index(row["criterion"])
            panels.append({"name": row["criterion"], "range": value_range(values), "colour": colour, "lines": [line]})
    kept = ("criterion", "stop_step", "fallback", "psnr_db", "gap_db", "average_psnr_db", "ssim")
    return {
        "id": unit.id,
        "steps": len(psnr),
        "stretch": stretch,
        "peak": None if first["peak_db"] is None else [first["peak_step"], first["peak_db"]],
        "panels": panels,
        "rows": [{key: row[key] for key in kept} | {"colour": names.index(row["criterion"])} for row in rows],
    }


def pictures(unit: Unit, rows: Rows) -> Iterator[tuple[str, str, Path]]:
    """Give the pictures of a unit that are there, each with what it is and a note, the observation first.

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
        kept = done["criteria"].get(row["criterion"], {}).get("stop_step")
        if not row["fallback"] and kept == row["stop_step"]:  # another patience has another stop, and no picture of it
            note = f"step {row['stop_step']}, {_db(row['psnr_db'])}"
            found.append((f"stop-{row['criterion']}", row["criterion"], note))
    for name, title, note in found:
        if (path := unit.image(name)) is not None:
            yield title, note, path


def picture(path: Path, whole: bool) -> str:
    """Return a picture as a data address: the file as it is, or the middle of it without loss."""
    disk.regular(path)
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes() if whole else _middle(path)).decode()}"


def script(value: Any) -> str:
    """Return JSON that may stand in a `<script>` element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _fit(run: Run, by_unit: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether the whole pictures of these units fit."""
    room = PICTURES
    for id, rows in by_unit.items():
        room -= sum(4 * path.stat().st_size // 3 for *_, path in pictures(run.unit(id), rows))
        if room < 0:
            return False
    return True


def _middle(path: Path) -> bytes:
    from PIL import Image

    part, buffer = images.centre_crop(images.read(path), SIDE), io.BytesIO()
    Image.fromarray(part[..., 0] if part.shape[2] == 1 else part).save(buffer, format="PNG")
    return buffer.getvalue()


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def _db(value: float | None) -> str:
    return "no number" if value is None else f"{value:.2f} dB"
