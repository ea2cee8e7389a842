"""Show progress on stderr: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
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

#: The columns of bar, `/` and time left, with the spaces between them and the numbers of steps.
LEFT = 25

#: Minimum number of seconds between two lines about a unit.
LINE_EVERY = 10.0


class Clock:
    """The speed of each unit, and how long it may still take."""

    def __init__(self) -> None:
        self.began: dict[str, tuple[float, int]] = {}

    def start(self, event: UnitStarted) -> None:
        """Start the clock of a unit."""
        self.began[event.unit] = time.monotonic(), event.step

    def rate(self, event: Progress) -> float:
        """Return the steps per second of a unit since it started or resumed."""
        since, first = self.began[event.unit]
        return (event.step - first) / max(time.monotonic() - since, 1e-9)

    def left(self, event: Progress) -> float:
        """Return the most seconds that a unit may still take."""
        return (event.iterations - event.step + event.later) / max(self.rate(event), 1e-9)


class Said:
    """The messages that were printed already, so that the same one of another unit or step is not repeated."""

    def __init__(self) -> None:
        self.texts: set[str] = set()

    def new(self, event: Notice | UnitFailed) -> bool:
        """Whether a notice or a failure is the first of its kind."""
        text = re.sub(r" at step \d+", "", event.text if isinstance(event, Notice) else event.reason)
        again = bool(event.unit) and text in self.texts
        self.texts.add(text)
        return not again


class Lines:
    """Plain lines, for a file or a log."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self.clock, self.said = Clock(), Said()
        self.told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Print a line for the event, if it needs one."""
        now = time.monotonic()
        match event:
            case RunStarted():
                done = f", {event.done} already done" if event.done else ""
                say(f"{event.folder}: {event.units} unit{'s' if event.units > 1 else ''}{done}", err=True)
            case UnitStarted():
                self.told[event.unit] = now
                self.clock.start(event)
                if event.step:
                    say(f"{event.unit}: resumed at step {event.step}", err=True)
            case Progress() if now - self.told[event.unit] >= LINE_EVERY or event.step == event.iterations:
                self.told[event.unit] = now
                say(
                    f"{event.unit}: step {event.step}/{event.iterations}, at most {duration(self.clock.left(event))} "
                    f"left, {_psnr(event)}{self.clock.rate(event):.1f} steps/s{_where(event)}",
                    err=True,
                )
            case Notice() if (self.verbose or not event.detail) and self.said.new(event):
                say(_sentence(event), err=True)
            case UnitFinished():
                say(f"{event.unit}: done in {duration(event.seconds)}", err=True)
            case UnitFailed() if self.said.new(event):
                say(_sentence(event), err=True)
            case UnitPaused():
                say(f"{event.unit}: paused at step {event.step}", err=True)
            case RunFinished() if event.left:
                say(_units_left(event), err=True)


class Bars:
    """A bar for the run and one per running unit: bar, steps and time left first, then the rest as far as it fits."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self.bars = Bars(
            BarColumn(bar_width=12),
            MofNCompleteColumn(table_column=Column(no_wrap=True, justify="right")),
            TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True, min_width=9)),
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=console(),
            transient=True,
            expand=True,
        )
        self.clock, self.said = Clock(), Said()
        self.run: Any = None
        self.iterations = 0
        self.units: dict[str, Any] = {}
        self.latest: dict[str, Progress] = {}  # of each running unit

    def __call__(self, event: Event) -> None:
        """Move the bars."""
        match event:
            case RunStarted():
                self.iterations = event.iterations
                self.run = self.bars.add_task("units", total=event.units, completed=event.done, left="")
            case UnitStarted():
                self._end(event.unit)  # its process was killed, and it starts again
                self.clock.start(event)
                self.units[event.unit] = self.bars.add_task(
                    printable(event.unit), total=event.iterations, completed=event.step, left=""
                )
            case Progress():
                self.latest[event.unit] = event
                note = f"{_psnr(event)}{self.clock.rate(event):.1f} steps/s"
                where = _where(event)
                if len(note + where) > self.bars.console.width - LEFT - 2 * len(str(event.iterations)):
                    where = f"; {len(event.stopped)} of {len(event.best)} stopped"
                self.bars.update(
                    self.units[event.unit],
                    completed=event.step,
                    total=event.iterations,
                    left=duration(self.clock.left(event)),
                    description=f"{printable(event.unit)}\n{printable(note + where)}",
                )
                self._update_run()
            case Notice() if (self.verbose or not event.detail) and self.said.new(event):
                self._print(_sentence(event))
            case UnitFinished():
                self._end(event.unit)
                if self.run is not None:  # a restoration has none
                    self.bars.advance(self.run)
            case UnitPaused():
                self._end(event.unit)
            case RunFinished() if event.left:
                self._print(_units_left(event))
            case UnitFailed():
                self._end(event.unit)
                if self.said.new(event):
                    self._print(_sentence(event))

    def _update_run(self) -> None:
        """Show how long the run may still take: the steps that are left, at the speed of the running units."""
        if self.run is None:
            return
        (run,) = [task for task in self.bars.tasks if task.id == self.run]
        waiting = (run.total or 0) - run.completed - len(self.units)
        steps = waiting * self.iterations + sum(e.iterations - e.step for e in self.latest.values())
        rate = sum(map(self.clock.rate, self.latest.values()))
        self.bars.update(self.run, left=duration(steps / max(rate, 1e-9)))

    def _end(self, unit: str) -> None:
        """Remove the bar of a unit; it may have failed before it started."""
        self.latest.pop(unit, None)
        if unit in self.units:
            self.bars.remove_task(self.units.pop(unit))

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
            said = Said()
            yield lambda event: _failures(event, said)
        elif sys.stderr.isatty() and not console().is_dumb_terminal:  # a dumb one cannot redraw a line
            bars = Bars(verbose)
            with bars.bars:
                yield bars
        else:
            yield Lines(verbose)


def _failures(event: Event, said: Said) -> None:
    if isinstance(event, UnitFailed) and said.new(event):
        say(_sentence(event), err=True)


def _sentence(event: Notice | UnitFailed) -> str:
    text = event.text if isinstance(event, Notice) else f"failed: {event.reason}"
    return f"{event.unit}: {text}" if event.unit else text


def _units_left(event: RunFinished) -> str:
    n = event.left
    return f"{n} unit{'s' if n > 1 else ''} left: run the same command again to continue"


def _psnr(event: Progress) -> str:
    return "" if event.psnr_db is None else f"{event.psnr_db:.2f} dB, "


def _where(event: Progress) -> str:
    """Return the best step of each criterion so far and whether it stopped there, as the end of a line."""
    best = (f"{name} {'stopped at ' if name in event.stopped else ''}{step}" for name, step in event.best.items())
    return "".join(f"{'; ' if i == 0 else ', '}{text}" for i, text in enumerate(best))
