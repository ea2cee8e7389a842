"""The blur and sharpness criterion of Shi et al. (IJCV 2022)."""

from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    """Return the record of the criterion."""
    return [
        CriterionInfo(
            name="spectral",
            summary="change of the ratio of blur to sharpness, down to a threshold: finds a plateau",
            target="esbench_spectral.criterion:Spectral",
            reference="Shi et al., On measuring and controlling the spectral bias of the deep image prior, IJCV 2022, "
            "arXiv 2107.01125",
        )
    ]
