from esbench import hookimpl


@hookimpl
def esbench_criteria(kodecs):
    return []
