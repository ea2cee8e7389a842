"""Executors: where units run. A kind inside the package, without a hook; records only."""

from __future__ import annotations

from esbench.records import Info

INFOS = [
    Info(
        name="serial",
        summary="one unit after the other, on this machine",
        target="esbench.executors.serial:serial",
    ),
    Info(
        name="dask",
        summary="several at a time: on workers of this machine, or on a Dask cluster by its address",
        target="esbench.executors.dask:dask",
        requires=("distributed",),
    ),
]
