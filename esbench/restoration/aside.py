"""Run several pieces of a restoration at once, each in a process of its own with its share of the threads.

Threads of one process would wait for each other: small networks are many short operations, and memory is shared. A
process runs one piece after another, because its start takes seconds. Pickles go in both directions, only between a
process and the one that started it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import queue
import signal
import subprocess
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

from esbench.engine import build
from esbench.errors import EsbenchError, Unavailable
from esbench.events import Event, Notice
from esbench.observation import Observation
from esbench.process import end, ended, environ, has_ended, python, told
from esbench.restoration.options import Options
from esbench.restoration.piece import Piece, Product

#: What a process says of a piece: its number, "event", "product", "state", "done" or "failed", and what belongs to it.
Message: TypeAlias = tuple[int, str, Any]

#: Seconds of a wait.
LOOK_EVERY = 0.1

#: Numbers a message: its length in bytes.
LENGTH = 8


@dataclass(frozen=True)
class Assignment:
    """A piece to run.

    Attributes:
        number: its number.
        name: its name in events.
        observation: the observation of its tile.
        options: the options of the restoration.
        seed: the seed of all random numbers.
        corner: top and left of its tile in the restored picture.
        state: the state of the session that it resumes; None to begin.
    """

    number: int
    name: str
    observation: Observation
    options: Options
    seed: int
    corner: tuple[int, int]
    state: dict[str, Any] | None


class Aside:
    """The processes.

    Args:
        threads: the threads of each.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._later: list[Message] = []  # what came while `ask` waited for something else
        self._free: list[_Process] = []
        self._busy: dict[int, _Process] = {}
        self._repeated: set[int] = set()  # the pieces that have begun again

    @property
    def running(self) -> list[int]:
        """The numbers of the running pieces."""
        return list(self._busy)

    @property
    def ended(self) -> dict[int, Product]:
        """What pieces have made that ended while `ask` waited, and that `wait` has not returned yet."""
        return {number: value for number, kind, value in self._later if kind == "done" and value is not None}

    def begin(self, assignment: Assignment) -> None:
        """Begin a piece, in a process that is free or a new one."""
        self._free = [process for process in self._free if not process.gone]
        process = self._free.pop() if self._free else _Process(self._threads, self._said)
        self._busy[assignment.number] = process
        process.send(assignment)

    def wait(self) -> Message | None:
        """Return the next that a process has said; None if it takes a moment.

        A piece whose process has ended begins again, once.

        Raises:
            EsbenchError: a piece failed.
        """
        if self._later:
            message = self._later.pop(0)
        else:
            try:
                message = self._said.get(timeout=LOOK_EVERY)
            except queue.Empty:
                return None
        number, kind, value = message
        if kind == "done":
            self._free.append(self._busy.pop(number))
        elif kind == "failed" and number in self._busy:
            if value is not None:
                raise value
            return number, "event", self._again(number)
        return message

    def ask(self, what: str) -> dict[int, Any]:
        """Return the "product" or the "state" of each running piece; a piece that has ended has only the first."""
        for process in self._busy.values():
            process.send(what)
        found: dict[int, Any] = {}
        while True:
            for number, kind, value in self._later:
                if kind in ("done", "failed"):
                    found[number] = value if (what, kind) == ("product", "done") else None
            if found.keys() >= self._busy.keys():
                return {number: value for number, value in found.items() if value is not None}
            number, kind, value = message = self._said.get()
            if kind == what:
                found[number] = value
            else:
                self._later.append(message)

    def _again(self, number: int) -> Event:
        """Begin a piece again whose process has ended, and return what to say.

        Raises:
            Unavailable: it is the second time.
        """
        process = self._busy.pop(number)
        name, how = process.assignment.name, process.code()
        if number in self._repeated:
            raise Unavailable(
                f"{name}: its process {how} again, as happens if there is too little memory. With --threads one "
                "optimisation runs after another; what is done is kept in the checkpoint."
            )
        self._repeated.add(number)
        self.begin(process.assignment)
        return Notice(text=f"{name}: its process {how}, and it begins again")

    def close(self) -> None:
        """End all processes."""
        for process in (*self._busy.values(), *self._free):
            process.end()


class _Process:
    """A process that runs pieces, seen from the one that started it.

    Attributes:
        assignment: the piece that it runs, or ran last.
    """

    assignment: Assignment

    def __init__(self, threads: int, said: queue.SimpleQueue[Message]) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            python("esbench.restoration.aside"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ() | {"OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # Ctrl-C goes to the restoration alone, which asks for what there is
        )
        self._said = said
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: Assignment | str) -> None:
        """Send a piece to run, or what to say of the running one."""
        if isinstance(message, Assignment):
            self.assignment = message
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: `_read` reports that
            write(self._process.stdin, message)

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return has_ended(self._process)

    def code(self) -> str:
        """Return how the process ended."""
        return told(ended(self._process))

    def end(self) -> None:
        """Kill the process."""
        end(self._process)

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as file:
                while True:
                    kind, value = read(file)
                    self._said.put((self.assignment.number, kind, value))
        except EOFError:
            self._said.put((self.assignment.number, "failed", None))


def write(file: IO[bytes], message: Any) -> None:
    """Write a message."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    file.write(len(data).to_bytes(LENGTH))
    file.write(data)
    file.flush()


def read(file: IO[bytes]) -> Any:
    """Read a message.

    Raises:
        EOFError: there is no other one.
    """
    head = file.read(LENGTH)
    data = file.read(int.from_bytes(head))
    if len(head) < LENGTH or len(data) < int.from_bytes(head):
        raise EOFError
    return pickle.loads(data)  # noqa: S301


def serve() -> None:
    """Run the pieces received on standard input, and write what happens to standard output.

    What a plugin prints goes to standard error.
    """
    with os.fdopen(os.dup(0), "rb") as received, os.fdopen(os.dup(1), "wb") as out, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(received, asked), daemon=True).start()

        def say(kind: str, value: Any) -> None:
            write(out, (kind, value))

        while True:
            assignment = asked.get()
            if isinstance(assignment, Assignment):  # else it was asked about a piece that has ended
                try:
                    say("done", _run(assignment, asked, say))
                except EsbenchError as error:
                    say("failed", error)
                except Exception:  # a bug: raised there, with the traceback of here
                    say("failed", RuntimeError(traceback.format_exc()))


def _run(own: Assignment, asked: queue.SimpleQueue[Any], say: Callable[[str, Any], None]) -> Product | None:
    """Run a piece, answer what is asked of it, and return its product."""

    def emit(event: Event) -> None:
        say("event", event)

    piece = Piece(own.name, build.task(own.options.task), own.observation, own.options, own.seed, emit)
    if own.state is not None:
        piece.session.load_state_dict(own.state)
    for _ in piece:
        with contextlib.suppress(queue.Empty):
            for _ in itertools.count():
                what = asked.get_nowait()
                say(what, piece.product(*own.corner) if what == "product" else piece.session.state_dict())
    return piece.product(*own.corner)


def _listen(received: IO[bytes], asked: queue.SimpleQueue[Any]) -> None:
    with contextlib.suppress(EOFError):
        while True:
            asked.put(read(received))
    os.killpg(0, signal.SIGKILL)  # the restoration has ended


if __name__ == "__main__":
    from esbench.restoration import aside  # its classes are those of the pickles, not those of __main__

    aside.serve()
