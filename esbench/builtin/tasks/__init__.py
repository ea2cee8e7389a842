"""The tasks: how a picture is observed. A kind inside the package, without a hook; records only."""

from __future__ import annotations

from esbench.records import TaskInfo

_DIP = "Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018"

INFOS = [
    TaskInfo(
        name="denoise",
        summary="remove noise from a picture",
        target="esbench.builtin.tasks.denoise:Denoise",
        reference=_DIP,
        noise="gaussian",
        noisy=True,
    ),
    TaskInfo(
        name="superres",
        summary="enlarge a picture",
        target="esbench.builtin.tasks.superres:Superres",
        reference=f"{_DIP}; super-resolution",
        criterion="discrepancy[variance=sigma]",
        perturbation=0.03,
    ),
    TaskInfo(
        name="inpaint",
        summary="fill in missing pixels given by a mask",
        target="esbench.builtin.tasks.inpaint:Inpaint",
        reference=f"{_DIP}; inpainting and restoration",
        criterion="discrepancy[variance=sigma]",
        perturbation=0.03,
    ),
    TaskInfo(
        name="flash",
        summary="denoise a picture with one of the same scene in other light as guide",
        target="esbench.builtin.tasks.flash:Flash",
        reference=f"{_DIP}; flash and no flash",
        noisy=True,
        criterion="discrepancy[variance=sigma]",
        # a quarter of the notebook's channels: with 64 or more, at this learning rate, some get stuck in wrong colours
        network="skip[channels=32,upsample=nearest/nearest/bilinear/bilinear/bilinear]",
        input="guide",
        learning_rate=0.1,
        perturbation=0.0,
    ),
    TaskInfo(
        name="jpeg",
        summary="remove block and colour artefacts from a JPEG",
        target="esbench.builtin.tasks.jpeg:Jpeg",
        reference="ITU-T T.81; Barrack, A deep learning approach to JPEG colour restoration without ground truth",
        criterion="interval",
    ),
]
