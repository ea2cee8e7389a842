from esbench import CodecInfo, CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="twin", summary="the same name twice", target="esbench_twin_a:twin")]


@hookimpl
def esbench_codecs():
    return [CodecInfo(name="twine", summary="the same name twice", target="esbench_twin_a:twine")]


def twin(frame):
    return 1.0


def twine(image):
    return b"a"
