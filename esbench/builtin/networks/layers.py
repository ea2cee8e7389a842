"""Shared by networks: layers with repeatable gradients, and the smallest picture that can be halved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def too_small(h: int, w: int, scales: int, margin: int = 1, fewer: Callable[[int], str] | None = None) -> str:
    """Return why a network that halves both sides `scales` times cannot make a picture of h x w, or an empty text.

    Args:
        h: height of the picture.
        w: width of the picture.
        scales: how many times both sides are halved, rounded up.
        margin: the deepest layers need sides of more than this, as a reflection by `margin` pixels does.
        fewer: text of the network with fewer scales, if it has such a parameter.
    """
    side = min(h, w)
    if side > margin * 2**scales:
        return ""
    fits = max((s for s in range(1, scales) if side > margin * 2**s), default=0)
    remedy = f": fewer scales need less, as in {fewer(fits)!r}" if fewer and fits else ""
    return f"needs both sides to be at least {margin * 2**scales + 1}{remedy}"


class Reflect(nn.ReflectionPad2d):
    """Reflection padding whose gradient is the same each time, which PyTorch's is not on a GPU.

    Args:
        padding: pixels added on each side.
    """

    def __init__(self, padding: int) -> None:
        super().__init__(padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with `padding` more rows and columns on each side."""
        return _Reflect.apply(x, self.padding[0])  # type: ignore[no-any-return, no-untyped-call]


class Double(nn.Upsample):
    """Up-sampling by two whose gradient is the same each time, which PyTorch's bilinear one is not on a GPU."""

    def __init__(self, mode: str) -> None:
        super().__init__(scale_factor=2, mode=mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x at twice the size."""
        if self.mode != "bilinear":
            return super().forward(x)
        last = x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)
        return (_BilinearLast if last else _Bilinear).apply(x)  # type: ignore[no-any-return, no-untyped-call]


class Sigmoid(nn.Sigmoid):
    """A sigmoid in float32 at least: in bfloat16, outputs above 1/2 are multiples of 1/256, as coarse as 8 bits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return values between 0 and 1."""
        return super().forward(x.to(torch.promote_types(x.dtype, torch.float32)))


class _Reflect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, p: int) -> torch.Tensor:
        ctx.p = p
        if x.device.type != "cpu":
            return nn.functional.pad(x, (p, p, p, p), mode="reflect")
        with torch.autocast("cpu", enabled=False):  # which would copy bfloat16 to float32 for this
            return nn.functional.pad(x, (p, p, p, p), mode="reflect")

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, None]:
        # fold the columns first, including those of the rows that are folded afterwards
        p = ctx.p
        d = _fold(g[..., p:-p, :], p)
        for i in range(1, p + 1):
            d[..., i, :].add_(_fold(g[..., p - i, :], p))
            d[..., -1 - i, :].add_(_fold(g[..., i - 1 - p, :], p))
        return d, None


def _fold(g: torch.Tensor, p: int) -> torch.Tensor:
    """Return the gradient of x from that of x padded by p along the last axis."""
    d = g[..., p:-p].clone()
    for i in range(1, p + 1):
        d[..., i].add_(g[..., p - i])  # `+=` would copy the result onto itself
        d[..., -1 - i].add_(g[..., i - 1 - p])
    return d


class _BilinearLast(torch.autograd.Function):
    """On a CPU, channels last: PyTorch's own gradient, which is repeatable here."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.shape = x.shape
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        # g is some channels of the gradient of a concatenation: as it is, PyTorch takes ten times as long
        g = g.contiguous(memory_format=torch.channels_last)
        d: torch.Tensor = torch.ops.aten.upsample_bilinear2d_backward(g, g.shape[-2:], ctx.shape, False, 2.0, 2.0)
        return d


class _Bilinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        # y[2i] = (x[i-1] + 3 x[i]) / 4 and y[2i+1] = (3 x[i] + x[i+1]) / 4 along each axis, the ends repeated
        for axis in (-1, -2):
            g = g.transpose(-1, axis)
            even, odd = g[..., ::2], g[..., 1::2]
            d = 0.75 * (even + odd)
            d[..., :-1] += 0.25 * even[..., 1:]
            d[..., 1:] += 0.25 * odd[..., :-1]
            d[..., 0] += 0.25 * even[..., 0]
            d[..., -1] += 0.25 * odd[..., -1]
            g = d.transpose(-1, axis)
        return g
