"""Codecs: they encode 8-bit pictures to bytes. Each becomes a criterion `cifs-<codec>`."""

from __future__ import annotations

from esbench.hookspecs import hookimpl
from esbench.records import CodecInfo


@hookimpl
def esbench_codecs() -> list[CodecInfo]:
    """The codecs that come with esbench."""
    opencv, imagecodecs = "esbench.builtin.codecs.opencv", "esbench.builtin.codecs.imagecodecs"
    return [
        CodecInfo(
            name="jpeg",
            summary="baseline JPEG, 4:2:0, standard Huffman tables (libjpeg-turbo, by OpenCV)",
            target=f"{opencv}:jpeg",
            reference="ITU-T T.81; cv2.imencode without options, as in the CIFS paper",
        ),
        CodecInfo(
            name="webp",
            summary="lossy WebP (libwebp, by OpenCV)",
            target=f"{opencv}:webp",
            reference="RFC 9649",
        ),
        CodecInfo(
            name="png",
            summary="lossless PNG (libpng, by OpenCV)",
            target=f"{opencv}:png",
            reference="ISO/IEC 15948",
            lossless=True,
        ),
        CodecInfo(
            name="jxl",
            summary="lossy JPEG XL (libjxl, by imagecodecs)",
            target=f"{imagecodecs}:jxl",
            reference="ISO/IEC 18181",
            requires=("imagecodecs",),
        ),
        CodecInfo(
            name="avif",
            summary="lossy AVIF (libavif, by imagecodecs)",
            target=f"{imagecodecs}:avif",
            reference="AV1 Image File Format 1.1",
            requires=("imagecodecs",),
        ),
        CodecInfo(
            name="jpeg2k",
            summary="lossy JPEG 2000 (OpenJPEG, by imagecodecs)",
            target=f"{imagecodecs}:jpeg2k",
            reference="ITU-T T.800",
            requires=("imagecodecs",),
        ),
    ]
