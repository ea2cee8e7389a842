print("hello from the import")

from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    print("hello from the hook")
    return [CriterionInfo(name="chatty", summary="prints", target="esbench_prints:chatty")]


def chatty(frame):
    return 1.0
