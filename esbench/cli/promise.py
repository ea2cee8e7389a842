"""Estimate the time of a restoration before it starts, and write checkpoints during it."""

from __future__ import annotations

import hashlib
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from esbench import device as devices
from esbench import disk, images, plain
from esbench.bench.driver import LONG, duration
from esbench.cli.order import Order
from esbench.cli.output import print_json, say
from esbench.cli.progress import Listen
from esbench.errors import DataError, UsageError
from esbench.events import Notice, ignore
from esbench.restoration.options import NEARLY_CLEAN, Options
from esbench.restoration.whole import Restoration

#: Seconds between two checkpoints, and between two previews.
KEEP_EVERY = 60.0

#: Pixels times steps that may take an hour, by device; the speed is measured only above that.
MANY = {"cpu": 2e7}


def show_plan(jobs: Sequence[Order], options: Options, as_json: bool) -> None:
    """Print the planned work and an upper bound of its time."""
    rows = [row for job in jobs if (row := _plan(job, options)) is not None]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        noise = "" if row["sigma_estimate"] is None else f", {noise_of(row['sigma_estimate'], options)}"
        w, h = row["tile"]
        n = row["optimisations"]
        if not n:
            say(f"{row['input']}: {row['width']} x {row['height']}{noise}; nothing to do")
            continue
        work = f"{n} optimisation{'s' if n > 1 else ''} of at most {w} x {h}"
        work += f" and {row['steps']} steps in all: up to about" if options.minutes is None else " or more:"
        say(f"{row['input']}: {row['width']} x {row['height']}{noise}; {work} {duration(row['seconds'])}")


def _plan(job: Order, options: Options) -> dict[str, Any] | None:
    photo = job.photo()
    if photo is None:
        return None
    at_work = job.begin(photo, options, ignore)
    options = at_work.options  # with what suits the noise
    height, width, _ = at_work.task.shape(at_work.observation)
    tile_height, tile_width = max(at_work.sizes, key=math.prod, default=(0, 0))
    seconds = at_work.speed() * at_work.work if options.minutes is None else 60 * options.minutes
    steps = sum(options.steps(h * w) for h, w in at_work.sizes) * at_work.restarts
    return {
        "input": job.name,
        "output": str(job.file),
        "width": width,
        "height": height,
        "sigma_estimate": at_work.sigma_estimate and round(at_work.sigma_estimate, 3),
        "optimisations": at_work.pieces,
        "tile": [tile_width, tile_height],
        "steps": steps if options.minutes is None else None,
        "seconds": round(seconds, 1),
    }


def agreed(jobs: Sequence[Order], options: Options, yes: bool, listen: Listen) -> bool:
    """Return whether to start: announce work that may take more than an hour, and on a terminal ask."""
    pixel_steps, device = sum(job.pixel_steps for job in jobs), devices.named(options.device)
    if options.minutes is not None or pixel_steps < MANY.get(device, 2e10):
        return True
    photo = jobs[0].photo()
    if photo is None:
        return True
    at_work = jobs[0].begin(photo, options, ignore)  # with what suits its noise, which may be less
    seconds = at_work.speed() * at_work.work * pixel_steps / jobs[0].pixel_steps
    if seconds <= LONG:
        return True
    text = (
        f"This takes up to about {duration(seconds)}. {advice(options, device)} Ctrl-C writes the best result so far."
    )
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        listen(Notice(text=text))
        return True
    say(text, err=True)
    return click.confirm("Start?", default=True, err=True)


def advice(options: Options, device: str) -> str:
    """Return how to shorten the work, without the options that are already in use."""
    ways = ["--minutes N"]
    if options.quality != "draft":
        ways.append("--quality draft")
    if options.iterations is None:
        ways.append("fewer --iterations")
    if device == "cpu":
        ways.append("a GPU")
    return f"To shorten it, use {', '.join(ways)} or a smaller picture."


def noise_of(sigma: float, options: Options) -> str:
    """Describe the noise of a picture."""
    little = ": little to gain" if sigma < NEARLY_CLEAN and options.sigma is None else ""
    return f"noise of sigma {sigma:.1f}{little}"


def checkpoint(file: Path) -> Path:
    """Return the path of the checkpoint of a restoration, given its output file."""
    # not derived from the name, because a long one would become too long
    name = hashlib.sha256(file.name.encode("utf-8", "surrogateescape")).hexdigest()
    return file.with_name(f".esbench.{name[:12]}")


class Kept:
    """Keep a long restoration: a checkpoint beside the output, and previews if requested.

    Args:
        job: the order for the picture.
        photo: the picture as read.
        at_work: its restoration.
        previews: whether to write intermediate results to the output.
        listen: called with notices.
    """

    def __init__(self, job: Order, photo: images.Photo, at_work: Restoration, previews: bool, listen: Listen) -> None:
        self.job, self.photo, self.at_work, self.previews, self._listen = job, photo, at_work, previews, listen
        self.path = checkpoint(job.file)
        self._last = time.monotonic()

    def resume(self, force: bool) -> None:
        """Resume from the checkpoint, if there is one.

        Args:
            force: start again if it does not fit.

        Raises:
            UsageError: it does not fit.
        """
        if not self.path.exists():
            return
        try:
            disk.regular(self.path)
            state = plain.loads(self.path.read_bytes(), devices.named(self.at_work.options.device))
            self.at_work.load_state_dict(state)
        except (DataError, OSError, LookupError, TypeError, ValueError) as error:
            if not force:
                why = str(error).rstrip(".") if isinstance(error, DataError) else "it is damaged"
                raise UsageError(
                    f"{str(self.path)!r} was left by an unfinished restoration and cannot be resumed: {why}. Remove "
                    "it, repeat the command that left it, or pass --force to start again."
                ) from None

    def __call__(self) -> None:
        """Write what is due."""
        if time.monotonic() - self._last < KEEP_EVERY:
            return
        try:
            with disk.replacing(self.path) as part, open(part, "wb") as file:
                file.writelines(plain.dumps(self.at_work.state_dict()))
        except OSError as error:  # there may be room again later
            self._listen(Notice(text=f"{self.job.name}: no checkpoint: {disk.reason(error)}"))
        if self.previews:
            with suppress(OSError):
                images.write_photo(self.job.file, self.job.delivered(self.photo, self.at_work.result().image))
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the checkpoint."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a closed terminal, end the work as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # with nohup a closed terminal is ignored, and stays so
    ending = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, interrupt) for each in ending}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
