from esbench import hookimpl


@hookimpl
def esbench_criteria():
    return [{"name": "foo", "target": "esbench_wrong_record:foo"}]
