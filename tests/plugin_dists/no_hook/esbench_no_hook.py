def esbench_criteria():  # not marked with hookimpl
    return []
