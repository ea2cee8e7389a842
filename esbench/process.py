"""Processes of our own: Python with what this process imports from, and nothing out of the current directory."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module; a file of its name in the current directory is not taken for it."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environ() -> dict[str, str]:
    """Return an environment in which a process finds the modules and the plugins of this one.

    The current directory, where Python puts it first by itself, is left out: a `tempfile.py` that lies there would be
    imported instead of the standard library's. Who names it in PYTHONPATH has it.
    """
    here, said = os.getcwd(), os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [place for place in sys.path if place and (place != here or place in said)]
    home = str(Path(__file__).parents[1])  # of a checkout that is not installed
    return os.environ | {"PYTHONPATH": os.pathsep.join(path if home in path else [*path, home])}


def end(process: subprocess.Popen[str]) -> int:
    """Kill a process that leads a session of its own, with all that it started, and return its exit code.

    An exit code that it has already stays. What made itself a session of its own is not found.
    """
    if process.returncode is None:
        # all of them before the leader is waited for: its number is the group's, and could then be somebody else's
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def has_ended(process: subprocess.Popen[str]) -> bool:
    """Whether a process has ended; it is not waited for, so that its number stays its own."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def told(code: int) -> str:
    """Return how a process ended: "ended with SIGKILL", "ended with exit code 3"."""
    return f"ended with {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
