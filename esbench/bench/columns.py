"""What is measured on the way through a unit: a column for each criterion, and the trace with the score."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import numpy as np

from esbench.errors import PluginError, UsageError
from esbench.frames import Block, Value
from esbench.observation import Problem
from esbench.pictures import Picture, Pictures
from esbench.registry import Record, registry
from esbench.stopping.criterion import Criterion
from esbench.stopping.rule import Running

#: Called with a criterion and a step, it surrounds the work of a stranger: whoever watches learns who is at it.
Watched: TypeAlias = Callable[[str, int], AbstractContextManager[None]]


@dataclass
class Column:
    """A criterion on its way through a unit: its values, its rule, and the output that it would stop at.

    Attributes:
        text: the canonical text.
        problem: what the criterion is told.
        rule: of this column.
        watched: surrounds every call of a stranger's criterion.
    """

    text: str
    problem: Problem
    rule: Running
    watched: Watched
    criterion: Criterion | None = None  # None where it could not even begin
    values: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    missing: int = 0
    reason: str = ""
    failed: str = ""
    output: Any = None  # (H, W, C) in [0, 1]

    def __post_init__(self) -> None:
        component = registry().get("criterion", self.text)
        self.stranger = is_stranger(component.record)
        if self.failed:  # given up before
            return
        if self.stranger and self.problem.noisy is not None:
            self.problem = replace(self.problem, noisy=self.problem.noisy.lent())
        with self._its_own_fault(0):
            self.criterion = Criterion(component, self.problem)

    @property
    def resolved(self) -> dict[str, Any]:
        """The value of every parameter, as decided."""
        return {} if self.criterion is None else self.criterion.resolved

    def take(self, block: Block) -> None:
        """Measure a block. A criterion that fails costs its own column from there on, and nothing else."""
        if self.failed or self.criterion is None:
            return
        frames = list((block.lent() if self.stranger else block).frames(self.problem))
        values: list[Value | None] = []
        started = time.perf_counter()
        with self._its_own_fault(block.first):
            values = self.criterion.update_block(frames)
        if self.failed:
            return
        ms = 1000 * (time.perf_counter() - started) / len(frames)
        for frame, value in zip(frames, values, strict=True):
            self._put(value, ms)
            if self.rule.update(None if value is None else value.value):
                self.output = frame.copy()

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on."""
        memory: dict[str, Any] = {}
        if self.criterion is not None and not self.failed:
            with self._its_own_fault(len(self.values)):
                memory = self.criterion.state_dict()
        return {"memory": memory, "rule": self.rule.state_dict()} | {name: getattr(self, name) for name in _KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another column of the same criterion left off; what was given up since stays so."""
        if self.failed or self.criterion is None:
            return
        for name in _KEPT:
            setattr(self, name, state[name])
        self.rule.load_state_dict(state["rule"])
        if not self.failed:
            with self._its_own_fault(len(self.values)):
                self.criterion.load_state_dict(state["memory"])

    @contextlib.contextmanager
    def _its_own_fault(self, step: int) -> Iterator[None]:
        """Write down what a stranger's criterion raises; what ours raise is our own mistake."""
        try:
            with self.watched(self.text, step) if self.stranger else contextlib.nullcontext():
                yield
        except PluginError as error:
            self.failed = str(error)
        except UsageError as error:  # its parameters do not fit this problem
            if not self.stranger:
                raise
            self.failed = str(error)

    def _put(self, value: Value | None, ms: float) -> None:
        self.ms.append(ms)
        if value is not None and value.value is None:
            self.missing, self.reason = self.missing + 1, value.reason or self.reason
        for name, part in ({} if value is None else value.parts).items():
            self.parts.setdefault(name, [math.nan] * len(self.values)).append(float(part))
        self.values.append(math.nan if value is None or value.value is None else value.value)
        for parts in self.parts.values():
            if len(parts) < len(self.values):
                parts.append(math.nan)

    def table(self) -> dict[str, Any]:
        """Return what is written to the disk."""
        return {
            "step": np.arange(len(self.values), dtype=np.int32),
            "value": np.array(self.values),
            "ms": np.array(self.ms, dtype=np.float32),
            **{name: np.array(part) for name, part in self.parts.items()},
        }


#: What a column is made of, beside its criterion's memory and its rule.
_KEPT = ("values", "ms", "parts", "missing", "reason", "failed", "output")


def is_stranger(record: Record) -> bool:
    """Whether a criterion runs code that is not esbench's own."""
    return record.distribution != "esbench"


class Lanes:
    """Measures blocks off the optimisation's way: a thread for each criterion, and one for all of strangers.

    A thread has its blocks in order, and at most DEPTH of them wait: an optimisation that is ahead of its criteria
    waits for them, so that memory stays bounded. Strangers share a lane, so that only one of them is at work at a time
    and whoever watches knows which.

    Args:
        columns: what is measured.
    """

    DEPTH = 2

    def __init__(self, columns: Sequence[Column]) -> None:
        strangers = [c for c in columns if c.stranger]
        lanes = [[c] for c in columns if not c.stranger] + ([strangers] if strangers else [])
        self._queues: list[queue.Queue[Block | None]] = [queue.Queue(self.DEPTH) for _ in lanes]
        self._error: BaseException | None = None
        for lane, blocks in zip(lanes, self._queues, strict=True):
            threading.Thread(target=self._work, args=(lane, blocks), daemon=True).start()

    def take(self, block: Block) -> None:
        """Hand a block to every lane; waits where one is behind."""
        for blocks in self._queues:
            blocks.put(block)
        self._raise()

    def drain(self) -> None:
        """Wait until everything that was handed over is measured."""
        for blocks in self._queues:
            blocks.join()
        self._raise()

    def close(self) -> None:
        """End the threads, after what they have in hand."""
        for blocks in self._queues:
            blocks.put(None)

    def _work(self, lane: list[Column], blocks: queue.Queue[Block | None]) -> None:
        while (block := blocks.get()) is not None:
            try:
                for column in lane if self._error is None else ():
                    column.take(block)
            except BaseException as error:  # our own mistake: raised where the unit runs
                self._error = error
            finally:
                blocks.task_done()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class Inline:
    """Measures each block at once: on a CPU the optimisation and the criteria want the same cores.

    Args:
        columns: what is measured.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns

    def take(self, block: Block) -> None:
        """Measure a block."""
        for column in self.columns:
            column.take(block)

    def drain(self) -> None:
        """There is never anything left."""

    def close(self) -> None:
        """There is nothing to end."""


@dataclass
class Trace:
    """The numbers of a unit, and the best and the newest output."""

    clean: Any  # (1, C, H, W) on the device
    loss: list[float] = field(default_factory=list)
    average_loss: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    average_psnr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peak: Any = None  # (H, W, C) in [0, 1]
    peak_db: float = -math.inf
    _last: Any = None

    @property
    def last(self) -> Any:
        """The newest output, (H, W, C) in [0, 1]."""
        return self._last.copy() if isinstance(self._last, Picture) else self._last

    def take(self, block: Block, seconds: float) -> None:
        """Score a block; the one place that sees the clean picture."""
        psnr = self._score(block.outputs)
        best = max(range(len(psnr)), key=psnr.__getitem__)
        if self.peak is None or psnr[best] > self.peak_db:
            self.peak, self.peak_db = block.outputs[best].copy(), psnr[best]
        self._last = block.outputs[len(block) - 1]
        self.psnr += psnr
        self.average_psnr += self._score(block.averages)
        self.loss += block.losses
        self.average_loss += block.average_losses
        before = self.seconds[-1] if self.seconds else 0.0
        self.seconds += [before + seconds * (i + 1) / len(block) for i in range(len(block))]

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "clean"} | {"_last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another trace of the same unit left off."""
        for name, value in state.items():
            setattr(self, name, value)

    def _score(self, outputs: Pictures) -> list[float]:
        error = (outputs.tensor.clamp(0, 1) - self.clean).double().square().mean((1, 2, 3))
        # an output with NaN is infinitely far away
        return [-10 * math.log10(e) if e > 0 else math.inf if e == 0 else -math.inf for e in error.tolist()]

    def table(self) -> dict[str, Any]:
        """Return what is written to the disk."""
        return {
            "step": np.arange(len(self.loss), dtype=np.int32),
            "loss": np.array(self.loss),
            "psnr_db": np.array(self.psnr),
            "average_loss": np.array(self.average_loss),
            "average_psnr_db": np.array(self.average_psnr),
            "seconds": np.array(self.seconds),
        }
