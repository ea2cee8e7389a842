"""The built-in criteria, registered through the same hook as those of plugins; records only."""

from __future__ import annotations

from collections.abc import Mapping

from esbench.hookspecs import hookimpl
from esbench.records import CodecInfo, CriterionInfo


@hookimpl
def esbench_criteria(codecs: Mapping[str, CodecInfo]) -> list[CriterionInfo]:
    """One CIFS for each codec, the other criteria, and references that a criterion should beat."""
    from esbench.builtin.criteria.cifs import Cifs

    cifs = {codec.name: Cifs(codec) for codec in codecs.values()}
    niqe = "Mittal et al., Making a completely blind image quality analyzer, IEEE SPL 2013"
    crossing = "Jo, Chun and Choi, Rethinking deep image prior for denoising, ICCV 2021, zero crossing"
    prior = "Ulyanov et al., Deep image prior, CVPR 2018"
    variance = "Wang et al., Early stopping for deep image prior, TMLR 2023"
    return [
        *(
            CriterionInfo(
                name=f"cifs-{codec.name}",
                summary=f"loss and compressed file size of the output: {codec.name}",
                target=cifs[codec.name],
                resolve=cifs[codec.name].resolve,
                recompute=cifs[codec.name].recompute,
                free=("lam",),
                reference="Takagi et al., JPEG information regularized deep image prior for denoising, ICIP 2023",
                requires=codec.requires,
                needs=("loss",),
                codec=codec.name,
            )
            for codec in codecs.values()
        ),
        CriterionInfo(
            name="wmv",
            summary="windowed moving variance of the outputs",
            target="esbench.builtin.criteria.variance:WindowedVariance",
            reference=f"{variance}, ES-WMV",
        ),
        CriterionInfo(
            name="emv",
            summary="exponential moving variance of the outputs",
            target="esbench.builtin.criteria.variance:ExponentialVariance",
            reference=f"{variance}, ES-EMV",
        ),
        CriterionInfo(
            name="discrepancy",
            version=5,  # impulses count from a smaller share on, and those of a drawing do not
            summary="how far the residual is from the noise in the noisy picture",
            target="esbench.builtin.criteria.discrepancy:Discrepancy",
            resolve="esbench.builtin.criteria.discrepancy:resolve",
            reference="Morozov, On the solution of functional equations by the method of regularization, 1966",
            needs=("noisy",),
            measures="average",
        ),
        CriterionInfo(
            name="holdout",
            summary="mean squared error on pixels that are kept out of the loss",
            target="esbench.builtin.criteria.holdout:holdout",
            batch="esbench.builtin.criteria.holdout:holdout_block",
            resolve="esbench.builtin.criteria.holdout:resolve",
            reference="Stone, Cross-validatory choice and assessment of statistical predictions, JRSS B 1974",
            needs=("noisy", "holdout"),
            measures="average",
        ),
        CriterionInfo(
            name="interval",
            summary="share of the intervals of a JPEG's coefficients that the output is outside of",
            target="esbench.builtin.criteria.interval:interval",
            resolve="esbench.builtin.criteria.interval:resolve",
            recompute="esbench.builtin.criteria.interval:recompute",
            version=2,
            free=("c",),
            needs=("noisy",),
            measures="average",
        ),
        CriterionInfo(
            name="csr-like",
            summary="distance in detail to a second noisy copy, made from the other colour channels",
            target="esbench.builtin.criteria.self_reference:csr_like",
            reference="Huang et al., A principled self-referenced early stopping approach for deep image prior, 2026",
            needs=("noisy",),
            measures="average",
        ),
        CriterionInfo(
            name="sure",
            summary="Stein's unbiased estimate of the squared error; the network's input must be the observation",
            target="esbench.builtin.criteria.risk:sure",
            resolve="esbench.builtin.criteria.risk:resolve_sigma",
            probe="esbench.builtin.criteria.risk:probe_sure",
            recompute="esbench.builtin.criteria.risk:recompute_sure",
            free=("sigma",),
            reference="Stein, Estimation of the mean of a multivariate normal distribution, Annals of Statistics 1981",
            needs=("noisy", "observation"),
        ),
        CriterionInfo(
            name="sure-zero",
            summary="the last step before sure becomes negative",
            target="esbench.builtin.criteria.risk:SureZero",
            resolve="esbench.builtin.criteria.risk:resolve_sigma",
            probe="esbench.builtin.criteria.risk:probe_sure",
            reference=crossing,
            needs=("noisy", "observation"),
        ),
        CriterionInfo(
            name="pure",
            summary="the Poisson unbiased estimate of the squared error; the network's input must be the observation",
            target="esbench.builtin.criteria.risk:pure",
            resolve="esbench.builtin.criteria.risk:resolve_gain",
            probe="esbench.builtin.criteria.risk:probe_pure",
            recompute="esbench.builtin.criteria.risk:recompute_pure",
            free=("gain",),
            reference="Luisier, Blu and Unser, Image denoising in mixed Poisson-Gaussian noise, IEEE TIP 2011",
            needs=("noisy", "observation"),
        ),
        CriterionInfo(
            name="pure-zero",
            summary="the last step before pure becomes negative",
            target="esbench.builtin.criteria.risk:PureZero",
            resolve="esbench.builtin.criteria.risk:resolve_gain",
            probe="esbench.builtin.criteria.risk:probe_pure",
            reference=crossing,
            needs=("noisy", "observation"),
        ),
        CriterionInfo(
            name="brisque",
            summary="BRISQUE as OpenCV computes it, not cut off at 0 and 100",
            target="esbench.builtin.criteria.brisque:brisque",
            batch="esbench.builtin.criteria.brisque:brisque_block",
            resolve="esbench.builtin.criteria.brisque:resolve",
            reference="Mittal et al., No-reference image quality assessment in the spatial domain, IEEE TIP 2012",
        ),
        CriterionInfo(
            name="niqe",
            summary="NIQE as its authors released it",
            target="esbench.builtin.criteria.niqe:niqe",
            batch="esbench.builtin.criteria.niqe:niqe_block",
            resolve="esbench.builtin.criteria.niqe:resolve",
            reference=niqe,
        ),
        CriterionInfo(
            name="niqe-live",
            summary="NIQE as LIVE's Python package computes it, with its bugs",
            target="esbench.builtin.criteria.niqe:niqe_live",
            batch="esbench.builtin.criteria.niqe:niqe_live_block",
            resolve="esbench.builtin.criteria.niqe:resolve_live",
            reference=f"{niqe}; utlive/live_python_qa",
        ),
        CriterionInfo(
            name="loss",
            summary="reference: the loss, which keeps falling while the network fits the noise",
            target="esbench.builtin.criteria.references:loss",
            reference=prior,
            needs=("loss",),
        ),
        CriterionInfo(
            name="fixed",
            summary="reference: stops at a given step",
            target="esbench.builtin.criteria.references:fixed",
            recompute="esbench.builtin.criteria.references:recompute_fixed",
            free=("step",),
            reference=prior,
        ),
        CriterionInfo(
            name="last",
            summary="reference: the last step, without early stopping",
            target="esbench.builtin.criteria.references:last",
            reference=prior,
        ),
    ]
