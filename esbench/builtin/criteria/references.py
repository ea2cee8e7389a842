"""References that a criterion should beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from esbench.frames import Frame, Value
from esbench.records import Range


def loss(frame: Frame) -> Value:
    """Return the loss."""
    return Value(frame.loss, reason="" if frame.loss is not None else "needs the loss of an optimisation")


def fixed(frame: Frame, *, step: Annotated[int, Range(0)]) -> float:
    """Return the distance in steps from one step."""
    return float(abs(frame.step - step))


def recompute_fixed(columns: Mapping[str, Any], *, step: int) -> Any:
    """Return the distances of all steps."""
    import numpy as np

    return np.abs(np.arange(len(columns["loss"])) - float(step))


def last(frame: Frame) -> Value:
    """Return no value at any step, so that the rule falls back to the last step."""
    return Value(None, reason="no early stopping")
