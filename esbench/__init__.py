"""esbench: when to stop a Deep Image Prior. Criteria, one stopping rule, and a benchmark that compares them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Block",
    "CodecInfo",
    "CriterionInfo",
    "DatasetInfo",
    "DegradationInfo",
    "Denoised",
    "EsbenchError",
    "Event",
    "Frame",
    "Notice",
    "Picture",
    "Problem",
    "Progress",
    "Range",
    "Results",
    "RunFinished",
    "RunStarted",
    "Stop",
    "Stopper",
    "UnitFailed",
    "UnitFinished",
    "UnitPaused",
    "UnitStarted",
    "Value",
    "criteria",
    "denoise",
    "first_stop",
    "hookimpl",
    "measure",
]

if TYPE_CHECKING:
    from esbench.bench.results import Results
    from esbench.denoise import Denoised, denoise
    from esbench.errors import EsbenchError
    from esbench.hookspecs import hookimpl
    from esbench.measure import criteria, measure
    from esbench.rule import Stop, first_stop
    from esbench.stopper import Stopper
    from esbench.types import (
        Block,
        CodecInfo,
        CriterionInfo,
        DatasetInfo,
        DegradationInfo,
        Event,
        Frame,
        Notice,
        Picture,
        Problem,
        Progress,
        Range,
        RunFinished,
        RunStarted,
        UnitFailed,
        UnitFinished,
        UnitPaused,
        UnitStarted,
        Value,
    )

_HOMES = {
    "Denoised": "denoise",
    "EsbenchError": "errors",
    "Results": "bench.results",
    "Stop": "rule",
    "Stopper": "stopper",
    "criteria": "measure",
    "denoise": "denoise",
    "first_stop": "rule",
    "hookimpl": "hookspecs",
    "measure": "measure",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import esbench` alone costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'esbench' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"esbench.{_HOMES.get(name, 'types')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `esbench.criteria` and `esbench.measure` functions.

    The import system sets a submodule as an attribute of its package, which would put the modules of these names in
    their place.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
