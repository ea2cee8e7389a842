"""zlib, bz2 and lzma as codecs; each gives a criterion `cifs-<codec>`."""

from esbench import CodecInfo, hookimpl


@hookimpl
def esbench_codecs():
    """Return one record per codec."""
    return [
        CodecInfo(
            name="zlib",
            summary="DEFLATE of the differences between rows (standard library)",
            target="esbench_lossless.codecs:deflate",
            reference="RFC 1950, RFC 1951",
            lossless=True,
        ),
        CodecInfo(
            name="bz2",
            summary="Burrows-Wheeler transform of the differences between rows (standard library)",
            target="esbench_lossless.codecs:bzip2",
            reference="https://sourceware.org/bzip2/",
            lossless=True,
        ),
        CodecInfo(
            name="lzma",
            summary="LZMA2 of the differences between rows (standard library)",
            target="esbench_lossless.codecs:xz",
            reference="https://tukaani.org/xz/format.html",
            lossless=True,
            requires=("_lzma",),  # some builds of Python do not have it
        ),
    ]
