"""Stein's unbiased estimate of the squared error, for Gaussian noise of a known level.

Stein, "Estimation of the mean of a multivariate normal distribution" (Annals of Statistics 1981). Metzler et al.,
"Unsupervised learning with Stein's unbiased risk estimator" (2018), minimise it. It is unbiased for a fixed network
that is given y itself, if the noise has the variance sigma^2 and the correlation that are known or estimated. Of
clipped elements it takes what they were before, as far as it can be known.
"""

from __future__ import annotations

from typing import Annotated, Literal

from esbench.clipping import residual
from esbench.divergence import divergence as estimated
from esbench.divergence import noise
from esbench.kinds import Step, Terms
from esbench.records import Range


def sure(
    step: Step,
    *,
    divergence: Literal["finite", "exact"] = "finite",
    epsilon: Annotated[float, Range(1e-5, 1)] = 1e-3,
) -> Terms:
    """Return the mean of (f(y) - y)^2, plus 2 sigma^2 div f(y) / N, minus sigma^2.

    The divergence is estimated along a new random direction at each step: by a finite difference of step `epsilon`, or
    exactly along that direction by a vector-Jacobian product.
    """
    exact = divergence == "exact"
    if exact:
        step.z.requires_grad_()
    variance = (step.observation.sigma / 255) ** 2
    div = estimated(step, noise(step), epsilon=None if exact else epsilon)
    return Terms(residual(step) + 2 * variance * div - variance, {"divergence": div})
