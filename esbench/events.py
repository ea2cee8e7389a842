"""The events of a run; each kind is a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base class of all events."""


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run starts: its folder, its number of units, and how many of them are already done."""

    folder: str
    units: int
    done: int
    iterations: int


@dataclass(frozen=True, kw_only=True)
class UnitStarted(Event):
    """A unit starts, or resumes at the step that an earlier command reached."""

    unit: str
    iterations: int
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """A unit reached a step: the PSNR of its output, if it is known, and the best step of each criterion so far.

    `later` is the number of steps that may follow after this unit, if it is known.
    """

    unit: str
    step: int
    iterations: int
    psnr_db: float | None
    best: Mapping[str, int]
    stopped: Mapping[str, int]
    later: int = 0


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """A message for the user, such as that an optimisation was set back. An empty `unit` means the run.

    `detail` marks messages that are only shown if verbose, such as a parameter that was resolved.
    """

    text: str
    unit: str = ""
    detail: bool = False


@dataclass(frozen=True, kw_only=True)
class UnitFinished(Event):
    """A unit is done and written to the disk."""

    unit: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class UnitFailed(Event):
    """A unit failed; the others continue."""

    unit: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class UnitPaused(Event):
    """A unit was paused at a step, by the budget or the user; the same command resumes it there."""

    unit: str
    step: int


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """A run ends: how many of its units are done, how many failed, and how many are left to run."""

    folder: str
    done: int
    failed: int
    left: int = 0


def ignore(event: Event) -> None:
    """Do nothing with an event."""
