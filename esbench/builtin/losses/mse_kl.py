"""The distance to the observation, and how far the values of each channel are from a Gaussian with those of it.

M. Barrack, "A deep learning approach to JPEG colour restoration without ground truth" (poster). Neither lam nor the
bins are said there, nor how the histogram is differentiated: these are esbench's.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch

from esbench.kinds import Step, Terms
from esbench.records import Range

#: Bins of [0, 1], and what is mixed into the histogram so that an empty bin is no infinity.
BINS = 64
FLOOR = 1e-3

#: The least standard deviation of the Gaussian: a constant channel is a step of 8 bits wide.
NARROWEST = 1 / 255


def mse_kl(step: Step, *, lam: Annotated[float, Range(0)] = 1e-3) -> Terms:
    """Return data + lam * mean over channels of KL(P || Q).

    P is a Gaussian with mean and variance of a channel of the observation, cut to [0, 1], and Q the histogram of that
    channel of the output.
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
    """Return for each channel (C, H, W) the shares of a Gaussian with its mean and variance in the bins of [0, 1]."""
    values = y.double().flatten(1)
    mean, deviation = values.mean(1, keepdim=True), values.std(1, correction=0, keepdim=True).clamp(min=NARROWEST)
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=y.device)
    mass: torch.Tensor = torch.special.ndtr((edges - mean) / deviation).diff(dim=1)
    return (mass / mass.sum(1, keepdim=True)).to(y.dtype)


def histogram(x: torch.Tensor) -> torch.Tensor:
    """Return the shares of each channel (C, H, W) in the bins of [0, 1], (C, BINS); differentiable."""
    shares: torch.Tensor = Histogram.apply(x)  # type: ignore[no-untyped-call]
    return shares


class Histogram(torch.autograd.Function):
    """`histogram`.

    Each pixel counts for the two nearest centres of bins, in proportion to how near they are: the derivative of a share
    by a pixel is then BINS / pixels, up or down. Sums are of whole numbers, which a GPU adds to the same bits in any
    order.
    """

    #: What a pixel counts, in whole numbers.
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
        """Return the gradient by the pixels."""
        (g,) = gradients
        x, left = ctx.saved_tensors
        slope = (g.gather(1, left + 1) - g.gather(1, left)) * (BINS / math.prod(x.shape[1:]))
        values = x.flatten(1)
        inside = (values > 0.5 / BINS) & (values < 1 - 0.5 / BINS)
        gradient: torch.Tensor = (slope * inside).reshape(x.shape)
        return gradient
