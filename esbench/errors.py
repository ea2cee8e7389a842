"""The exceptions of esbench.

    EsbenchError                 exit code
    ├── UsageError                   2   what was asked for cannot be
    │   ├── NameUnknown                  no component of that name
    │   ├── ParamError                   a parameter that does not fit
    │   └── ConfigError                  a configuration that does not fit, or not this run
    ├── Unavailable                  3   what was named is not here: a package, a device, a file
    │   ├── PluginError                  a plugin does not do what it promised
    │   │   ├── LoadError                    it cannot be loaded
    │   │   └── Conflict                     two plugins claim one name
    │   └── DataError                    data
    │       ├── Missing                      not found
    │       └── Checksum                     found, but other bytes than promised
    └── UnitError                    1   one optimisation failed; the others go on
        └── Busy                         another process is at work on it

Each message is one sentence or two: what was wanted, what was given, what to do. The command line shows it without a
traceback; every other exception is our own mistake and shows everything.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EsbenchError(Exception):
    """Whatever esbench has to say to its user."""

    exit_code = 4


class UsageError(EsbenchError):
    """What was asked for cannot be."""

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
    """A parameter does not exist or does not fit."""


class ConfigError(UsageError):
    """A configuration does not fit together, or is not that of this run."""


class Unavailable(EsbenchError):
    """What was named is not here."""

    exit_code = 3


class PluginError(Unavailable):
    """A plugin does not do what it promised."""


class LoadError(PluginError):
    """A plugin, or what one of its records points to, cannot be loaded."""


class Conflict(PluginError):
    """Two plugins claim one name."""


class DataError(Unavailable):
    """Something is wrong with data."""


class Missing(DataError):
    """Data is not where it was looked for."""


class Checksum(DataError):
    """Data has other bytes than it should."""


class UnitError(EsbenchError):
    """One optimisation failed; the others go on."""

    exit_code = 1


class Busy(UnitError):
    """Another process is at work on a unit."""


def described(error: BaseException) -> str:
    """Return what somebody else's exception is and says, in a line that can be shown."""
    try:
        text = str(error)
    except BaseException:  # its own text is code too
        text = "(its text cannot be shown)"
    return shown(f"{type(error).__name__}: {text}")


def shown(text: str) -> str:
    """Return a text of somebody else's as one line without what a terminal or JSON cannot take."""
    line = " ".join(text[:2000].split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""
