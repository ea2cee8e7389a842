"""Natural scene statistics, which BRISQUE and NIQE share: filters, resizing, moments, shapes of distributions.

All of it in batches, on the device of the tensors. Nothing here is a score; the two methods differ in small things
(borders, precision, which zeros count), and each says its own in its own file.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F

from esbench.types import Frame

#: G: 7 taps of a Gaussian of sigma 7/6 that sum to 1; the middle one first, then outwards.
_WEIGHTS = [math.exp(-0.5 * (i * 6 / 7) ** 2) for i in range(4)]
GAUSSIAN = tuple(weight / (_WEIGHTS[0] + 2 * sum(_WEIGHTS[1:])) for weight in _WEIGHTS)

#: How many pixels a GPU is given at once: a few GB with all that is made of them.
PIXELS_AT_ONCE = 1 << 25


# -- pictures ----------------------------------------------------------------------------------------------------------


def batches(frames: Sequence[Frame]) -> Iterator[torch.Tensor]:
    """Give the outputs of frames of one size as (B, C, H, W), in order.

    On a CPU one at a time, because what is made of one frame stays in the cache and of two it does not.
    """
    if not frames:
        return
    first = frames[0].tensor
    h, w = first.shape[-2:]
    at_once = 1 if first.device.type == "cpu" else max(1, PIXELS_AT_ONCE // (h * w))
    for i in range(0, len(frames), at_once):
        outputs = [frame.tensor[None] for frame in frames[i : i + at_once]]
        yield outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def levels(x: torch.Tensor) -> torch.Tensor:
    """Return the 8-bit values of `Frame.uint8`, still as float32 on the device: clipped, rounded half to even."""
    return x.float().clamp(0, 1).mul_(255).round_()


def grey(x: torch.Tensor) -> torch.Tensor:
    """Return the 8-bit luma of (B, 3, H, W) or (B, 1, H, W) in [0, 1] as cv2.COLOR_BGR2GRAY has it, (B, H, W) float32.

    Fixed point with 15 bits; every number on the way is an integer below 2^24, so float32 is exact.
    """
    if x.shape[1] == 1:
        return levels(x[:, 0])
    r, g, b = x.unbind(1)  # one at a time: three at once do not stay in the cache
    luma = levels(r).mul_(9798).add_(levels(g), alpha=19235).add_(levels(b), alpha=3735)
    return luma.add_(1 << 14).div_(1 << 15).floor_()


# -- local mean and variance -------------------------------------------------------------------------------------------


def correlate(
    x: torch.Tensor, kernel: Sequence[float], dim: int, *, paired: bool = True, fused: bool = True
) -> torch.Tensor:
    """Return x filtered along a dimension with a symmetric kernel (the middle tap first), where the kernel fits in.

    How it is summed is the caller's to say, because flat areas show it: there the variance is nothing but rounding.
    Paired is k_0 x_0 + k_1 (x_-1 + x_1) + ..., else it is k_3 x_-3 + k_2 x_-2 + ...; fused multiplies and adds with
    one rounding.
    """
    radius = len(kernel) - 1
    n = x.shape[dim] - 2 * radius

    def tap(i: int) -> torch.Tensor:
        return x.narrow(dim, radius + i, n)

    first, others = (0, range(1, radius + 1)) if paired else (-radius, range(1 - radius, radius + 1))
    total = tap(first) * kernel[abs(first)]
    for i in others:
        term = tap(-i) + tap(i) if paired else tap(i)
        if fused:
            total.add_(term, alpha=kernel[abs(i)])
        else:
            total.add_(term * kernel[abs(i)])
    return total


def replicate(x: torch.Tensor, n: int) -> torch.Tensor:
    """Return (B, H, W) with n more rows and columns on every side, copies of the outermost."""
    return F.pad(x[:, None], (n, n, n, n), mode="replicate")[:, 0]


# -- resizing ----------------------------------------------------------------------------------------------------------


def cubic(x: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """Return (B, H, W) float32 resized to (B, h, w) as cv2.INTER_CUBIC does: a = -0.75, four taps whatever the scale.

    The products are rounded before they are added, in OpenCV's order: across from the first tap, down from the last.
    """
    padded = replicate(x, 2)
    across = _cubic_taps(x.shape[-1], w, x.device)
    down = _cubic_taps(x.shape[-2], h, x.device)
    wide = _total(_pick(padded, -1, where) * weight for where, weight in across)
    return _total(_pick(wide, -2, where) * weight[:, None] for where, weight in reversed(down))


Taps: TypeAlias = list[tuple[slice | torch.Tensor, torch.Tensor]]


@functools.lru_cache(64)
def _cubic_taps(size: int, wanted: int, device: torch.device) -> Taps:
    """Return the four taps: which samples of a line with two more at both ends, and their weights, (wanted,)."""
    a = -0.75
    position = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * (size / wanted) - 0.5).float()
    start = position.floor()
    f = position - start
    w0 = ((a * (f + 1) - 5 * a) * (f + 1) + 8 * a) * (f + 1) - 4 * a
    w1 = ((a + 2) * f - (a + 3)) * f * f + 1
    w2 = ((a + 2) * (1 - f) - (a + 3)) * (1 - f) * (1 - f) + 1
    taps: Taps = []
    for i, weight in enumerate((w0, w1, w2, 1 - w0 - w1 - w2)):
        index = start.long() + 1 + i
        step = int(index[1] - index[0]) if wanted > 1 else 1
        even = torch.equal(index, index[0] + step * torch.arange(wanted))
        # an exact half needs no list of samples, and is quicker without
        where = slice(int(index[0]), int(index[-1]) + 1, step) if even else index.clamp(0, size + 3).to(device)
        taps.append((where, weight.to(device)))
    return taps


def _pick(x: torch.Tensor, dim: int, where: slice | torch.Tensor) -> torch.Tensor:
    """Return some samples along a dimension."""
    if isinstance(where, torch.Tensor):
        return x.index_select(dim, where)
    return x[..., where] if dim == -1 else x[..., where, :]


def _total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    first, *others = terms
    for term in others:
        first.add_(term)
    return first


# -- moments and fits --------------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Of a map: how many entries there are, and float64 sums over the negative and the positive ones."""

    n: int
    n_left: torch.Tensor
    n_right: torch.Tensor
    absolute: torch.Tensor
    square_left: torch.Tensor
    square_right: torch.Tensor


def moments(maps: Iterable[torch.Tensor]) -> Moments:
    """Return the moments of maps (..., H, W), stacked along a new last dimension; n is that of the first.

    Rows are summed in float32, which is safe for so few; their sums, and what is subtracted and divided, are float64.
    """
    sums, n = [], 0
    for x in maps:  # made one at a time by whoever gives them, so that they pass through the same memory
        n = n or x.shape[-1] * x.shape[-2]
        sums.append(_sums(x))
    return Moments(n, *torch.stack(sums, -1))


def _sums(x: torch.Tensor) -> torch.Tensor:
    def total(x: torch.Tensor) -> torch.Tensor:
        return x.sum(-1).double()

    def squares(x: torch.Tensor) -> torch.Tensor:  # one pass, where x * x would be two
        norm: torch.Tensor = torch.linalg.vector_norm(x, dim=-1)
        return norm.double().square()

    sign = x.sign()
    signs, counted = total(sign), squares(sign).round()
    positive = torch.clamp(x, min=0, out=sign)  # in the memory of the signs
    all_squares, right_squares = squares(x), squares(positive)
    rows = [
        (counted - signs) / 2,
        (counted + signs) / 2,
        2 * total(positive) - total(x),
        all_squares - right_squares,
        right_squares,
    ]
    return torch.stack(rows).sum(-1)


#: The shapes that every implementation tries, 0.2, 0.201, ... 10.
STEPS = 9801


@functools.lru_cache(8)
def _shapes(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the shapes and, for each, G(2/a)^2 / (G(1/a) G(3/a)), which grows with a."""
    shape = (torch.arange(STEPS, dtype=torch.float64) + 200) / 1000
    ratio = (2 * torch.lgamma(2 / shape) - torch.lgamma(1 / shape) - torch.lgamma(3 / shape)).exp()
    return shape.to(device), ratio.to(device)


def shape(ratio: torch.Tensor, *, steps: int = STEPS, inverse: bool = False) -> torch.Tensor:
    """Return the shape whose G(2/a)^2 / (G(1/a) G(3/a)) is nearest to a ratio, of the first `steps` of the grid.

    The same grid point as trying them all, by bisection and a look at both neighbours; for `inverse` the ratio and
    what it is compared with are both upside down, as in the fit of a symmetric distribution. NaN gives the first, as
    argmin does.
    """
    shapes, table = (t[:steps] for t in _shapes(ratio.device))
    if inverse:
        # nearness is judged between the reciprocals, and bisected in ascending order
        shapes, table = shapes.flip(0), (1 / table).flip(0)
    above = torch.searchsorted(table, ratio.contiguous()).clamp(1, steps - 1)
    nearer = above - (ratio - table[above - 1] <= table[above] - ratio).long()
    return torch.where(ratio.isnan(), 0.2, shapes[nearer])


def aggd(m: Moments, *, steps: int = STEPS) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fit asymmetric generalised Gaussians by moments: return shape, sigma_l and sigma_r.

    With g = sigma_l / sigma_r and r = (sum |x| / n)^2 / (sum x^2 / n) the shape is that of
    r (g^3 + 1)(g + 1) / (g^2 + 1)^2.
    """
    left = (m.square_left / m.n_left).sqrt()
    right = (m.square_right / m.n_right).sqrt()
    g = left / right
    r = (m.absolute / m.n) ** 2 / ((m.square_left + m.square_right) / m.n)
    return shape(r * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2, steps=steps), left, right


def gammas(shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return G(2/a) / G(1/a) and sqrt(G(1/a) / G(3/a)): from sigma to the mean and to the scale of the distribution."""
    one, two, three = (torch.lgamma(k / shape) for k in (1, 2, 3))
    return (two - one).exp(), ((one - three) / 2).exp()
