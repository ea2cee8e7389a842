"""Tasks: what was observed of the picture. A kind inside the package, without a hook; records only."""

from __future__ import annotations

from esbench.records import TaskInfo

_DIP = "Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018"

INFOS = [
    TaskInfo(
        name="denoise",
        summary="the picture itself with noise in it",
        target="esbench.builtin.tasks.denoise:Denoise",
        reference=_DIP,
        noise="gaussian",
    ),
    TaskInfo(
        name="superres",
        summary="a reduced picture, to be enlarged",
        target="esbench.builtin.tasks.superres:Superres",
        reference=f"{_DIP}; super-resolution",
        perturbation=0.03,
    ),
    TaskInfo(
        name="inpaint",
        summary="a picture with missing pixels, by a mask",
        target="esbench.builtin.tasks.inpaint:Inpaint",
        reference=f"{_DIP}; inpainting and restoration",
        perturbation=0.03,
    ),
    TaskInfo(
        name="flash",
        summary="a noisy picture, and one of the same scene in other light that guides it",
        target="esbench.builtin.tasks.flash:Flash",
        reference=f"{_DIP}; flash and no flash",
        network="skip[upsample=nearest/nearest/bilinear/bilinear/bilinear]",
        input="guide",
        learning_rate=0.1,
        perturbation=0.0,
    ),
    TaskInfo(
        name="jpeg",
        summary="a JPEG, whose colours and blocks are to be restored",
        target="esbench.builtin.tasks.jpeg:Jpeg",
        reference="ITU-T T.81; Barrack, A deep learning approach to JPEG colour restoration without ground truth",
        criterion="interval",
    ),
]
