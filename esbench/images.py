"""Pictures from files and from other people's arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from esbench.errors import DataError, Missing, UsageError
from esbench.types import Bytes, Floats, Pictures

#: What is looked for in a folder.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".ppm", ".pgm")


def read(path: str | os.PathLike[str]) -> Bytes:
    """Return a picture file as uint8, (H, W, 3) RGB or (H, W, 1) grey.

    Turned as its EXIF orientation says; transparency is dropped, 16 bits become 8.

    Raises:
        Missing: there is no such file.
        DataError: it is not a picture that can be read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except FileNotFoundError:
        raise Missing(f"There is no file {os.fspath(path)!r}.") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{os.fspath(path)!r} is not a picture that can be read (by its content, not its name)."
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{os.fspath(path)!r} cannot be read as a picture: {error}.") from error
    if image.mode == "F":
        raise DataError(f"{os.fspath(path)!r} has floating-point pixels: save it with 8 or 16 bits.")
    if image.mode.startswith("I"):
        # 16 bits, which Pillow keeps as integers: 65535 becomes 255
        grey = np.rint(np.asarray(image, dtype=np.float64) / 257).clip(0, 255)
        return grey.astype(np.uint8)[..., None]
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))


def write(path: str | os.PathLike[str], image: Bytes) -> None:
    """Write uint8 (H, W, 3) or (H, W, 1) to a file, in the format of its suffix."""
    from PIL import Image

    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(path)


def pictures(image: Any, what: str = "image") -> Pictures:
    """Return somebody's picture as a batch of one.

    Args:
        image: NumPy or torch, uint8 or float in [0, 1]; (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with C of 1 or 3.
            Where both ends could be channels, NumPy is taken as (H, W, C) and torch as (C, H, W).
        what: its name in a message.

    Raises:
        UsageError: it is something else.
    """
    tensor = hasattr(image, "detach")
    array: Any = image.detach() if tensor else np.asarray(image)
    shape = tuple(array.shape)
    floating = array.is_floating_point() if tensor else array.dtype.kind == "f"
    if not floating and not str(array.dtype).endswith("uint8"):
        raise UsageError(f"{what} must be uint8 or float in [0, 1], got {array.dtype}.")
    if len(shape) == 4 and shape[0] == 1:
        array, shape = array[0], shape[1:]
    if len(shape) == 2:
        array = array[None] if tensor else array[..., None]
    elif len(shape) == 3 and {shape[0], shape[-1]} & {1, 3}:
        first = shape[0] in (1, 3) and (tensor or shape[-1] not in (1, 3))
        if tensor and not first:
            array = array.permute(2, 0, 1)
        elif not tensor and first:
            array = np.moveaxis(array, 0, -1)
    else:
        raise UsageError(f"{what} must be (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with C of 1 or 3, got {shape}.")
    if tensor and not floating:
        array = array.float() / 255
    if 0 in shape:
        raise UsageError(f"{what} must have pixels, got {shape}.")
    return Pictures(array[None])


def checked(image: Any, what: str = "image") -> Pictures:
    """Return `pictures(image)` after a look at its range.

    Raises:
        UsageError: floats far outside [0, 1], or NaN.
    """
    found = pictures(image, what)
    low, high = float(found._source.min()), float(found._source.max())
    if found._source.dtype != np.uint8 and not (low >= -0.5 and high <= 1.5):
        raise UsageError(f"{what} must be uint8 or float in [0, 1], got floats from {low:.3g} to {high:.3g}.")
    return found


def centre_crop(image: Bytes, side: int) -> Bytes:
    """Return the centre of a picture, at most `side` in each direction; offsets are rounded down."""
    h, w = image.shape[:2]
    top, left = max(0, h - side) // 2, max(0, w - side) // 2
    return image[top : top + side, left : left + side]


def unit(image: Bytes) -> Floats:
    """Return uint8 as float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def files(folder: Path) -> list[Path]:
    """Return the picture files of a folder by name, without hidden ones."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
