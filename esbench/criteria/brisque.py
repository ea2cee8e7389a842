"""BRISQUE as OpenCV computes it: how unlike a photograph the statistics of neighbouring pixels are, lower is better.

Mittal, Moorthy and Bovik, "No-reference image quality assessment in the spatial domain" (IEEE TIP 2012); features,
model and arithmetic are those of cv2.quality.QualityBRISQUE. Up to the normalised map all is float32, because OpenCV's
is: in flat areas its variance is rounding noise, and the pixels where that is negative do not count. The fits and the
score are float64.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from esbench import models
from esbench.types import Frame, Problem, Value

if TYPE_CHECKING:
    import torch


def brisque(frame: Frame, *, clamp: bool = False) -> Value:
    """The score of one picture, taken as 8-bit colour or grey.

    It is left as the regression gives it, which may be below 0 or above 100; with `clamp` it is cut off there, as
    OpenCV does. Cut off, all very good pictures are equally good, and the first of them would win.
    """
    return brisque_block([frame], clamp=clamp)[0]


def brisque_block(frames: Sequence[Frame], *, clamp: bool = False) -> list[Value]:
    """The scores of pictures of one size."""
    import torch

    from esbench.criteria import nss

    if not frames:
        return []
    if min(frames[0].size) < 2:
        return [Value(None, reason="it has no half size")] * len(frames)
    scores = torch.cat([score(features(nss.grey(x))) for x in nss.batches(frames)])
    if clamp:
        scores = scores.clamp(0, 100)
    return [_value(s, frame) for s, frame in zip(scores.tolist(), frames, strict=True)]


def _value(score: float, frame: Frame) -> Value:
    if not frame.finite:
        return Value(None, reason="it has NaN or infinite pixels")
    if score != score:
        return Value(None, reason="it is flat, or a direction in it has values of one sign only: no distribution fits")
    return Value(score)


def resolve(problem: Problem, **params: Any) -> dict[str, Any]:
    """See to it, before the first step, that the model is here.

    Raises:
        Missing: it is not, and could not be fetched.
    """
    for name in (models.BRISQUE_MODEL, models.BRISQUE_RANGE):
        models.path(name)
    return params


# -- features ----------------------------------------------------------------------------------------------------------


def features(grey: torch.Tensor) -> torch.Tensor:
    """Return the 36 features of (B, H, W) 8-bit grey pictures as float64 (B, 36): 18 at full and 18 at half size."""
    import torch

    from esbench.criteria import nss

    x = grey * (1 / 255)  # rounds otherwise than a division by 255, and so does OpenCV
    half = nss.cubic(x, x.shape[-2] // 2, x.shape[-1] // 2)
    return torch.cat([_features_at_scale(x), _features_at_scale(half)], -1)


def _features_at_scale(x: torch.Tensor) -> torch.Tensor:
    import torch

    from esbench.criteria import nss

    m = normalised(x)

    # neighbours at (row, column) (0, 1), (1, 0), (1, 1), (-1, 1); outside is nothing, which counts in n all the same
    def maps() -> Iterator[torch.Tensor]:
        yield m
        yield m[:, :, :-1] * m[:, :, 1:]
        yield m[:, :-1, :] * m[:, 1:, :]
        yield m[:, :-1, :-1] * m[:, 1:, 1:]
        yield m[:, 1:, :-1] * m[:, :-1, 1:]

    shape, left, right = nss.aggd(nss.moments(maps()), steps=nss.STEPS - 1)
    mean_of, scale_of = nss.gammas(shape)
    of_map = torch.stack([shape[:, 0], (left**2 + right**2)[:, 0] / 2], -1)
    of_products = torch.stack([shape, (right - left) * scale_of * mean_of, left**2, right**2], -1)[:, 1:]
    return torch.cat([of_map, of_products.flatten(1)], -1)


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Return (I - mu) / (sigma + 1/255) of (B, H, W) in [0, 1], 0 where float32 gives a negative variance."""
    from esbench.criteria import nss

    padded = nss.replicate(x, 3)
    mu = _blur(padded)
    sigma = _blur(padded.square_()).sub_(mu * mu).sqrt_()
    return (x - mu).div_(sigma.add_(1 / 255)).nan_to_num_(0.0)


def _blur(x: torch.Tensor) -> torch.Tensor:
    """Return x weighted with a Gaussian: along rows tap by tap, then down in pairs, as cv2.GaussianBlur does."""
    return _in_lanes(_in_lanes(x, -1, lanes=4), -2, lanes=8)


def _in_lanes(x: torch.Tensor, dim: int, lanes: int) -> torch.Tensor:
    """Filter along a dimension; the last columns, which fill no vector register, OpenCV does without fused steps."""
    from esbench.criteria import nss

    paired = dim == -2
    out = nss.correlate(x, nss.GAUSSIAN, dim, paired=paired)
    if loose := out.shape[-1] % lanes:
        last = x[..., -loose - (x.shape[-1] - out.shape[-1]) :]
        out[..., -loose:] = nss.correlate(last, nss.GAUSSIAN, dim, paired=paired, fused=False)
    return out


# -- model -------------------------------------------------------------------------------------------------------------


class Model(NamedTuple):
    """The trained regression: support vectors (N, 36), their weights, and the range of each feature (2, 36)."""

    vectors: torch.Tensor
    alpha: torch.Tensor
    rho: float
    gamma: float
    low: torch.Tensor
    high: torch.Tensor


def score(features: torch.Tensor) -> torch.Tensor:
    """Return sum_i alpha_i exp(-gamma |v - v_i|^2) - rho with v the features scaled to [-1, 1], not cut off there."""
    import torch

    model = _model(features.device)
    v = 2 * (features - model.low) / (model.high - model.low) - 1
    kernel = (-model.gamma * torch.cdist(v, model.vectors, compute_mode="donot_use_mm_for_euclid_dist") ** 2).exp()
    return (kernel * model.alpha).sum(-1) - model.rho


@functools.lru_cache(8)
def _model(device: torch.device) -> Model:
    import torch

    def read(name: str) -> str:
        return models.path(name).read_text(encoding="ascii")

    def numbers(text: str) -> torch.Tensor:
        return torch.tensor([float(x) for x in text.replace(",", " ").split()], dtype=torch.float64, device=device)

    # OpenCV's YAML, whose bytes were checked: every number that is wanted stands in brackets or after its key
    svm = read(models.BRISQUE_MODEL)
    vectors, _, decision = svm.partition("decision_functions:")
    alpha, rho, gamma = (
        re.findall(pattern, text)[0]
        for pattern, text in ((r"alpha: \[([^]]*)\]", decision), (r"rho: (\S+)", decision), (r"gamma: (\S+)", svm))
    )
    low, high = numbers(re.findall(r"data: \[([^]]*)\]", read(models.BRISQUE_RANGE))[0]).view(2, 36)
    return Model(
        numbers(" ".join(re.findall(r"- \[([^]]*)\]", vectors))).view(-1, 36),
        numbers(alpha),
        float(rho),
        float(gamma),
        low,
        high,
    )
