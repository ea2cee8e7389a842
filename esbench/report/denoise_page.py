"""The page of `esbench denoise --report`: why it stopped at its step, and the effect on the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from esbench import images
from esbench.pictures import Bytes
from esbench.records import TaskInfo
from esbench.registry import registry
from esbench.templating import page as whole
from esbench.templating import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from esbench.restoration.options import Options
    from esbench.restoration.piece import Optimised
    from esbench.restoration.whole import Restored

#: The longest side of a picture that is shown at full size; of a larger one, a reduced copy and a part are shown.
SIDE = 1024
PART = 512

#: The layout of a curve.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 250, 56, 10, 40, 42

#: The width of a letter beside a curve.
LETTER = 7

#: The factors by which the removed part may be amplified.
FACTORS = (1, 2, 4, 8, 16, 32)


class Section(NamedTuple):
    """The section of one picture.

    Attributes:
        title: the name of the picture, and whether it stopped.
        stopped: whether every optimisation stopped by itself, or did its steps as planned.
        html: the section.
    """

    title: str
    stopped: bool
    html: Markup


def page(sections: Sequence[Section]) -> str:
    """Return the page, one file that opens offline, from the sections of its pictures."""
    from markupsafe import Markup

    if len(sections) == 1:
        title = sections[0].title
        # its parts are right below the title of the page
        parts = str(sections[0].html).replace("<h3>", "<h2>").replace("</h3>", "</h2>")
        sections = [sections[0]._replace(html=Markup(parts))]  # noqa: S704 - what a template made
    else:
        stopped = sum(section.stopped for section in sections)
        title = f"{len(sections)} pictures, {stopped or 'none'} finished by {'itself' if stopped < 2 else 'themselves'}"
    return whole("denoise.html", ("zoom.js", "denoise.js"), title=title, sections=sections)


def section(name: str, noisy: Any, denoised: Restored, options: Options) -> Section:
    """Return the section of one picture.

    Args:
        name: the file, as the user named it.
        noisy: its pixels, uint8 or uint16, (H, W, C).
        denoised: the result; its image has the same type.
        options: the options of the restoration.
    """
    before, after = _eight_bits(noisy), _eight_bits(denoised.image)
    reduced = ", reduced" if max(noisy.shape) > SIDE else ""
    views: list[tuple[str, Any]] = [(f"The picture{reduced}", np.s_[:, :])]
    if reduced:
        top, left = _busiest(after)
        part = np.s_[top : top + PART, left : left + PART]
        views.append((f"The part with the most detail, at ({left}, {top})", part))
    removed, factor = amplified(before, after)
    several = len(denoised.optimised) > 1
    planned = bool(denoised.optimised) and all(each.planned for each in denoised.optimised)
    stopped = planned or all(each.stopped for each in denoised.optimised)
    ended = f"stopped by itself at step {denoised.stop_step}" if stopped else "did not stop by itself"
    if not denoised.optimised:  # without noise, or interrupted before the first step
        stopped, ended = not denoised.reason.startswith("interrupted"), "unchanged"
    title = f"{name}: {'all steps done, as planned' if planned else ended}"
    html = render(
        "denoise_section.html",
        title=title,
        summary=_summary(denoised, options, stopped, planned),
        stopped=stopped,
        planned=planned,
        reason=denoised.reason,
        views=[(says, _png(before[part]), _png(after[part]), _png(removed[part])) for says, part in views],
        factor=factor,
        criterion=denoised.criterion,
        measured=any(np.isfinite(each.values).any() for each in denoised.optimised),
        curves=[curve(each, denoised.criterion, several) for each in denoised.optimised],
        facts=_facts(noisy, denoised, options),
    )
    return Section(title, stopped, html)


def amplified(before: Bytes, after: Bytes) -> tuple[Bytes, int]:
    """Return the removed part, centred at middle grey and amplified until nearly all of it still fits the range.

    Returns:
        The picture, and its factor.
    """
    change = before.astype(np.float32) - after
    reach = 3 * float(change.std()) + abs(float(change.mean()))
    factor = max((f for f in FACTORS if f * reach <= 127), default=FACTORS[0])
    picture: Bytes = np.rint(128 + factor * change).clip(0, 255).astype(np.uint8)
    return picture, factor


def curve(optimised: Optimised, criterion: str, several: bool = False) -> Markup:
    """Return the curve of one optimisation with its stop, as a figure; one of several is smaller and says its tile."""
    width = WIDTH * 2 // 3 if several else WIDTH
    values = np.array(optimised.values, float)
    known = values[np.isfinite(values)]
    top, left, height, across = optimised.tile
    where = f"{across} x {height} pixels at ({left}, {top}): {optimised.reason}." if several else ""
    if not known.size:
        return render("curve.html", where=where, points="")
    # a curve over decades is readable only on a logarithmic axis
    log = bool(known.min() > 0 and known.max() > 30 * known.min())
    shown = np.log10(values) if log else values
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    low, high = (low, high) if high > low else (low - 1, low + 1)
    inner, tall = width - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(step: float) -> float:
        return round(LEFT + inner * step / max(1, len(values) - 1), 1)

    def y(value: float) -> float:
        return round(TOP + tall * (high - value) / (high - low), 1)

    stop = optimised.stop_step
    return render(
        "curve.html",
        where=where,
        points=" ".join(f"{x(i)},{y(value)}" for i, value in enumerate(shown.tolist()) if np.isfinite(value)),
        criterion=criterion,
        says=f"{criterion} over {len(values)} steps; the average of step {stop} was taken",
        width=width,
        height=HEIGHT,
        frame=(LEFT, TOP, inner, tall),
        log=log,
        values=[
            (y(tick), f"{10**tick:.3g}" if log else f"{tick:.4g}") for tick in (_decades if log else _ticks)(low, high)
        ],
        steps=[(x(step), f"{step:g}") for step in _ticks(0, len(values) - 1)],
        stop=(x(stop), stop, "end" if x(stop) + LETTER * len(f"lowest so far at step {stop}") > width else "start"),
        stopped=optimised.stopped,
    )


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two."""
    power = 10.0 ** np.floor(np.log10(max(high - low, 1e-12) / most))
    step = next(f * power for f in (1, 2, 5, 10) if f * power * most >= high - low)
    return [float(i * step) for i in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Return the logarithms of 1, 3, 10, ... between two logarithms, or of powers of ten if those are many."""
    exponents = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    ticks = [
        float(exponent + np.log10(digit)) for exponent in exponents for digit in ((1, 3) if high - low < 3 else (1,))
    ]
    return [tick for tick in ticks if low <= tick <= high]


def _summary(denoised: Restored, options: Options, stopped: bool, planned: bool) -> str:
    """Return the result in a few sentences, for users who do not read curves."""
    if not denoised.optimised:
        return f"{denoised.reason[0].upper()}{denoised.reason[1:]}."
    if denoised.impulses:
        share = f"The impulses, {denoised.impulses:.0%} of the values, are filled in"
        if options.level is None:
            return f"{share}; the other values are kept."
        return f"{share}, and the noise of the other values, about {options.level:.0f} of 255 levels, is removed."
    sigma = denoised.sigma_estimate if options.sigma is None else options.sigma
    if not sigma:
        if planned:
            return "The picture is restored. As many steps were done as it takes; more would gain little."
        if stopped:
            return "The picture is restored. It stopped by itself when more steps would have made it worse."
        return "It did not stop by itself, so this is the best picture so far; more steps may give a better one."
    level = f"the noise, about {sigma:.0f} of 255 levels,"
    done = f"T{level[1:]} is removed."
    if registry().get("task", denoised.task).values.get("keep"):
        done = f"What was missing is filled in without {level} which the known pixels keep."
    if planned:
        return f"{done} As many steps were done as suit this noise, which the network learns late."
    if stopped:
        return f"{done} It stopped by itself when more steps would have brought the noise back."
    if options.criterion == "last":
        return f"{done} All steps were done; where to stop was not decided from the picture."
    return (
        f"It did not stop by itself, so this is the best picture so far: some of the noise, about "
        f"{sigma:.0f} of 255 levels, may be left, or fine detail may be missing."
    )


def _facts(noisy: Any, denoised: Restored, options: Options) -> dict[str, Any]:
    facts = {
        "size": f"{noisy.shape[1]} x {noisy.shape[0]}, {'grey' if noisy.shape[2] == 1 else 'colour'}",
        "task": denoised.task,
        "criterion": denoised.criterion,
        "stop step": "none" if denoised.stop_step is None else denoised.stop_step,
        "steps run": denoised.steps_run,
        "seconds": f"{denoised.seconds:.0f}",
        "quality": options.quality or "fast",
        "network": options.made_by,
        "loss": options.loss or _loss(denoised.task),
        "most steps": max((options.steps(o.tile[2] * o.tile[3]) for o in denoised.optimised), default="none"),
        "patience": options.window,
        "seed": options.seed,
        "device": options.device,
    }
    if denoised.impulses:
        facts["impulses"] = f"{denoised.impulses:.1%} of the values"
    if denoised.sigma_estimate is not None:
        facts["noise, estimated"] = f"sigma {denoised.sigma_estimate:.1f} of 255"
    if options.sigma is not None:
        facts["noise, as given"] = f"sigma {options.sigma:g} of 255"
    return facts


def _loss(task: str) -> str:
    """Return the loss that a task has by default."""
    info = registry().get("task", task).info
    assert isinstance(info, TaskInfo)
    return info.loss


def _png(picture: Bytes) -> str:
    """Return a picture as a data URL, reduced if it is too large."""
    return images.data_url(images.encoded(picture, SIDE, "PNG", optimize=True), "png")


def _eight_bits(pixels: npt.NDArray[Any]) -> Bytes:
    eight: Bytes = pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8)
    return eight


def _busiest(picture: Bytes) -> tuple[int, int]:
    """Return top and left of the part with the steepest edges, on a grid of half its size."""
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
