"""The criteria that come with esbench, through the same hook as anybody's; records only."""

from __future__ import annotations

from collections.abc import Mapping

from esbench.hookspecs import hookimpl
from esbench.types import CodecInfo, CriterionInfo


@hookimpl
def esbench_criteria(codecs: Mapping[str, CodecInfo]) -> list[CriterionInfo]:
    """One CIFS for each codec, the variances, and what a criterion has to beat."""
    from esbench.criteria.cifs import Cifs

    cifs = {codec.name: Cifs(codec) for codec in codecs.values()}
    variance = "Wang et al., Early stopping for deep image prior, TMLR 2023"
    return [
        *(
            CriterionInfo(
                name=f"cifs-{codec.name}",
                summary=f"loss and compressed file size of the output: {codec.name}",
                target=cifs[codec.name],
                resolve=cifs[codec.name].resolve,
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
            target="esbench.criteria.variance:WindowedVariance",
            reference=f"{variance}, ES-WMV",
        ),
        CriterionInfo(
            name="emv",
            summary="exponential moving variance of the outputs",
            target="esbench.criteria.variance:ExponentialVariance",
            reference=f"{variance}, ES-EMV",
        ),
        CriterionInfo(
            name="loss",
            summary="the loss itself, which falls for as long as the noise is being fitted",
            target="esbench.criteria.references:loss",
            needs=("loss",),
        ),
        CriterionInfo(
            name="fixed",
            summary="stops at a step that was chosen beforehand",
            target="esbench.criteria.references:fixed",
        ),
        CriterionInfo(
            name="last",
            summary="never stops: the last step",
            target="esbench.criteria.references:last",
        ),
    ]
