"""Tasks: what was observed of the picture. A kind inside the package, without a hook; records only."""

from __future__ import annotations

from esbench.records import TaskInfo

INFOS = [
    TaskInfo(
        name="denoise",
        summary="the picture itself with noise in it",
        target="esbench.builtin.tasks.denoise:Denoise",
        reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
        noise="gaussian",
        # the noise level is estimated once, from the whole picture, and every tile takes it as known
        criterion="discrepancy[variance=sigma]",
    ),
]
