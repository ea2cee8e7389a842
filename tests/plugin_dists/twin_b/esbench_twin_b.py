from esbench import CodecInfo, CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="twin", summary="the same name twice", target="esbench_twin_b:twin")]


@hookimpl
def esbench_codecs():
    return [CodecInfo(name="twine", summary="the same name twice", target="esbench_twin_b:twine")]


def twin(frame):
    return 2.0


def twine(image):
    return b"b"
