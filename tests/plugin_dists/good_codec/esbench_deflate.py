"""A codec out of the standard library."""

import zlib
from typing import Annotated

from esbench import CodecInfo, Range, hookimpl


@hookimpl
def esbench_codecs():
    return [CodecInfo(name="deflate", summary="DEFLATE of the raw pixels", target="esbench_deflate:encode", lossless=True)]


def encode(image, *, level: Annotated[int, Range(0, 9)] = 6) -> bytes:
    return zlib.compress(image.tobytes(), level)
