"""Regularisers: terms added to a loss. Only built-in ones, without a plugin hook; this module has their records."""

from __future__ import annotations

from esbench.records import RegulariserInfo

INFOS = [
    RegulariserInfo(
        name="tv",
        summary="total variation of the output",
        target="esbench.builtin.regularisers.tv:tv",
        reference="Rudin, Osher and Fatemi, Nonlinear total variation based noise removal algorithms, 1992",
        captured=True,
    ),
]
