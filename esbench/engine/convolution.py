"""Convolutions that compute the same sums in an order that suits the device; the state of a network stays the same."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from esbench.engine import winograd

#: Tensor cores process channels of bfloat16 in vectors of this many.
VECTOR = 8

#: Channels on either side, pairs of them, and products of numbers for each element of a kernel, from which on products
#: of matrices are faster: from 48 channels to 16, of 384 x 384 pixels, by a third; with 64 channels, of 64 x 64 by a
#: tenth, of 256 x 256 by half.
NARROW, PAIRS = 16, 512
MANY = 2**23

#: Rows of a strip, and pixels from which on a picture is divided: in bfloat16, the gradient of weights takes a fifth
#: less time if it is made strip by strip, which stay in the cache.
STRIP, LARGE = 32, 2**15

#: Channels on both sides from which on Winograd's algorithm is faster still: with 128 channels it takes half the time.
WIDE = 48


def suit(f: nn.Module, device: torch.device, precision: str) -> None:
    """Let a network have the convolutions that are fastest on a device, with pixels channels last."""
    if device.type == "cuda" and precision == "bfloat16":
        align(f)
    elif device.type == "cpu" and precision == "bfloat16":
        strip(f)
    elif device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2":
        multiply(f)


class Aligned(nn.Conv2d):
    """A convolution whose input channels are padded with zeros to whole vectors; the sums stay the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of x."""
        lack = (0, 0, 0, 0, 0, -self.in_channels % VECTOR)
        weight = nn.functional.pad(self.weight, lack)
        return self._conv_forward(nn.functional.pad(x, lack), weight, self.bias)  # type: ignore[no-any-return]


def align(f: nn.Module) -> None:
    """Make the convolutions of a network `Aligned` whose channels are not whole vectors; its state stays the same."""
    for module in f.modules():
        if type(module) is nn.Conv2d and module.groups == 1 and module.in_channels % VECTOR:
            module.__class__ = Aligned


class Multiplied(nn.Conv2d):
    """A convolution, channels last, that makes its sums, or the gradient of its weights, as products of matrices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of x."""
        stride = self.stride[0]
        if x.ndim != 4 or x.numel() * self.out_channels < MANY * stride**2:
            return super().forward(x)
        x = _padded(x, self)
        if stride == 1 and self.kernel_size[0] == 3 and min(self.in_channels, self.out_channels) >= WIDE:
            return Tiles.apply(x, self.weight, self.bias)  # type: ignore[no-any-return, no-untyped-call]
        return Products.apply(x, self.weight, self.bias, stride)  # type: ignore[no-any-return, no-untyped-call]


def multiply(f: nn.Module) -> None:
    """Make the wide convolutions of a network `Multiplied`; its state stays the same.

    Without AVX-512, PyTorch has no fast kernel for the gradient of the weights channels last: it takes up to five times
    as long as the products, while the convolution and the gradient of its input are faster channels last. All three
    are faster still by Winograd's algorithm, if the channels are many.
    """
    for module in f.modules():
        if type(module) is nn.Conv2d and _multiplies(module):
            module.__class__ = Multiplied


def _multiplies(conv: nn.Conv2d) -> bool:
    c, d = conv.in_channels, conv.out_channels
    return _plain(conv) and min(c, d) >= NARROW and c * d >= PAIRS


class Striped(nn.Conv2d):
    """A convolution in bfloat16, channels last, that makes the gradient of its weights in strips of rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of x."""
        if x.ndim != 4 or not torch.is_autocast_enabled("cpu"):  # a layer may be in float32 on purpose
            return super().forward(x)
        x = _padded(x, self).bfloat16()
        return Strips.apply(x, self.weight, self.bias, self.stride[0])  # type: ignore[no-any-return, no-untyped-call]


def strip(f: nn.Module) -> None:
    """Make the convolutions of a network `Striped` that are larger than a pixel; its state stays the same."""
    for module in f.modules():
        if type(module) is nn.Conv2d and _plain(module):
            module.__class__ = Striped


def _plain(conv: nn.Conv2d) -> bool:
    """Whether a convolution has a square kernel of more than a pixel, and neither groups nor holes."""
    square = len({*conv.kernel_size}) == len({*conv.stride}) == 1
    return square and conv.kernel_size[0] > 1 and conv.groups == 1 and conv.dilation == (1, 1)


def _padded(x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """Return x with the padding of a convolution that pads by itself."""
    if not any(conv._reversed_padding_repeated_twice):
        return x
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return nn.functional.pad(x, conv._reversed_padding_repeated_twice, mode)


class Products(torch.autograd.Function):
    """The convolution of PyTorch; the gradient of its weights is made as products of matrices."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int
    ) -> torch.Tensor:
        """Return the convolution of x."""
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return nn.functional.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), stride)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients, given that of the convolution."""
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        of_x, _, _ = _gradients(g, x, weight, ctx.stride, [needs_x, False, False])
        of_weight = weight_gradient(g, x, weight.shape[-1], ctx.stride) if needs_weight else None
        return of_x, of_weight, g.sum((0, 2, 3)) if needs_bias else None, None


class Tiles(torch.autograd.Function):
    """The convolution with a kernel of 3 x 3 and its gradients by Winograd's algorithm."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return the convolution of x."""
        ctx.save_for_backward(x, weight)
        return winograd.convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients, given that of the convolution."""
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # for gradients of the gradients, which those by tiles do not have
            return _gradients(g, x, weight, 1, ctx.needs_input_grad)
        return *winograd.gradients(g, x, weight), g.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


class Strips(Products):
    """The convolution of PyTorch, of x in bfloat16; the gradient of its weights is a sum over strips, in float32."""

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients, given that of the convolution."""
        x, weight = ctx.saved_tensors
        weight, s, k = weight.bfloat16(), ctx.stride, weight.shape[-1]
        needs_x, *needs, _ = ctx.needs_input_grad
        of_x, _, _ = _gradients(g, x, weight, s, [needs_x, False, False])
        parts, top = [], 0
        for of_y in torch.split(g, STRIP if g[0, 0].numel() >= LARGE else g.shape[2], dim=2):
            rows = of_y.shape[2]
            seen = x[:, :, s * top : s * (top + rows - 1) + k]
            parts.append(_gradients(of_y, seen, weight, s, [False, *needs])[1:])
            top += rows
        return of_x, *(_total(each) for each in zip(*parts, strict=True)), None


def _gradients(
    g: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, needs: Sequence[bool]
) -> tuple[torch.Tensor | None, ...]:
    """Return PyTorch's gradients of x, the weights and the bias, or None for those that are not needed."""
    steps, bias = [stride, stride], [len(weight)]
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        g, x, weight, bias, steps, [0, 0], [1, 1], False, [0, 0], 1, list(needs)
    )


def _total(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """Return the sum in float32, or None if the parts are none."""
    found = [part.float() for part in parts if part is not None]
    return functools.reduce(torch.add, found) if found else None


def weight_gradient(g: torch.Tensor, x: torch.Tensor, k: int, s: int) -> torch.Tensor:
    """Return the gradient of the weights of y[d, u, v] = sum w[d, c, i, j] x[c, s u + i, s v + j].

    It is the sum over u and v of g[d, u, v] x[c, s u + i, s v + j]: for each i and j a product of matrices that have a
    row for each pixel. Pixel (u, v) of g meets pixel (u + i // s, v + j // s) of every s-th pixel of x from
    (i % s, j % s) on. If g is filled with zeros to the size of these parts of x, the two are a fixed number of rows
    apart, and nothing is copied for i and j.

    Args:
        g: gradient of y, (N, D, U, V).
        x: (N, C, H, W).
        k: size of the kernel.
        s: stride.
    """
    n, c, h, w = x.shape
    h, w = -(-h // s), -(-w // s)
    parts = winograd.filled(x, s * h, s * w).reshape(n, h, s, w, s, c).permute(2, 4, 0, 1, 3, 5).reshape(s, s, -1, c)
    rows = winograd.filled(g, h, w).reshape(-1, g.shape[1])
    products = []
    for i in range(k):
        for j in range(k):
            apart = i // s * w + j // s
            products.append(rows[: len(rows) - apart].T @ parts[i % s, j % s, apart:])
    by_pixel = torch.stack(products).view(k, k, -1, c)
    return by_pixel.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)
