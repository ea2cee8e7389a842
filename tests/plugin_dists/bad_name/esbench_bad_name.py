from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="Bad Name", summary="blanks and capitals", target="esbench_bad_name:x")]
