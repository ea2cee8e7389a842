"""BRISQUE as OpenCV computes it: how unlike a photograph the statistics of neighbouring pixels are, lower is better.

Mittal, Moorthy and Bovik, "No-reference image quality assessment in the spatial domain" (IEEE TIP 2012); features,
model and arithmetic are those of cv2.quality.QualityBRISQUE. Up to the normalised map everything is float32, as in
OpenCV: in flat areas the variance is rounding noise, and pixels with a negative one do not count. The fits and the
score are float64.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from esbench import models
from esbench.frames import Frame, Value
from esbench.observation import Problem

if TYPE_CHECKING:
    import torch

    from esbench.builtin.criteria.nss import Moments


def brisque(frame: Frame, *, clamp: bool = False) -> Value:
    """Return the score of one picture, taken as 8-bit colour or grey.

    The score of the regression may be below 0 or above 100; with `clamp` it is clipped there, as in OpenCV. If clipped,
    all very good pictures are equally good, and the first of them would win.
    """
    return brisque_block([frame], clamp=clamp)[0]


def brisque_block(frames: Sequence[Frame], *, clamp: bool = False) -> list[Value]:
    """Return the scores of pictures of one size."""
    from esbench.builtin.criteria import nss

    if not frames:
        return []
    if min(frames[0].size) < 2:
        return [Value(None, reason="it has no half size")] * len(frames)
    scores = nss.measured(frames, lambda x: score(features(nss.grey(x))))
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
    """Ensure, before the first step, that the model is available.

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

    from esbench.builtin.criteria import nss

    h, w = grey.shape[1:]
    full = nss.replicate(grey, 3, 1 / 255)  # as in OpenCV; a division by 255 rounds differently
    half = nss.replicate(nss.cubic(full[:, 1:-1, 1:-1], h // 2, w // 2), 3)
    moments = moments_in_bands if grey.device.type == "cpu" else moments_at_once
    both = [torch.cat(sums, -1) for sums in zip(moments(full), moments(half), strict=True)]
    shape, left, right = nss.aggd(nss.Moments(*both), steps=nss.STEPS - 1)
    mean_of, scale_of = nss.gammas(shape)
    of_map = torch.stack([shape, (left**2 + right**2) / 2], -1)
    of_product = torch.stack([shape, (right - left) * scale_of * mean_of, left**2, right**2], -1)
    scales = [torch.cat([of_map[:, i], of_product[:, i + 1 : i + 5].flatten(1)], -1) for i in (0, 5)]
    return torch.cat(scales, -1)


# -- the normalised map, and its products with neighbours --------------------------------------------------------------


def moments_at_once(padded: torch.Tensor) -> Moments:
    """Return the moments (B, 5) of the normalised map and of its four products with neighbours.

    Neighbours are at (row, column) (0, 1), (1, 0), (1, 1), (-1, 1); outside is 0, which still counts in n.
    """
    from esbench.builtin.criteria import nss

    m = normalised(padded)

    def maps() -> Iterator[torch.Tensor]:
        yield m
        yield m[:, :, :-1] * m[:, :, 1:]
        yield m[:, :-1, :] * m[:, 1:, :]
        yield m[:, :-1, :-1] * m[:, 1:, 1:]
        yield m[:, 1:, :-1] * m[:, :-1, 1:]

    return nss.moments(maps())


def normalised(padded: torch.Tensor) -> torch.Tensor:
    """Return (I - mu) / (sigma + 1/255), and 0 for pixels with a negative variance in float32.

    Args:
        padded: (B, H + 6, W + 6) in [0, 1], pictures with three more rows and columns on every side.
    """
    mu = _blur(padded)
    sigma = _blur(padded.square()).sub_(mu * mu).sqrt_()
    return (padded[:, 3:-3, 3:-3] - mu).div_(sigma.add_(1 / 255)).nan_to_num_(0.0)


def _blur(x: torch.Tensor) -> torch.Tensor:
    """Return x filtered with a Gaussian: along rows tap by tap, along columns in pairs, as in cv2.GaussianBlur."""
    return _in_lanes(_in_lanes(x, -1, lanes=4), -2, lanes=8)


def _in_lanes(x: torch.Tensor, dim: int, lanes: int) -> torch.Tensor:
    """Filter along a dimension; like OpenCV, do not fuse in the last columns, which do not fill a vector register."""
    from esbench.builtin.criteria import nss

    paired = dim == -2
    out = nss.correlate(nss.taps(x, dim), paired=paired)
    if loose := out.shape[-1] % lanes:
        last = x[..., -loose - (x.shape[-1] - out.shape[-1]) :]
        out[..., -loose:] = nss.correlate(nss.taps(last, dim), paired=paired, fused=False)
    return out


# -- the same on a CPU: a few rows at a time, in memory that fits into the cache ---------------------------------------


def moments_in_bands(padded: torch.Tensor) -> Moments:
    """Return what `moments_at_once` returns, for pictures on a CPU."""
    import torch

    from esbench.builtin.criteria import nss

    h, w = padded.shape[1] - 6, padded.shape[2] - 6
    bands = _Bands(h, w)
    sign, count, absolute, signed_square, square = torch.stack([bands.sums(picture) for picture in padded], 1)
    return nss.Moments(
        torch.full_like(count, h * w),
        n_left=(count - sign) / 2,
        n_right=(count + sign) / 2,
        absolute=absolute,
        square_left=(square - signed_square).clamp(min=0) / 2,
        square_right=(square + signed_square).clamp(min=0) / 2,
    )


class _Bands:
    """Buffers for some rows of a picture and their intermediate results, reused for the next rows.

    Sums over products of neighbours are scalar products: of |m| with |m| shifted by the offset of the neighbour, of m^2
    with m^2 shifted, and so on; no product is stored. For that the map is flat, with a column of zeros between its
    rows; the row above a band is the last one of the previous band. A library chooses the order in which it sums a
    scalar product, and in float32 some orders are 2e-5 off after so many values. So it is float64, except for signs and
    counts, which float32 sums exactly.
    """

    def __init__(self, h: int, w: int) -> None:
        import torch

        from esbench.builtin.criteria import nss

        bands = -(-h * w // nss.ENTRIES_AT_ONCE)
        self.rows = rows = -(-h // bands)
        self.x = torch.empty(rows + 6, w + 6)
        self.wide = torch.empty(rows + 6, w)
        self.mu, self.variance, self.room = torch.empty(3, rows, w)
        self.across, self.down = nss.taps(self.x, 1), nss.taps(self.wide, 0)
        self.m = torch.zeros(rows + 1, w + 1)
        self.sign = torch.empty(self.m.numel())
        self.power = self.sign.double()
        self.of_sign, self.of_power = self._pairs(self.sign), self._pairs(self.power)

    def _pairs(self, power: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the factors of the sums over the map itself and over each product with a neighbour."""
        w = self.m.shape[1] - 1
        own = power[w + 1 :]
        pairs = [(own, own.new_ones(len(own))), (own[:-1], own[1:])]
        return pairs + [(power[:-way], power[way:]) for way in (w + 1, w + 2, w)]

    def sums(self, padded: torch.Tensor) -> torch.Tensor:
        """Return float64 (5, 5): sums of powers of the map of a picture, and of those of its four products.

        Args:
            padded: (H + 6, W + 6), the picture with three more rows and columns on every side.
        """
        import torch

        h, w = padded.shape[0] - 6, padded.shape[1] - 6
        strip = padded[None, :, w - w % 8 :]
        loose = [_blur(strip)[0], _blur(strip.square())[0]] if w % 8 else []
        total = [0.0] * 25
        self.m.zero_()
        for top in range(0, h, self.rows):
            band = slice(top, top + self.rows)
            self._normalise(padded[top : top + self.rows + 6], [columns[band] for columns in loose])
            total = [s + more for s, more in zip(total, self.products(), strict=True)]
        return torch.tensor(total, dtype=torch.float64).view(5, 5)

    def products(self) -> list[float]:
        """Return the 25 sums over the current rows of the map."""
        import torch

        return [torch.dot(a, b).item() for pairs in self._powers() for a, b in pairs]

    def _normalise(self, padded: torch.Tensor, loose: Sequence[torch.Tensor]) -> None:
        """Compute the map of some rows; `loose` are the last columns of their mean and of their mean square."""
        import torch

        from esbench.builtin.criteria import nss

        n = len(padded) - 6
        self.x[: n + 6] = padded
        self.m[0] = self.m[-1]
        m = self.m[1:, :-1]
        self._blur(self.mu, *loose[:1])
        torch.sub(self.x[3:-3, 3:-3], self.mu, out=m)
        self.x.square_()
        self._blur(self.variance, *loose[1:])
        # a division by infinity gives 0; the square root has two steps, because MKL's own is slow at 0
        variance = torch.threshold_(self.variance.sub_(self.mu.square_()), -1e-30, math.inf)
        m.div_(variance.rsqrt_().reciprocal_().add_(nss.number(1 / 255)))
        self.m[n + 1 :] = 0

    def _blur(self, out: torch.Tensor, loose: torch.Tensor | None = None) -> None:
        from esbench.builtin.criteria import nss

        nss.correlate(self.across, paired=False, out=self.wide)
        nss.correlate(self.down, out=out, room=self.room)
        if loose is not None:
            out[: len(loose), -loose.shape[1] :] = loose

    def _powers(self) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
        """Yield in turn the pairs of the sign of the map, of 1 for pixels that count, of |m|, m |m|, m^2."""
        import torch

        m, sign, power = self.m.view(-1), self.sign, self.power
        torch.sign(m, out=sign)
        yield self.of_sign
        sign.abs_()
        yield self.of_sign
        power.copy_(m).abs_()
        yield self.of_power
        power.mul_(m)
        yield self.of_power
        power.abs_()
        yield self.of_power


# -- model -------------------------------------------------------------------------------------------------------------


class SvmModel(NamedTuple):
    """The trained regression: support vectors (N, 36), their weights, and the range of each feature (2, 36)."""

    vectors: torch.Tensor
    alpha: torch.Tensor
    rho: float
    gamma: float
    low: torch.Tensor
    high: torch.Tensor


def score(features: torch.Tensor) -> torch.Tensor:
    """Return sum_i alpha_i exp(-gamma |v - v_i|^2) - rho with v the features scaled to [-1, 1], not clipped."""
    import torch

    model = _model(features.device)
    v = 2 * (features - model.low) / (model.high - model.low) - 1
    kernel = (-model.gamma * torch.cdist(v, model.vectors, compute_mode="donot_use_mm_for_euclid_dist") ** 2).exp()
    return (kernel * model.alpha).sum(-1) - model.rho


@functools.lru_cache(8)
def _model(device: torch.device) -> SvmModel:
    import torch

    def read(name: str) -> str:
        return models.path(name).read_text(encoding="ascii")

    def numbers(text: str) -> torch.Tensor:
        return torch.tensor([float(x) for x in text.replace(",", " ").split()], dtype=torch.float64, device=device)

    # OpenCV's YAML, whose checksum was verified: every number needed is in brackets or after its key
    svm = read(models.BRISQUE_MODEL)
    vectors, _, decision = svm.partition("decision_functions:")
    alpha, rho, gamma = (
        re.findall(pattern, text)[0]
        for pattern, text in ((r"alpha: \[([^]]*)\]", decision), (r"rho: (\S+)", decision), (r"gamma: (\S+)", svm))
    )
    low, high = numbers(re.findall(r"data: \[([^]]*)\]", read(models.BRISQUE_RANGE))[0]).view(2, 36)
    return SvmModel(
        numbers(" ".join(re.findall(r"- \[([^]]*)\]", vectors))).view(-1, 36),
        numbers(alpha),
        float(rho),
        float(gamma),
        low,
        high,
    )
