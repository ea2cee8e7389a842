from esbench import hookimpl


@hookimpl
def esbench_criterea():
    return []
