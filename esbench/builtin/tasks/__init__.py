"""Tasks: how an output is compared with the observation. A kind inside the package, without a hook."""

from __future__ import annotations

from esbench.records import Info

INFOS = [
    Info(
        name="denoise",
        summary="the output itself is compared with the noisy picture",
        target="esbench.builtin.tasks.denoise:Denoise",
        reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
    ),
]
