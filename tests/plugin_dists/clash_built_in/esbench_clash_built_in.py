from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="wmv", summary="another wmv", target="esbench_clash_built_in:wmv")]


def wmv(frame):
    return 42.0
