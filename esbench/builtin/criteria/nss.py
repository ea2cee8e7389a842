"""Natural scene statistics, shared by BRISQUE and NIQE: filters, resizing, moments, shapes of distributions.

Everything works in batches, on the device of the tensors. The two methods differ in details (borders, precision, which
zeros count), which are in their own modules, with the scores.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import torch

from esbench.frames import Frame

#: G: 7 taps of a Gaussian of sigma 7/6 that sum to 1.
_WEIGHTS = [math.exp(-0.5 * (i * 6 / 7) ** 2) for i in (3, 2, 1, 0, 1, 2, 3)]
GAUSSIAN = tuple(weight / math.fsum(_WEIGHTS) for weight in _WEIGHTS)

#: How many pixels a GPU processes at once: a few GB with the intermediate results.
PIXELS_AT_ONCE = 1 << 25

#: How many entries of a map a CPU processes at once: several maps of that size fit into its cache.
ENTRIES_AT_ONCE = 1 << 17


# -- pictures ----------------------------------------------------------------------------------------------------------


def measured(frames: Sequence[Frame], measure: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Measure the outputs of frames of one size, passed as (B, C, H, W), in order.

    A GPU processes many at once; on a CPU each thread processes one.
    """
    first = frames[0].tensor
    on_cpu = first.device.type == "cpu"
    at_once = 1 if on_cpu else max(1, PIXELS_AT_ONCE // (first.shape[-2] * first.shape[-1]))

    def some(start: int) -> torch.Tensor:
        outputs = [frame.tensor[None] for frame in frames[start : start + at_once]]
        with torch.inference_mode():
            return measure(outputs[0] if len(outputs) == 1 else torch.cat(outputs))

    starts = range(0, len(frames), at_once)
    threads = torch.get_num_threads()
    return torch.cat(list((_workers(threads, os.getpid()).map if on_cpu and threads > 1 else map)(some, starts)))


@functools.lru_cache(1)
def _workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Return threads in each of which torch uses a single thread.

    Otherwise it splits every operation among its own threads and waits for the slowest of them. That takes longer than
    the operation as soon as the machine is busy with something else, such as the optimisation.
    """
    all_there = threading.Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread copies the number of the process on first use, and only then
        torch.set_num_threads(1)
        all_there.wait()

    workers = ThreadPoolExecutor(threads, "esbench-nss")
    for _ in range(threads):
        workers.submit(begin)
    all_there.wait()
    torch.set_num_threads(threads)  # restore the number of the process
    return workers


def bands(x: torch.Tensor, *, w: int | None = None, every: int = 1) -> Sequence[torch.Tensor]:
    """Split (..., H, W) into bands of rows, so that on a CPU the intermediate results of a band fit into the cache.

    Args:
        x: the picture.
        w: the width that determines the height of a band; None for that of x.
        every: the height of a band is a multiple of this.
    """
    if x.device.type != "cpu":
        return (x,)
    return torch.split(x, every * max(1, ENTRIES_AT_ONCE // (every * (w or x.shape[-1]))), -2)


def levels(x: torch.Tensor) -> torch.Tensor:
    """Return the 8-bit values of `Frame.uint8`, still as float32 on the device: clipped, rounded half to even."""
    return x.float().clamp(0, 1).mul_(number(255)).round_()


@functools.lru_cache(64)
def number(x: float) -> torch.Tensor:
    """Return a number as a tensor, cached: the conversion takes as long as half an operation on a band."""
    return torch.tensor(x)


def grey(x: torch.Tensor) -> torch.Tensor:
    """Return the 8-bit luma of (B, 3, H, W) or (B, 1, H, W) in [0, 1] as in cv2.COLOR_BGR2GRAY, (B, H, W) float32.

    Fixed point with 15 bits; all intermediate numbers have at most 24, so float32 is exact.
    """
    if x.shape[1] == 1:
        return levels(x[:, 0])
    out = torch.empty_like(x[:, 0], dtype=torch.float32, memory_format=torch.contiguous_format)
    for part, room in zip(bands(x), bands(out), strict=True):
        r, g, b = (levels(channel) for channel in part.unbind(1))
        luma = torch.add(number(0.5), r, alpha=9798 / 2**15).add_(g, alpha=19235 / 2**15).add_(b, alpha=3735 / 2**15)
        torch.floor(luma, out=room)
    return out


# -- local mean and variance -------------------------------------------------------------------------------------------


def taps(x: torch.Tensor, dim: int) -> list[torch.Tensor]:
    """Return the samples under each of the seven weights of G along a dimension, without borders."""
    return [x.narrow(dim, i, x.shape[dim] - 6) for i in range(7)]


def correlate(
    taps: Sequence[torch.Tensor],
    *,
    paired: bool = True,
    fused: bool = True,
    out: torch.Tensor | None = None,
    room: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the sum of taps, each with its weight of G.

    The caller chooses the order of the sum, because it matters in flat areas: there the variance is only rounding.

    Args:
        taps: see `taps`.
        paired: k_0 x_0 + k_1 (x_-1 + x_1) + ..., else k_3 x_-3 + k_2 x_-2 + ...
        fused: multiply and add with one rounding.
        out: the buffer of the result.
        room: a buffer of the same size for intermediate results.
    """
    if paired:
        total = torch.mul(taps[3], number(GAUSSIAN[3]), out=out)
        terms = ((GAUSSIAN[3 + i], torch.add(taps[3 - i], taps[3 + i], out=room)) for i in (1, 2, 3))
    else:
        total = torch.mul(taps[0], number(GAUSSIAN[0]), out=out)
        terms = ((GAUSSIAN[i], taps[i]) for i in range(1, 7))
    for k, term in terms:
        if fused:
            total.add_(term, alpha=k)
        else:
            total.add_(term * k)
    return total


def along_rows(x: torch.Tensor, kernel: Sequence[float], n: int, step: int = 1) -> torch.Tensor:
    """Return (..., H, W) float64 filtered along rows without borders, at every step-th place.

    It is a product of matrices, n places at a time, which must divide their number. The library chooses the order of
    the sums.
    """
    matrix = _places(tuple(kernel), n, step, x.device)
    windows = x.unfold(-1, len(matrix), n * step).double().contiguous()
    return (windows.flatten(0, -2) @ matrix).view(*x.shape[:-1], -1)


def along_columns(x: torch.Tensor, kernel: Sequence[float], n: int, step: int = 1) -> torch.Tensor:
    """Return (B, H, W) float64 filtered along columns, like `along_rows`."""
    matrix = _places(tuple(kernel), n, step, x.device).mT
    windows = x.double().unfold(-2, matrix.shape[1], n * step).mT.flatten(0, 1)
    return torch.bmm(matrix.expand(len(windows), -1, -1), windows).view(len(x), -1, x.shape[-1])


@functools.lru_cache(64)
def _places(kernel: tuple[float, ...], n: int, step: int, device: torch.device) -> torch.Tensor:
    """Return the matrix (step (n - 1) + taps, n) whose columns are the kernel at n places."""
    matrix = torch.zeros(step * (n - 1) + len(kernel), n, dtype=torch.float64)
    for i in range(n):
        matrix[step * i : step * i + len(kernel), i] = torch.tensor(kernel, dtype=torch.float64)
    return matrix.to(device)


def replicate(x: torch.Tensor, n: int, scale: float = 1) -> torch.Tensor:
    """Return (B, H, W) times a scale, padded by n rows and columns on every side with copies of the outermost."""
    b, h, w = x.shape
    padded = x.new_empty(b, h + 2 * n, w + 2 * n)
    inside = padded[:, n:-n, n:-n]
    for part, room in zip(bands(x), bands(inside), strict=True):
        torch.mul(part, scale, out=room)
    padded[:, n:-n, :n] = inside[:, :, :1]
    padded[:, n:-n, -n:] = inside[:, :, -1:]
    padded[:, :n] = padded[:, n : n + 1]
    padded[:, -n:] = padded[:, -n - 1 : -n]
    return padded


# -- resizing ----------------------------------------------------------------------------------------------------------


def cubic(padded: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """Return a picture resized to (B, h, w) as in cv2.INTER_CUBIC: a = -0.75, four taps at any scale.

    The products are rounded before they are added, in OpenCV's order: along rows from the first tap, along columns from
    the last.

    Args:
        padded: (B, H + 4, W + 4) float32, the picture with two more rows and columns on every side.
        h: the height.
        w: the width.
    """
    across = _cubic_taps(padded.shape[-1] - 4, w, padded.device)
    down = _cubic_taps(padded.shape[-2] - 4, h, padded.device)
    wide = padded.new_empty(*padded.shape[:2], w)
    for part, room in zip(bands(padded), bands(wide, w=padded.shape[-1]), strict=True):
        room.copy_(_across(part, across))
    out = padded.new_empty(len(padded), h, w)
    top = 0
    for room in bands(out):
        rows = slice(top, top := top + room.shape[-2])
        room.copy_(_total(wide.index_select(-2, i[rows]).mul_(weight[rows, None]) for i, weight in reversed(down)))
    return out


Taps: TypeAlias = list[tuple[torch.Tensor, torch.Tensor]]


@functools.lru_cache(64)
def _cubic_taps(size: int, wanted: int, device: torch.device) -> Taps:
    """Return the four taps: indices into a line padded by two at both ends, and their weights, (wanted,)."""
    a = -0.75
    position = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * (size / wanted) - 0.5).float()
    start = position.floor()
    f = position - start
    w0 = ((a * (f + 1) - 5 * a) * (f + 1) + 8 * a) * (f + 1) - 4 * a
    w1 = ((a + 2) * f - (a + 3)) * f * f + 1
    w2 = ((a + 2) * (1 - f) - (a + 3)) * (1 - f) * (1 - f) + 1
    weights = (w0, w1, w2, 1 - w0 - w1 - w2)
    index = [(start.long() + 1 + i).clamp(0, size + 3) for i in range(4)]
    return [(i.to(device), weight.to(device)) for i, weight in zip(index, weights, strict=True)]


def _across(x: torch.Tensor, taps: Taps) -> torch.Tensor:
    """Return the sum of taps along rows padded by two samples at both ends."""
    size, wanted = x.shape[-1] - 4, len(taps[0][0])
    if size != 2 * wanted:
        return _total(x.index_select(-1, i).mul_(weight) for i, weight in taps)
    # at exactly half the size the weights are the same everywhere, and computing all samples is faster than every other
    outer, inner = (x * weight[0] for _, weight in taps[:2])
    return _total(y[..., i : size - 1 + i] for i, y in enumerate((outer, inner, inner, outer), 1))[..., ::2]


def _total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    first, second, *others = terms
    return functools.reduce(torch.Tensor.add_, others, first + second)


# -- moments and fits --------------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """The number of entries of maps (..., M), and float64 sums over the negative and the positive ones."""

    n: torch.Tensor
    n_left: torch.Tensor
    n_right: torch.Tensor
    absolute: torch.Tensor
    square_left: torch.Tensor
    square_right: torch.Tensor


def moments(maps: Iterable[torch.Tensor]) -> Moments:
    """Return the moments of maps (..., H, W), together along a new last dimension; n is that of the first.

    Rows are summed in float32, which is safe for so few; their sums, and what is subtracted and divided, are float64.
    """
    sums, n = [], 0
    for x in maps:  # yielded one at a time, so that they use the same memory
        n = n or x.shape[-1] * x.shape[-2]
        sums.append(_sums(x))
    sign, positive, both, counted, square, right = torch.stack(sums, -1)
    return Moments(
        torch.full_like(sign, n),
        n_left=(counted - sign) / 2,
        n_right=(counted + sign) / 2,
        absolute=2 * positive - both,
        square_left=square - right,
        square_right=right,
    )


def _sums(x: torch.Tensor) -> torch.Tensor:
    """Return sums over (..., H, W): signs, positive entries, all; how many count, all squares, positive squares."""
    norm = torch.linalg.vector_norm  # one pass; x * x would need two
    sign = x.sign()
    signs, counted = sign.sum(-1), norm(sign, dim=-1)
    positive = torch.clamp(x, min=0, out=sign)  # in the memory of the signs
    rows = [signs, positive.sum(-1), x.sum(-1), counted, norm(x, dim=-1), norm(positive, dim=-1)]
    sums = torch.stack(rows).double()
    sums[3:].square_()
    sums[3].round_()
    return sums.sum(-1)


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

    It finds the same grid point as trying them all, by bisection and a comparison of both neighbours. With `inverse`,
    reciprocals are compared, as in the fit of a symmetric distribution. NaN gives the first, as in argmin.
    """
    shapes, table = (t[:steps] for t in _shapes(ratio.device))
    if inverse:
        # distances are those of the reciprocals, bisected in ascending order
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
