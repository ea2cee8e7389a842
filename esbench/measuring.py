"""Measure one picture with a criterion, and list the installed criteria."""

from __future__ import annotations

import time
from typing import Any

from esbench import images
from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.pictures import Guarded
from esbench.registry import Component, Record, registry
from esbench.stopping.column import is_third_party
from esbench.stopping.criterion import Criterion


def measure(criterion: str, image: Any) -> float | None:
    """Return a criterion's value of one picture, lower is better; None if it has no value of one picture.

    Args:
        criterion: `name` or `name[key=value]`.
        image: NumPy or torch, uint8 or float in [0, 1]; (H, W), (H, W, C), (C, H, W) or (1, C, H, W).

    Examples:
        >>> import numpy as np
        >>> measure("cifs-jpeg[lam=0]", np.zeros((8, 8, 3), np.uint8)) > 0
        True
    """
    return measured(registry().get("criterion", criterion), image)[0].value


def measured(component: Component, image: Any) -> tuple[Value, float]:
    """Return the value of one picture, with its parts and its reason, and the milliseconds that it took."""
    pictures = images.checked(image)
    frame = Frame(Guarded(pictures) if is_third_party(component.record) else pictures, problem=Problem())
    criterion = Criterion(component, frame.problem)
    if criterion.has_memory:
        return Value(None, reason="needs the outputs of many steps"), 0.0
    if criterion.on == "average":
        return Value(None, reason="needs the averaged outputs of many steps"), 0.0
    started = time.perf_counter()
    value = criterion.update(frame)
    assert value is not None  # step 0 is always measured
    return value, 1000 * (time.perf_counter() - started)


def criteria() -> dict[str, Record]:
    """Return every installed criterion by name; two of the same name by `distribution:name`."""
    records = registry().records["criterion"]
    return {r.qualified if r.status == "conflict" else r.info.name: r for r in records}
