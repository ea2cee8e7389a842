"""The distance to the observation, plus the KL divergence of each channel's histogram from a fitted Gaussian.

M. Barrack, "A deep learning approach to JPEG colour restoration without ground truth" (poster). It gives neither
lam, nor the bins, nor how to differentiate the histogram: these choices are those of esbench.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch

from esbench.kinds import Step, Terms
from esbench.records import Range

#: Bins of [0, 1], and the uniform share mixed into the histogram, so that an empty bin does not give infinity.
BINS = 64
FLOOR = 1e-3

#: The least standard deviation of the Gaussian, one 8-bit step, for constant channels.
NARROWEST = 1 / 255


def mse_kl(step: Step, *, lam: Annotated[float, Range(0)] = 1e-3) -> Terms:
    """Return data + lam * mean over channels of KL(P || Q).

    P is a Gaussian with the mean and variance of a channel of the observation, truncated to [0, 1]; Q is the histogram
    of that channel of the output.
    """
    if not lam:
        return Terms(step.data)
    if "p" not in step.memory:
        step.memory["p"] = gaussian(step.y[0])
    p = step.memory["p"]
    q = (1 - FLOOR) * histogram(step.x[0]) + FLOOR / BINS
    kl = torch.xlogy(p, p / q).sum(1).mean()
    return Terms(step.data + lam * kl, {"kl": kl})


def gaussian(y: torch.Tensor) -> torch.Tensor:
    """Return, for each channel of (C, H, W), the mass of a Gaussian of its mean and variance in each bin of [0, 1]."""
    values = y.double().flatten(1)
    mean, deviation = values.mean(1, keepdim=True), values.std(1, correction=0, keepdim=True).clamp(min=NARROWEST)
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=y.device)
    mass: torch.Tensor = torch.special.ndtr((edges - mean) / deviation).diff(dim=1)
    return (mass / mass.sum(1, keepdim=True)).to(y.dtype)


def histogram(x: torch.Tensor) -> torch.Tensor:
    """Return the differentiable histogram of each channel of (C, H, W) over [0, 1], (C, BINS), as shares."""
    shares: torch.Tensor = Histogram.apply(x)  # type: ignore[no-untyped-call]
    return shares


class Histogram(torch.autograd.Function):
    """Compute `histogram`.

    Each pixel is split between the two nearest bin centres, linearly by distance, so that the derivative of a share
    with respect to a pixel is plus or minus BINS / pixels. The sums are of integers, so that a GPU gives the same bits
    in any order.
    """

    #: The weight of a pixel, an integer.
    UNIT = 2**30

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the shares."""
        place = (x.flatten(1).double() * BINS - 0.5).clamp(0, BINS - 1)
        left = place.floor().clamp(max=BINS - 2).long()
        right_share = ((place - left) * Histogram.UNIT).round().long()
        counts = torch.zeros(len(x), BINS, dtype=torch.long, device=x.device)
        counts.scatter_add_(1, left, Histogram.UNIT - right_share)
        counts.scatter_add_(1, left + 1, right_share)
        ctx.save_for_backward(x, left)
        return (counts.double() / (Histogram.UNIT * math.prod(x.shape[1:]))).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Return the gradient with respect to the pixels."""
        (g,) = gradients
        x, left = ctx.saved_tensors
        slope = (g.gather(1, left + 1) - g.gather(1, left)) * (BINS / math.prod(x.shape[1:]))
        values = x.flatten(1)
        inside = (values > 0.5 / BINS) & (values < 1 - 0.5 / BINS)
        gradient: torch.Tensor = (slope * inside).reshape(x.shape)
        return gradient
