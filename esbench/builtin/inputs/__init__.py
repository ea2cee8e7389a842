"""Inputs of the network. Only built-in ones, without a plugin hook; this module has only their records."""

from __future__ import annotations

from esbench.records import InputInfo

_DIP = "Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018"

INFOS = [
    InputInfo(
        name="noise",
        summary="uniform noise in [0, input scale], drawn once",
        target="esbench.builtin.inputs.noise:UniformNoise",
        reference=_DIP,
    ),
    InputInfo(
        name="meshgrid",
        summary="the coordinates of each pixel, from 0 to 1",
        target="esbench.builtin.inputs.meshgrid:Meshgrid",
        reference=f"{_DIP}; large holes",
    ),
    InputInfo(
        name="observation",
        summary="the observation, resized to the size of the picture",
        target="esbench.builtin.inputs.pictures:Observed",
        reference="Metzler et al., Unsupervised learning with Stein's unbiased risk estimator, 2018",
    ),
    InputInfo(
        name="masked",
        summary="the observation with its missing values filled in from those around, and where they are known",
        target="esbench.builtin.inputs.pictures:Masked",
        reference="Quan, Chen, Pang and Ji, Self2Self with dropout, CVPR 2020",
    ),
    InputInfo(
        name="guide",
        summary="the guide picture of the task, such as the one with flash",
        target="esbench.builtin.inputs.pictures:Guide",
        reference=f"{_DIP}; flash and no flash",
    ),
]
