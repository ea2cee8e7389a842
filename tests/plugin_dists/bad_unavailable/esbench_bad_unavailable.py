from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [
        CriterionInfo(name="no-gpu", summary="says why not", target=fine, unavailable="esbench_bad_unavailable:why"),
        CriterionInfo(name="asks-badly", summary="raises", target=fine, unavailable="esbench_bad_unavailable:fails"),
    ]


def why():
    print("looking")
    return "there is no such device here"


def fails():
    raise OSError("the driver\nis away")


def fine(frame):
    return 1.0
