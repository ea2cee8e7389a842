"""What a criterion has to beat."""

from __future__ import annotations

from typing import Annotated

from esbench.frames import Frame, Value
from esbench.records import Range


def loss(frame: Frame) -> float | None:
    """The loss."""
    return frame.loss


def fixed(frame: Frame, *, step: Annotated[int, Range(0)]) -> float:
    """The distance in steps from one step."""
    return float(abs(frame.step - step))


def last(frame: Frame) -> Value:
    """No value at any step, so that the rule falls back to the last one."""
    return Value(None, reason="it never stops")
