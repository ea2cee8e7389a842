"""Users' own pictures."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from esbench import disk, images
from esbench.bench.driver import LONG, duration
from esbench.cli.options import max_pixels_option, part_options
from esbench.cli.output import json_option, print_json, say
from esbench.cli.progress import Listen, display
from esbench.errors import DataError, Unavailable, UnitError, UsageError
from esbench.events import Event, Notice, Progress
from esbench.restoration.options import ITERATIONS, PATIENCE, RESTARTS, Options
from esbench.restoration.restore import Restoration, Restored, most

if TYPE_CHECKING:
    from esbench.report.denoise_page import Section

#: Steps of an optimisation that do not count for its speed: the first ones are slow.
SLOW = 3

output_option = click.option(
    "-o", "--output", required=True, metavar="OUT", help="The picture to write; of several, their folder."
)
quality_option = click.option(
    "--quality",
    type=click.Choice(list(RESTARTS)),
    help=f"best: the average of {RESTARTS['best']} optimisations, in {RESTARTS['best']} times the time. [fast]",
)


def work_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the work itself, which come last."""
    options = (
        click.option(
            "--iterations",
            type=int,
            metavar="T",
            help=f"The most steps of an optimisation. [{ITERATIONS}, more for over 128 x 128 pixels]",
        ),
        click.option("--patience", type=int, metavar="S", help=f"Steps that must not undercut a stop. [{PATIENCE}]"),
        click.option("--seed", type=int, help="Of the network's weights and its input. [0]"),
        click.option("--device", help="auto, cpu, cuda or cuda:N. [auto]"),
        click.option(
            "--report", type=click.Path(path_type=Path), metavar="FILE.html", help="One page on why it stopped."
        ),
        click.option("--force", is_flag=True, help="Overwrite what is there."),
        max_pixels_option,
        json_option,
        click.option("-q", "--quiet", is_flag=True, help="No progress."),
    )
    for option in reversed(options):  # as decorators are applied
        command = option(command)
    return command


@click.command("denoise")
@click.argument("pictures", nargs=-1, required=True, metavar="IN...")
@output_option
@click.option("-c", "--criterion", help="What it stops by. [discrepancy, with the noise level as estimated]")
@click.option("--sigma", type=float, help="The noise level on the 0-255 scale, where it is known. [estimated]")
@quality_option
@part_options
@work_options
@click.pass_context
def denoise_command(
    ctx: click.Context,
    /,
    pictures: tuple[str, ...],
    output: str,
    report: Path | None,
    force: bool,
    max_pixels: int,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Denoise pictures of one's own, with a Deep Image Prior that stops by itself.

    PNG, JPEG, TIFF and WebP; grey or colour, 8 or 16 bits. Nothing need be known of the noise. Transparency, colour
    profile and EXIF data are kept, and a picture is turned as its camera said. Ctrl-C writes the best so far.
    """
    options = Options(**{key: value for key, value in flags.items() if value is not None})
    jobs = [Order(name, file, max_pixels) for name, file in zip(pictures, targets(pictures, output), strict=True)]
    ctx.exit(carry_out(jobs, options, report, force=force, as_json=as_json, quiet=quiet))


def carry_out(
    jobs: Sequence[Order], options: Options, report: Path | None, *, force: bool, as_json: bool, quiet: bool
) -> int:
    """Restore the pictures of a command, print what became of them, and return the exit code.

    Raises:
        UsageError: something of it cannot be, before any work.
    """
    _keep_apart(jobs, report)
    with _writable([job.file for job in jobs] + ([] if report is None else [report]), force):
        for job in jobs:
            job.look(options)
        with display(quiet) as listen:
            interrupted = _work([job for job in jobs if job.pixel_steps], options, listen, report is not None)
        reported = report is None or _write_report(report, jobs)
    if as_json:
        print_json([job.row(options) for job in jobs if job.reason])
    else:
        for job in jobs:
            if job.restored is not None:
                say(f"{job.file}: {job.summary()}")
    return 130 if interrupted else 0 if reported and all(job.restored is not None for job in jobs) else 1


@dataclass
class Order:
    """One picture of the command.

    Attributes:
        name: as it was typed.
        file: where it is written.
        max_pixels: a picture of more is not read.
        pixel_steps: what there is to do at most; 0 where it cannot be read.
        reason: why it stopped, or why it failed; empty while it was not begun.
        restored: what became of it, without the picture itself.
        section: its part of the report.
    """

    name: str
    file: Path
    max_pixels: int
    pixel_steps: int = 0
    reason: str = ""
    restored: Restored | None = None
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
        self.pixel_steps = most(options, *photo.pixels.shape[:2])

    def photo(self) -> images.Photo | None:
        """Return the picture, or None where it cannot be read, which is said."""
        try:
            return images.read_photo(self.name, self.max_pixels)
        except DataError as error:
            self.fail(str(error))
            return None

    def fail(self, reason: str) -> None:
        """Say why there is no picture; the others go on."""
        self.reason = reason
        say(f"esbench: {reason}", err=True)

    def begin(self, photo: images.Photo, options: Options, emit: Listen) -> Restoration:
        """Return the picture at work."""
        return Restoration(photo.pixels, options, name=self.name, emit=emit)

    def delivered(self, photo: images.Photo, image: Any) -> images.Photo:
        """Return what is written."""
        return replace(photo, pixels=image)

    def before(self, photo: images.Photo, at_work: Restoration) -> Any:
        """Return what the report shows beside the result, of its size."""
        return photo.pixels

    def finish(self, photo: images.Photo, at_work: Restoration, interrupted: bool, report: bool) -> None:
        """Write what there is of the picture, and its part of the report."""
        from esbench.report import denoise_page

        done = at_work.result(interrupted)
        try:
            images.write_photo(self.file, self.delivered(photo, done.image))
        except OSError as error:
            self.fail(f"{str(self.file)!r} cannot be written: {disk.reason(error)}.")
            return
        if report:
            self.section = denoise_page.section(self.name, self.before(photo, at_work), done, at_work.options)
        self.reason, self.restored = done.reason, replace(done, image=None)

    def summary(self) -> str:
        """Return in a line what became of it."""
        assert self.restored is not None
        done = self.restored
        noise = "" if done.sigma_estimate is None else f"noise of sigma {done.sigma_estimate:.1f}, "
        return f"{done.reason}; {noise}{duration(done.seconds)}"

    def row(self, options: Options) -> dict[str, Any]:
        """Return what is printed as JSON."""
        done = self.restored
        return {
            "input": self.name,
            "output": None if done is None else str(self.file),
            "criterion": options.stops_by if done is None else done.criterion,
            "stop_step": None if done is None else done.stop_step,
            "steps_run": 0 if done is None else done.steps_run,
            "reason": self.reason,
            "seconds": 0.0 if done is None else round(done.seconds, 3),
            "sigma_estimate": None if done is None else done.sigma_estimate and round(done.sigma_estimate, 3),
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


def _keep_apart(jobs: Sequence[Order], report: Path | None) -> None:
    """Make sure that nothing is written in the place of something else of the command, not even with --force.

    Raises:
        UsageError: the report would be a picture, or a picture would be one that is yet to be read.
    """
    read = {place: job for job in jobs for place in _places(Path(job.name))}
    for job in jobs:
        places = _places(job.file)
        if report is not None and _places(report) & (places | _places(Path(job.name))):
            raise UsageError(f"The report would overwrite the picture {str(report)!r}: choose another --report.")
        for other in (read[place] for place in places if place in read):
            if other is not job:
                raise UsageError(f"{job.name!r} would overwrite the picture {other.name!r}: choose another --output.")


def _places(path: Path) -> set[str]:
    """Return where a file lies: what is written replaces a link, what is read follows it."""
    return {os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(path)}


@contextmanager
def _writable(files: Sequence[Path], force: bool) -> Iterator[None]:
    """Make sure before any work that files can be written; a folder made for them that stays empty goes at the end.

    Raises:
        UsageError: one is there already.
        Unavailable: a folder is not there, or cannot be written.
    """
    for file in files:
        _check_new(file, force)
    made = []
    try:
        for folder in {file.parent for file in files}:
            try:
                if not folder.is_dir():
                    folder.mkdir()
                    made.append(folder)
            except OSError as error:
                raise Unavailable(
                    f"There is no folder {str(folder)!r}, and it cannot be made: {disk.reason(error)}."
                ) from None
            if not os.access(folder, os.W_OK):
                raise Unavailable(f"Nothing can be written into the folder {str(folder)!r}: choose another one.")
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # not empty
                folder.rmdir()


def _check_new(file: Path, force: bool) -> None:
    """Make sure that a file is not there already, or may be overwritten."""
    if file.is_dir():
        raise UsageError(f"{str(file)!r} is a folder: name a file.")
    if file.exists() and not file.is_file():
        raise UsageError(f"{str(file)!r} is not a regular file: choose another name.")
    if (file.exists() or file.is_symlink()) and not force:
        raise UsageError(f"{str(file)!r} is there already: choose another name, or --force to overwrite it.")


def _work(jobs: Sequence[Order], options: Options, listen: Listen, report: bool) -> bool:
    """Restore the pictures one after another and return whether it was interrupted."""
    interrupted, warned = False, Warned(listen)
    for i, job in enumerate(jobs):
        photo = job.photo()
        if photo is None:
            continue
        warned.later = sum(each.pixel_steps for each in jobs[i + 1 :]) / job.pixel_steps
        at_work = job.begin(photo, options, warned)
        _introduce(job, photo, at_work, listen)
        try:
            for _ in at_work:
                pass
        except KeyboardInterrupt:
            interrupted = True
        except UnitError as error:
            job.fail(f"{job.name}: {error}")
            continue
        job.finish(photo, at_work, interrupted, report)
        if interrupted:
            others = f"; {len(jobs) - i - 1} more not begun" if len(jobs) > i + 1 else ""
            say(f"esbench: interrupted: {job.file} is the best so far{others}", err=True)
            break
    return interrupted


def _introduce(job: Order, photo: images.Photo, at_work: Restoration, listen: Listen) -> None:
    """Say what is known of a picture before the work on it begins."""

    def tell(text: str) -> None:
        listen(Notice(text=text))

    h, w = photo.pixels.shape[:2]
    noise = at_work.noise
    if photo.pixels.dtype == np.uint16 and images.FORMATS[job.file.suffix.lower()] not in ("PNG", "TIFF"):
        tell(f"{job.file}: rounded to 8 bits, which is what this format holds")
    tell(f"{job.name}: {w} x {h}" + ("" if noise is None else f", noise of sigma {noise.sigma:.1f}"))
    if noise is not None and at_work.options.sigma is None and not noise.white:
        tell(
            f"{job.name}: its noise is not white, as is usual after JPEG, demosaicing or scaling, so that the level is "
            "a rough one; --sigma says it better"
        )


class Warned:
    """Passes events on, and warns once if the work may be long.

    Args:
        listen: called with every event.

    Attributes:
        later: what is to do at most after the picture at work, as a multiple of what that one is at most.
    """

    def __init__(self, listen: Listen) -> None:
        self._listen, self.later = listen, 0.0
        self._first: tuple[int, float] | None = None  # step and time from which speed is measured
        self._warned = False

    def __call__(self, event: Event) -> None:
        """Take the next event."""
        self._listen(event)
        if not isinstance(event, Progress) or self._warned or event.step < SLOW:
            return
        if self._first is None:
            self._first = event.step, time.monotonic()
        elif event.step > self._first[0]:
            self._warned = True
            rate = (event.step - self._first[0]) / max(time.monotonic() - self._first[1], 1e-6)
            seconds = (event.iterations + event.later) * (1 + self.later) / rate
            if seconds > LONG:
                text = (
                    f"This will take up to about {duration(seconds)}. A smaller picture, --network "
                    "'skip[channels=32]', --quality fast or fewer --iterations make it less, and so does a GPU. "
                    "Ctrl-C writes the best so far."
                )
                self._listen(Notice(text=text))


def _write_report(report: Path, jobs: Sequence[Order]) -> bool:
    """Write the report, if there is something to report, and return whether it could be written."""
    from esbench.report import denoise_page

    sections = [job.section for job in jobs if job.section is not None]
    if sections:
        try:
            disk.write(report, denoise_page.page(sections).encode("utf-8", "replace"))
        except OSError as error:
            say(f"esbench: {str(report)!r} cannot be written: {disk.reason(error)}.", err=True)
            return False
    return True
