"""Long curves as few numbers: the lowest and the highest value of each stretch of steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def thinned(values: npt.ArrayLike, steps: int) -> list[float | None]:
    """Return a curve as two numbers per stretch of `steps` steps; a stretch of one step is its value.

    A longer one is its lowest and its highest value, in order: drawn at its ends, they preserve a smooth curve, and
    all extremes of a rough one. What is not finite is None.
    """
    curve = np.asarray(values, float)
    if steps == 1:
        return [_number(value) for value in curve]
    padded = np.append(curve, np.full(-len(curve) % steps, np.nan)).reshape(-1, steps)
    known = np.isfinite(padded)
    low, high = np.where(known, padded, np.inf).argmin(1), np.where(known, padded, -np.inf).argmax(1)
    ends = np.sort(np.stack([low, high], 1), 1)
    return [_number(value) for value in np.take_along_axis(padded, ends, 1).ravel()]


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None
