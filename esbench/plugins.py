"""The plugin host: loads installed plugins one at a time, so that a broken one does not affect the others.

Built-in components use the same hooks. Only this module and hookspecs use pluggy.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import importlib.metadata
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import pluggy

from esbench import __version__, hookspecs, loading
from esbench.errors import LoadError, described, did_you_mean, shown
from esbench.events import Event
from esbench.printable import is_unicode
from esbench.records import CodecInfo, CriterionInfo, DatasetInfo, DegradationInfo, Info
from esbench.untouched import while_loading

GROUP = "esbench"

#: The packages of esbench that register components, through the same hooks as plugins.
BUILT_IN = (
    "esbench.builtin.codecs",
    "esbench.builtin.criteria",
    "esbench.builtin.datasets",
    "esbench.builtin.degradations",
)

#: kind -> the hook that adds its components, and the record that the hook returns.
HOOKS: dict[str, tuple[str, type[Info]]] = {
    "codec": ("esbench_codecs", CodecInfo),
    "criterion": ("esbench_criteria", CriterionInfo),
    "dataset": ("esbench_datasets", DatasetInfo),
    "degradation": ("esbench_degradations", DegradationInfo),
}

Status = Literal["ok", "broken", "blocked", "conflict"]


@dataclass
class Plugin:
    """One entry point, loaded or not.

    Attributes:
        name: the name of the entry point.
        distribution: the distribution that installed it.
        version: the version of the distribution.
        status: ok, broken, blocked by ESBENCH_PLUGINS, or in conflict with another over a name.
        reason: one line, if the status is not ok.
        traceback: the traceback of the failure, if there was one.
        records: the records that it provides, by kind.
    """

    name: str
    distribution: str
    version: str
    status: Status = "ok"
    reason: str = ""
    traceback: str = ""
    records: dict[str, list[Info]] = field(default_factory=dict)
    manager: pluggy.PluginManager | None = field(default=None, repr=False)

    @property
    def built_in(self) -> bool:
        """Whether it is part of esbench."""
        return self.distribution == "esbench"

    @property
    def owner(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}"

    def break_(self, reason: str) -> None:
        """Mark it as broken; it then provides nothing."""
        self.status, self.reason, self.records, self.manager = "broken", shown(reason), {}, None


class PluginHost:
    """All plugins of this environment.

    Args:
        environ: the environment variables, of which ESBENCH_PLUGINS and ESBENCH_STRICT_PLUGINS are read.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.plugins = [self._load(*point) for point in _built_in()]
        self.trail = loading.trail()
        allowed = _allowed(environ.get("ESBENCH_PLUGINS", ""))
        with self.trail, third_party(), while_loading():
            for name, distribution, version, load in _installed():
                named = allowed is not None and bool({_normal(name), _normal(distribution)} & allowed)
                if allowed is not None and not named:
                    reason = "left out by ESBENCH_PLUGINS"
                    self.plugins.append(Plugin(name, distribution, version, status="blocked", reason=reason))
                elif how := self._died(distribution, version, again=named):
                    plugin = Plugin(name, distribution, version)
                    plugin.break_(f"{how} while it was loaded. Set ESBENCH_PLUGINS={distribution} to try it again")
                    self.plugins.append(plugin)
                else:
                    self.plugins.append(self._load(name, distribution, version, load))
            self._collect()
        if environ.get("ESBENCH_STRICT_PLUGINS", "") not in ("", "0"):
            for plugin in self.plugins:
                if plugin.status == "broken":
                    raise LoadError(f"{_full_name(plugin)} is broken: {plugin.reason} (ESBENCH_STRICT_PLUGINS is set).")

    @property
    def listeners(self) -> list[Plugin]:
        """The plugins that listen to events."""
        return [p for p in self.plugins if p.manager is not None and p.manager.hook.esbench_event.get_hookimpls()]

    def emit(self, event: Event) -> None:
        """Send an event to every plugin that listens; one that raises or hangs is marked as broken and gets no more."""
        for plugin in self.listeners:
            assert plugin.manager is not None
            what = "raised in esbench_event"
            with _ended(plugin, what), loading.limited(), _guard(plugin, what):
                plugin.manager.hook.esbench_event(event=copy.deepcopy(event))

    def _died(self, distribution: str, version: str, again: bool) -> str:
        """Return how loading a distribution's plugins ended a process, or an empty text.

        Args:
            distribution: the distribution of the plugin.
            version: its version.
            again: retry a distribution that ended a process before.
        """
        owner = f"{distribution} {version}"
        known, suspect = self._dead.get(owner, ""), owner in self._suspects
        if not suspect and not (known and again):
            return known
        print(f"esbench: testing {owner} in a separate process: a command ended in it", file=sys.stderr, flush=True)
        how = loading.trial(distribution)
        self.trail.tried(owner, how)
        return how

    @functools.cached_property
    def _dead(self) -> dict[str, str]:
        return self.trail.dead()

    @functools.cached_property
    def _suspects(self) -> set[str]:
        return self.trail.suspects()

    def _load(self, name: str, distribution: str, version: str, load: Callable[[], Any]) -> Plugin:
        """Import one plugin and check its hooks, in its own manager, so that a failure leaves nothing behind."""
        plugin = Plugin(name, distribution, version)
        with self._guarded(plugin, "could not be loaded"):
            module = load()
            manager = pluggy.PluginManager(GROUP)
            manager.add_hookspecs(hookspecs)
            manager.register(module, name)
            known = [hook for hook in vars(hookspecs) if hook.startswith("esbench_")]
            callers = manager.get_hookcallers(module) or []
            for caller in callers:
                if not caller.has_spec():
                    raise LoadError(f"there is no hook {caller.name!r}. {did_you_mean(caller.name, known)}")
            if not callers:
                raise LoadError(
                    f"{getattr(module, '__name__', module)!s} has no function marked with @esbench.hookimpl"
                )
            plugin.manager = manager
        return plugin

    def _collect(self) -> None:
        """Collect the records: codecs first, because criteria are built from them."""
        self._ask("codec")
        codecs = self._codecs()
        # A broken plugin provides nothing, so all hooks of plugins are called before the built-in criteria are built
        # from all codecs.
        for kind in ("dataset", "degradation"):
            self._ask(kind)
        self._ask("criterion", built_in=False, codecs=codecs)
        self._ask("criterion", built_in=True, codecs=self._codecs())

    def _codecs(self) -> Mapping[str, CodecInfo]:
        """Return the codecs by name: a built-in one cannot be replaced, and a name that two plugins use is left out."""
        codecs: dict[str, list[CodecInfo]] = {}
        built_in = set()
        for plugin in self.plugins:
            for info in plugin.records.get("codec", []):
                assert isinstance(info, CodecInfo)
                if info.name not in built_in:
                    codecs.setdefault(info.name, []).append(info)
            if plugin.built_in:
                built_in = set(codecs)
        return MappingProxyType({name: infos[0] for name, infos in codecs.items() if len(infos) == 1})

    def _ask(self, kind: str, built_in: bool | None = None, **kwargs: Any) -> None:
        hook, record = HOOKS[kind]
        for plugin in self.plugins:
            if plugin.manager is None or built_in not in (None, plugin.built_in):
                continue
            with self._guarded(plugin, f"raised in {hook}"):
                caller = getattr(plugin.manager.hook, hook)
                results = caller(**kwargs)
                if not results and caller.get_hookimpls():  # pluggy drops None
                    raise LoadError(f"{hook} must return a list of {record.__name__}, got None")
                plugin.records[kind] = _checked(hook, record, results)

    @contextlib.contextmanager
    def _guarded(self, plugin: Plugin, what: str) -> Iterator[None]:
        """Guard the loading of a plugin; the trail names it if it ends the process."""
        trail = contextlib.nullcontext() if plugin.built_in else self.trail.at(plugin.owner)
        with _ended(plugin, what), trail, _guard(plugin, what):
            yield


def _checked(hook: str, record: type[Info], results: list[Any]) -> list[Info]:
    """Return the records of one hook of one plugin as a list.

    Raises:
        LoadError: the hook returned something else.
    """
    infos: list[Info] = []
    for result in results:
        if isinstance(result, str | Info) or not isinstance(result, Iterable):
            raise LoadError(f"{hook} must return a list of {record.__name__}, got {type(result).__name__}")
        for info in result:
            if not isinstance(info, record):
                raise LoadError(f"{hook} must return a list of {record.__name__}, got a {type(info).__name__} in it")
            if info.name in {other.name for other in infos}:
                raise LoadError(f"{hook} returns the name {info.name!r} twice")
            if odd := [key for key, value in vars(info).items() if isinstance(value, str) and not _is_text(value)]:
                raise LoadError(f"{hook} returns {info.name!r} with invalid Unicode in its {odd[0]}")
            infos.append(info)
    return infos


def _is_text(value: str) -> bool:
    """Whether a text can be encoded: half of a surrogate pair cannot."""
    return value.isascii() or is_unicode(value)


def _built_in() -> Iterator[tuple[str, str, str, Callable[[], Any]]]:
    for module in BUILT_IN:
        yield module, "esbench", __version__, functools.partial(importlib.import_module, module)


def _installed() -> Iterator[tuple[str, str, str, Callable[[], Any]]]:
    """Yield name, distribution, version and loader of each entry point.

    Read distribution by distribution, because entry_points() raises if a single file cannot be parsed. Of unrelated
    distributions only that file is read.
    """
    seen = set()
    for distribution in importlib.metadata.distributions():
        if not _mentions_us(distribution):
            continue
        where = os.path.basename(str(getattr(distribution, "_path", "a distribution")))
        name, version = where, "?"
        try:
            name, version = _identity(distribution)
            key = _normal(name)
            if key in seen:  # the first on the path is the one that is imported
                continue
            seen.add(key)
            points = [point for point in distribution.entry_points if point.group == GROUP]
        except Exception as error:
            yield name, name, version, _raiser(f"its metadata cannot be read: {error}")
            continue
        for point in points:
            if point.pattern.match(point.value):
                yield point.name, name, version, point.load
            else:
                sentence = f"its entry point {point.value!r} must be package.module or package.module:object"
                yield point.name, name, version, _raiser(sentence)


def _identity(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    name = distribution.metadata["Name"]
    if not name:
        raise ValueError("it has no name")
    return str(name), str(distribution.version)


def _mentions_us(distribution: importlib.metadata.Distribution) -> bool:
    try:
        return f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or "")
    except Exception:
        return False


def _raiser(sentence: str) -> Callable[[], Any]:
    def load() -> Any:
        raise LoadError(sentence)

    return load


def _allowed(text: str) -> set[str] | None:
    """Return the names of ESBENCH_PLUGINS; None for all."""
    if not text.strip():
        return None
    return {_normal(name.strip()) for name in text.split(",")} - {"none"}


def _normal(name: str) -> str:
    """Return a distribution's normalised name, as package indexes use it: Foo_bar is foo-bar."""
    return re.sub(r"[-_.]+", "-", name).lower()


@contextlib.contextmanager
def _ended(plugin: Plugin, what: str) -> Iterator[None]:
    """Record that a call of a plugin was aborted."""
    try:
        yield
    except loading.Endless as error:
        plugin.traceback = _traceback()
        plugin.break_(f"{what}: {error}")


@contextlib.contextmanager
def _guard(plugin: Plugin, what: str) -> Iterator[None]:
    """Record any exception of a plugin, even sys.exit, in its status; what it prints goes to stderr."""
    try:
        with third_party():
            yield
    except loading.Endless:
        raise
    except Interrupted:
        print(f"esbench: interrupted in {plugin.owner}", file=sys.stderr, flush=True)
        raise
    except LoadError as error:
        plugin.traceback = _traceback()
        plugin.break_(str(error))
    except BaseException as error:
        plugin.traceback = _traceback()
        plugin.break_(f"{what}: {described(error)}")


class Interrupted(KeyboardInterrupt):
    """Raised if the user pressed Ctrl-C; a plain KeyboardInterrupt may come from a plugin."""


@contextlib.contextmanager
def third_party() -> Iterator[None]:
    """Surround calls of third-party code: redirect its output to stderr and distinguish Ctrl-C from its exceptions.

    Raises:
        Interrupted: the user pressed Ctrl-C.
    """
    global _watches
    with contextlib.redirect_stdout(sys.stderr):
        main = threading.current_thread() is threading.main_thread()
        if _watches or not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        _watches = True
        signal.signal(signal.SIGINT, _interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _watches = False


#: Whether Ctrl-C is already handled: not every call of a plugin has to install the handler again.
_watches = False


def _interrupt(*_: object) -> None:
    raise Interrupted


def _traceback() -> str:
    """Return the traceback of the current exception, if it can be formatted."""
    try:
        text = traceback.format_exc()
    except BaseException:  # __str__ of an exception is third-party code too
        text = "Its traceback cannot be shown.\n"
    return text.encode(errors="backslashreplace").decode()


def _full_name(plugin: Plugin) -> str:
    return f"Plugin {plugin.name!r} ({plugin.owner})"
