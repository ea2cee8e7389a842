"""The contact sheet: noisy, clean, peak, last, and the stop of each criterion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from esbench import images
from esbench.bench.store import Unit
from esbench.disk import replacing
from esbench.pictures import Bytes
from esbench.report.embed import pictures

SIDE, LINE, GAP = 240, 18, 12


def contact_sheet(unit: Unit, rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the pictures of one unit side by side, each with a caption.

    Args:
        unit: the unit.
        rows: its rows of the results table.
        path: the PNG file.
    """
    tiles = list(pictures(unit, rows))
    columns = max(1, min(4, len(tiles)))
    lines = -(-len(tiles) // columns)
    cell = SIDE + 2 * LINE + GAP
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, lines * cell + GAP), "white")
    draw, bold, small = ImageDraw.Draw(sheet), ImageFont.load_default(14), ImageFont.load_default(12)
    for i, (title, note, source) in enumerate(tiles):
        x, y = GAP + i % columns * (SIDE + GAP), GAP + i // columns * cell
        sheet.paste(_fitted(Image.fromarray(_colours(images.read(source)))), (x, y))
        draw.text((x, y + SIDE + 2), _short(title, 32), "black", bold)
        draw.text((x, y + SIDE + LINE), note, "#555555", small)
    with replacing(path, suffix=path.suffix) as part:
        sheet.save(part)


def _colours(image: Bytes) -> Bytes:
    return image if image.shape[2] == 3 else image.repeat(3, axis=2)


def _fitted(picture: Image.Image) -> Image.Image:
    """Return a picture in a square tile: a small one is enlarged without smoothing, a large one is reduced."""
    w, h = picture.size
    scale = SIDE / max(w, h)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    fitted = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (SIDE, SIDE), "white")
    tile.paste(fitted, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return tile


def _short(text: str, n: int) -> str:
    return text if len(text) <= n else text[: n - 1] + "…"
