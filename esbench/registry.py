"""The registry: maps a kind and a name to a component. Components are imported on use, not to be listed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from esbench import __version__, params, torch_state
from esbench.builtin import baselines, executors, inputs, losses, networks, regularisers, tasks
from esbench.errors import Conflict, EsbenchError, LoadError, NameUnknown, Unavailable, described, shown
from esbench.loading import Endless
from esbench.params import Param
from esbench.plugins import HOOKS, Interrupted, PluginHost, third_party
from esbench.records import CriterionInfo, Info, LossInfo, Range, TaskInfo

if TYPE_CHECKING:
    from esbench.untouched import Untouched

#: kind -> its plural, as in `esbench list`.
PLURAL = {
    "criterion": "criteria",
    "codec": "codecs",
    "dataset": "datasets",
    "degradation": "degradations",
    "task": "tasks",
    "loss": "losses",
    "regulariser": "regularisers",
    "network": "networks",
    "input": "inputs",
    "baseline": "baselines",
    "executor": "executors",
}

#: Kinds without a hook: only esbench itself can add components.
INTERNAL: dict[str, Iterable[Info]] = {
    "task": tasks.INFOS,
    "loss": losses.INFOS,
    "regulariser": regularisers.INFOS,
    "network": networks.INFOS,
    "input": inputs.INFOS,
    "baseline": baselines.INFOS,
    "executor": executors.INFOS,
}

#: kind -> the number of leading arguments of a target that are not parameters: the frame, the image, a picture and a
#: generator, the step, the channels in and out.
LEADING = {
    "criterion": 1,
    "codec": 1,
    "dataset": 0,
    "degradation": 2,
    "task": 0,
    "loss": 1,
    "regulariser": 1,
    "network": 2,
    "input": 0,
    "baseline": 2,
    "executor": 3,
}


@dataclass(frozen=True)
class Record:
    """A listed component: its info, its distribution and its status."""

    kind: str
    info: Info
    distribution: str
    distribution_version: str
    status: Literal["ok", "unavailable", "broken", "conflict"] = "ok"
    reason: str = ""

    @property
    def qualified(self) -> str:
        """The name with its distribution, which is unique."""
        return f"{self.distribution}:{self.info.name}"

    @property
    def owner(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.distribution_version}"


@dataclass(frozen=True)
class Component:
    """A component ready for use: its record, its target and the value of every parameter.

    Attributes:
        text: the canonical text, `name[key=value]` with sorted keys and without defaults.
    """

    record: Record
    target: Callable[..., Any]
    values: dict[str, Any]
    text: str

    @property
    def info(self) -> Info:
        """The record that the plugin returned."""
        return self.record.info


class Registry:
    """All components of this environment.

    Args:
        host: the plugins.
    """

    def __init__(self, host: PluginHost) -> None:
        self.host = host
        self.records: dict[str, list[Record]] = {kind: [] for kind in PLURAL}
        for kind in HOOKS:
            for plugin in host.plugins:
                for info in plugin.records.get(kind, []):
                    self.records[kind].append(Record(kind, info, plugin.distribution, plugin.version))
        for kind, infos in INTERNAL.items():
            self.records[kind] = [Record(kind, info, "esbench", __version__) for info in infos]
        self._codec_owners()
        with host.trail, third_party():
            for kind, records in self.records.items():
                self.records[kind] = [self._traced(record) for record in records]
        self._blame()

    def find(self, kind: str, name: str) -> Record:
        """Return the record of a name, plain or qualified as `distribution:name`.

        Raises:
            NameUnknown: there is none.
            Conflict: several plugins have it.
            Unavailable: it is listed, but cannot be used.
        """
        records = self.records[kind]
        if qualified := [r for r in records if r.qualified == name]:
            record = qualified[0]
            if record.status == "conflict":
                record = replace(record, status="ok", reason="")
        else:
            named = [r for r in records if r.info.name == name]
            if not named:
                raise self._unknown(kind, name)
            usable = [r for r in named if r.status != "conflict"]
            if not usable:
                owners = " and ".join(r.owner for r in named)
                choices = " or ".join(repr(r.qualified) for r in named)
                raise Conflict(f"{owners} both have a {kind} {name!r}. Choose {choices}.")
            record = usable[0]
        if record.status in ("unavailable", "broken"):
            raise Unavailable(f"{kind.capitalize()} {name!r} cannot be used: {record.reason}")
        return record

    def get(self, kind: str, text: str) -> Component:
        """Return a component from its text `name[key=value,...]`.

        Raises:
            UsageError: the text, its name or a parameter is invalid.
            Unavailable: it is listed, but cannot be used.
        """
        name, given = params.split(text)
        record = self.find(kind, name)
        target = load(record, record.info.target)
        known = parameters(record)
        values = params.decide(text, given, known)
        # the canonical text uses the plain name if it is unique
        plain = [r.qualified for r in self.records[kind] if r.info.name == record.info.name and r.status != "conflict"]
        name = record.info.name if record.qualified in plain else record.qualified
        return Component(record, target, values, params.canonical(name, values, known))

    def _unknown(self, kind: str, name: str) -> NameUnknown:
        names = [r.info.name for r in self.records[kind]]
        command = "esbench list-criteria" if kind == "criterion" else f"esbench list {PLURAL[kind]}"
        broken = [p for p in self.host.plugins if p.status == "broken"]
        hint = f"'{command}' shows all {len(names)}."
        if len(broken) == 1 and kind in HOOKS:
            hint += f" Plugin {broken[0].name!r} of {broken[0].owner} is broken: {broken[0].reason.rstrip('.')}."
        elif broken and kind in HOOKS:
            hint += f" {len(broken)} plugins are broken: 'esbench plugins' says why."
        if blocked := [repr(p.name) for p in self.host.plugins if p.status == "blocked" and kind in HOOKS]:
            hint += f" ESBENCH_PLUGINS excludes {', '.join(blocked)}."
        return NameUnknown(kind, name, names, hint)

    def _codec_owners(self) -> None:
        """Assign a criterion made from a third-party codec to the codec's distribution, so that it shares conflicts."""
        owners = {r.info.name: r for r in reversed(self.records["codec"])}  # the built-in ones are first
        for i, record in enumerate(self.records["criterion"]):
            owner = owners.get(getattr(record.info, "codec", ""))
            if owner is not None and record.distribution == "esbench":
                self.records["criterion"][i] = replace(
                    record, distribution=owner.distribution, distribution_version=owner.distribution_version
                )

    def _traced(self, record: Record) -> Record:
        """Determine the status of a record; if its code ends the process, the trail names its distribution."""
        if record.distribution == "esbench":
            return self._judge(record)
        try:
            with self.host.trail.at(record.owner):
                return self._judge(record)
        except Endless as error:
            return replace(record, status="broken", reason=f"{_full_name(record)} could not be loaded: {error}")

    def _judge(self, record: Record) -> Record:
        """Return the record with its status: in conflict, unavailable, broken or ok."""
        rivals = [r for r in self.records[record.kind] if r.info.name == record.info.name and r is not record]
        if rivals and record.distribution != "esbench":
            names = ", ".join(r.owner for r in rivals)
            return replace(
                record, status="conflict", reason=f"{names} has the same name; this one is {record.qualified!r}"
            )
        if lacking := record.info.lacking():
            return replace(
                record, status="unavailable", reason=f"needs {lacking}: pip install {record.info.install or lacking}"
            )
        try:
            check = getattr(record.info, "unavailable", None)
            if check is not None and (why := _ask(record, load(record, check))):
                return replace(record, status="unavailable", reason=why)
            if record.distribution != "esbench":
                _locate(record, self._target(record))
        except LoadError as error:
            return replace(record, status="broken", reason=str(error))
        return record

    def _blame(self) -> None:
        """Give the plugins whose records are in conflict that status."""
        conflicts = [r for records in self.records.values() for r in records if r.status == "conflict"]
        for record in conflicts:
            for plugin in self.host.plugins:
                if plugin.distribution == record.distribution and plugin.records:
                    plugin.status = "conflict"
                    plugin.reason = f"{record.kind} {record.info.name!r}: {record.reason}"

    def _target(self, record: Record) -> str | Callable[..., Any]:
        """Return the target of a component; of a criterion made from a codec, the codec's target."""
        codec = getattr(record.info, "codec", "")
        codecs = [r.info.target for r in self.records["codec"] if r.info.name == codec]
        return codecs[0] if codecs and not isinstance(record.info.target, str) else record.info.target


def parameters(record: Record) -> dict[str, Param]:
    """Return the parameters of a component by name; every criterion also has `every` and `on`.

    Raises:
        LoadError: its target cannot be imported.
    """
    target = load(record, record.info.target)
    try:
        # a criterion with memory is a class, which gets its frames later
        leading = 0 if record.kind == "criterion" and isinstance(target, type) else LEADING[record.kind]
        known = params.parameters(target, leading)
    except (TypeError, ValueError) as error:
        raise LoadError(f"{_full_name(record)} has no readable signature: {error}") from error
    for param in known.values():
        if record.kind in ("criterion", "codec") and not params.is_writable(param.default):  # recorded with each value
            wanted = "a finite number, true or false, text, none, or a tuple of them"
            raise LoadError(f"{_full_name(record)} must have {wanted} as the default of {param.name!r}")
    swept = getattr(record.info, "parameter", "")
    if swept and swept not in known:
        raise LoadError(f"{_full_name(record)} must have the parameter {swept!r}, which its record names")
    if isinstance(record.info, CriterionInfo):
        from typing import Annotated

        if taken := known.keys() & {"every", "on"}:
            raise LoadError(f"{_full_name(record)} has a parameter {taken.pop()!r}, which every criterion already has")
        known["every"] = Param("every", Annotated[int, Range(1)], record.info.every)
        known["on"] = Param("on", Literal["output", "average"], record.info.measures)
    return known


def load(record: Record, target: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the target of a record, imported if needed.

    Raises:
        LoadError: it cannot be imported, or is not callable.
    """
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    with _guard(record, "could not be loaded:"):
        found = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise LoadError(f"{_full_name(record)} could not be loaded: {target} is a {type(found).__name__}, not callable")
    return found  # type: ignore[no-any-return]


def registry() -> Registry:
    """Return the registry of this process, made on first use."""
    return _registry()


@functools.cache
def _registry() -> Registry:
    return Registry(PluginHost())


@functools.cache
def made_by(text: str) -> dict[str, Any]:
    """Return the origin of a criterion's values, which is recorded with them; different origins are never mixed."""
    record = registry().find("criterion", params.split(text)[0])
    version = record.distribution_version if record.distribution != "esbench" else ""
    return {"distribution": record.distribution, "distribution_version": version, "version": record.info.version}


def own_network(task: str, loss: str | None) -> str:
    """Return the network that a loss, or else its task, is meant for; empty if neither names one.

    Args:
        task: the text of the task.
        loss: the text of the loss; None for the task's default.
    """
    what = registry().get("task", task).info
    assert isinstance(what, TaskInfo)
    how = registry().get("loss", loss or what.loss).info
    assert isinstance(how, LossInfo)
    return how.network or what.network or ""


def maker(origin: Mapping[str, Any]) -> str:
    """Return an origin, as `made_by` gives it, as text: distribution, its version and that of the criterion."""
    made = f"{origin['distribution']} {origin['distribution_version']} (version {origin['version']})"
    return made.replace("  ", " ")


@contextlib.contextmanager
def calling(record: Record) -> Iterator[None]:
    """Surround a call of a component in use; what a built-in one raises is a bug and passes through.

    Raises:
        LoadError: a third-party one raised; the message names its distribution.
    """
    if record.distribution == "esbench":
        yield
        return
    with _guard(record, "raised"), torch_state.same(), untouched()():  # it may have changed what restores the state
        yield


@functools.cache
def untouched() -> Untouched:
    """Return what restores the state of this process after a call of third-party code."""
    from esbench.untouched import Untouched

    return Untouched()


def wrong(record: Record, wanted_and_got: str) -> LoadError:
    """Return the error that a component returned something else than what it must."""
    return LoadError(f"{_full_name(record)} must return {wanted_and_got}.")


def _ask(record: Record, function: Callable[[], Any]) -> str:
    """Return why a component is not available, according to its own check."""
    with _guard(record, "raised"):
        return shown(str(function() or ""))


def _locate(record: Record, target: str | Callable[..., Any]) -> None:
    """Check that a target exists, without importing more than its package.

    Raises:
        LoadError: it does not.
    """
    if not isinstance(target, str):
        return
    module, _, name = target.partition(":")
    with _guard(record, "could not be loaded:"):
        spec = importlib.util.find_spec(module)
    if spec is None:
        raise LoadError(f"{_full_name(record)} could not be loaded: there is no module {module!r}")
    if module in sys.modules and not hasattr(sys.modules[module], name):
        raise LoadError(f"{_full_name(record)} could not be loaded: {module!r} has no {name!r}")


@contextlib.contextmanager
def _guard(record: Record, what: str) -> Iterator[None]:
    """Turn any exception of a component, even sys.exit, into a LoadError; what it prints goes to stderr."""
    try:
        with third_party():
            yield
    except (Interrupted, Endless, EsbenchError):
        raise
    except BaseException as error:
        raise LoadError(f"{_full_name(record)} {what} {described(error)}") from error


def _full_name(record: Record) -> str:
    return f"{record.kind.capitalize()} {record.info.name!r} of {record.owner}"
