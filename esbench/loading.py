"""Record which plugin was being loaded when a process died, so that the next process can skip it.

A plugin that calls `os._exit`, crashes or never returns from C code ends the command, which then cannot report it.
So before each call of a plugin, the process writes its distribution into a locked file, and removes the file
afterwards. The system releases the lock when a process dies: a file without a lock was left by a process that died, and
names the suspect. Concurrent processes use separate files.

A suspect is tested in a separate process before it is loaded, because the command may have been killed from outside at
that moment. If it dies there too, this command and later ones skip it, until its version changes or ESBENCH_PLUGINS
names it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from esbench.cache import cache
from esbench.process import end, environ, python, told

#: Seconds that a suspect may take to be loaded in a separate process, and after which a plugin that another process is
#: loading becomes a suspect.
LIMIT = 30.0

#: Seconds after which a call of a plugin is aborted. More than LIMIT, so that a test is ended from outside.
ENDLESS = 60.0


class Endless(BaseException):
    """A call of a plugin took longer than ENDLESS."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Abort a call of a plugin that does not return.

    This works only in the main thread, for Python code, and if the alarm signal is not in use.

    Raises:
        Endless: it took longer than ENDLESS.
    """
    free = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    if not free or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGALRM, _endless)
    signal.setitimer(signal.ITIMER_REAL, ENDLESS, 1.0)  # repeated, in case the plugin catches it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _endless(*_: object) -> None:
    raise Endless(f"it did not end within {ENDLESS:g} s")


class Trail:
    """The notes of one process, and those that earlier ones left.

    Args:
        folder: the folder of the notes; None for no notes.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._file: IO[str] | None = None
        self._path = Path()
        self._at_work: list[str] = []
        self._held = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Trail:
        """Keep one file for all notes until the end of the block."""
        self._held += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._held -= 1
        self._close()

    @contextlib.contextmanager
    def at(self, owner: str) -> Iterator[None]:
        """Write a note that a distribution's code runs; Ctrl-C and Endless leave the note, as a crash does."""
        if self.folder is None:
            with limited():
                yield
            return
        self._note([*self._at_work, owner])
        try:
            with limited():
                yield
        except (KeyboardInterrupt, Endless):
            if self._file is not None:
                self._file.close()
            self._file = None  # the next note uses another file, and this one has no lock
            raise
        finally:
            rest = list(self._at_work)
            rest.remove(owner)
            if self._file is None:
                self._at_work = rest
            else:
                self._note(rest)
                self._close()

    def dead(self) -> dict[str, str]:
        """Return the distributions that died when they were tested, and how."""
        found = {}
        for path in self._files("*.dead"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                verdict = json.loads(path.read_text(encoding="utf-8"))
                found[str(verdict["owner"])] = str(verdict["how"])
        return found

    def suspects(self) -> set[str]:
        """Return the distributions whose code ran when a process died, or has been running for longer than LIMIT."""
        found: set[str] = set()
        for path in self._files("*.note"):
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
                if _is_free(file, path):
                    owners = set(file.read().split("\n")) - {""}
                    if not owners:  # it died, but not in a plugin
                        path.unlink(missing_ok=True)
                elif time.time() - path.stat().st_mtime > LIMIT:
                    owners = set(file.read().split("\n")) - {""}
                else:
                    owners = set()
                found |= owners
        return found

    def tried(self, owner: str, how: str) -> None:
        """Record how a distribution died when it was tested; an empty text if it did not."""
        if self.folder is None:
            return
        verdict = self.folder / f"{hashlib.sha256(owner.encode()).hexdigest()[:16]}.dead"
        with contextlib.suppress(OSError):
            if how:
                part = verdict.with_suffix(f".{uuid.uuid4().hex[:8]}")
                part.write_text(json.dumps({"owner": owner, "how": how}), encoding="utf-8")
                part.replace(verdict)
            else:
                verdict.unlink(missing_ok=True)
        for path in self._files("*.note"):
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
                if _is_free(file, path) and set(file.read().split("\n")) <= {"", owner}:
                    path.unlink(missing_ok=True)

    def _files(self, pattern: str) -> list[Path]:
        try:
            return [] if self.folder is None else sorted(self.folder.glob(pattern))
        except OSError:
            return []

    def _note(self, at_work: list[str]) -> None:
        with self._lock:
            self._at_work = at_work
            try:
                file = self._opened()
                file.seek(0)
                file.truncate()
                file.write("\n".join(at_work))
                file.flush()
            except OSError:  # no notes if the folder cannot be written, or the disk has no locks
                self.folder = self._file = None

    def _opened(self) -> IO[str]:
        if self._file is None:
            assert self.folder is not None
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            part, self._path = self.folder / f"{name}.part", self.folder / f"{name}.note"
            self._file = open(part, "w", encoding="utf-8", errors="replace")  # noqa: SIM115
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                part.replace(self._path)  # not visible before it is locked
            except OSError:
                part.unlink(missing_ok=True)
                raise
        return self._file

    def _close(self) -> None:
        with self._lock:
            if self._file is not None and not self._held and not self._at_work:
                self._path.unlink(missing_ok=True)  # before the lock is released
                self._file.close()
                self._file = None


def trail() -> Trail:
    """Return the notes of this environment on this machine."""
    if os.environ.get("ESBENCH_TRIAL"):  # a suspect is being tested: the parent process sees the outcome
        return Trail(None)
    where = f"{sys.prefix}\n{os.uname().nodename}"
    return Trail(cache("loading", hashlib.sha256(where.encode()).hexdigest()[:16]))


def trial(distribution: str) -> str:
    """Run a command with one plugin in a separate process; return how that died, or an empty text."""
    import subprocess

    process = subprocess.Popen(  # noqa: S603
        python("esbench", "list-criteria"),
        env=environ() | {"ESBENCH_PLUGINS": distribution, "ESBENCH_TRIAL": "1", "ESBENCH_STRICT_PLUGINS": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        end(process)
        return f"did not end within {LIMIT:g} s"
    finally:
        end(process)
    # an exit with code 0 before the list is printed counts as a death
    return told(process.returncode) if process.returncode or not said else ""


def _is_free(file: IO[str], path: Path) -> bool:
    """Whether the process that wrote a note has died; one that is just ending has removed it."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.path.exists(path)
