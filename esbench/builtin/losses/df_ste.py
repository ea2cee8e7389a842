"""DF-STE: Stein's estimate with more noise added to the input at each step.

Jo, Chun and Choi, "Rethinking Deep Image Prior for Denoising" (ICCV 2021), the objective `eSURE_uniform` of their code.
Each output has different added noise; their average over the steps is what they call a stochastic temporal ensemble.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from esbench.clipping import residual
from esbench.divergence import divergence, gaussian, noise
from esbench.kinds import Step, Terms
from esbench.records import Range

#: rho by the channels of the observation.
RHO = {1: 0.3, 3: 0.5}


def df_ste(
    step: Step,
    *,
    rho: Annotated[float | Literal["auto"], Range(0)] = "auto",
    ste: bool = True,
) -> Terms:
    """Return the mean of (f(u) - y)^2, plus 2 sigma^2 div f(u) / N, minus sigma^2, with u = y + tau xi.

    tau is drawn from U(0, rho sigma) at each step. xi is standard normal: fresh at each step, or, without `ste`, the
    same at all steps.
    """
    sigma = step.observation.sigma / 255
    share = RHO[step.z.shape[1]] if rho == "auto" else float(rho)
    tau = share * sigma * torch.rand((), generator=step.generator, device=step.z.device)
    if ste:
        xi = gaussian(step)
    else:
        if "xi" not in step.memory:
            step.memory["xi"] = gaussian(step)
        xi = step.memory["xi"]
    step.z = (step.z + tau * xi).requires_grad_()
    div = divergence(step, noise(step))
    return Terms(residual(step) + 2 * sigma**2 * div - sigma**2, {"divergence": div})
