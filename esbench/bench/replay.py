"""Recompute stops from the traces of a run: another rule, another lam, and no optimisation.

A criterion whose values follow from recorded columns (`CriterionInfo.recompute`) can be recomputed with other
parameters: CIFS is lam * loss + B^2 / (H W), and the loss and the size B of every step are on the disk. A criterion
without memory that is measured less often has the same values, at fewer steps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from esbench import images
from esbench.bench.store import Unit
from esbench.metrics import finite
from esbench.params import split
from esbench.stopping.rule import Stop

if TYPE_CHECKING:
    from esbench.registry import Record

Values = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Wanted:
    """A criterion to recompute from a run.

    Attributes:
        text: its canonical text.
        free: the parameters in which it may differ from what was measured.
        every: the criterion has a value at the steps 0, every, 2 every, ...
        by_default: every, if a text does not give it.
        recompute: computes its values from recorded columns, with its parameters; None if it cannot.
        loss: the column of the trace that the criterion uses as the loss.
    """

    text: str
    free: frozenset[str] = frozenset()
    every: int = 1
    by_default: int = 1
    recompute: Callable[[Mapping[str, Any]], Values] | None = None
    loss: str = "loss"

    def source(self, measured: Iterable[str]) -> str | None:
        """Return the measured criterion from which it can be recomputed; itself, if it is among them."""
        if self.text in (measured := list(measured)):
            return self.text
        return next((text for text in measured if self._follows_from(text)), None)

    def column(self, unit: Unit, source: str, trace: Callable[..., dict[str, Values]]) -> Values:
        """Return the value of each step; missing values are NaN.

        Args:
            unit: the unit on which the source was measured.
            source: the result of `source`.
            trace: returns columns of the unit's trace by name.
        """
        if self._fixed(source) == self._fixed(self.text):
            values: Values = unit.criterion(source, ["value"])[0]["value"]
        else:
            assert self.recompute is not None
            columns = unit.criterion(source)[0] | {"loss": trace(self.loss)[self.loss], "pixels": _pixels(unit)}
            values = self.recompute(columns)
        if source == self.text or self.every == self._every(source):
            return values
        return np.where(np.arange(len(values)) % self.every == 0, values, np.nan)

    def ms(self, unit: Unit, source: str, entry: Mapping[str, Any]) -> float:
        """Return the mean milliseconds of a step, from the source's entry of the result, or from its column."""
        ms = entry.get("criterion_ms_per_step")
        if ms is None:
            ms = float(np.mean(unit.criterion(source, ["ms"])[0]["ms"], dtype=float))
        return ms if source == self.text else ms * self._every(source) / self.every

    def _follows_from(self, text: str) -> bool:
        return _without(text, self.free) == _without(self.text, self.free) and self.every % self._every(text) == 0

    def _fixed(self, text: str) -> tuple[str, dict[str, str]]:
        """Return the parts of a text that determine the values at the measured steps."""
        return _without(text, {"every"} & self.free)

    def _every(self, text: str) -> int:
        return int(split(text)[1].get("every", self.by_default))


def wanted(text: str) -> Wanted:
    """Return a criterion to recompute from a run.

    Raises:
        UsageError: the text, its name or a parameter is invalid.
        Unavailable: it is listed, but cannot be used.
    """
    from esbench.records import CriterionInfo
    from esbench.registry import load, registry

    component = registry().get("criterion", text)
    info, values = component.info, dict(component.values)
    assert isinstance(info, CriterionInfo)
    every, on = values.pop("every"), values.pop("on")
    free = set() if isinstance(component.target, type) else {"every"}
    recompute = None
    # a parameter that is resolved by the problem cannot be read from the columns
    if info.recompute is not None and not any(values[name] == "auto" for name in info.free):
        free |= set(info.free)
        recompute = functools.partial(recomputed, component.record, load(component.record, info.recompute), values)
    return Wanted(
        component.text,
        frozenset(free),
        every=every,
        by_default=info.every,
        recompute=recompute,
        loss="average_loss" if on == "average" else "loss",
    )


def recomputed(
    record: Record, recompute: Callable[..., Any], values: Mapping[str, Any], columns: Mapping[str, Any]
) -> Values:
    """Return the values of a criterion from recorded columns; missing values are NaN.

    Raises:
        LoadError: its function raised, or did not return a number for each step.
    """
    from esbench.registry import calling, wrong

    with calling(record), np.errstate(over="ignore", invalid="ignore"):
        numbers = np.asarray(recompute(columns, **values), np.float64)
    if numbers.shape != columns["loss"].shape:
        got = f"{numbers.size} of the shape {numbers.shape}"
        raise wrong(record, f"{len(columns['loss'])} values from recompute, got {got}")
    return np.where(np.isfinite(numbers), numbers, np.nan)


def found(stop: Stop, psnr_db: Any, average_psnr_db: Any, ms: Any, score_db: Any = ()) -> dict[str, Any]:
    """Return the values of a results row that describe one stop.

    Args:
        stop: the stop.
        psnr_db: the PSNR of the output of each step.
        average_psnr_db: the PSNR of the averaged output of each step.
        ms: milliseconds that the criterion took at each step, or their mean.
        score_db: the task's score of each output; empty if that is the PSNR.
    """
    return {
        "stop_step": stop.step,
        "fallback": stop.fallback,
        "steps_run": stop.decided_at + 1,
        "psnr_db": finite(psnr_db[stop.step]),
        "score_db": finite((score_db if len(score_db) else psnr_db)[stop.step]),
        "average_psnr_db": finite(average_psnr_db[stop.step]),
        "criterion_ms_per_step": float(np.mean(ms, dtype=float)),
    }


def stop_of(curve: Values, patience: int, min_delta: float = 0.0) -> Stop:
    """Return the stop of a non-empty curve, the same as `rule.first_stop`, but many times as fast.

    Only a step that is lower than all before it can undercut the best so far, for any `min_delta`, so the rule is
    applied only to those few steps.
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
    """Return the parts of a canonical text, without some parameters."""
    name, given = split(text)
    return name, {key: value for key, value in given.items() if key not in names}


def _pixels(unit: Unit) -> int:
    return math.prod(images.size(unit.image("clean") or unit.image_path("clean")))
