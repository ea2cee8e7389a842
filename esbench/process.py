"""Start Python processes with the import path of this one, but without the current directory."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

#: Seconds that a process may take to exit after it has closed its end of the pipe, and between two looks at it.
GOING, LOOK_EVERY = 10.0, 0.01


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module, but not a file with its name in the current directory."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environ() -> dict[str, str]:
    """Return an environment in which a process finds the modules and the plugins of this one.

    The current directory, which Python puts first by itself, is left out: a `tempfile.py` there would be imported
    instead of the standard library's. It is kept if PYTHONPATH names it.
    """
    here, said = os.getcwd(), os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [place for place in sys.path if place and (place != here or place in said)]
    home = str(Path(__file__).parents[1])  # for a checkout that is not installed
    return os.environ | {"PYTHONPATH": os.pathsep.join(path if home in path else [*path, home])}


def end(process: subprocess.Popen[Any]) -> int:
    """Kill a process that leads a session, with all processes of the session, and return its exit code.

    The exit code of a process that has ended is kept. Processes that started a new session are not found. What it was
    sent to is closed.
    """
    if process.returncode is None:
        # kill the group before waiting for its leader: afterwards its id, which is also the group's, could be reused
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # it did not read all of it
            process.stdin.close()
    return code


def ended(process: subprocess.Popen[Any]) -> int:
    """Return the exit code of a process that has closed its pipe, and kill the processes it left behind."""
    deadline = time.monotonic() + GOING
    while not has_ended(process) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    return end(process)


def has_ended(process: subprocess.Popen[Any]) -> bool:
    """Whether a process has ended; it is not waited for, so that its id is not reused."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def told(code: int) -> str:
    """Return how a process ended: "ended with SIGKILL", "ended with exit code 3"."""
    return f"ended with {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
