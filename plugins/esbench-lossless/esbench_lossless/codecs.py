"""Compress pictures with the standard library."""

import bz2
import zlib
from typing import Annotated, Literal

import numpy as np
from esbench import Range

Filter = Literal["up", "none"]


def deflate(image, *, level: Annotated[int, Range(0, 9)] = 6, filter: Filter = "up") -> bytes:
    """Return uint8 (H, W, C) as DEFLATE."""
    return zlib.compress(filtered(image, filter), level)


def bzip2(image, *, level: Annotated[int, Range(1, 9)] = 9, filter: Filter = "up") -> bytes:
    """Return uint8 (H, W, C) as bzip2."""
    return bz2.compress(filtered(image, filter), level)


def xz(image, *, preset: Annotated[int, Range(0, 9)] = 6, filter: Filter = "up") -> bytes:
    """Return uint8 (H, W, C) as LZMA2 in the xz container, without its checksum."""
    import lzma

    return lzma.compress(filtered(image, filter), check=lzma.CHECK_NONE, preset=preset)


def filtered(image, filter: Filter) -> bytes:
    """Return the bytes of a picture, each row as its difference from the one above, PNG's filter Up."""
    if filter == "up":
        image = np.diff(image, axis=0, prepend=np.zeros_like(image[:1]))
    return image.tobytes()


def restored(data: bytes, shape: tuple[int, ...], filter: Filter) -> np.ndarray:
    """Return the picture from its filtered bytes."""
    rows = np.frombuffer(data, np.uint8).reshape(shape)
    return np.cumsum(rows, axis=0, dtype=np.uint8) if filter == "up" else rows
