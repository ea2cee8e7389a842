"""Self-Validation (Li et al., BMVC 2021)."""

from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    """Return the record of the criterion."""
    return [
        CriterionInfo(
            name="selfval",
            summary="error of an autoencoder that has learned the previous outputs",
            target="esbench_selfval.criterion:SelfValidation",
            reference="Li et al., Self-validation: early stopping for single-instance deep generative priors, "
            "BMVC 2021, arXiv 2110.12271",
            requires=("torch",),
            every=8,
        )
    ]
