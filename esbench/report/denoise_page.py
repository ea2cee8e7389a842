"""The page of `esbench denoise --report`: why it stopped where it did, and what that did to the picture."""

from __future__ import annotations

import base64
import hashlib
import io
import string
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench.pictures import Bytes
from esbench.report.html import Html, element

if TYPE_CHECKING:
    from esbench.restoration.options import Options
    from esbench.restoration.piece import Optimised
    from esbench.restoration.restore import Restored

#: The longest side of a picture that is shown whole at full size; of a larger one a part is shown as well.
SIDE = 1024
PART = 512

#: The drawing of a curve.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 220, 62, 8, 22, 24


def page(sections: Sequence[str]) -> str:
    """Return the page, one file that opens without a network, from the sections of its pictures."""
    script = _template("denoise.js")
    return string.Template(_template("denoise.html")).substitute(
        title="Denoised" if len(sections) == 1 else f"{len(sections)} pictures, denoised",
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=_template("page.css"),
        script=script,
        sections="\n".join(sections),
    )


def section(name: str, noisy: Any, denoised: Restored, options: Options) -> str:
    """Return what the page says of one picture.

    Args:
        name: the file as it was named.
        noisy: its pixels, uint8 or uint16, (H, W, C).
        denoised: what became of it, its image of the same kind.
        options: how.
    """
    before, after = _eight_bits(noisy), _eight_bits(denoised.image)
    pairs = [_pair("The picture" if max(noisy.shape) <= SIDE else "The picture, reduced", before, after)]
    if max(noisy.shape) > SIDE:
        top, left = _busiest(after)
        part = np.s_[top : top + PART, left : left + PART]
        pairs.append(_pair(f"The part of it with the most detail, at ({left}, {top})", before[part], after[part]))
    several = len(denoised.optimised) > 1
    curves = [curve(each, denoised.criterion, WIDTH * 2 // 3 if several else WIDTH) for each in denoised.optimised]
    return element(
        "section",
        element("h2", name),
        element("p", f"{denoised.reason}.", class_="headline"),
        _facts(noisy, denoised, options),
        element("h3", "Before and after"),
        *pairs,
        element("h3", "Why it stopped there"),
        element(
            "p",
            f"{denoised.criterion} at each step; lower is better. The dashed line is the step whose averaged output "
            "was taken.",
            class_="note",
        ),
        element("div", *curves, class_="figures" if several else None),
    )


def curve(optimised: Optimised, criterion: str, width: int = WIDTH) -> Html:
    """Return the curve of one optimisation with its stop, as a figure."""
    values = np.array(optimised.values, float)
    known = values[np.isfinite(values)]
    top, left, height, across = optimised.tile
    where = f"{across} x {height} pixels at ({left}, {top}): {optimised.reason}."
    if not known.size:
        return element("figure", element("figcaption", where))
    # what falls over decades is only seen on a logarithmic axis
    log = bool(known.min() > 0 and known.max() > 30 * known.min())
    shown = np.log10(values) if log else values
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    low, high = (low, high) if high > low else (low - 1, low + 1)
    inner, tall = width - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(step: float) -> float:
        return round(LEFT + inner * step / max(1, len(values) - 1), 1)

    def y(value: float) -> float:
        return round(TOP + tall * (high - value) / (high - low), 1)

    def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Html:
        return element("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def text(said: object, at: float, down: float, anchor: str, kind: str | None = None) -> Html:
        return element("text", said, x=at, y=down, text_anchor=anchor, class_=kind)

    parts = [text(criterion, LEFT, TOP - 8, "start", "name")]
    for value in _ticks(low, high):
        parts += [line("grid", LEFT, y(value), LEFT + inner, y(value))]
        parts += [text(f"{10**value if log else value:.3g}", LEFT - 6, y(value) + 4, "end")]
    for step in _ticks(0, len(values) - 1):
        parts += [text(f"{step:g}", x(step), TOP + tall + 16, "middle")]
    points = " ".join(f"{x(i)},{y(value)}" for i, value in enumerate(shown.tolist()) if np.isfinite(value))
    stop = x(optimised.stop_step)
    parts += [element("polyline", class_="line", points=points), line("stop", stop, TOP, stop, TOP + tall)]
    parts += [element("rect", class_="frame", x=LEFT, y=TOP, width=inner, height=tall)]
    says = f"{criterion} over {len(values)} steps; the average of step {optimised.stop_step} was taken"
    drawing = element("svg", *parts, class_="curve", viewBox=f"0 0 {width} {HEIGHT}", role="img", aria_label=says)
    return element("figure", drawing, element("figcaption", where))


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two."""
    power = 10.0 ** np.floor(np.log10(max(high - low, 1e-12) / most))
    step = next(f * power for f in (1, 2, 5, 10) if f * power * most >= high - low)
    return [float(i * step) for i in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _facts(noisy: Any, denoised: Restored, options: Options) -> Html:
    facts = {
        "size": f"{noisy.shape[1]} x {noisy.shape[0]}, {'grey' if noisy.shape[2] == 1 else 'colour'}",
        "task": denoised.task,
        "noise, estimated": "none"
        if denoised.sigma_estimate is None
        else f"sigma {denoised.sigma_estimate:.1f} of 255",
        "criterion": denoised.criterion,
        "stop step": "none" if denoised.stop_step is None else denoised.stop_step,
        "steps run": denoised.steps_run,
        "seconds": f"{denoised.seconds:.0f}",
        "quality": options.quality,
        "network": options.network,
        "most steps": max((options.steps(o.tile[2] * o.tile[3]) for o in denoised.optimised), default="none"),
        "patience": options.patience,
        "seed": options.seed,
        "device": options.device,
    }
    if options.sigma is not None:
        facts["noise, as told"] = f"sigma {options.sigma:g} of 255"
    return element("dl", *(element("div", element("dt", key), element("dd", value)) for key, value in facts.items()))


def _pair(title: str, before: Bytes, after: Bytes) -> Html:
    """Return two pictures under one magnifying glass."""
    figures = (
        element(
            "figure",
            element("div", element("img", src=_png(picture), alt=f"{title}, {says}"), class_="window", tabindex=0),
            element("figcaption", says),
        )
        for picture, says in ((before, "before"), (after, "after"))
    )
    buttons = (
        element("button", "−", type="button", value="0.5", aria_label="Zoom out"),
        element("button", "+", type="button", value="2", aria_label="Zoom in"),
        element("button", "whole", type="button", value="0"),
        element("output", aria_label="Magnification"),
        element("span", "Both move together: double click, drag, or the keys + − and the arrows.", class_="note"),
    )
    return element(
        "div",
        element("p", title, class_="note"),
        element("div", *buttons, class_="zoom"),
        element("div", *figures, class_="tiles"),
        class_="pair",
    )


def _png(picture: Bytes) -> str:
    """Return a picture as a data address, reduced where it is too large."""
    from PIL import Image

    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _eight_bits(pixels: Any) -> Bytes:
    eight: Bytes = pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8)
    return eight


def _busiest(picture: Bytes) -> tuple[int, int]:
    """Return top and left of the part with the steepest edges, on a grid of half a part."""
    h, w = picture.shape[:2]
    grey = picture.mean(2, dtype=np.float32)
    corners = [
        (top, left)
        for top in {*range(0, max(1, h - PART), PART // 2), max(0, h - PART)}
        for left in {*range(0, max(1, w - PART), PART // 2), max(0, w - PART)}
    ]

    def steepness(corner: tuple[int, int]) -> float:
        part = grey[corner[0] : corner[0] + PART, corner[1] : corner[1] + PART]
        return float(np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean())

    return max(sorted(corners), key=steepness)


def _template(name: str) -> str:
    return resources.files("esbench.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")
