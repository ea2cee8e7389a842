"""The encoder-decoder with skip connections of the Deep Image Prior.

Ulyanov, Vedaldi and Lempitsky, "Deep Image Prior" (CVPR 2018), figure 21 of the supplement. The network stays in train
mode for its whole life: batch normalisation uses the statistics of the one picture that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import nn

from esbench.builtin.networks.layers import too_small
from esbench.records import Range


def skip(
    inputs: int,
    outputs: int,
    *,
    channels: Annotated[int, Range(1)] = 128,
    skips: Annotated[int, Range(0)] = 4,
    scales: Annotated[int, Range(1, 8)] = 5,
    upsample: Literal["bilinear", "nearest"] = "bilinear",
    bn_init: Literal["ones", "uniform"] = "ones",
) -> nn.Module:
    """Return the network with the same widths at every scale; the defaults are those of the paper's denoising.

    Args:
        inputs: channels of z.
        outputs: channels of the picture.
        channels: width of the down and up paths.
        skips: channels of each skip connection; 0 leaves them out.
        scales: number of scales; both sides of the picture must be larger than 2**scales.
        upsample: how the up path doubles the size.
        bn_init: scales of the batch normalisations: ones, as PyTorch has it today, or uniform in [0, 1], as it was when
            the paper was written.
    """
    down = up = (channels,) * scales
    network = Skip(inputs, outputs, down, up, (skips,) * scales, upsample)
    if bn_init == "uniform":
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight)
    return network


class Skip(nn.Sequential):
    """All scales and the head; any size in, the same size out.

    Args:
        inputs: channels of z.
        outputs: channels of the picture.
        down: width of the down path at each scale, finest first.
        up: width of the up path, likewise.
        skips: width of the skip connection, likewise; 0 for none.
        upsample: mode of the up-sampling.
    """

    def __init__(
        self, inputs: int, outputs: int, down: Sequence[int], up: Sequence[int], skips: Sequence[int], upsample: str
    ) -> None:
        widths_in = [inputs, *down[:-1]]
        inner: nn.Module = nn.Identity()
        inner_width = down[-1]
        for c, d, u, s in reversed(list(zip(widths_in, down, up, skips, strict=True))):
            inner = Scale(c, d, u, s, inner, inner_width, upsample)
            inner_width = u
        super().__init__(inner, nn.Conv2d(inner_width, outputs, 1), nn.Sigmoid())
        self.scales: int = len(down)

    def smallest(self) -> int:
        """Return the smallest side that a picture may have."""
        return int(2**self.scales) + 1

    def input_size(self, h: int, w: int) -> tuple[int, int]:
        """Return the size of z: that of the picture."""
        return h, w

    def unfit(self, h: int, w: int) -> str:
        """Return why it cannot make a picture of h x w, or an empty text."""
        return too_small(h, w, self.scales, fewer="skip[scales={}]".format)


class Scale(nn.Module):
    """One scale: down, all deeper scales, up; beside it the skip connection.

    Args:
        c: channels in.
        d: width of the down path.
        u: width of the up path, and channels out.
        s: channels of the skip connection, or 0.
        inner: the deeper scales.
        k: their channels out.
        upsample: mode of the up-sampling.
    """

    def __init__(self, c: int, d: int, u: int, s: int, inner: nn.Module, k: int, upsample: str) -> None:
        super().__init__()
        self.skip = conv(c, s, 1) if s else None
        self.down = nn.Sequential(conv(c, d, 3, stride=2), conv(d, d, 3))
        self.inner = inner
        self.upsample = Double(scale_factor=2, mode=upsample)
        self.norm = nn.BatchNorm2d(s + k)
        self.up = nn.Sequential(conv(s + k, u, 3), conv(u, u, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of this scale, of the size of x."""
        h = self.upsample(self.inner(self.down(x)))
        # an odd side was rounded up on the way down: 2 ceil(n / 2) is one too many
        h = h[..., : x.shape[-2], : x.shape[-1]]
        if self.skip is not None:
            h = torch.cat([self.skip(x), h], dim=1)
        return self.up(self.norm(h))  # type: ignore[no-any-return]


def conv(c: int, d: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return convolution (reflection padding, bias), batch normalisation and leaky ReLU of slope 0.2."""
    pad = [Reflect(1)] if kernel == 3 else []
    return nn.Sequential(*pad, nn.Conv2d(c, d, kernel, stride), nn.BatchNorm2d(d), nn.LeakyReLU(0.2, inplace=True))


class Reflect(nn.ReflectionPad2d):
    """Reflection padding by one pixel whose gradient is the same each time, which PyTorch's is not on a GPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with one more row and column on each side."""
        return _Reflect.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class Double(nn.Upsample):
    """Up-sampling by two whose gradient is the same each time, which PyTorch's bilinear one is not on a GPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x at twice the size."""
        if self.mode != "bilinear" or (x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)):
            return super().forward(x)  # where PyTorch's own is the same each time, and quicker
        return _Bilinear.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class _Reflect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        # the columns come in first, also those of the rows that come in afterwards
        d = g[..., 1:-1, 1:-1].clone()
        d[..., 1] += g[..., 1:-1, 0]
        d[..., -2] += g[..., 1:-1, -1]
        for row, edge in ((1, g[..., 0, :]), (-2, g[..., -1, :])):
            e = edge[..., 1:-1].clone()
            e[..., 1] += edge[..., 0]
            e[..., -2] += edge[..., -1]
            d[..., row, :] += e
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
