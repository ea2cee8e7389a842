"""Watch plugins: a unit that measures a third-party criterion runs in its own process, and so does one beside others.

If a criterion does not return, or ends the process, only its own column is lost: the process is killed, the criterion
disabled, and the unit resumes from its checkpoint without it. A process that was killed from outside, as the system
does when memory runs out, is restarted once. If it ends again, or by itself while no criterion is called, the unit
resumes without the criteria of plugins. Killing a process also kills those that plugins started in it.
Third-party criteria run one at a time; before each call the process writes which one it is into shared memory, which
outlives the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import mmap
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from esbench import torch_state
from esbench.bench.job import Job
from esbench.bench.spec import Outcome, unit_id
from esbench.bench.store import Run
from esbench.bench.unit import failed, never, run_unit
from esbench.bench.wire import event_from_json, event_to_json, job_from_json, job_to_json, outcome_from_json
from esbench.engine.live import WRITING
from esbench.errors import UnitError
from esbench.events import Event, Notice
from esbench.process import end, ended, environ, has_ended, python, told
from esbench.registry import registry
from esbench.stopping.column import is_third_party
from esbench.untouched import MODULES, Untouched

#: Seconds between two checks of a process.
LOOK_EVERY = 0.1


class Note:
    """The shared memory: the running criterion (an index, -1 for none), its step, its start time; and halt.

    Args:
        file: the descriptor of an open file.
    """

    FORM = struct.Struct("=qqd?")

    def __init__(self, file: int) -> None:
        self._page = mmap.mmap(file, self.FORM.size)

    def write(self, who: int, step: int = 0) -> None:
        """Write which criterion starts to run."""
        self._page[: self.FORM.size - 1] = self.FORM.pack(who, step, time.monotonic(), False)[:-1]

    def read(self) -> tuple[int, int, float]:
        """Return the running criterion, its step, and for how many seconds it has run."""
        who, step, since, _ = self.FORM.unpack(self._page[:])
        return who, step, time.monotonic() - since

    @property
    def halt(self) -> bool:
        """Whether to pause the unit at a checkpoint."""
        return self._page[-1] != 0

    @halt.setter
    def halt(self, value: bool) -> None:
        self._page[-1:] = bytes([value])


class Watch:
    """Runs units, one at a time; those with a third-party criterion, or a share, in a process that can be killed.

    The process is reused for all units: starting it takes seconds.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    def run(self, job: Job, emit: Callable[[Event], None], halt: Callable[[], bool] = never) -> Outcome:
        """Run a unit as `run_unit` does, even if a plugin hangs or ends the process."""
        third_party = [c for c in job.criteria if is_third_party(registry().get("criterion", c).record)]
        if not third_party and job.share is None:
            return run_unit(job, emit, halt)
        started, killed = time.perf_counter(), False
        while True:
            if self._child is None:
                self._child = _Child()
            self._child.send(job, third_party)
            outcome, who, why = self._child.outcome(job, emit, halt)
            if outcome is not None:
                return dataclasses.replace(outcome, seconds=time.perf_counter() - started)
            self._end()
            unit = Run(job.run).unit(unit_id(job.spec))
            if who is None and "SIG" in why and not killed:
                killed = True
                emit(Notice(unit=unit.id, text=f"Its process {why}. The unit resumes from its last checkpoint."))
                continue
            if who is None:  # not in a call: a thread, a timer or a finalizer of any of them
                suspects = [text for text in third_party if text not in job.disabled]
                if not suspects:
                    return failed(unit, UnitError(f"Its process {why}."), time.perf_counter() - started, emit)
                emit(Notice(unit=unit.id, text=f"Its process {why}. The unit continues without criteria of plugins."))
                sentence = "Criterion {!r} of {} was measured in a process that {}."
                reasons = {t: sentence.format(t, registry().get("criterion", t).record.owner, why) for t in suspects}
                job = dataclasses.replace(job, disabled={**job.disabled, **reasons})
                continue
            reason = f"Criterion {who!r} of {registry().get('criterion', who).record.owner} {why}."
            emit(Notice(unit=unit.id, text=f"{reason} The unit continues without it."))
            job = dataclasses.replace(job, disabled={**job.disabled, who: reason})

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


class _Child:
    """A process that runs units, seen from the driver."""

    def __init__(self) -> None:
        with _memory() as file:
            file.write(bytes(Note.FORM.size))
            file.flush()
            self.note = Note(file.fileno())
            self.process = subprocess.Popen(  # noqa: S603
                python("esbench.bench.watch", str(file.fileno())),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[file.fileno()],
                env=environ(),
                start_new_session=True,  # only the driver gets Ctrl-C, and sets halt; `end` kills the whole session
            )
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, job: Job, third_party: list[str]) -> None:
        """Send a unit to the process."""
        assert self.process.stdin is not None
        self.third_party = third_party
        self.note.halt = False
        self.note.write(-1)
        with contextlib.suppress(BrokenPipeError):  # it has ended: `outcome` reports that
            self.process.stdin.write(json.dumps({"job": job_to_json(job), "third_party": third_party}) + "\n")
            self.process.stdin.flush()

    def outcome(
        self, job: Job, emit: Callable[[Event], None], halt: Callable[[], bool]
    ) -> tuple[Outcome | None, str | None, str]:
        """Return the outcome of the unit; or None, the criterion that caused the failure, if any, and what happened."""
        while True:
            self.note.halt = halt()
            who, step, seconds = self.note.read()
            if who >= 0 and seconds > job.time_limit:
                return None, self.third_party[who], f"did not return within {job.time_limit:g} s at step {step}"
            # a process that a plugin forked may keep the pipe open, so it may never reach its end
            gone = has_ended(self.process)
            try:
                line = self.lines.get(timeout=LOOK_EVERY)
            except queue.Empty:
                if not gone:
                    continue
                line = None
            if line is None:
                how = told(ended(self.process))
                who, step, _ = self.note.read()
                if who < 0:
                    return None, None, f"{how}, outside of plugin calls" if self.third_party else how
                return None, self.third_party[who], f"{how.replace('ended', 'ended its process')} at step {step}"
            with contextlib.suppress(ValueError):  # a plugin wrote into the pipe
                message = json.loads(line)
                if "outcome" in message:
                    return outcome_from_json(message["outcome"]), None, ""
                emit(event_from_json(message))

    def end(self) -> None:
        """Kill the process, and those that plugins started in it."""
        end(self.process)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line)
        self.lines.put(None)


def _memory() -> IO[bytes]:
    """Return a file in memory, where the system has such files: a disk may be full."""
    return open(os.memfd_create("esbench"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def serve(note: Note) -> None:
    """Run the units received on standard input, and write events and outcomes to standard output.

    A plugin gets neither of the two: its input is empty, and what it prints goes to standard error.
    """
    with os.fdopen(os.dup(0)) as lines, os.fdopen(os.dup(1), "w", buffering=1) as out, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        for name in (*MODULES, "PIL.JpegImagePlugin", "PIL.WebPImagePlugin"):  # before a plugin can change them
            importlib.import_module(name)  # Pillow never tries again to import a format that it could not
        sys.addaudithook(_refuse_hooks)
        untouched = Untouched(lines.fileno(), out.fileno())
        jobs: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_listen, args=(lines, jobs), daemon=True).start()
        while True:
            message = json.loads(jobs.get())
            third_party: list[str] = message["third_party"]

            @contextlib.contextmanager
            def watched(text: str, step: int, third_party: list[str] = third_party) -> Iterator[None]:
                with WRITING:
                    note.write(third_party.index(text), step)
                    try:
                        with torch_state.same(), untouched():  # the note still names the criterion if it exits
                            yield
                    finally:
                        note.write(-1)

            def emit(event: Event) -> None:
                out.write(json.dumps(event_to_json(event)) + "\n")

            outcome = run_unit(job_from_json(message["job"]), emit, lambda: note.halt, watched)
            out.write(json.dumps({"outcome": dataclasses.asdict(outcome)}) + "\n")


def _refuse_hooks(event: str, _: Any) -> None:
    """Refuse audit hooks: they cannot be removed, and what they raise ends any call."""
    if event == "sys.addaudithook":
        raise RuntimeError  # Python ignores it, and does not add the hook


def _listen(lines: IO[str], jobs: queue.Queue[str]) -> None:
    for line in lines:
        jobs.put(line)
    os.killpg(0, signal.SIGKILL)  # the driver has ended: kill this process and those that plugins started in it


if __name__ == "__main__":
    serve(Note(int(sys.argv[1])))
