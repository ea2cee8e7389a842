"""Put back what third-party code changes in its process, after each of its calls.

A criterion that ignores Ctrl-C, lowers a limit or closes its output for its own purposes must not change what the
other criteria and the optimisation do.
"""

from __future__ import annotations

import builtins
import contextlib
import faulthandler
import gc
import json
import locale
import logging
import math
import operator
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

#: The limits of a process.
LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})

#: The signals whose handlers can be changed.
SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

#: The attributes of `sys` that are put back, with the content of lists and of the dict of modules.
SYSTEM = ("modules", "path", "meta_path", "path_hooks", "stdin", "stdout", "stderr", "displayhook", "excepthook")


class Untouched:
    """The state of this process that calls of third-party code leave as it was.

    Args:
        files: the descriptors of files that must stay open. If one was closed, or a limit cannot be raised again, the
            process exits: the caller must know whose call it was.
    """

    def __init__(self, *files: int) -> None:
        import torch
        from torch.nn import functional

        self._files = [(file, _inode(file)) for file in files]
        self._standard = [(n, os.dup(n), _inode(n)) for n in range(3)]
        places: tuple[Any, ...] = (builtins, json, math, os, time, np, torch, functional, torch.Tensor, torch.nn.Module)
        self._names = [(place, tuple(vars(place)), tuple(vars(place).values())) for place in places]

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Surround a call."""
        trace, profile, limit = sys.gettrace(), sys.getprofile(), sys.getrecursionlimit()
        undo = self._undo()
        try:
            with np.errstate(), warnings.catch_warnings():
                try:
                    yield
                finally:
                    if sys.gettrace() is not trace:  # these first: undoing the rest calls functions
                        sys.settrace(trace)
                    if sys.getprofile() is not profile:
                        sys.setprofile(profile)
                    sys.setrecursionlimit(limit)
        finally:
            self._names_back()
            for back in undo:
                back()
            self._files_back()

    def _undo(self) -> list[Callable[[], None]]:
        """Return functions that put back what is read here."""
        return [_timers_back, _signals(), _limits(), _system(), _folder(), _environment(), _collector(), _others()]

    def _names_back(self) -> None:
        """Put back the functions and methods that the optimisation calls; what was added, and hides none, stays."""
        for place, before, values in self._names:
            names = vars(place)
            if not all(map(operator.is_, map(names.get, before), values)):
                for name, value in zip(before, values, strict=True):
                    if names.get(name) is not value:
                        setattr(place, name, value)
            if len(names) != len(before) and isinstance(place, type):
                for name in names.keys() - {*before}:
                    if any(hasattr(base, name) for base in place.__mro__[1:]):
                        delattr(place, name)

    def _files_back(self) -> None:
        """Open the standard files again that were closed or redirected; exit if another file was."""
        for n, copy, inode in self._standard:
            if _inode(n) != inode:
                if _inode(copy) != inode:
                    os._exit(1)
                os.dup2(copy, n)
        if any(_inode(file) != inode for file, inode in self._files):
            os._exit(1)
        for n, name in enumerate(("stdin", "stdout", "stderr")):
            if getattr(getattr(sys, name), "closed", False):
                setattr(sys, name, os.fdopen(n, "w" if n else "r", buffering=1, closefd=False))


def _inode(file: int) -> tuple[int, int] | None:
    """Return what identifies the file of a descriptor; None if it is closed."""
    try:
        found = os.fstat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _timers_back() -> None:
    faulthandler.cancel_dump_traceback_later()
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)


def _signals() -> Callable[[], None]:
    mask, handlers = signal.pthread_sigmask(signal.SIG_BLOCK, ()), [signal.getsignal(n) for n in SIGNALS]
    ours = threading.current_thread() is threading.main_thread()  # handlers can be set only there

    def back() -> None:
        for n, handler in zip(SIGNALS, handlers, strict=True):
            if ours and handler is not None and signal.getsignal(n) is not handler:
                signal.signal(n, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return back


def _limits() -> Callable[[], None]:
    limits = [(which, resource.getrlimit(which)) for which in LIMITS]

    def back() -> None:
        for which, before in limits:
            if (now := resource.getrlimit(which)) != before:
                try:
                    resource.setrlimit(which, before)
                except (ValueError, OSError):  # only an administrator can raise a hard limit
                    if now[0] != before[0]:
                        os._exit(1)

    return back


def _system() -> Callable[[], None]:
    values = [(name, getattr(sys, name)) for name in SYSTEM]
    contents = [(value, value.copy()) for _, value in values if isinstance(value, list | dict)]
    interval, hooks = sys.getswitchinterval(), (sys.unraisablehook, threading.excepthook)

    def back() -> None:
        for name, value in values:
            setattr(sys, name, value)
        for value, before in contents:
            if isinstance(value, dict):  # what was imported stays
                value.update(before)
            elif value != before:
                value[:] = before
        sys.unraisablehook, threading.excepthook = hooks
        if sys.getswitchinterval() != interval:
            sys.setswitchinterval(interval)

    return back


def _folder() -> Callable[[], None]:
    folder, mask = os.getcwd(), os.umask(0o022)
    os.umask(mask)

    def back() -> None:
        os.chdir(folder)
        os.umask(mask)

    return back


def _environment() -> Callable[[], None]:
    environment = dict(os.environ)

    def back() -> None:
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)

    return back


def _collector() -> Callable[[], None]:
    enabled, threshold, callbacks, debug = gc.isenabled(), gc.get_threshold(), gc.callbacks.copy(), gc.get_debug()

    def back() -> None:
        gc.callbacks[:] = callbacks
        gc.set_threshold(*threshold)
        gc.set_debug(debug)
        gc.enable() if enabled else gc.disable()

    return back


def _others() -> Callable[[], None]:
    place, level, temporary = locale.setlocale(locale.LC_ALL), logging.root.manager.disable, tempfile.tempdir
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

    def back() -> None:
        import torch

        locale.setlocale(locale.LC_ALL, place)
        logging.disable(level)
        tempfile.tempdir = temporary
        torch.set_flush_denormal(False)
        if cores and os.sched_getaffinity(0) != cores:
            os.sched_setaffinity(0, cores)

    return back
