def esbench_criteria(:
    return []
