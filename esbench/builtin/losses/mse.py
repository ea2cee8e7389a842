"""The distance to the observation and nothing else."""

from __future__ import annotations

from esbench.kinds import Step, Terms


def mse(step: Step) -> Terms:
    """Return the data term: the mean of (forward(x) - y)^2, where the task has no distance of its own."""
    return Terms(step.data)
