"""Denoising: the observation is the picture plus noise."""

from __future__ import annotations

from esbench.kinds import Task


class Denoise(Task):
    """min over theta of the mean of (f_theta(z) - y)^2."""
