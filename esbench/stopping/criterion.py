"""A criterion on one optimisation: it resolves the parameters, keeps the memory and checks the values."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from esbench import plain, torch_state
from esbench.errors import EsbenchError, PluginError, described, shown
from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.records import CriterionInfo, Need
from esbench.registry import Component, load

#: The start of the reason if a number was NaN or infinite.
NOT_FINITE = "it gave"

#: Columns of the table of a criterion, which no part of a value may replace.
TAKEN = ("step", "value", "ms")

#: What a function may raise because something that it needs is missing; anything else is an error of its own.
LACKING = (TypeError, AttributeError, ValueError, LookupError, AssertionError)

#: Needs in words.
NEEDS = {"noisy": "noisy picture", "sigma": "noise level", "holdout": "held-out pixels"}

#: The most parts that the values of a criterion may have, and the length of their names: each is a column.
PARTS, LENGTH = 100, 100


class Criterion:
    """One criterion on one optimisation.

    Args:
        component: a component from the registry.
        problem: what is known of the problem; it resolves parameters such as `lam=auto`.

    Attributes:
        text: the canonical text.
        resolved: the value of every parameter, as resolved.
        parts: the names of the parts of its values so far.
    """

    def __init__(self, component: Component, problem: Problem) -> None:
        assert isinstance(component.info, CriterionInfo)
        self.component, self.info = component, component.info
        self.text = component.text
        values = dict(component.values)
        self.every: int = values.pop("every")
        self.on: str = values.pop("on")
        if self.info.resolve is not None:
            resolve = load(component.record, self.info.resolve)
            values = self._asked(" in resolve", self._resolve, resolve, problem, values)
        self.resolved: dict[str, Any] = values
        self.parts: set[str] = set()
        self._object: Any = None
        self._batch: Callable[..., Any] | None = None
        if isinstance(component.target, type):
            self._object = self._asked(" in __init__", component.target, **values)
            for method in ("update", "state_dict", "load_state_dict"):
                if not self._asked("", hasattr, self._object, method):
                    raise PluginError(f"{self._name()} must have the method {method}, because it is a class.")
        elif self.info.batch is not None:
            self._batch = load(component.record, self.info.batch)

    def _resolve(self, resolve: Callable[..., Any], problem: Problem, values: dict[str, Any]) -> dict[str, Any]:
        found = resolve(problem, **values)
        if not isinstance(found, dict):
            raise PluginError(
                f"{self._name()} must return its parameters as a dict from resolve, got a {type(found).__name__}."
            )
        found = {key: _number(value) for key, value in found.items()}
        if unknown := found.keys() - values.keys():
            raise PluginError(f"{self._name()} must return only its parameters from resolve, got {unknown.pop()!r}.")
        if not _is_json(found):  # they are written into the result
            wanted = "must return finite numbers and text as its parameters from resolve"
            raise PluginError(f"{self._name()} {wanted}, got {shown(_text(found))}.")
        return found

    @property
    def has_memory(self) -> bool:
        """Whether its value depends on earlier frames."""
        return self._object is not None

    def update(self, frame: Frame) -> Value | None:
        """Return the value at one step, or None if this step is not measured (`every`).

        Raises:
            PluginError: the criterion raised, or returned something that is not a value.
        """
        return self.update_block([frame])[0]

    def update_block(self, frames: Sequence[Frame]) -> list[Value | None]:
        """Return the values of consecutive steps, as `update` would one by one."""
        values: list[Value | None] = [None] * len(frames)
        due = []
        for i, frame in enumerate(frames):
            if frame.step % self.every == 0:
                seen = self.seen(frame)
                if not seen.finite:
                    values[i] = Value(None, reason="the output has NaN or infinite pixels")
                else:
                    due.append((i, seen, frame.step))  # the criterion may change its frame
        # If something that it needs is missing, measure one by one: those frames get a reason, not an error.
        if self._batch is not None and due and not any(lacking(self.info.needs, frame) for _, frame, _ in due):
            results = self._all(self._batch, [frame for _, frame, _ in due])
            for (i, _, step), result in zip(due, results, strict=True):
                values[i] = self._checked(result, step)
        else:
            for i, frame, step in due:
                values[i] = self._one(frame, step)
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return its memory in plain types; empty for a criterion without one.

        Raises:
            PluginError: the criterion raised, or its memory is not made of tensors, arrays and plain data.
        """
        if not self.has_memory:
            return {}
        try:
            memory: dict[str, Any] = self.ask(lambda: plain.copied(self._object.state_dict()))
        except PluginError as error:
            if isinstance(error.__cause__, plain.NotPlain):
                wanted = "must return tensors, arrays and plain data from state_dict()"
                raise PluginError(f"{self._name()} {wanted}, got {error.__cause__}.") from error
            raise
        return memory

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved memory."""
        if self.has_memory:
            self.ask(lambda: self._object.load_state_dict(state))

    def count(self, parts: Mapping[str, float]) -> None:
        """Count the parts of its values, and what its probe measured, which is recorded with them.

        Raises:
            PluginError: there are too many.
        """
        self.parts |= parts.keys()
        if len(self.parts) > PARTS:
            raise PluginError(f"{self._name()} must return at most {PARTS} parts.")

    def ask(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function of the criterion.

        Raises:
            PluginError: it raised; the message names its distribution.
        """
        return self._asked("", function, *args, **kwargs)

    def _asked(self, where: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function of the criterion; the message of an error says where it was."""
        try:
            with self._isolated():
                return function(*args, **kwargs)
        except KeyboardInterrupt:  # assume that the user pressed Ctrl-C
            raise
        except BaseException as error:  # a criterion that calls sys.exit ends its own column, not the run
            raise self._attributed(error, where) from error

    def seen(self, frame: Frame) -> Frame:
        """Return the frame that is measured: the output or its average."""
        return frame.average if self.on == "average" and frame.average is not None else frame

    def _all(self, batch: Callable[..., Any], frames: list[Frame]) -> list[Any]:
        n = len(frames)  # the results may have no end, and the list is the criterion's
        results: list[Any] = self.ask(lambda: list(itertools.islice(batch(frames, **self.resolved), n + 1)))
        if len(results) != n:
            got = "more" if len(results) > n else len(results)
            raise PluginError(
                f"{self._name()} must return {n} results for {n} frames, got {got} from its batch function."
            )
        return results

    def _one(self, frame: Frame, step: int) -> Value:
        missing = lacking(self.info.needs, frame)
        try:
            with self._isolated():
                if self._object is not None:
                    result = self._object.update(frame)
                else:
                    result = self.component.target(frame, **self.resolved)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if missing and isinstance(error, LACKING):
                return Value(None, reason=f"needs the {NEEDS.get(missing, missing)}")
            raise self._attributed(error, f" at step {step}") from error
        return self._checked(result, step)

    def _checked(self, result: Any, step: int) -> Value:
        """Return a result as a value of plain numbers and text.

        Raises:
            PluginError: it is not a value.
        """
        try:
            return self._plain(result, step)
        except (EsbenchError, KeyboardInterrupt):
            raise
        except BaseException as error:  # raised by the result's own methods
            raise self._attributed(error, f" at step {step}") from error

    def _plain(self, result: Any, step: int) -> Value:
        value = result if isinstance(result, Value) else Value(result)
        if not isinstance(value.reason, str):
            raise self._wrong(f"text as reason, got a {type(value.reason).__name__}", step)
        if not isinstance(value.parts, Mapping):
            raise self._wrong(f"parts as numbers by name, got a {type(value.parts).__name__}", step)
        parts = {}
        for name, part in value.parts.items():
            if name in TAKEN:
                raise self._wrong(f"parts under other names than {', '.join(TAKEN)}, got {name!r}", step)
            if not is_part(name) or not _is_number(part):
                raise self._wrong(f"parts as numbers by name, got a {type(part).__name__} as {name!a:.80}", step)
            parts[str.__str__(name)] = self._float(part, step)  # a subclass has methods of its own
            self.count(parts)
        reason = shown(str.__str__(value.reason))
        if value.value is None:
            return Value(None, parts, reason)
        if not _is_number(value.value):
            raise self._wrong(f"a float or None, got a {type(value.value).__name__}", step)
        number = self._float(value.value, step)
        if not math.isfinite(number):
            return Value(None, parts, reason or f"{NOT_FINITE} {number}")
        return Value(number, parts, reason)

    def _float(self, number: Any, step: int) -> float:
        try:
            return float(float(number))  # the first may return a subclass
        except OverflowError:
            raise self._wrong(f"a number that a float can hold, got a {type(number).__name__}", step) from None

    def _wrong(self, wanted_and_got: str, step: int) -> PluginError:
        return PluginError(f"{self._name()} must return {wanted_and_got} at step {step}.")

    def _isolated(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._is_built_in() else torch_state.same()

    def _is_built_in(self) -> bool:
        return self.component.record.distribution == "esbench"

    def _attributed(self, error: BaseException, where: str = "") -> BaseException:
        """Return a third-party error as a PluginError; messages and bugs of esbench are returned unchanged."""
        if _is_ours(error) or self._is_built_in():
            return error
        return PluginError(f"{self._name()} raised {described(error)}{where}.")

    def _name(self) -> str:
        return f"Criterion {self.text!r} of {self.component.record.owner}"


def _is_ours(error: BaseException) -> bool:
    """Whether an exception is one of esbench; an attribute of a third-party one may raise, even `__class__`."""
    return issubclass(type(error), EsbenchError)


def lacking(needs: Sequence[Need], frame: Frame) -> str:
    """Return the first of a criterion's needs that a frame does not have, or an empty string."""
    has = {
        "loss": frame.loss is not None,
        "noisy": frame.problem.noisy is not None,
        "sigma": frame.problem.noise_level is not None if "sigma" in needs else True,
        "holdout": frame.problem.holdout is not None,
    }
    return next((need for need in needs if not has.get(need, True)), "")


def is_part(value: Any) -> bool:
    """Whether a value can be the name of a part."""
    return isinstance(value, str) and len(value) <= LENGTH and value not in TAKEN and _is_json(value)


def _is_json(value: Any) -> bool:
    """Whether a value can be written as JSON and read again."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _number(value: Any) -> Any:
    """Return a number of NumPy or PyTorch as a plain one; anything else unchanged."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _text(values: Any) -> str:
    try:
        return repr(values)
    except BaseException:  # of third-party objects, and of an int with thousands of digits
        return "something that cannot be shown"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
