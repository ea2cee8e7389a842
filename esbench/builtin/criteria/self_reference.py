"""Measure the distance to a second noisy copy of the picture, which is made from the other colour channels.

Huang et al., "A principled self-referenced early stopping approach for deep image prior" (arXiv 2605.25299, 2026). Two
copies with independent noise would show when an output begins to fit the noise of one of them; a single picture has
only a pseudo copy. Only the abstract was available, so the way in which the copy is made here is our own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from esbench.frames import Frame, Value
from esbench.records import Range

if TYPE_CHECKING:
    import torch


def csr_like(frame: Frame, *, scale: Annotated[float, Range(0.3, 100)] = 4.0) -> Value:
    """Return the mean of (h(x_c - r_c))^2, where r_c is the mean of the other channels of y, and h(z) = z - blur(z).

    The channels of a photograph have similar detail and independent noise: r_c is channel c with other noise, up to its
    coarse part, which h removes. So the value is the error of the output's detail plus a term that does not depend on
    the output, as long as channel c of the output has not fitted the noise of r_c.
    """
    problem = frame.problem
    if problem.noisy is None:
        return Value(None, reason="needs the noisy picture")
    if problem.known is not None:
        return Value(None, reason="needs a noisy picture without missing pixels")
    x = problem.observed(frame.tensor.float().clamp(0, 1))
    y = problem.noisy.tensor.to(x)
    if x.shape != y.shape:
        return Value(None, reason="needs a noisy picture of the output's size")
    c = len(y)
    if c == 1:
        return Value(None, reason="needs a picture with colour channels")
    z = x - (y.sum(0) - y) / (c - 1)
    return Value(float((z - blurred(z, scale)).double().square().mean()))


def blurred(z: torch.Tensor, scale: float) -> torch.Tensor:
    """Return a picture (C, H, W) blurred with a Gaussian of this standard deviation, its edges repeated outside."""
    import torch
    from torch.nn.functional import conv2d, pad

    radius = math.ceil(3 * scale)
    i = torch.arange(-radius, radius + 1, device=z.device, dtype=z.dtype)
    weight = torch.exp(-0.5 * (i / scale) ** 2)
    weight = weight / weight.sum()
    z = pad(z[:, None], (radius, radius, radius, radius), mode="replicate")
    return conv2d(conv2d(z, weight[None, None, :, None]), weight[None, None, None, :])[:, 0]
