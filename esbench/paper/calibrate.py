"""Find lam of a CIFS criterion on clean pictures: the paper's search, on the traces of an ordinary run.

The optimisations are a run of the criterion with lam=0, whose traces contain the loss L and the size B of each output.
For any mu = lam / (H W) they give E / (H W) = mu L + (B / (H W))^2. The step at which one optimisation stops is
piecewise constant in mu, and so is the mean PSNR over pictures: the search is exact and finds all pieces.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from esbench import images, params
from esbench.bench.results import Results
from esbench.bench.store import Unit
from esbench.builtin.criteria.cifs import Cifs
from esbench.errors import UsageError
from esbench.registry import parameters, registry

Array = npt.NDArray[Any]

#: A search maximises the mean PSNR at the stop of the benchmark's rule, or at argmin_t E as in the paper.
Objective = Literal["windowed", "global"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

#: A value of mu is scored by the mean over values within this factor of it.
MARGIN = 1.2

#: How many decibels below the best count as near it.
NEAR_DB = 0.1


@dataclass(frozen=True)
class Curve:
    """The values of one optimisation that the search needs.

    Attributes:
        loss: L of each step.
        r: R / (H W) of each step: the square of the bytes per pixel.
        psnr_db: the PSNR of each output.
    """

    loss: Array
    r: Array
    psnr_db: Array


@dataclass(frozen=True)
class Pieces:
    """A piecewise constant function of mu > 0.

    Attributes:
        edges: the positions at which it changes, ascending.
        values: the values on the pieces between them, one more than edges.
    """

    edges: Array
    values: Array

    def __call__(self, mu: Any) -> Any:
        """Return the value at mu."""
        return self.values[np.searchsorted(self.edges, mu)]

    def of(self, values: Array) -> Pieces:
        """Return the same pieces with values[v] for v, merging equal neighbours."""
        found = values[self.values]
        changes = found[1:] != found[:-1]
        return Pieces(self.edges[changes], found[np.concatenate([[True], changes])])


def windowed(curve: Curve, patience: int) -> Pieces:
    """Return the stop of Eq. (4) for every mu.

    E is linear in mu, so each of the S steps after t bounds the mu for which it does not undercut t: the rule holds
    at t in an interval. The stop is the first step whose interval contains mu, else the last step.
    """
    t = np.flatnonzero(np.isfinite(curve.loss) & np.isfinite(curve.r))  # a missing value is never a stop
    t = t[t < len(curve.loss) - patience]
    low, high = np.zeros(len(t)), np.full(len(t), np.inf)
    for d in range(1, patience + 1):
        falls, rises = (
            curve.loss[t] - curve.loss[t + d],
            curve.r[t + d] - curve.r[t],
        )  # required: mu * falls <= rises
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = rises / falls
        high = np.where(falls > 0, np.minimum(high, bound), high)
        low = np.where(falls < 0, np.maximum(low, bound), low)
        holds = (low < high) & ~((falls == 0) & (rises < 0))
        t, low, high = t[holds], low[holds], high[holds]
    edges = np.unique(np.concatenate([low, high]))
    edges = edges[(edges > 0) & np.isfinite(edges)]
    stop = np.full(len(edges) + 1, len(curve.loss) - 1)
    begins, ends = np.searchsorted(edges, low, "right"), np.searchsorted(edges, high) + 1
    for step, begin, end in zip(t[::-1], begins[::-1], ends[::-1], strict=True):
        stop[begin:end] = step
    return Pieces(edges, stop).of(np.arange(len(curve.loss)))


def everywhere(curve: Curve) -> Pieces:
    """Return argmin_t E for every mu, which is always a corner of the lower convex hull of (L_t, R_t)."""
    order = np.lexsort((curve.r, curve.loss))
    order = order[np.isfinite(curve.loss[order]) & np.isfinite(curve.r[order])]
    lowest = np.minimum.accumulate(curve.r[order])
    corners: list[int] = []
    slopes: list[float] = []  # for the edge that ends in each corner but the first, the mu at which the argmin changes
    for step in order[np.concatenate([[True], lowest[1:] < lowest[:-1]])].tolist():  # the smaller R, the larger L
        while corners:
            slope = (curve.r[corners[-1]] - curve.r[step]) / (curve.loss[step] - curve.loss[corners[-1]])
            if not slopes or slope < slopes[-1]:
                slopes.append(slope)
                break
            slopes.pop()
            corners.pop()
        corners.append(step)
    return Pieces(np.array(slopes[::-1]), np.array(corners[::-1]))


def stops(curve: Curve, objective: Objective, patience: int) -> Pieces:
    """Return the step that an objective chooses, for every mu."""
    return windowed(curve, patience) if objective == "windowed" else everywhere(curve)


def mean(functions: Sequence[Pieces]) -> Pieces:
    """Return the mean of functions, with all their edges."""
    edges = np.unique(np.concatenate([f.edges for f in functions]))
    values = [f.values[np.concatenate([[0], np.searchsorted(f.edges, edges, "right")])] for f in functions]
    return Pieces(edges, np.mean(values, axis=0))


@dataclass(frozen=True)
class Optimum:
    """The result of a search at one noise level.

    Attributes:
        mu: the chosen lam / (H W): the best with a margin.
        psnr_db: the mean PSNR there.
        best_mu: the best without a margin.
        best_db: the mean PSNR there.
        width: the range of mu that loses less than NEAR_DB of it; infinite if never stopping is as good.
        curve: the mean PSNR for every mu.
    """

    mu: float
    psnr_db: float
    best_mu: float
    best_db: float
    width: tuple[float, float]
    curve: Pieces


def search(functions: Sequence[Pieces], margin: float = MARGIN) -> Optimum | None:
    """Return the mu with the highest mean PSNR, or None if every mu gives the same.

    A little above the best mu the curve never rises and the rule runs to the last step. The mu will be used on other
    pictures, so each value is scored by the mean over its neighbours, which keeps it away from that edge.

    Args:
        functions: the PSNR at the chosen step for every mu; one per optimisation.
        margin: the factor within which neighbours count.
    """
    curve = mean(functions)
    if not len(curve.edges):
        return None
    w, edges = np.log(margin), np.log(curve.edges)
    x = np.concatenate([[edges[0] - 2 * w], edges, [edges[-1] + 2 * w]])  # the ends of the pieces
    area = np.concatenate([[0], np.cumsum(curve.values * np.diff(x))])
    # the mean around a place is linear between the places at which an edge enters or leaves its neighbourhood
    at = np.unique(np.clip(np.concatenate([x - w, x + w]), x[0] + w, x[-1] - w))
    at = np.sort(np.concatenate([at, (at[1:] + at[:-1]) / 2]))
    around = (np.interp(at + w, x, area) - np.interp(at - w, x, area)) / (2 * w)
    chosen = float(np.exp(_middle(at[around > around.max() - 1e-9])))
    top = curve.values > curve.values.max() - 1e-9
    longest = int(np.argmax(np.where(top, np.diff(x), 0)))
    near = np.flatnonzero(curve.values >= curve.values.max() - NEAR_DB)
    return Optimum(
        mu=chosen,
        psnr_db=float(curve(chosen)),
        best_mu=float(np.exp((x[longest] + x[longest + 1]) / 2)),
        best_db=float(curve.values.max()),
        width=(float([0, *curve.edges][near[0]]), float([*curve.edges, np.inf][near[-1]])),
        curve=curve,
    )


def curve_of(unit: Unit, criterion: str) -> Curve:
    """Return the curve of a unit from its values of a CIFS criterion, with any lam."""
    trace, size = unit.trace(["loss", "psnr_db"]), unit.criterion(criterion, ["bytes"])[0]["bytes"]
    return Curve(trace["loss"], (size / pixels(unit)) ** 2, trace["psnr_db"])


def curves(results: Results, units: Iterable[str], criterion: str) -> dict[float, list[Curve]]:
    """Return the curves of the complete units of a run by noise level; they must have measured the criterion."""
    found: dict[float, list[Curve]] = {}
    for unit in map(results.run.unit, units):
        result = unit.result()
        if result is None or not result["complete"] or result["criteria"].get(criterion, {"failed": True})["failed"]:
            continue
        found.setdefault(unit.spec().sigma or 0.0, []).append(curve_of(unit, criterion))
    return found


def pixels(unit: Unit) -> int:
    """Return H W of a unit's picture."""
    return math.prod(images.size(unit.image("clean") or unit.image_path("clean")))


def measured(text: str) -> tuple[str, str]:
    """Return the criterion to measure for a search, and its codec, each as canonical text.

    `cifs-jpeg[every=5,quality=90]` is measured as `cifs-jpeg[lam=0,quality=90]`; its codec is `jpeg[quality=90]`.

    Raises:
        UsageError: it is not a CIFS.
    """
    component = registry().get("criterion", text)
    cifs, known = component.target, parameters(component.record)
    if not isinstance(cifs, Cifs):
        raise UsageError(f"calibrate finds lam of a CIFS criterion, such as cifs-jpeg, got {component.text!r}.")
    values = component.values | {"lam": 0.0, "every": known["every"].default, "on": known["on"].default}
    return params.canonical(params.split(component.text)[0], values, known), cifs.codec_text(values)


def calibrate(found: Sequence[Curve], objective: Objective, patience: int, margin: float = MARGIN) -> dict[str, Any]:
    """Return the result of a search on optimisations of one noise level, as a row for output.

    If every mu stops at the same step, `mu` is None.
    """
    best = search([stops(c, objective, patience).of(c.psnr_db) for c in found], margin)
    peak = statistics.fmean(float(c.psnr_db.max()) for c in found)
    row: dict[str, Any] = dict.fromkeys(("mu", "psnr_db", "gap_db", "best_mu", "best_psnr_db", "within_0.1_db"))
    if best is not None:
        row |= {
            "mu": shown(best.mu),
            "psnr_db": round(best.psnr_db, 3),
            "gap_db": round(peak - best.psnr_db, 3),
            "best_mu": shown(best.best_mu),
            "best_psnr_db": round(best.best_db, 3),
            "within_0.1_db": [shown(mu) if np.isfinite(mu) else None for mu in best.width],
        }
    curve = [] if best is None else [[shown(mu), round(float(best.curve(mu)), 3)] for mu in grid(best.mu)]
    return row | {"pictures": len(found), "curve": curve}


def grid(mu: float) -> list[float]:
    """Return values a twentieth apart, from a thirtieth of mu to thirty times it."""
    return [float(mu * 1.05**i) for i in range(-70, 71)]


def shown(mu: float) -> float:
    """Return mu with four digits; further ones have no meaning."""
    return float(f"{mu:.4g}")


def _middle(values: Array) -> float:
    return float(values[len(values) // 2])
