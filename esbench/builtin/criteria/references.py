"""References that a criterion should beat."""

from __future__ import annotations

from typing import Annotated

from esbench.frames import Frame, Value
from esbench.records import Range


def loss(frame: Frame) -> float | None:
    """Return the loss."""
    return frame.loss


def fixed(frame: Frame, *, step: Annotated[int, Range(0)]) -> float:
    """Return the distance in steps from one step."""
    return float(abs(frame.step - step))


def last(frame: Frame) -> Value:
    """Return no value at any step, so that the rule falls back to the last step."""
    return Value(None, reason="no early stopping")
