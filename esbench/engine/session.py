"""One optimisation with criteria: it iterates, averages, measures, decides and emits events.

A unit of the benchmark is a session with a clean picture; a restoration is one session per tile and restart.
"""

from __future__ import annotations

import functools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from esbench import torch_state
from esbench.engine.fast import Fast
from esbench.engine.probe import probed
from esbench.engine.trace import Trace
from esbench.events import Event, Notice, Progress, UnitStarted
from esbench.frames import Block
from esbench.kinds import Step
from esbench.records import CriterionInfo
from esbench.registry import load, registry
from esbench.stopping.column import Column

#: Seconds between two Progress events.
PROGRESS_EVERY = 0.25


class Session:
    """One optimisation with criteria.

    Iterate to continue, a block of steps at a time; the results so far are available at any time.

    Args:
        name: its name in events.
        trajectory: the optimisation.
        columns: the criteria.
        emit: called with every event.
        trace: the numbers; with a reference they have a score.
        live: whether to end as soon as all criteria have stopped.
        seed: the seed of the random numbers of probes.

    Attributes:
        resumed: the steps at which it resumed from a checkpoint.
    """

    def __init__(
        self,
        name: str,
        trajectory: Fast,
        columns: Sequence[Column],
        emit: Callable[[Event], None],
        trace: Trace | None = None,
        *,
        live: bool = False,
        seed: int = 0,
    ) -> None:
        self.name, self.trajectory, self.columns, self.live = name, trajectory, list(columns), live
        self.trace = Trace() if trace is None else trace
        self.resumed: list[int] = []
        self._emit, self._seed = emit, seed
        # On a CPU the criteria would compete with the optimisation for the cores: they are measured in turn.
        self._lanes = Inline(self.columns) if trajectory.z.device.type == "cpu" else Lanes(self.columns)
        self._probes = {c.text: probe for c in self.columns if (probe := _probe(c)) is not None}
        if self._probes:
            trajectory.look = self._look

    @property
    def step(self) -> int:
        """The number of steps done."""
        return self.trajectory.t

    @property
    def complete(self) -> bool:
        """Whether all steps are done."""
        return self.step == self.trajectory.settings.iterations

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        if self.live and not self.complete:
            self._lanes.drain()  # so that the last step does not depend on the speed of threads
        stopped = self.live and self.step > 0 and all(column.decided for column in self.columns)  # one may fail at once
        return self.complete or stopped

    def __iter__(self) -> Iterator[Block]:
        self._emit(UnitStarted(unit=self.name, iterations=self.trajectory.settings.iterations, step=self.step))
        self._tell_resolved()
        blocks, told = iter(self.trajectory), -math.inf
        try:
            # also between the blocks: criteria are measured in threads of their own
            with torch_state.exact():
                while not (ended := self.ended):
                    started = time.perf_counter()
                    block = next(blocks)
                    self.trace.take(block, time.perf_counter() - started)
                    self._lanes.take(block)
                    self._tell(block)
                    if time.monotonic() - told >= PROGRESS_EVERY:
                        told = time.monotonic()
                        self._emit(self.progress())
                    yield block
                self.drain()
            if ended and self.trace.loss:
                self._emit(self.progress())
        finally:
            self._lanes.close()
            self.trajectory.look = None  # a cycle of references would keep the memory of a GPU

    def drain(self) -> None:
        """Wait until all steps so far are measured."""
        self._lanes.drain()

    def progress(self) -> Progress:
        """Return the progress as an event."""
        return Progress(
            unit=self.name,
            step=self.step,
            iterations=self.trajectory.settings.iterations,
            psnr_db=self.trace.psnr[-1] if self.trace.psnr else None,
            best={c.text: c.rule.best_step for c in self.columns if c.rule.best_step is not None},
            stopped={c.text: c.rule.stop.step for c in self.columns if c.rule.stop is not None},
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything on which the remaining steps depend."""
        self.drain()
        return {
            "trajectory": self.trajectory.state_dict(),
            "trace": self.trace.state_dict(),
            "columns": {column.text: column.state_dict() for column in self.columns},
            "resumed": list(self.resumed),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another session of the same parts, to the bit."""
        self.trajectory.load_state_dict(state["trajectory"])
        self.trace.load_state_dict(state["trace"])
        for column in self.columns:
            column.load_state_dict(state["columns"][column.text])
        self.resumed = [*state["resumed"], self.step]

    def _look(self, step: Step) -> None:
        """Run the probes of the criteria that are measured at this step."""
        for column in self.columns:
            if column.text not in self._probes or not column.active:
                continue
            assert column.criterion is not None
            if step.t % column.criterion.every == 0:
                if column.third_party:
                    self._lanes.drain()  # third-party code runs one call at a time
                with column.contained(step.t):
                    probe, f = self._probes[column.text], self.trajectory.f
                    measure = functools.partial(probed, probe, f, step, self._seed, column.third_party)
                    column.probes[step.t] = found = column.criterion.ask(measure)
                    column.criterion.count(found)

    def _tell(self, block: Block) -> None:
        """Emit what happened to the optimisation in a block."""
        while self.trajectory.notes:
            self._emit(Notice(unit=self.name, text=self.trajectory.notes.pop(0)))
        for step in block.restored:
            loss = block.losses[step - block.first]
            text = f"the loss rose at step {step} ({loss:.3g}): back to an earlier state"
            self._emit(Notice(unit=self.name, text=text))

    def _tell_resolved(self) -> None:
        """Emit what `auto` resolved to, and with how many threads and in which precision a CPU computes."""
        if self.trajectory.z.device.type == "cpu":
            n = torch.get_num_threads()
            precision = self.trajectory.settings.precision
            text = f"on the CPU with {n} thread{'s' if n > 1 else ''}, in {precision}"
            self._emit(Notice(unit=self.name, text=text, detail=True))
        for column in () if self.resumed else self.columns:
            values = registry().get("criterion", column.text).values
            for key, value in column.resolved.items():
                if value != values.get(key):
                    number = f"{value:.6g}" if isinstance(value, float) else value
                    text = f"{column.text}: {key}={values.get(key)} is {number}"
                    self._emit(Notice(unit=self.name, text=text, detail=True))


def _probe(column: Column) -> Any:
    """Return the probe of a column's criterion, or None."""
    component = registry().get("criterion", column.text)
    assert isinstance(component.info, CriterionInfo)
    if component.info.probe is None or not column.active:
        return None
    with column.contained(0):
        return load(component.record, component.info.probe)
    return None


class Lanes:
    """Measures blocks in the background: a thread per criterion, and one for all third-party ones.

    A thread gets its blocks in order, and at most DEPTH of them wait: an optimisation that is ahead of its criteria
    waits for them, so that memory stays bounded. Third-party criteria share a lane, so that only one of them runs at a
    time and the watcher knows which.

    Args:
        columns: the criteria to measure.
    """

    DEPTH = 2

    def __init__(self, columns: Sequence[Column]) -> None:
        third_party = [c for c in columns if c.third_party]
        lanes = [[c] for c in columns if not c.third_party] + ([third_party] if third_party else [])
        self._queues: list[queue.Queue[Block | None]] = [queue.Queue(self.DEPTH) for _ in lanes]
        self._error: BaseException | None = None
        for lane, blocks in zip(lanes, self._queues, strict=True):
            threading.Thread(target=self._work, args=(lane, blocks), daemon=True).start()

    def take(self, block: Block) -> None:
        """Pass a block to every lane; wait if one is behind."""
        for blocks in self._queues:
            blocks.put(block)
        self._raise()

    def drain(self) -> None:
        """Wait until all blocks are measured."""
        for blocks in self._queues:
            blocks.join()
        self._raise()

    def close(self) -> None:
        """End the threads after their current blocks."""
        for blocks in self._queues:
            blocks.put(None)

    def _work(self, lane: list[Column], blocks: queue.Queue[Block | None]) -> None:
        while (block := blocks.get()) is not None:
            try:
                for column in lane if self._error is None else ():
                    column.take(block)
            except BaseException as error:  # a bug: raised in the thread of the session
                self._error = error
            finally:
                blocks.task_done()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class Inline:
    """Measures each block immediately.

    Args:
        columns: the criteria to measure.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns

    def take(self, block: Block) -> None:
        """Measure a block."""
        for column in self.columns:
            column.take(block)

    def drain(self) -> None:
        """Do nothing: no blocks wait."""

    def close(self) -> None:
        """Do nothing: there are no threads."""
