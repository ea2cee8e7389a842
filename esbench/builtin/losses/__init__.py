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
    LossInfo(
        name="mse-kl",
        summary="the same, and how far the channels' values are from a Gaussian with those of the observation",
        target="esbench.builtin.losses.mse_kl:mse_kl",
        reference="Barrack, A deep learning approach to JPEG colour restoration without ground truth",
    ),
]
