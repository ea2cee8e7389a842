from esbench import CodecInfo, CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="heavy", summary="its module is dear to import", target="esbench_heavy.dear:heavy")]


@hookimpl
def esbench_codecs():
    return [CodecInfo(name="heavy", summary="its module is dear to import", target="esbench_heavy.dear:encode")]
