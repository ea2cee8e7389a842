"""A criterion that is a function."""

from typing import Annotated

from esbench import CriterionInfo, Range, hookimpl


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="roughness", summary="mean step between neighbours", target="esbench_good:roughness")]


def roughness(frame, *, strength: Annotated[float, Range(0)] = 1.0) -> float:
    return strength * float(abs(frame.float[1:] - frame.float[:-1]).mean())
