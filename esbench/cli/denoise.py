"""Denoise a user's pictures; restore.py shares its options and its loop."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from esbench import device as devices
from esbench import disk, images
from esbench.bench.share import processors
from esbench.cli import promise
from esbench.cli.options import max_pixels_option, part_options
from esbench.cli.order import Order
from esbench.cli.output import json_option, print_json, say
from esbench.cli.progress import Listen, display
from esbench.cli.watch import port_option, watch_option, watched
from esbench.errors import PluginError, Unavailable, UnitError, UsageError
from esbench.events import Event, Notice
from esbench.registry import registry
from esbench.report import denoise_page
from esbench.restoration.options import PATIENCE, QUALITIES, Options
from esbench.restoration.whole import Restoration

if TYPE_CHECKING:
    from esbench.live.restored import WatchedRestoration
    from esbench.report.denoise_page import Section

#: A mask that marks a larger share as missing may be meant the other way round, as in other programs.
MOST = 0.75

output_option = click.option(
    "-o", "--output", required=True, metavar="OUT", help="The file to write, or a folder for several pictures."
)
quality_option = click.option(
    "--quality",
    type=click.Choice(list(QUALITIES)),
    help="draft: about a minute for 512 x 512 on two cores; best: the average of up "
    f"to {QUALITIES['best'].restarts} optimisations. [fast]",
)


def work_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the remaining options, which come last in --help."""
    options = (
        click.option("--minutes", type=float, metavar="N", help="Deliver the best result of N minutes per picture."),
        click.option(
            "--iterations",
            type=int,
            metavar="T",
            help="The maximum number of steps. [by the task and the noise; more for over 128 x 128 pixels]",
        ),
        click.option(
            "--patience",
            type=int,
            metavar="S",
            help=f"Steps without a lower value before it stops. [{PATIENCE}; less for a draft; or the task's]",
        ),
        click.option("--seed", type=int, help="Seed of the network's weights and input. [0]"),
        click.option("--device", help="auto, cpu, cuda or cuda:N. [auto]"),
        click.option("--threads", type=int, metavar="N", help="Threads on a CPU. [one per core]"),
        click.option("--precision", type=click.Choice(devices.PRECISIONS), help="Precision of the network. [auto]"),
        click.option(
            "--report",
            type=click.Path(path_type=Path),
            metavar="FILE.html",
            help="Write an HTML page that shows why it stopped.",
        ),
        watch_option,
        port_option,
        click.option("--force", is_flag=True, help="Overwrite existing files."),
        click.option("--keep-writing", is_flag=True, help="Write the best result so far every minute."),
        click.option("--dry-run", is_flag=True, help="Show sizes, tiles, steps and time, and write nothing."),
        click.option("--yes", is_flag=True, help="Start work of more than an hour without asking."),
        max_pixels_option,
        json_option,
        click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
        click.option("-v", "--verbose", is_flag=True, help="Also show threads and what auto resolved to."),
    )
    for option in reversed(options):  # as decorators are applied
        command = option(command)
    return command


@click.command("denoise")
@click.argument("pictures", nargs=-1, required=True, metavar="IN...")
@output_option
@click.option("-c", "--criterion", help="The criterion to stop by. [by the noise: none, or discrepancy]")
@click.option("--sigma", type=float, help="The noise level on the 0-255 scale. [estimated]")
@quality_option
@part_options
@work_options
@click.pass_context
def denoise_command(
    ctx: click.Context,
    /,
    pictures: tuple[str, ...],
    output: str,
    max_pixels: int,
    **flags: Any,
) -> None:
    """Denoise pictures with a Deep Image Prior that stops automatically.

    Reads and writes PNG, JPEG, TIFF and WebP; grey or colour, 8 or 16 bits. The noise level is estimated from each
    picture; impulses, single black or white values, are filled in. Transparency, colour profile and EXIF data are kept;
    EXIF orientation is applied. Ctrl-C writes the best result so far.
    """
    manner = Manner.taken(flags)
    options = Options(**{key: value for key, value in flags.items() if value is not None})
    jobs = [Order(name, file, max_pixels) for name, file in zip(pictures, targets(pictures, output), strict=True)]
    with devices.threads(options.threads):
        ctx.exit(carry_out(jobs, options, manner))


@dataclass(frozen=True)
class Manner:
    """The flags of a command that are not options of the restoration."""

    report: Path | None
    watch: bool
    port: int
    force: bool
    keep_writing: bool
    dry_run: bool
    yes: bool
    as_json: bool
    quiet: bool
    verbose: bool
    started: float  # before PyTorch is imported, which takes seconds of the minutes

    @classmethod
    def taken(cls, flags: dict[str, Any]) -> Manner:
        """Return it, taken out of the flags of a command."""
        given = {field.name: flags.pop(field.name) for field in fields(cls) if field.name != "started"}
        return cls(**given, started=time.monotonic())


def carry_out(jobs: Sequence[Order], options: Options, manner: Manner) -> int:
    """Restore the pictures of a command, print the results and return the exit code.

    Args:
        jobs: the pictures.
        options: the options of the restoration.
        manner: the other flags.

    Raises:
        UsageError: the request is invalid; raised before any optimisation.
    """
    report = manner.report
    _keep_apart(jobs, report)
    with _writable([job.file for job in jobs] + ([] if report is None else [report]), manner.force):
        for job in jobs:
            job.look(options)
        readable = [job for job in jobs if job.pixel_steps]
        failed = 1 if readable else 3
        if manner.dry_run:
            promise.show_plan(readable, options, manner.as_json)
            return 0 if len(readable) == len(jobs) else failed
        with _page(readable, options, manner.port if manner.watch else None) as page:
            with display(manner.quiet, manner.verbose) as listen:
                if readable and not promise.agreed(readable, options, manner.yes, listen):
                    return 130
                interrupted = _work(readable, options, manner, listen, page)
            reported = report is None or _write_report(report, jobs)
            if manner.as_json:
                print_json([job.row(options) for job in jobs if job.reason])
            else:
                for job in jobs:
                    if job.restored is not None:
                        say(f"{job.file}: {job.summary()}")
            if page is not None and (sections := _sections(jobs)):
                page.deliver(denoise_page.page(sections))
    return 130 if interrupted else 0 if reported and all(job.restored is not None for job in jobs) else failed


def targets(pictures: Sequence[str], output: str) -> list[Path]:
    """Return the output file of each picture.

    Raises:
        UsageError: two pictures share an output file, or several pictures have a file as --output.
    """
    folder = Path(output)
    as_folder = folder.is_dir() or output.endswith(("/", os.sep))
    if len(pictures) == 1 and not as_folder:
        return [folder]
    if folder.is_file() or (not as_folder and folder.suffix.lower() in images.SUFFIXES):
        several = f"{len(pictures)} pictures need a folder as --output"
        wanted = several if len(pictures) > 1 else "An --output that ends in / is a folder"
        raise UsageError(f"{wanted}, got the file {output!r}.")
    names = [Path(picture) for picture in pictures]
    files = [folder / (p.name if p.suffix.lower() in images.FORMATS else f"{p.stem}.png") for p in names]
    twice = [file for file, n in Counter(files).items() if n > 1]
    if twice:
        raise UsageError(f"Two pictures would both be written to {str(twice[0])!r}: write them to different folders.")
    return files


def _keep_apart(jobs: Sequence[Order], report: Path | None) -> None:
    """Check that no output replaces another file of the same command, even with --force.

    Raises:
        UsageError: the report would replace a picture, or an output would replace another picture's input.
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
    """Return the paths that a file stands for: writing replaces a link, reading follows it."""
    return {os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(path)}


@contextmanager
def _writable(files: Sequence[Path], force: bool) -> Iterator[None]:
    """Check before any work that files can be written; remove folders made for them that stay empty.

    Raises:
        UsageError: a file exists already.
        Unavailable: a folder cannot be made or written to.
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
                    f"The folder {str(folder)!r} does not exist and cannot be made: {disk.reason(error)}."
                ) from None
            try:
                TemporaryFile(dir=folder).close()
            except OSError as error:
                why = disk.reason(error)
                raise Unavailable(f"The folder {str(folder)!r} is not writable ({why}): choose another one.") from None
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # not empty
                folder.rmdir()


def _check_new(file: Path, force: bool) -> None:
    """Check that a file does not exist, or may be overwritten."""
    if file.is_dir():
        raise UsageError(f"{str(file)!r} is a folder: name a file.")
    if file.exists() and not file.is_file():
        raise UsageError(f"{str(file)!r} is not a regular file: choose another name.")
    # with a checkpoint beside it, it is a preview of this very work
    if (file.exists() or file.is_symlink()) and not force and not promise.checkpoint(file).exists():
        raise UsageError(f"{str(file)!r} exists already: choose another name, or pass --force to overwrite it.")


@contextmanager
def _page(jobs: Sequence[Order], options: Options, port: int | None) -> Iterator[WatchedRestoration | None]:
    """Serve a page of the pictures; None if there is no port."""
    if port is None or not jobs:
        yield None
        return
    from esbench.live.restored import WatchedRestoration

    criterion = registry().get("criterion", options.stops_by).text
    with TemporaryDirectory(prefix="esbench-watch-") as folder:
        page = WatchedRestoration([job.name for job in jobs], criterion, options.window, Path(folder))
        with watched(page, port):
            yield page


def _work(
    jobs: Sequence[Order],
    options: Options,
    manner: Manner,
    listen: Listen,
    page: WatchedRestoration | None,
) -> bool:
    """Restore the pictures one after another and return whether Ctrl-C or SIGTERM interrupted the work."""

    def told(event: Event) -> None:
        listen(event)
        if page is not None:
            page.told(event)

    interrupted, started = False, manner.started
    for i, job in enumerate(jobs):
        photo = job.photo()
        if photo is None:
            continue
        # the page is written from this process, and --threads is for optimisations one after another
        folder, alone = None if page is None else page.begin(i), page is not None or options.threads is not None
        at_work = job.begin(photo, options, told, folder, 1 if alone else processors())
        at_work.count_from(started)
        kept = promise.Kept(job, photo, at_work, manner.keep_writing, listen)
        kept.resume(manner.force)
        _introduce(job, photo, at_work, listen)
        try:
            with promise.terminable():
                for _ in at_work:
                    kept()
                    if page is not None and page.stopping:
                        break
        except KeyboardInterrupt:
            interrupted = True
        except (UnitError, PluginError) as error:
            job.fail(f"{job.name}: {error}")
            kept.remove()
        if not job.reason:
            stopped = page is not None and page.stopping
            job.finish(photo, at_work, interrupted or stopped, manner.report is not None or page is not None)
        if page is not None:
            page.end(i, "" if job.restored else job.reason)
        if job.restored is not None:
            kept.remove()
        if interrupted:
            others = f"; {len(jobs) - i - 1} not started" if len(jobs) > i + 1 else ""
            say(f"esbench: interrupted: {job.file} is the best so far{others}", err=True)
            break
        started = time.monotonic()
    return interrupted


def _introduce(job: Order, photo: images.Photo, at_work: Restoration, listen: Listen) -> None:
    """Announce a picture's size and noise level before its restoration starts."""

    def tell(text: str) -> None:
        listen(Notice(text=text))

    h, w = photo.pixels.shape[:2]
    noise, sigma, known = at_work.noise, at_work.sigma_estimate, at_work.observation.known
    if photo.pixels.dtype == np.uint16 and images.FORMATS[job.file.suffix.lower()] not in ("PNG", "TIFF"):
        tell(f"{job.file}: rounded to 8 bits, the most that this format holds")
    tell(f"{job.name}: {w} x {h}" + ("" if sigma is None else f", {promise.noise_of(sigma, at_work.options)}"))
    if at_work.impulses:
        tell(f"{job.name}: {at_work.impulses:.0%} of the values are impulses, black or white, and are filled in")
    elif known is not None and (missing := 1 - known.mean()) > MOST:
        tell(f"{job.name}: {missing:.0%} is missing; if the mask is white where it is known, use --mask-marks known")
    if noise is not None and at_work.pieces and at_work.options.sigma is None and not noise.white:
        tell(
            f"{job.name}: the noise is not white, as is usual after JPEG, demosaicing or scaling, so its level "
            "is a rough estimate; a higher --sigma removes more"
        )


def _sections(jobs: Sequence[Order]) -> list[Section]:
    return [job.section for job in jobs if job.section is not None]


def _write_report(report: Path, jobs: Sequence[Order]) -> bool:
    """Write the report, unless it has no sections, and return whether that succeeded."""
    if sections := _sections(jobs):
        try:
            disk.write(report, denoise_page.page(sections).encode("utf-8", "replace"))
        except OSError as error:
            say(f"esbench: {str(report)!r} cannot be written: {disk.reason(error)}.", err=True)
            return False
    return True
