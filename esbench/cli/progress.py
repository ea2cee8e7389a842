"""Show progress on stderr: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeAlias

from esbench.bench.driver import duration
from esbench.cli.output import console, say
from esbench.events import (
    Event,
    Notice,
    Progress,
    RunFinished,
    RunStarted,
    UnitFailed,
    UnitFinished,
    UnitPaused,
    UnitStarted,
)
from esbench.printable import printable

#: Called with every event.
Listen: TypeAlias = Callable[[Event], None]

#: Minimum number of seconds between two lines about a unit.
LINE_EVERY = 10.0


class Lines:
    """Show progress as plain lines, for a file or a log."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self.told: dict[str, float] = {}
        self.started: dict[str, float] = {}
        self.first: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Print a line for an event, if it needs one."""
        now = time.monotonic()
        match event:
            case RunStarted():
                done = f", {event.done} already done" if event.done else ""
                say(f"{event.folder}: {event.units} unit{'s' if event.units > 1 else ''}{done}", err=True)
            case UnitStarted():
                self.started[event.unit], self.told[event.unit], self.first[event.unit] = now, now, event.step
                if event.step:
                    say(f"{event.unit}: resumed at step {event.step}", err=True)
            case Progress() if now - self.told[event.unit] >= LINE_EVERY or event.step == event.iterations:
                self.told[event.unit] = now
                rate = (event.step - self.first[event.unit]) / (now - self.started[event.unit])
                left = (event.iterations - event.step + event.later) / rate
                say(
                    f"{event.unit}: step {event.step}/{event.iterations}, {_psnr(event)}{rate:.1f} steps/s, "
                    f"at most {duration(left)} left{_where(event)}",
                    err=True,
                )
            case Notice() if self.verbose or not event.detail:
                say(f"{event.unit}: {event.text}" if event.unit else event.text, err=True)
            case UnitFinished():
                say(f"{event.unit}: done in {duration(event.seconds)}", err=True)
            case UnitFailed():
                say(f"{event.unit}: failed: {event.reason}", err=True)
            case UnitPaused():
                say(f"{event.unit}: paused at step {event.step}", err=True)
            case RunFinished() if event.left:
                say(_units_left(event), err=True)


class Bars:
    """Show progress as one bar for the run and one per running unit."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=console(),
            transient=True,
        )
        self.run: Any = None
        self.units: dict[str, Any] = {}
        self.started: dict[str, float] = {}
        self.first: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Update the bars for an event."""
        match event:
            case RunStarted():
                self.run = self.bars.add_task("run", total=event.units, completed=event.done, note="units")
            case UnitStarted():
                self.units[event.unit] = self.bars.add_task(
                    printable(event.unit), total=event.iterations, completed=event.step, note=""
                )
                self.started[event.unit], self.first[event.unit] = time.monotonic(), event.step
            case Progress():
                seconds = time.monotonic() - self.started[event.unit]
                rate = (event.step - self.first[event.unit]) / seconds
                note = f"{_psnr(event)}{rate:.1f} steps/s{_where(event)}"
                self.bars.update(
                    self.units[event.unit], completed=event.step, total=event.iterations, note=printable(note)
                )
            case Notice() if self.verbose or not event.detail:
                self._print(f"{event.unit}: {event.text}" if event.unit else event.text)
            case UnitFinished():
                self.bars.remove_task(self.units.pop(event.unit))
                if self.run is not None:  # a restoration has none
                    self.bars.advance(self.run)
            case UnitPaused():
                self.bars.remove_task(self.units.pop(event.unit))
            case RunFinished() if event.left:
                self._print(_units_left(event))
            case UnitFailed():
                if event.unit in self.units:  # it may have failed before it started
                    self.bars.remove_task(self.units.pop(event.unit))
                self._print(f"{event.unit}: failed: {event.reason}")

    def _print(self, text: str) -> None:
        """Print a line above the bars."""
        self.bars.console.print(printable(text))


@contextmanager
def display(quiet: bool, verbose: bool = False) -> Iterator[Listen]:
    """Yield a listener that shows progress: bars on a terminal, lines elsewhere, only failures if quiet.

    Output that a criterion prints is redirected to stderr, so that it does not mix with the command's own.
    """
    with redirect_stdout(sys.stderr):
        if quiet:
            yield _failures
        elif sys.stderr.isatty():
            bars = Bars(verbose)
            with bars.bars:
                yield bars
        else:
            yield Lines(verbose)


def _failures(event: Event) -> None:
    if isinstance(event, UnitFailed):
        say(f"{event.unit}: failed: {event.reason}", err=True)


def _units_left(event: RunFinished) -> str:
    n = event.left
    return f"{n} unit{'s' if n > 1 else ''} left: run the same command again to continue"


def _psnr(event: Progress) -> str:
    return "" if event.psnr_db is None else f"{event.psnr_db:.2f} dB, "


def _where(event: Progress) -> str:
    """Return the best step of each criterion so far and whether it stopped there, as the end of a line."""
    best = (f"{name} {'stopped at ' if name in event.stopped else ''}{step}" for name, step in event.best.items())
    return "".join(f"{'; ' if i == 0 else ', '}{text}" for i, text in enumerate(best))
