"""Measure how much of what is known as ranges an output contradicts, such as the quantised coefficients of a JPEG.

Ranges say nothing about where in them the clean picture is. While an output is learned, it enters one after the other,
and there is more to learn; once it is in nearly all, the rest of the loss is that to the middles of the ranges, which
are no better than any other place: the errors of quantisation are fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from esbench.errors import ParamError
from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.records import Range


def interval(frame: Frame, *, c: Annotated[float, Range(0, 1)] = 0.25) -> Value:
    """Return |s - c| with s the share of the ranges that the output is outside of; recorded with it: `outside`."""
    if frame.problem.outside is None:
        return Value(None, reason="needs a task that knows ranges of the picture, as jpeg")
    s = frame.problem.outside(frame.tensor.float().clamp(0, 1))
    return Value(abs(s - c), {"outside": s})


def resolve(problem: Problem, *, c: float) -> dict[str, Any]:
    """Return the parameters as they are.

    Raises:
        ParamError: there is an optimisation, and its task knows no ranges.
    """
    if problem.noisy is not None and problem.outside is None:
        raise ParamError(f"interval needs a task that knows ranges of the picture, as jpeg, got {problem.task}.")
    return {"c": c}


def recompute(columns: Mapping[str, Any], *, c: Any) -> Any:
    """Return the values from the recorded shares."""
    return abs(columns["outside"] - c)
