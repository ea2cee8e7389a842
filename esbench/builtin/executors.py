"""Executors: where units run. A kind inside the package, without a hook; records only."""

from __future__ import annotations

from esbench.records import Info

INFOS = [
    Info(
        name="auto",
        summary="on this machine: several units at once if their pictures are small, else one after the other",
        target="esbench.executors.auto:auto",
    ),
    Info(
        name="serial",
        summary="on this machine, one unit after the other",
        target="esbench.executors.serial:serial",
    ),
    Info(
        name="dask",
        summary="several at a time: on workers of this machine, or on a Dask cluster by its address",
        target="esbench.executors.dask:dask",
        requires=("distributed",),
    ),
]
