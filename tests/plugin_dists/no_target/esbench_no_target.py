from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [
        CriterionInfo(name="no-function", summary="the module is there", target="esbench_no_target:gone"),
        CriterionInfo(name="no-module", summary="the module is not", target="esbench_no_target_at_all:gone"),
        CriterionInfo(name="still-fine", summary="beside them", target="esbench_no_target:fine"),
    ]


def fine(frame):
    return 1.0
