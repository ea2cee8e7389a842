from esbench import CodecInfo, hookimpl


@hookimpl
def esbench_codecs():
    return [CodecInfo(name="jpeg", summary="another jpeg", target="esbench_clash_codec:jpeg")]


def jpeg(image):
    return b""
