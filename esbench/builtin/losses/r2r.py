"""Recorrupted-to-recorrupted: each step splits the observation into two pictures whose noise is independent.

Pang, Zheng, Quan and Ji, "Recorrupted-to-Recorrupted: Unsupervised Deep Learning for Image Denoising" (CVPR 2021). If
y = x + n, then y + alpha sigma xi and y - sigma xi / alpha have independent noise, for normal n and xi of the same
covariance: theirs is the difference of these two. So the error to the second estimates that to x, without a divergence.
Of clipped elements it takes what they were before, as far as it can be known.
"""

from __future__ import annotations

from typing import Annotated

from esbench.clipping import before
from esbench.divergence import noise
from esbench.kinds import Step, Terms
from esbench.records import Range


def r2r(step: Step, *, alpha: Annotated[float, Range(0.1, 10)] = 1.2) -> Terms:
    """Return the mean of (f(y + alpha sigma xi) - (y - sigma xi / alpha))^2, minus the variance of the noise in it.

    xi is new at each step: normal, of variance 1, and as strong and as correlated as the noise of each element.
    """
    sigma = step.observation.sigma / 255
    xi, strength = noise(step), step.observation.strength(step.z)
    step.z = step.z + alpha * sigma * xi
    y, variance = before(step.y, step.x.detach(), sigma)
    unclipped = step.observation.unclipped(step.x)
    added = unclipped if strength is None else unclipped * strength.square()
    # the normal noise of an unclipped element is in y once and in xi once; a clipped one is expected to be at y
    squares = (step.x - y + unclipped * sigma / alpha * xi).square() - added * (sigma / alpha) ** 2
    return Terms(step.observation.mean(squares + variance) - sigma**2)
