"""What is announced while esbench is at work; each kind of event is a class of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something happened in a run; each kind is a class of its own."""


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run begins: its folder, how many units it asks for and how many of them are done already."""

    folder: str
    units: int
    done: int
    iterations: int


@dataclass(frozen=True, kw_only=True)
class UnitStarted(Event):
    """A unit begins, or goes on at a step that an earlier command came to."""

    unit: str
    iterations: int
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """A unit has come to a step: the PSNR of its output, if it is known, and the best step of each criterion so far.

    `later` is how many steps may come after this unit, where that is known.
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
    """A sentence that the user should see, such as an optimisation that was set back. No `unit`: the run.

    `detail` marks what only somebody who asks for more wants to see, such as a parameter that was decided.
    """

    text: str
    unit: str = ""
    detail: bool = False


@dataclass(frozen=True, kw_only=True)
class UnitFinished(Event):
    """A unit is done and on the disk."""

    unit: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class UnitFailed(Event):
    """A unit failed; the others go on."""

    unit: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class UnitPaused(Event):
    """A unit was left at a step, because the budget is spent or somebody asked; the same command goes on there."""

    unit: str
    step: int


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """A run ends: how many of its units are done, how many failed, and how many are left for the same command."""

    folder: str
    done: int
    failed: int
    left: int = 0
