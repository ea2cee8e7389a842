"""Executors: where units run. A kind inside the package, without a hook."""

from __future__ import annotations

from esbench.types import Info

INFOS = [
    Info(
        name="serial",
        summary="one unit after the other, on this machine",
        target="esbench.executors.serial:serial",
    ),
]
