"""The distance to the observation alone."""

from __future__ import annotations

from esbench.kinds import Step, Terms


def mse(step: Step) -> Terms:
    """Return the data term: the mean of (forward(x) - y)^2, unless the task defines another distance."""
    return Terms(step.data)
