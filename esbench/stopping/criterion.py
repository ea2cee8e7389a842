"""A criterion at work on one optimisation: its parameters decided, its memory empty, its answers checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

from esbench import plain
from esbench.errors import EsbenchError, PluginError, described
from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.records import CriterionInfo, Need
from esbench.registry import Component, load

#: How the reason begins where a number was NaN or infinite.
NOT_FINITE = "it gave"


class Criterion:
    """One criterion on one optimisation.

    Args:
        component: from the registry.
        problem: what is known of the problem; parameters such as `lam=auto` are decided by it.

    Attributes:
        text: the canonical text.
        resolved: the value of every parameter, as decided.
    """

    def __init__(self, component: Component, problem: Problem) -> None:
        assert isinstance(component.info, CriterionInfo)
        self.component, self.info = component, component.info
        self.text = component.text
        values = dict(component.values)
        self.every: int = values.pop("every")
        self.on: str = values.pop("on")
        if self.info.resolve is not None:
            values = self._ask(load(component.record, self.info.resolve), problem, **values)
            if not isinstance(values, dict):
                got = type(values).__name__
                raise PluginError(f"{self._whose()} must return its parameters as a dict from resolve, got a {got}.")
        self.resolved: dict[str, Any] = values
        self._object: Any = None
        self._batch: Callable[..., Any] | None = None
        if isinstance(component.target, type):
            self._object = self._ask(component.target, **values)
        elif self.info.batch is not None:
            self._batch = load(component.record, self.info.batch)

    @property
    def has_memory(self) -> bool:
        """Whether its value depends on earlier frames."""
        return self._object is not None

    def update(self, frame: Frame) -> Value | None:
        """Return the value at one step, or None where this step is not measured (`every`).

        Raises:
            PluginError: the criterion raised, or returned something that is no value.
        """
        return self.update_block([frame])[0]

    def update_block(self, frames: Sequence[Frame]) -> list[Value | None]:
        """Return the values of consecutive steps, as `update` would one by one."""
        values: list[Value | None] = [None] * len(frames)
        due = []
        for i, frame in enumerate(frames):
            if frame.step % self.every == 0:
                seen = self._seen(frame)
                if not seen.finite:
                    values[i] = Value(None, reason="the output has NaN or infinite pixels")
                else:
                    due.append((i, seen))
        # Where something that it needs is missing, one by one: those frames get a reason, not an error.
        if self._batch is not None and due and not any(lacking(self.info.needs, frame) for _, frame in due):
            results = self._all(self._batch, [frame for _, frame in due])
            for (i, frame), result in zip(due, results, strict=True):
                values[i] = self._checked(result, frame)
        else:
            for i, frame in due:
                values[i] = self._one(frame)
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return its memory in plain types; empty for a criterion without one.

        Raises:
            PluginError: the criterion raised, or its memory is not made of tensors, arrays and plain data.
        """
        if not self.has_memory:
            return {}
        try:
            memory: dict[str, Any] = self._ask(lambda: plain.copied(self._object.state_dict()))
        except PluginError as error:
            if isinstance(error.__cause__, plain.NotPlain):
                wanted = "must return tensors, arrays and plain data from state_dict()"
                raise PluginError(f"{self._whose()} {wanted}, got {error.__cause__}.") from error
            raise
        return memory

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved memory."""
        if self.has_memory:
            self._ask(lambda: self._object.load_state_dict(state))

    def _seen(self, frame: Frame) -> Frame:
        return frame.average if self.on == "average" and frame.average is not None else frame

    def _all(self, batch: Callable[..., Any], frames: list[Frame]) -> list[Any]:
        results: list[Any] = self._ask(lambda: list(batch(frames, **self.resolved)))
        if len(results) != len(frames):
            wanted = f"{len(frames)} results for {len(frames)} frames"
            raise PluginError(f"{self._whose()} must return {wanted}, got {len(results)} from its batch function.")
        return results

    def _one(self, frame: Frame) -> Value:
        missing = lacking(self.info.needs, frame)
        try:
            if self._object is not None:
                result = self._object.update(frame)
            else:
                result = self.component.target(frame, **self.resolved)
        except (Exception, SystemExit) as error:
            if missing and not isinstance(error, EsbenchError):
                return Value(None, reason=f"needs the {missing}")
            raise self._blame(error, f" at step {frame.step}") from error
        return self._checked(result, frame)

    def _checked(self, result: Any, frame: Frame) -> Value:
        value = result if isinstance(result, Value) else Value(result)
        number: Any = value.value
        if number is None:
            return value
        if isinstance(number, bool) or not isinstance(number, numbers.Real):
            raise PluginError(
                f"{self._whose()} must return a float or None, got a {type(number).__name__} at step {frame.step}."
            )
        if not math.isfinite(number):
            return Value(None, value.parts, value.reason or f"{NOT_FINITE} {float(number)}")
        return Value(float(number), value.parts, value.reason)

    def _ask(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (Exception, SystemExit) as error:  # who calls sys.exit ends its own column, not the run
            raise self._blame(error) from error

    def _blame(self, error: BaseException, where: str = "") -> BaseException:
        """Return the error under its owner's name; what esbench has to say, and its own mistakes, stay as they are."""
        if isinstance(error, EsbenchError) or self.component.record.distribution == "esbench":
            return error
        return PluginError(f"{self._whose()} raised {described(error)}{where}.")

    def _whose(self) -> str:
        record = self.component.record
        return f"Criterion {self.text!r} of {record.distribution} {record.distribution_version}"


def lacking(needs: Sequence[Need], frame: Frame) -> str:
    """Return the first of a criterion's needs that a frame does not have, or an empty string."""
    has = {
        "loss": frame.loss is not None,
        "noisy": frame.problem.noisy is not None,
        "sigma": frame.problem.noise_level is not None if "sigma" in needs else True,
        "holdout": frame.problem.holdout is not None,
    }
    return next((need for need in needs if not has.get(need, True)), "")
