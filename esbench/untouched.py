"""Put back what third-party code changes in its process, after each of its calls.

A criterion that ignores Ctrl-C, lowers a limit or closes its output for its own purposes must not change what the
other criteria and the optimisation do.
"""

from __future__ import annotations

import builtins
import contextlib
import faulthandler
import gc
import itertools
import locale
import logging
import operator
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

#: The limits of a process.
LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})

#: The signals whose handlers can be changed.
SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

#: The modules whose functions esbench calls, besides its own, as far as they are loaded.
MODULES = (
    *("builtins", "contextlib", "functools", "gc", "hashlib", "io", "itertools", "json", "logging", "math", "operator"),
    *("os", "pathlib", "resource", "shutil", "signal", "struct", "sys", "tempfile", "threading", "time", "traceback"),
    *("zlib", "numpy", "PIL.Image", "pyarrow.parquet", "torch", "torch.nn.functional", "torch.nn.modules.module"),
    *("torch.nn.modules.batchnorm", "torch.nn.modules.container", "torch.nn.modules.conv", "torch.optim.adam"),
    "torch.optim.optimizer",
)

#: The timers that send signals.
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

#: The flag of classes that can be changed.
CHANGEABLE = 1 << 9

#: How NumPy handles floating-point errors when it is imported.
NUMPY = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}

#: File descriptors that esbench itself may need.
ROOM = 32


class Untouched:
    """The state of this process that calls of third-party code leave as it was.

    Args:
        files: in a process of its own, the descriptors of files that must stay open. If one was closed, no more can be
            opened, or a limit cannot be raised again, the process exits: the caller must know whose call it was.
    """

    def __init__(self, *files: int) -> None:
        self._files = [(file, _inode(file)) for file in files]
        self._loaded = 0  # the number of modules of which these are the names
        self._places: list[Any] = []
        self._views: list[Any] = []
        self._flat: list[Any] = []
        self._before: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Surround a call."""
        process, functions = os.getpid(), vars(builtins)
        trace, profile, limit = sys.gettrace(), sys.getprofile(), sys.getrecursionlimit()
        before = functions.copy()
        undo = [self._names(), self._limits(), self._room, *(read() for read in STATES), self._standard()]
        try:
            with _errors(), warnings.catch_warnings():
                try:
                    yield
                finally:
                    functions.update(before)  # these first: undoing the rest calls functions
                    if os.getpid() != process:  # a copy that the call made of this process
                        os._exit(0)
                    if sys.gettrace() is not trace:
                        sys.settrace(trace)
                    if sys.getprofile() is not profile:
                        sys.setprofile(profile)
                    sys.setrecursionlimit(limit)
        finally:
            for back in undo:
                back()
            if self._files:
                faulthandler.cancel_dump_traceback_later()
                if any(_inode(file) != inode for file, inode in self._files):
                    os._exit(1)

    def _names(self) -> Callable[[], None]:
        """Remember the functions and methods that esbench calls; one flat list, which is fast to compare."""
        if len(sys.modules) != self._loaded:
            self._loaded, self._places = len(sys.modules), list(_places())
            self._views, self._flat = [vars(place).values() for place in self._places], []
        if not self._are_same():
            self._flat = list(itertools.chain.from_iterable(self._views))
            self._before = [vars(place).copy() for place in self._places]
        return self._names_back

    def _are_same(self) -> bool:
        n = sum(map(len, self._views))
        return n == len(self._flat) and all(map(operator.is_, itertools.chain.from_iterable(self._views), self._flat))

    def _names_back(self) -> None:
        if not self._are_same():
            for place, names in zip(self._places, self._before, strict=True):
                _put_back(place, names)

    def _limits(self) -> Callable[[], None]:
        limits = [(which, resource.getrlimit(which)) for which in LIMITS]

        def back() -> None:
            for which, before in limits:
                if (now := resource.getrlimit(which)) != before:
                    try:
                        resource.setrlimit(which, before)
                    except (ValueError, OSError):  # only an administrator can raise a hard limit
                        if self._files and now[0] != before[0]:
                            os._exit(1)

        return back

    def _room(self) -> None:
        """Exit if no files can be opened any more; before what is open here is closed."""
        if self._files:
            try:
                os.close(free := os.dup(self._files[0][0]))
            except OSError:
                os._exit(1)
            if free >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - ROOM:
                os._exit(1)

    def _standard(self) -> Callable[[], None]:
        """Remember the standard files, to open again those that are closed or redirected."""
        files = [(n, _inode(n), os.dup(n)) for n in range(3) if _inode(n)]

        def back() -> None:
            for n, inode, copy in files:
                if _inode(copy) == inode:
                    if _inode(n) != inode:
                        os.dup2(copy, n)
                    os.close(copy)
                elif self._files:
                    os._exit(1)
            for n, name in enumerate(("stdin", "stdout", "stderr")):
                if getattr(getattr(sys, name), "closed", False):
                    setattr(sys, name, os.fdopen(n, "w" if n else "r", buffering=1, closefd=False))

        return back


@contextlib.contextmanager
def while_loading() -> Iterator[None]:
    """Surround the import of plugins, which may need what they change of the environment and of the import system."""
    limit, filters, undo = sys.getrecursionlimit(), list(warnings.filters), [_timers(), _signals(), _folder()]
    try:
        with _errors():
            yield
    finally:
        for back in undo:
            back()
        sys.setrecursionlimit(limit)
        if any(kept[0] == "error" and kept not in filters for kept in warnings.filters):
            warnings.resetwarnings()
            warnings.filters[:] = filters  # type: ignore[index]


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Put back how NumPy handles floating-point errors."""
    if np := sys.modules.get("numpy"):
        with np.errstate():
            yield
        return
    try:
        yield
    finally:
        if np := sys.modules.get("numpy"):
            np.seterr(**NUMPY)


def _places() -> Iterator[Any]:
    """Yield the modules whose functions esbench calls, and the classes that they define."""
    for name, module in sys.modules.copy().items():
        if module is not None and (name in MODULES or name.partition(".")[0] == "esbench"):
            yield module
            if name == "torch":  # of a hundred classes one
                yield module.Tensor
                continue
            for value in vars(module).values():
                if isinstance(value, type) and value.__flags__ & CHANGEABLE and value.__module__ == name:
                    yield value


def _put_back(place: Any, names: dict[str, Any]) -> None:
    """Put back names of a module or a class; what was added, and hides none, stays."""
    for name, value in names.items():
        if vars(place).get(name) is not value:
            setattr(place, name, value)
    for name in vars(place).keys() - names.keys():
        above = place.__mro__[1:] if isinstance(place, type) else (builtins,)
        if any(hasattr(hidden, name) for hidden in above):
            delattr(place, name)


def _inode(file: int) -> tuple[int, int] | None:
    """Return what identifies the file of a descriptor; None if it is closed."""
    try:
        found = os.fstat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _timers() -> Callable[[], None]:
    before = [(timer, signal.getitimer(timer)) for timer in TIMERS]

    def back() -> None:
        for timer, (seconds, interval) in before:
            if seconds or signal.getitimer(timer)[0]:
                signal.setitimer(timer, seconds, interval)

    return back


def _signals() -> Callable[[], None]:
    mask, handlers = signal.pthread_sigmask(signal.SIG_BLOCK, ()), [signal.getsignal(n) for n in SIGNALS]
    ours = threading.current_thread() is threading.main_thread()  # handlers can be set only there

    def back() -> None:
        for n, handler in zip(SIGNALS, handlers, strict=True):
            if ours and handler is not None and signal.getsignal(n) is not handler:
                signal.signal(n, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return back


def _system() -> Callable[[], None]:
    lists: tuple[list[Any], ...] = (sys.path, sys.meta_path, sys.path_hooks, sys.argv)
    contents = [(value, value.copy()) for value in lists]
    modules, interval = sys.modules.copy(), sys.getswitchinterval()

    def back() -> None:
        for value, before in contents:
            if value != before:
                value[:] = before
        sys.modules.update(modules)  # what was imported stays
        if sys.getswitchinterval() != interval:
            sys.setswitchinterval(interval)

    return back


def _folder() -> Callable[[], None]:
    mask = os.umask(0o022)
    os.umask(mask)
    try:
        folder = os.getcwd()
    except OSError:  # it was deleted
        folder = ""

    def back() -> None:
        if folder:
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
    place, level = locale.setlocale(locale.LC_ALL), logging.root.manager.disable
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

    def back() -> None:
        locale.setlocale(locale.LC_ALL, place)
        logging.disable(level)
        if torch := sys.modules.get("torch"):
            torch.set_flush_denormal(False)
        if cores and os.sched_getaffinity(0) != cores:
            os.sched_setaffinity(0, cores)

    return back


#: What is read before a call; each returns a function that puts it back.
STATES = (_timers, _signals, _system, _folder, _environment, _collector, _others)
