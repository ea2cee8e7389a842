"""esbench-example: the criterion `example`. Keep what is imported here light."""

from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    """Return the records of what this plugin adds."""
    return [
        CriterionInfo(
            name="example",
            summary="mean step between neighbouring pixels",
            target="esbench_example.criterion:example",
            reference="to fill in: paper, equation or address",
            version=1,  # raise it when the numbers change: values of two versions are never mixed
        )
    ]
