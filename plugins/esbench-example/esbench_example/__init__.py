"""esbench-example: the criterion `example`. Keep imports here light."""

from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    """Return the records of this plugin."""
    return [
        CriterionInfo(
            name="example",
            summary="mean step between neighbouring pixels",
            target="esbench_example.criterion:example",
            reference="to fill in: paper, equation or address",
            version=1,  # increase it when the numbers change: values of two versions are never mixed
        )
    ]
