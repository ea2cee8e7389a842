from esbench import CodecInfo, hookimpl


@hookimpl
def esbench_codecs():
    return [
        CodecInfo(name="nowhere", summary="no such module", target="esbench_broken_codec.nowhere:encode"),
        CodecInfo(name="unimportable", summary="fails at import", target="esbench_broken_codec.unimportable:encode"),
        CodecInfo(name="nameless", summary="no such function", target="esbench_broken_codec.empty:encode"),
    ]
