"""Degradations: they turn a clean picture into an observation."""

from __future__ import annotations

from esbench.hookspecs import hookimpl
from esbench.records import DegradationInfo


@hookimpl
def esbench_degradations() -> list[DegradationInfo]:
    """The degradations that come with esbench."""
    blind, models = "esbench.builtin.degradations.blind", "Wang et al., Early stopping for deep image prior, TMLR 2023"
    return [
        DegradationInfo(
            name="gaussian",
            summary="additive white Gaussian noise of level sigma, clipped to the range of the picture",
            target="esbench.builtin.degradations.additive:gaussian",
            parameter="sigma",
        ),
        DegradationInfo(
            name="none",
            summary="no noise: the default of tasks other than denoising",
            target="esbench.builtin.degradations.additive:none",
        ),
        DegradationInfo(
            name="poisson",
            summary="shot noise: counts of which a white value has `rate` on average, clipped",
            target=f"{blind}:poisson",
            reference=models,
            blind=True,
        ),
        DegradationInfo(
            name="impulse",
            summary="a share of the values is replaced by 0 or 1, per channel",
            target=f"{blind}:impulse",
            reference=models,
            blind=True,
        ),
        DegradationInfo(
            name="speckle",
            summary="noise in proportion to the picture, clipped",
            target=f"{blind}:speckle",
            reference=models,
            blind=True,
        ),
        DegradationInfo(
            name="jpeg",
            summary="8 bits and lossy compression",
            target=f"{blind}:jpeg",
            reference="ITU-T T.81; Pillow, 4:2:0",
            blind=True,
        ),
        DegradationInfo(
            name="camera",
            summary="Gaussian noise on one colour per pixel, demosaiced, and a JPEG",
            target=f"{blind}:camera",
            reference="Bayer's mosaic; bilinear, by OpenCV",
            blind=True,
        ),
    ]
