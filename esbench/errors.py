"""The exceptions of esbench.

    EsbenchError                 exit code
    ├── UsageError                   2   the request is invalid
    │   ├── NameUnknown                  no component of that name
    │   ├── ParamError                   an unknown parameter or an invalid value
    │   └── ConfigError                  an invalid configuration, or that of another run
    ├── Unavailable                  3   a package, a device, a file or the like is not available
    │   ├── PluginError                  a plugin breaks its contract
    │   │   ├── LoadError                    it cannot be loaded
    │   │   └── Conflict                     two plugins use the same name
    │   └── DataError                    data
    │       ├── Missing                      not found
    │       └── Checksum                     found, but with the wrong checksum
    └── UnitError                    1   one optimisation failed; the others continue
        └── Busy                         another process is running it

Each message is one sentence or two: what was wanted, what was given, what to do. The command line shows it without a
traceback; every other exception is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EsbenchError(Exception):
    """Base class of all errors that esbench reports to the user."""

    exit_code = 4


class UsageError(EsbenchError):
    """The request is invalid."""

    exit_code = 2


class NameUnknown(UsageError):
    """No component has that name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name = kind, name
        known = sorted(known)
        sentence = f"No {kind} {name!r}."
        if close := did_you_mean(name, known):
            sentence += f" {close}"
        super().__init__(f"{sentence} {hint}".rstrip())


class ParamError(UsageError):
    """A parameter does not exist, or its value is invalid."""


class ConfigError(UsageError):
    """A configuration is inconsistent, or belongs to another run."""


class Unavailable(EsbenchError):
    """A package, a device, a file or the like is not available."""

    exit_code = 3


class PluginError(Unavailable):
    """A plugin breaks its contract."""


class LoadError(PluginError):
    """A plugin, or the target of one of its records, cannot be loaded."""


class Conflict(PluginError):
    """Two plugins use the same name."""


class DataError(Unavailable):
    """Data is missing or damaged."""


class Missing(DataError):
    """Data was not found."""


class Checksum(DataError):
    """Data does not match its checksum."""


class UnitError(EsbenchError):
    """One optimisation failed; the others continue."""

    exit_code = 1


class Busy(UnitError):
    """Another process is running a unit."""


def described(error: BaseException) -> str:
    """Return the type and the text of a third-party exception as one printable line."""
    try:
        text = str.__str__(str(error))  # the first may return a subclass, with a `__format__` of its own
    except BaseException:  # __str__ is third-party code too
        text = "(its text cannot be shown)"
    return shown(f"{kind_of(error)}: {text}")


def kind_of(thing: object) -> str:
    """Return the name of the type of a third-party object, whatever its metaclass says."""
    name: str = type.__dict__["__name__"].__get__(type(thing))
    return str.__str__(name)


def shown(text: str) -> str:
    """Return a third-party text as one line, without characters that a terminal or JSON cannot represent."""
    line = " ".join(text[:2000].split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""
