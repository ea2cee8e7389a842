"""Losses: what is minimised. A kind inside the package, without a hook; records only."""

from __future__ import annotations

from esbench.records import LossInfo

INFOS = [
    LossInfo(
        name="mse",
        summary="the mean squared error to the observation, or the task's own distance to it",
        target="esbench.builtin.losses.mse:mse",
        reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
        captured=True,
    ),
]
