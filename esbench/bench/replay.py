"""Stops decided again from what a run wrote down: another rule, another lam, and no optimisation.

CIFS is E = lam * loss + B^2 / (H W), and the loss and the size B of every step are on the disk. A criterion without
memory that is measured less often has the values that it had, at fewer steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from esbench import images
from esbench.bench.store import Unit
from esbench.metrics import finite
from esbench.params import split
from esbench.stopping.rule import Stop

Curve = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Wanted:
    """A criterion that a run is asked for.

    Attributes:
        text: its canonical text.
        free: the parameters in which it may differ from what was measured.
        lam: the weight of the loss, where it is free.
        every: it has a value at the steps 0, every, 2 every, ...
        by_default: every, where a text does not say it.
        loss: the column of the trace that the criterion takes for the loss.
    """

    text: str
    free: frozenset[str] = frozenset()
    lam: float = 0.0
    every: int = 1
    by_default: int = 1
    loss: str = "loss"

    def source(self, measured: Iterable[str]) -> str | None:
        """Return which of the measured criteria it can be had from; itself, if it is among them."""
        if self.text in (measured := list(measured)):
            return self.text
        return next((text for text in measured if self._follows_from(text)), None)

    def column(self, unit: Unit, source: str, trace: Callable[..., dict[str, Curve]]) -> Curve:
        """Return the value of each step; missing values are NaN.

        Args:
            unit: where the source was measured.
            source: what `source` gave.
            trace: gives columns of the unit's trace by name.
        """
        same = split(self.text)[1].get("lam") == split(source)[1].get("lam")
        name = "value" if same else "bytes"
        column = unit.criterion(source, [name])[0][name]
        values = column if same else self._cifs(column, trace(self.loss)[self.loss], _pixels(unit))
        if source == self.text or self.every == self._every(source):
            return values
        return np.where(np.arange(len(values)) % self.every == 0, values, np.nan)

    def ms(self, unit: Unit, source: str, entry: Mapping[str, Any]) -> float:
        """Return the mean milliseconds of a step, as the result has it of the source, or from its column."""
        ms = entry.get("criterion_ms_per_step")
        if ms is None:
            ms = float(np.mean(unit.criterion(source, ["ms"])[0]["ms"], dtype=float))
        return ms if source == self.text else ms * self._every(source) / self.every

    def _cifs(self, size: Curve, loss: Curve, pixels: int) -> Curve:
        """Return E of every step: Eq. (2), in the operations and the order of the criterion itself."""
        r = size**2 / pixels
        with np.errstate(over="ignore", invalid="ignore"):
            e = r if self.lam == 0 else self.lam * loss + r
        return np.where(np.isfinite(e), e, np.nan)

    def _follows_from(self, text: str) -> bool:
        return _without(text, self.free) == _without(self.text, self.free) and self.every % self._every(text) == 0

    def _every(self, text: str) -> int:
        return int(split(text)[1].get("every", self.by_default))


def wanted(text: str) -> Wanted:
    """Return a criterion as it may be asked for of a run.

    Raises:
        UsageError: the text is wrong, the name unknown, or a parameter does not fit.
        Unavailable: it is listed, but cannot be used.
    """
    from esbench.builtin.criteria.cifs import Cifs
    from esbench.records import CriterionInfo
    from esbench.registry import registry

    component = registry().get("criterion", text)
    info, values = component.info, component.values
    assert isinstance(info, CriterionInfo)
    free = set() if isinstance(component.target, type) else {"every"}
    if isinstance(component.target, Cifs) and values["lam"] != "auto":
        free.add("lam")
    return Wanted(
        component.text,
        frozenset(free),
        lam=values["lam"] if "lam" in free else 0.0,
        every=values["every"],
        by_default=info.every,
        loss="average_loss" if values["on"] == "average" else "loss",
    )


def found(stop: Stop, psnr_db: Any, average_psnr_db: Any, ms: Any) -> dict[str, Any]:
    """Return what a results row says of one stop.

    Args:
        stop: the stop.
        psnr_db: of the output of each step.
        average_psnr_db: of the averaged output of each step.
        ms: milliseconds that the criterion took at each step, or their mean.
    """
    return {
        "stop_step": stop.step,
        "fallback": stop.fallback,
        "steps_run": stop.decided_at + 1,
        "psnr_db": finite(psnr_db[stop.step]),
        "average_psnr_db": finite(average_psnr_db[stop.step]),
        "criterion_ms_per_step": float(np.mean(ms, dtype=float)),
    }


def stop_of(curve: Curve, patience: int, min_delta: float = 0.0) -> Stop:
    """Return the stop of a curve of one step or more, the same as `rule.first_stop` does, many times as fast.

    Only a step that is lower than all before it can undercut the best so far, whatever `min_delta`: the rule looks at
    these few.
    """
    known = ~np.isnan(curve)
    if known.any():
        best = int(known.argmax())
        value = float(curve[best])
        lows = np.flatnonzero(curve[1:] < np.fmin.accumulate(curve)[:-1]) + 1
        for step, low in zip(lows.tolist(), curve[lows].tolist(), strict=True):
            if step - best > patience:
                break
            if low < value - min_delta:
                best, value = step, low
        if best + patience < len(curve):
            return Stop(best, value, decided_at=best + patience)
    last = len(curve) - 1
    return Stop(last, float(curve[last]) if known[last] else None, decided_at=last, fallback=True)


def _without(text: str, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return a canonical text in its parts, but for some parameters."""
    name, given = split(text)
    return name, {key: value for key, value in given.items() if key not in names}


def _pixels(unit: Unit) -> int:
    return math.prod(images.size(unit.image_path("clean")))
