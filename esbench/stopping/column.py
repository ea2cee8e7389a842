"""A criterion during an optimisation: its values, its rule, and the output of its best step."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from esbench.errors import EsbenchError, PluginError, described
from esbench.frames import Block, Frame, Value
from esbench.observation import Problem
from esbench.registry import Record, registry
from esbench.stopping.criterion import Criterion
from esbench.stopping.rule import Running
from esbench.stopping.sentence import sentence

#: Called with a criterion and a step, it surrounds calls of third-party code and tells the watcher which one runs.
Watched: TypeAlias = Callable[[str, int], AbstractContextManager[None]]


def unwatched(text: str, step: int) -> AbstractContextManager[None]:
    """Watch nothing (the default)."""
    return contextlib.nullcontext()


@dataclass
class Column:
    """A criterion during an optimisation.

    Attributes:
        text: the canonical text.
        problem: what the criterion knows of the problem.
        rule: the rule of this column.
        watched: surrounds every call of a third-party criterion.
        keeps: the picture of the best step to keep: the output or its average.
        failed: why it was disabled; empty if it was not.
        best: the kept picture of the best step so far, (C, H, W), a copy; None while there is no value.
    """

    text: str
    problem: Problem
    rule: Running
    watched: Watched = unwatched
    keeps: Literal["output", "average"] = "output"
    criterion: Criterion | None = None  # None if it could not be made
    values: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    missing: int = 0
    reason: str = ""
    failed: str = ""
    best: Any = None

    def __post_init__(self) -> None:
        component = registry().get("criterion", self.text)
        self.third_party = is_third_party(component.record)
        self.probes: dict[int, Mapping[str, float]] = {}  # by step, until their block is measured
        if self.failed:  # disabled before
            return
        if self.third_party and self.problem.noisy is not None:
            self.problem = replace(self.problem, noisy=self.problem.noisy.guarded())
        with self.contained(0):
            self.criterion = Criterion(component, self.problem)

    @property
    def active(self) -> bool:
        """Whether it is being measured: it was not disabled."""
        return not self.failed and self.criterion is not None

    @property
    def decided(self) -> bool:
        """Whether its stop is final."""
        return bool(self.failed) or self.rule.stop is not None

    @property
    def resolved(self) -> dict[str, Any]:
        """The value of every parameter, as resolved."""
        return {} if self.criterion is None else self.criterion.resolved

    @property
    def sentence(self) -> str:
        """Why it stopped, or its best step so far."""
        return f"failed: {self.failed}" if self.failed else sentence(self.text, self.rule)

    def take(self, block: Block) -> None:
        """Measure a block. A criterion that fails is disabled from there on; nothing else is affected."""
        steps = range(block.first, block.first + len(block))  # the optimisation may be ahead
        probes = {t: self.probes.pop(t) for t in steps if t in self.probes}
        if not self.active:
            return
        assert self.criterion is not None
        frames = list(block.frames(self.problem, probes))
        seen = list(block.guarded().frames(self.problem, probes)) if self.third_party else frames
        values: list[Value | None] = []
        ms = 0.0
        with self.contained(block.first):
            started = time.perf_counter()
            values = self.criterion.update_block(seen)
            ms = 1000 * (time.perf_counter() - started) / len(frames)  # without what the watcher does
        if self.failed:
            return
        for frame, value in zip(frames, values, strict=True):
            self._put(value, frame.probes, ms)
            if self.rule.update(None if value is None else value.value):
                kept: Frame = frame.average if self.keeps == "average" and frame.average is not None else frame
                self.best = kept.tensor.clone()  # a view would keep its whole block

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue."""
        memory: dict[str, Any] = {}
        if self.active:
            assert self.criterion is not None
            with self.contained(len(self.values)):
                memory = self.criterion.state_dict()
        return {"memory": memory, "rule": self.rule.state_dict()} | {name: getattr(self, name) for name in _KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another column of the same criterion; a criterion disabled since stays so."""
        if not self.active:
            return
        assert self.criterion is not None
        for name in _KEPT:
            setattr(self, name, state[name])
        self.rule.load_state_dict(state["rule"])
        self.criterion.parts = {*self.parts}
        if not self.failed:
            with self.contained(len(self.values)):
                self.criterion.load_state_dict(state["memory"])

    @contextlib.contextmanager
    def contained(self, step: int) -> Iterator[None]:
        """Record what a third-party criterion raises; what a built-in one raises is a bug and passes through.

        In a process of its own it may have changed any code, so there whatever is raised is its own.
        """
        try:
            with self.watched(self.text, step) if self.third_party else contextlib.nullcontext():
                yield
        except PluginError as error:
            self.failed = str(error)
        except EsbenchError as error:  # raised by a third-party one itself, or its parameters do not fit this problem
            if not self.third_party:
                raise
            self.failed = f"Criterion {self.text!r} of {registry().get('criterion', self.text).record.owner}: {error}"
        except BaseException as error:
            if not self.third_party or self.watched is unwatched:
                raise
            # a watched process gets no signals of the terminal, so the criterion itself raised KeyboardInterrupt
            owner = registry().get("criterion", self.text).record.owner
            self.failed = f"Criterion {self.text!r} of {owner} raised {described(error)} at step {step}."

    def _put(self, value: Value | None, probes: Mapping[str, float], ms: float) -> None:
        self.ms.append(ms)
        if value is not None and value.value is None:
            self.missing, self.reason = self.missing + 1, value.reason or self.reason
        for name, part in (dict(probes) | ({} if value is None else dict(value.parts))).items():
            self.parts.setdefault(name, [math.nan] * len(self.values)).append(float(part))
        self.values.append(math.nan if value is None or value.value is None else value.value)
        for parts in self.parts.values():
            if len(parts) < len(self.values):
                parts.append(math.nan)

    def table(self) -> dict[str, Any]:
        """Return the columns to write to the disk."""
        return {
            "step": np.arange(len(self.values), dtype=np.int32),
            "value": np.array(self.values),
            "ms": np.array(self.ms, dtype=np.float32),
            **{name: np.array(part) for name, part in self.parts.items()},
        }


#: The state of a column besides its criterion's memory and its rule.
_KEPT = ("values", "ms", "parts", "missing", "reason", "failed", "best")


def is_third_party(record: Record) -> bool:
    """Whether a criterion runs third-party code."""
    return record.distribution != "esbench"
