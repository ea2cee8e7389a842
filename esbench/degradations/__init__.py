"""Degradations: a clean picture to what is observed."""

from __future__ import annotations

from esbench.hookspecs import hookimpl
from esbench.types import DegradationInfo


@hookimpl
def esbench_degradations() -> list[DegradationInfo]:
    """The degradations that come with esbench."""
    return [
        DegradationInfo(
            name="gaussian",
            summary="additive white Gaussian noise of level sigma, clipped to the range of the picture",
            target="esbench.degradations.additive:gaussian",
            parameter="sigma",
        ),
    ]
