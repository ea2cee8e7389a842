from esbench import CodecInfo, hookimpl


@hookimpl
def esbench_codecs():
    return [CodecInfo(name="halfway", summary="never seen, because the plugin breaks later", target=bytes)]


@hookimpl
def esbench_criteria():
    raise RuntimeError("out of\ncheese")
