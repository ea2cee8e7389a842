"""One picture of a command that restores pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esbench import disk, images
from esbench.bench.driver import duration
from esbench.cli.output import say
from esbench.cli.progress import Listen
from esbench.errors import DataError, UsageError
from esbench.report import denoise_page
from esbench.restoration.options import Options
from esbench.restoration.whole import Restoration, Restored, most

if TYPE_CHECKING:
    from esbench.report.denoise_page import Section


@dataclass
class Order:
    """One picture of the command.

    Attributes:
        name: the path as typed.
        file: the file to write.
        max_pixels: refuse a picture of more pixels.
        pixel_steps: upper bound of the work, in pixels times steps; 0 if the picture cannot be read.
        reason: why it stopped or failed; empty before it starts.
        restored: the result without the image.
        sigma: the noise level that was given.
        section: its part of the report.
    """

    name: str
    file: Path
    max_pixels: int
    pixel_steps: int = 0
    reason: str = ""
    restored: Restored | None = None
    sigma: float | None = None
    section: Section | None = None

    def look(self, options: Options) -> None:
        """Check the picture and its output before any optimisation, and set `pixel_steps`.

        Raises:
            UsageError: the format of `file` cannot hold the picture.
        """
        photo = self.photo()
        if photo is None:
            return
        if problem := images.unwritable(self.file, photo):
            raise UsageError(f"{problem}.")
        self.pixel_steps = most(options, *photo.pixels.shape[:2])

    def photo(self) -> images.Photo | None:
        """Return the picture; if it cannot be read, report why and return None."""
        try:
            return images.read_photo(self.name, self.max_pixels)
        except DataError as error:
            self.fail(str(error))
            return None

    def fail(self, reason: str) -> None:
        """Record and print why this picture failed; the others continue."""
        self.reason = reason
        say(f"esbench: {reason}", err=True)

    def begin(
        self, photo: images.Photo, options: Options, emit: Listen, folder: Path | None = None, processors: int = 1
    ) -> Restoration:
        """Return the restoration of the picture, ready to iterate.

        Args:
            photo: the picture.
            options: the options of the restoration.
            emit: called with every event.
            folder: the folder into which it writes its live files; None for none.
            processors: how many processors its optimisations may share in processes of their own.
        """
        return Restoration(photo.pixels, options, name=self.name, emit=emit, folder=folder, processors=processors)

    def delivered(self, photo: images.Photo, image: Any) -> images.Photo:
        """Return the picture to write."""
        return replace(photo, pixels=image)

    def before(self, photo: images.Photo, at_work: Restoration) -> Any:
        """Return the picture that the report shows beside the result, of the same size."""
        return photo.pixels

    def finish(self, photo: images.Photo, at_work: Restoration, interrupted: bool, report: bool) -> None:
        """Write the best result so far and prepare its part of the report."""
        done = at_work.result(interrupted)
        try:
            images.write_photo(self.file, self.delivered(photo, done.image))
        except OSError as error:
            self.fail(f"{str(self.file)!r} cannot be written: {disk.reason(error)}.")
            return
        if report:
            self.section = denoise_page.section(self.name, self.before(photo, at_work), done, at_work.options)
        self.reason, self.restored, self.sigma = done.reason, replace(done, image=None), at_work.options.sigma

    def summary(self) -> str:
        """Return the result in one line."""
        assert self.restored is not None
        done = self.restored
        noise = "" if done.sigma_estimate is None else f"noise of sigma {done.sigma_estimate:.1f}, "
        if done.impulses:
            noise = f"{done.impulses:.0%} impulses filled in, "
        if self.sigma is not None:
            noise = f"noise of sigma {self.sigma:g}, as given, "
        tiles = (
            "" if done.disagreement is None else f"tiles differ by {done.disagreement:.1f} of 255 where they overlap, "
        )
        return f"{done.reason}; {noise}{tiles}{duration(done.seconds)}"

    def row(self, options: Options) -> dict[str, Any]:
        """Return the row for --json."""
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
