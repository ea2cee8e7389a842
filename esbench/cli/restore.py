"""Restore a user's pictures, for any task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from esbench import device as devices
from esbench import images, params
from esbench.cli.denoise import Manner, carry_out, output_option, quality_option, targets, work_options
from esbench.cli.options import part_options
from esbench.cli.order import Order
from esbench.cli.progress import Listen
from esbench.engine import build
from esbench.errors import DataError, Missing, UsageError
from esbench.observation import Observation
from esbench.registry import registry
from esbench.restoration.options import Options
from esbench.restoration.whole import Restoration, most


@click.command("restore")
@click.argument("pictures", nargs=-1, required=True, metavar="IN...")
@click.option("--task", required=True, help="The task: denoise, superres[factor=4], inpaint, flash or jpeg.")
@output_option
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="inpaint: white (above half) where pixels are missing; or a folder of masks by name. [transparent pixels]",
)
@click.option(
    "--mask-marks",
    type=click.Choice(["missing", "known"]),
    default="missing",
    help="The meaning of white in the mask. [missing]",
)
@click.option("--denoise-known", is_flag=True, help="inpaint: denoise the known pixels, too.")
@click.option(
    "--guide",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="flash: the picture with flash, of the same size; or a folder of guides by name.",
)
@click.option("-c", "--criterion", help="The criterion to stop by. [the task's default]")
@click.option("--sigma", type=float, help="The noise level on the 0-255 scale. [estimated; without noise: 0]")
@quality_option
@part_options
@work_options
@click.pass_context
def restore_command(
    ctx: click.Context,
    /,
    pictures: tuple[str, ...],
    task: str,
    output: str,
    mask: Path | None,
    mask_marks: str,
    denoise_known: bool,
    guide: Path | None,
    max_pixels: int,
    **flags: Any,
) -> None:
    """Restore pictures with a Deep Image Prior that stops automatically.

    Reads and writes PNG, JPEG, TIFF and WebP; grey or colour, 8 or 16 bits; a folder stands for the pictures in it.
    IN is the observation and is not degraded further. Transparency, colour profile and EXIF data are kept; EXIF
    orientation is applied. Ctrl-C writes the best result so far.
    """
    task = without_keeping(task) if denoise_known else task
    manner = Manner.taken(flags)
    options = Options(task=task, **{key: value for key, value in flags.items() if value is not None})
    names = expanded(pictures)
    beside = Beside(mask, mask_marks == "known", guide, max_pixels)
    files = targets(names, output)
    jobs = [PictureOrder(name, file, max_pixels, beside=beside) for name, file in zip(names, files, strict=True)]
    with devices.threads(options.threads):
        ctx.exit(carry_out(jobs, options, manner))


@dataclass(frozen=True)
class Beside:
    """Masks and guides of the pictures.

    Attributes:
        mask: a file, or a folder of files with the pictures' names.
        marks_known: whether the mask is white where pixels are known.
        guide: a file, or a folder of files with the pictures' names.
        max_pixels: refuse a picture of more pixels.
    """

    mask: Path | None
    marks_known: bool
    guide: Path | None
    max_pixels: int = images.MAX_PIXELS

    def mask_of(self, name: str, photo: images.Photo) -> Any:
        """Return the mask of a picture, above half where pixels are missing; without a file, its transparent pixels."""
        if self.mask is None:
            missing = None if photo.alpha is None else photo.alpha[..., 0] < np.iinfo(photo.alpha.dtype).max / 2
            return None if missing is None or not missing.any() else missing
        mask = images.read(_named(self.mask, name, "mask"), self.max_pixels)
        return 255 - mask if self.marks_known else mask

    def guide_of(self, name: str) -> Any:
        """Return the guide of a picture, or None without --guide."""
        return (
            None if self.guide is None else images.read_photo(_named(self.guide, name, "guide"), self.max_pixels).pixels
        )


@dataclass
class PictureOrder(Order):
    """One picture of the command with its mask or guide."""

    beside: Beside = Beside(None, False, None)
    filled: bool = False  # whether its transparent pixels are the mask

    def look(self, options: Options) -> None:
        """Check the picture, its mask and guide and its output before any optimisation, and set `pixel_steps`.

        Raises:
            UsageError: the picture does not fit the task, or the format of `file` cannot hold the result.
        """
        photo = self.photo()
        if photo is None:
            return
        task = build.task(options.task)
        self.filled = params.split(options.task)[0] == "inpaint" and self.beside.mask is None
        try:
            y, _ = images.unpacked(photo.pixels, self.name)
            observation: Observation = task.observe(y, **self.given(photo))
        except DataError as error:
            self.fail(f"{self.name}: {error}")
            return
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from error
        h, w = y.shape[:2]
        factor = task.shape(observation)[0] // observation.y.shape[0]
        restored = np.broadcast_to(photo.pixels[:1, :1], (factor * h, factor * w, y.shape[2]))
        if problem := images.unwritable(self.file, self.delivered(photo, restored)):
            raise UsageError(f"{problem}.")
        self.pixel_steps = most(options, h, w, factor, task.grid)

    def begin(
        self, photo: images.Photo, options: Options, emit: Listen, folder: Path | None = None, processors: int = 1
    ) -> Restoration:
        """Return the restoration of the picture, ready to iterate; as of `Order`, with what is beside the picture."""
        given = self.given(photo)
        return Restoration(
            photo.pixels, options, **given, name=self.name, emit=emit, folder=folder, processors=processors
        )

    def given(self, photo: images.Photo) -> dict[str, Any]:
        """Return the mask, the guide and the bytes of the file."""
        return {
            "mask": self.beside.mask_of(self.name, photo) if self.filled or self.beside.mask is not None else None,
            "guide": self.beside.guide_of(self.name),
            "file": Path(self.name).read_bytes(),
        }

    def delivered(self, photo: images.Photo, image: Any) -> images.Photo:
        """Return the picture to write: its transparency is enlarged with it, or dropped if it was the mask."""
        alpha = photo.alpha
        if alpha is not None and self.filled:
            alpha = None
        elif alpha is not None and alpha.shape[:2] != image.shape[:2]:
            alpha = enlarged(alpha, *image.shape[:2])
        return replace(photo, pixels=image, alpha=alpha)

    def before(self, photo: images.Photo, at_work: Restoration) -> Any:
        """Return the picture, or the task's baseline if the result has another size."""
        h, w, _ = at_work.task.shape(at_work.observation)
        if (h, w) == at_work.observation.y.shape[:2]:
            return photo.pixels
        top = np.iinfo(photo.pixels.dtype).max
        picture = np.rint(at_work.task.baseline(at_work.observation) * top).astype(photo.pixels.dtype)
        return np.broadcast_to(picture, (*picture.shape[:2], photo.pixels.shape[2]))  # equal channels are one

    def row(self, options: Options) -> dict[str, Any]:
        """Return the row for --json."""
        return super().row(options) | {"task": registry().get("task", options.task).text}


def without_keeping(task: str) -> str:
    """Return the text of an inpainting task with `keep=false`.

    Raises:
        UsageError: the task is not `inpaint`.
    """
    name, given = params.split(task)
    if name != "inpaint":
        raise UsageError(f"--denoise-known needs --task inpaint, got --task {task}.")
    return f"{name}[{','.join(f'{key}={value}' for key, value in (given | {'keep': 'false'}).items())}]"


def expanded(pictures: Sequence[str]) -> list[str]:
    """Return the pictures, with each folder replaced by the pictures in it.

    Raises:
        Missing: a folder contains no picture.
    """
    found = []
    for name in pictures:
        if not Path(name).is_dir():
            found.append(name)
            continue
        inside = [str(path) for path in images.files(Path(name)) if path.suffix.lower() in images.FORMATS]
        if not inside:
            raise Missing(f"The folder {name!r} contains no picture ({', '.join(images.FORMATS)}).")
        found += inside
    return found


def enlarged(alpha: Any, h: int, w: int) -> Any:
    """Return transparency (H, W, 1) resized with Pillow's bicubic filter."""
    from PIL import Image

    top = np.iinfo(alpha.dtype).max
    plane = Image.fromarray(alpha[..., 0].astype(np.float32)).resize((w, h), Image.Resampling.BICUBIC)
    return np.rint(np.asarray(plane)).clip(0, top).astype(alpha.dtype)[..., None]


def _named(place: Path, name: str, what: str) -> Path:
    """Return the file itself, or the file of a folder that has a picture's name, with any suffix.

    Raises:
        Missing: the folder has no such file.
    """
    if not place.is_dir():
        return place
    found = [path for path in images.files(place) if path.stem == Path(name).stem]
    if not found:
        raise Missing(f"The folder {str(place)!r} contains no {what} named {Path(name).stem!r}.")
    return found[0]
