"""esbench: decide when to stop a Deep Image Prior. Criteria, one stopping rule, and a benchmark that compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Block",
    "CodecInfo",
    "CriterionInfo",
    "DatasetInfo",
    "DegradationInfo",
    "EsbenchError",
    "Event",
    "Frame",
    "Notice",
    "Picture",
    "Problem",
    "Progress",
    "Range",
    "Restored",
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
    "restore",
]

if TYPE_CHECKING:
    from esbench.bench.results import Results
    from esbench.errors import EsbenchError
    from esbench.events import (
        Event,
        Notice,
        Progress,
        RunFinished,
        RunStarted,
        UnitFailed,
        UnitFinished,
        UnitPaused,
        UnitStarted,
    )
    from esbench.frames import Block, Frame, Value
    from esbench.hookspecs import hookimpl
    from esbench.measuring import criteria, measure
    from esbench.observation import Problem
    from esbench.pictures import Picture
    from esbench.records import CodecInfo, CriterionInfo, DatasetInfo, DegradationInfo, Range
    from esbench.restoration.restore import denoise, restore
    from esbench.restoration.whole import Restored
    from esbench.stopper import Stopper
    from esbench.stopping.rule import Stop, first_stop

#: public name -> its module.
_HOMES = {
    **dict.fromkeys(("CodecInfo", "CriterionInfo", "DatasetInfo", "DegradationInfo", "Range"), "records"),
    **dict.fromkeys(("Block", "Frame", "Value"), "frames"),
    **dict.fromkeys(("Event", "Notice", "Progress", "RunFinished", "RunStarted"), "events"),
    **dict.fromkeys(("UnitFailed", "UnitFinished", "UnitPaused", "UnitStarted"), "events"),
    "Restored": "restoration.whole",
    "EsbenchError": "errors",
    "Picture": "pictures",
    "Problem": "observation",
    "Results": "bench.results",
    "Stop": "stopping.rule",
    "Stopper": "stopper",
    "criteria": "measuring",
    "denoise": "restoration.restore",
    "restore": "restoration.restore",
    "first_stop": "stopping.rule",
    "hookimpl": "hookspecs",
    "measure": "measuring",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import esbench` is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'esbench' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"esbench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
