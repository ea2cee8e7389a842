"""The criterion `example`; imported on first use, so heavy imports belong here."""

from typing import Annotated

import numpy as np
from esbench import Range, Value


def example(frame, *, power: Annotated[float, Range(1, 4)] = 1.0) -> Value:
    """Return the mean step between neighbouring pixels, to a power; lower is better."""
    x = frame.float  # (H, W, C), float32 in [0, 1], read-only
    if min(frame.size) < 2:
        return Value(None, reason="it has no neighbouring pixels")
    steps = np.concatenate([abs(np.diff(x, axis=0)).ravel(), abs(np.diff(x, axis=1)).ravel()])
    return Value(float((steps.astype(np.float64) ** power).mean()))
