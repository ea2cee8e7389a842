"""A person's own pictures."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from esbench import images
from esbench.bench.driver import LONG, duration
from esbench.cli.output import json_option, print_json
from esbench.cli.progress import LINE_EVERY
from esbench.errors import DataError, Unavailable, UnitError, UsageError
from esbench.restoration.denoise import ITERATIONS, NETWORK, PATIENCE, RESTARTS, Denoised, Denoising, Options, Position

if TYPE_CHECKING:
    from esbench.report.denoise_page import Section

#: Steps of an optimisation that do not count for its speed: the first ones are slow.
SLOW = 3


@click.command("denoise")
@click.argument("pictures", nargs=-1, required=True, metavar="IN...")
@click.option("-o", "--output", required=True, metavar="OUT", help="The picture to write; of several, their folder.")
@click.option("-c", "--criterion", help="What it stops by. [discrepancy, with the noise level as estimated]")
@click.option("--sigma", type=float, help="The noise level on the 0-255 scale, where it is known. [estimated]")
@click.option(
    "--quality",
    type=click.Choice(list(RESTARTS)),
    help=f"best: the average of {RESTARTS['best']} optimisations, in {RESTARTS['best']} times the time. [fast]",
)
@click.option("--network", help=f"What parametrises the picture. [{NETWORK}]")
@click.option(
    "--iterations",
    type=int,
    metavar="T",
    help=f"The most steps of an optimisation. [{ITERATIONS}, more for over 128 x 128 pixels]",
)
@click.option("--patience", type=int, metavar="S", help=f"Steps that must not undercut a stop. [{PATIENCE}]")
@click.option("--seed", type=int, help="Of the network's weights and its input. [0]")
@click.option("--device", help="auto, cpu, cuda or cuda:N. [auto]")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.html", help="One page on why it stopped.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.pass_context
def denoise_command(
    ctx: click.Context,
    /,
    pictures: tuple[str, ...],
    output: str,
    report: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Denoise pictures of one's own, with a Deep Image Prior that stops by itself.

    PNG, JPEG, TIFF and WebP; grey or colour, 8 or 16 bits. Nothing need be known of the noise. Transparency, colour
    profile and EXIF data are kept, and a picture is turned as its camera said. Ctrl-C writes the best so far.
    """
    options = Options(**{key: value for key, value in flags.items() if value is not None})
    jobs = [Job(name, file) for name, file in zip(pictures, targets(pictures, output), strict=True)]
    _may_write([job.file for job in jobs] + ([] if report is None else [report]), force)
    for job in jobs:
        job.look(options)
    with _display(quiet) as display:
        interrupted = _work([job for job in jobs if job.pixel_steps], options, display, report)
    if as_json:
        print_json([job.row(options) for job in jobs if job.reason])
    else:
        for job in jobs:
            if job.denoised is not None:
                click.echo(f"{job.file}: {job.summary()}")
    ctx.exit(130 if interrupted else 1 if any(job.denoised is None for job in jobs) else 0)


@dataclass
class Job:
    """One picture of the command.

    Attributes:
        name: as it was typed.
        file: where it is written.
        pixel_steps: what there is to do at most; 0 where it cannot be read.
        reason: why it stopped, or why it failed; empty while it was not begun.
        denoised: what became of it, without the picture itself.
        section: its part of the report.
    """

    name: str
    file: Path
    pixel_steps: int = 0
    reason: str = ""
    denoised: Denoised | None = None
    section: Section | None = None

    def look(self, options: Options) -> None:
        """Find out before any work what would stop it.

        Raises:
            UsageError: it cannot be written in the format that was asked for.
        """
        photo = self.photo()
        if photo is None:
            return
        if problem := images.unwritable(self.file, photo):
            raise UsageError(f"{problem}.")
        self.pixel_steps = options.pixel_steps(*photo.pixels.shape[:2])

    def photo(self) -> images.Photo | None:
        """Return the picture, or None where it cannot be read, which is said."""
        try:
            return images.read_photo(self.name)
        except DataError as error:
            self.fail(str(error))
            return None

    def fail(self, reason: str) -> None:
        """Say why there is no picture; the others go on."""
        self.reason = reason
        click.echo(f"esbench: {reason}", err=True)

    def finish(self, photo: images.Photo, at_work: Denoising, interrupted: bool, report: bool) -> None:
        """Write what there is of the picture, and its part of the report."""
        from esbench.report import denoise_page

        done = at_work.result(interrupted)
        try:
            images.write_photo(self.file, replace(photo, pixels=done.image))
        except OSError as error:
            self.fail(f"{str(self.file)!r} cannot be written: {error.strerror or error}.")
            return
        if report:
            self.section = denoise_page.section(self.name, photo.pixels, done, at_work.options)
        self.reason, self.denoised = done.reason, replace(done, image=None)

    def summary(self) -> str:
        """Return in a line what became of it."""
        assert self.denoised is not None
        done = self.denoised
        return f"{done.reason}; noise of sigma {done.sigma_estimate:.1f}, {duration(done.seconds)}"

    def row(self, options: Options) -> dict[str, Any]:
        """Return what is printed as JSON."""
        done = self.denoised
        return {
            "input": self.name,
            "output": None if done is None else str(self.file),
            "criterion": options.criterion if done is None else done.criterion,
            "stop_step": None if done is None else done.stop_step,
            "steps_run": 0 if done is None else done.steps_run,
            "reason": self.reason,
            "seconds": 0.0 if done is None else round(done.seconds, 3),
            "sigma_estimate": None if done is None else round(done.sigma_estimate, 3),
        }


def targets(pictures: Sequence[str], output: str) -> list[Path]:
    """Return where each picture is written.

    Raises:
        UsageError: several of them would be one file, or a folder is a file.
    """
    folder = Path(output)
    if len(pictures) == 1 and not folder.is_dir() and not output.endswith(("/", os.sep)):
        return [folder]
    if folder.suffix.lower() in images.SUFFIXES or folder.is_file():
        raise UsageError(f"{len(pictures)} pictures need a folder as --output, got the file {output!r}.")
    names = [Path(picture) for picture in pictures]
    files = [folder / (p.name if p.suffix.lower() in images.FORMATS else f"{p.stem}.png") for p in names]
    twice = [file for file, n in Counter(files).items() if n > 1]
    if twice:
        raise UsageError(f"Two of the pictures would both be {str(twice[0])!r}: denoise them into two folders.")
    return files


def _may_write(files: Sequence[Path], force: bool) -> None:
    """Make sure before any work that the files can be written.

    Raises:
        UsageError: one is there already.
        Unavailable: a folder is not there, or cannot be written.
    """
    for file in files:
        if file.is_dir():
            raise UsageError(f"{str(file)!r} is a folder: name a file.")
        if file.exists() and not force:
            raise UsageError(f"{str(file)!r} is there already: choose another name, or --force to overwrite it.")
    for folder in {file.parent for file in files}:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise Unavailable(f"There is no folder {str(folder)!r}, and it cannot be made: {error.strerror}.") from None
        if not os.access(folder, os.W_OK):
            raise Unavailable(f"Nothing can be written into the folder {str(folder)!r}: choose another one.")


def _work(jobs: Sequence[Job], options: Options, display: Display, report: Path | None) -> bool:
    """Denoise the pictures one after another and return whether it was interrupted."""
    interrupted = False
    for i, job in enumerate(jobs):
        photo = job.photo()
        if photo is None:
            continue
        if photo.pixels.dtype == np.uint16 and images.FORMATS[job.file.suffix.lower()] not in ("PNG", "TIFF"):
            display.note(f"{job.file}: rounded to 8 bits, which is what this format holds")
        at_work = Denoising(photo.pixels, options)
        h, w = photo.pixels.shape[:2]
        display.begin(f"{job.name}: {w} x {h}, noise of sigma {at_work.noise.sigma:.1f}", job.name)
        if options.sigma is None and not at_work.noise.white:
            display.note(
                f"{job.name}: its noise is not white, as is usual after JPEG, demosaicing or scaling, so that the "
                "level is a rough one; --sigma says it better"
            )
        try:
            for position in at_work:
                display.show(position, sum(each.pixel_steps for each in jobs[i:]))
        except KeyboardInterrupt:
            interrupted = True
        except UnitError as error:
            job.fail(f"{job.name}: {error}")
            continue
        job.finish(photo, at_work, interrupted, report is not None)
        if interrupted:
            later = len(jobs) - i - 1
            others = f"; {later} more not begun" if later else ""
            click.echo(f"esbench: interrupted: {job.file} is the best so far{others}", err=True)
            break
    if report is not None:
        _write_report(report, jobs)
    return interrupted


def _write_report(report: Path, jobs: Sequence[Job]) -> None:
    from esbench.report import denoise_page

    sections = [job.section for job in jobs if job.section is not None]
    if sections:
        report.write_text(denoise_page.page(sections), encoding="utf-8")


# -- progress ----------------------------------------------------------------------------------------------------------


class Display:
    """Progress as plain lines, for a file or a log; `Bar` is for a terminal and `Quiet` for nobody."""

    def __init__(self) -> None:
        self.name = ""
        self._first: tuple[int, int, float] | None = None  # optimisation, step and time from which speed is measured
        self._told = 0.0
        self._warned = False

    def begin(self, title: str, name: str) -> None:
        """Say that a picture begins."""
        self.name, self._first, self._told = name, None, time.monotonic()
        self.note(title)

    def show(self, position: Position, pixel_steps: int) -> None:
        """Show how far a picture is, and warn once of long work.

        Args:
            position: how far it is.
            pixel_steps: what is to do at most, this picture and all that come after it.
        """
        now = time.monotonic()
        if self._first is None or self._first[0] != position.optimisation:
            if position.step >= SLOW:
                self._first = position.optimisation, position.step, now
            return
        rate = (position.step - self._first[1]) / max(now - self._first[2], 1e-6)
        whole = (position.optimisations - position.optimisation) * position.iterations
        left = (whole - position.step) / rate
        if not self._warned:
            self._warned = True
            self._warn(pixel_steps / position.pixels / rate)
        lowest = "" if position.best_step is None else f", lowest at step {position.best_step}"
        self.draw(position, f"{rate:.1f} steps/s{lowest}; at most {duration(left)} left")

    def draw(self, position: Position, text: str) -> None:
        """Print a line every now and then."""
        if time.monotonic() - self._told >= LINE_EVERY:
            self._told = time.monotonic()
            of = f", {position.optimisation + 1} of {position.optimisations}" if position.optimisations > 1 else ""
            self.note(f"{self.name}{of}: step {position.step}, {text}")

    def note(self, text: str) -> None:
        """Print a line."""
        click.echo(text, err=True)

    def _warn(self, seconds: float) -> None:
        if seconds > LONG:
            self.note(
                f"This will take up to about {duration(seconds)}. A smaller picture, --network 'skip[channels=32]', "
                "--quality fast or fewer --iterations make it less, and so does a GPU. Ctrl-C writes the best so far."
            )


class Quiet(Display):
    """Nothing."""

    def note(self, text: str) -> None:
        """Print nothing."""


class Bar(Display):
    """A live bar, for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        name, note = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[note]"))
        self.bar = Progress(name, BarColumn(bar_width=24), note, console=Console(stderr=True), transient=True)
        self._task: Any = None

    def begin(self, title: str, name: str) -> None:
        """Begin a new bar."""
        super().begin(title, name)
        if self._task is not None:
            self.bar.remove_task(self._task)
        self._task = self.bar.add_task(name, total=None, note="")

    def draw(self, position: Position, text: str) -> None:
        """Move the bar."""
        total = position.optimisations * position.iterations
        done = position.optimisation * position.iterations + position.step
        self.bar.update(self._task, total=total, completed=done, note=f"step {position.step}, {text}")

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self.bar.console.print(text, highlight=False, markup=False)


@contextmanager
def _display(quiet: bool) -> Iterator[Display]:
    """Give what shows progress; what a criterion prints goes to stderr, never into the command's output."""
    with redirect_stdout(sys.stderr):
        if quiet:
            yield Quiet()
        elif sys.stderr.isatty():
            display = Bar()
            with display.bar:
                yield display
        else:
            yield Display()
