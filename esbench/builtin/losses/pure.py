"""The Poisson unbiased estimate of the squared error, for shot noise of a known gain.

Luisier, Blu and Unser, "Image denoising in mixed Poisson-Gaussian noise" (IEEE TIP 2011); as a loss, Jo, Chun and Choi,
"Rethinking Deep Image Prior for Denoising" (ICCV 2021), the objective `PURE_dc` of their code. It is unbiased, up to
terms of second order in the gain, for a fixed network that is given y = gain Poisson(x / gain) itself. Clipped
elements have no share in the divergence.
"""

from __future__ import annotations

from typing import Annotated, Literal

from esbench.divergence import divergence as estimated
from esbench.divergence import signs
from esbench.kinds import Step, Terms
from esbench.records import Range

#: The step of the finite difference is multiplied by DECAY every EVERY steps, first at step FIRST.
DECAY, EVERY, FIRST = 0.9, 20, 8


def pure(
    step: Step,
    *,
    gain: Annotated[float | Literal["auto"], Range(0)] = "auto",
    divergence: Literal["finite", "exact"] = "finite",
    epsilon: Annotated[float, Range(1e-5, 1)] = 0.1,
) -> Terms:
    """Return the mean of (f(y) - y)^2, plus 2 gain y_i df_i/dy_i, minus gain y.

    The derivatives are estimated along a new random direction at each step: by a finite difference of step `epsilon`,
    which decreases, or exactly along that direction by a vector-Jacobian product.
    """
    exact = divergence == "exact"
    if exact:
        step.z.requires_grad_()
    s = step.observation.gain if gain == "auto" else float(gain)
    decreased = epsilon * DECAY ** ((step.t + EVERY - FIRST) // EVERY)
    div = estimated(step, signs(step), by=step.y, epsilon=None if exact else decreased)
    return Terms(step.data + 2 * s * div - s * step.observation.mean(step.y), {"divergence": div})
