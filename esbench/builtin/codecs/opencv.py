"""JPEG, WebP and PNG by OpenCV, which is as fast as any library that writes the same JPEG bytes."""

from __future__ import annotations

from typing import Annotated, cast

from esbench.errors import UsageError
from esbench.pictures import Bytes
from esbench.records import Range


def jpeg(image: Bytes, *, quality: Annotated[int, Range(0, 100)] = 95) -> bytes:
    """Return baseline JPEG; a grey picture becomes one component."""
    return _encode(".jpg", image, "IMWRITE_JPEG_QUALITY", quality)


def webp(image: Bytes, *, quality: Annotated[int, Range(1, 100)] = 95) -> bytes:
    """Return lossy WebP."""
    return _encode(".webp", image, "IMWRITE_WEBP_QUALITY", quality)


def png(image: Bytes, *, level: Annotated[int, Range(0, 9)] = 1) -> bytes:
    """Return PNG at a zlib level."""
    return _encode(".png", image, "IMWRITE_PNG_COMPRESSION", level)


def _encode(suffix: str, image: Bytes, option: str, value: int) -> bytes:
    import cv2

    if image.shape[2] == 3:
        image = cast("Bytes", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    try:
        done, data = cv2.imencode(suffix, image, [getattr(cv2, option), value])
    except cv2.error as error:
        done, reason = False, str(error)
    else:
        reason = "the encoder rejected it"
    if not done:
        h, w = image.shape[:2]
        raise UsageError(f"A {w} x {h} picture cannot be written as {suffix[1:]}: {' '.join(reason.split())}")
    return data.tobytes()
