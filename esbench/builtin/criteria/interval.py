"""Measure how many known ranges an output violates, such as those of the quantised coefficients of a JPEG.

A range does not tell where in it the clean picture is. While the picture is learned, the output enters one range after
the other. Once it is in nearly all of them, the remaining loss is the distance to their middles, which are no better
than any other place: the quantisation errors are fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from esbench.errors import ParamError
from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.records import Range

#: While more than this times c are violated, little is learned yet, and the share may rise for a while.
EARLY = 2.0


def interval(frame: Frame, *, c: Annotated[float, Range(0, 1)] = 0.25) -> Value:
    """Return |s - c|, where s is the share of the ranges that the output violates, recorded as `outside`.

    It is missing while s is more than EARLY times c.
    """
    if frame.problem.outside is None:
        return Value(None, reason="needs a task with known ranges, such as jpeg")
    s = frame.problem.outside(frame.tensor.float().clamp(0, 1))
    if s > EARLY * c:
        return Value(None, {"outside": s}, f"{s:.0%} of the ranges are violated, little is learned yet")
    return Value(abs(s - c), {"outside": s})


def resolve(problem: Problem, *, c: float) -> dict[str, Any]:
    """Return the parameters as they are.

    Raises:
        ParamError: there is an optimisation, and its task has no known ranges.
    """
    if problem.noisy is not None and problem.outside is None:
        raise ParamError(f"interval needs a task with known ranges, such as jpeg, got {problem.task}.")
    return {"c": c}


def recompute(columns: Mapping[str, Any], *, c: Any) -> Any:
    """Return the values from the recorded shares."""
    s = columns["outside"]
    return np.where(s > EARLY * c, np.nan, abs(s - c))
