"""JPEG XL, AVIF and JPEG 2000 by imagecodecs."""

from __future__ import annotations

from typing import Annotated, cast

from esbench.pictures import Bytes
from esbench.records import Range


def jxl(image: Bytes, *, quality: Annotated[int, Range(1, 100)] = 95, effort: Annotated[int, Range(1, 9)] = 3) -> bytes:
    """Return JPEG XL; quality 100 is lossless."""
    import imagecodecs

    level = quality if quality < 100 else 101  # this encoder is lossless above 100
    return bytes(imagecodecs.jpegxl_encode(_squeezed(image), level=level, effort=effort, numthreads=1))


def avif(
    image: Bytes, *, quality: Annotated[int, Range(1, 100)] = 95, speed: Annotated[int, Range(0, 10)] = 8
) -> bytes:
    """Return AVIF, 4:4:4, a grey picture as three equal channels; quality 100 is lossless."""
    import imagecodecs

    # this encoder writes a single channel without loss, whatever the quality
    image = image.repeat(3, axis=2) if image.shape[2] == 1 else image
    return bytes(imagecodecs.avif_encode(image, level=quality, speed=speed, numthreads=1))


def jpeg2k(image: Bytes, *, psnr: Annotated[float, Range(10, 100)] = 42.0) -> bytes:
    """Return irreversible JPEG 2000 for a PSNR in dB; 42 is about that of JPEG at quality 95."""
    import imagecodecs

    # the level of this encoder is a PSNR, but annotated as int
    return bytes(imagecodecs.jpeg2k_encode(_squeezed(image), level=cast(int, psnr), reversible=False, numthreads=1))


def _squeezed(image: Bytes) -> Bytes:
    return image[..., 0] if image.shape[2] == 1 else image
