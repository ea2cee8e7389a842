from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    [CriterionInfo(name="forgotten", summary="made and not returned", target="esbench_forgets_return:x")]
