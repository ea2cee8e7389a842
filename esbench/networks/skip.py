"""The encoder-decoder with skip connections of the Deep Image Prior.

Ulyanov, Vedaldi and Lempitsky, "Deep Image Prior" (CVPR 2018), figure 21 of the supplement. The network stays in train
mode for its whole life: batch normalisation uses the statistics of the one picture that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import nn

from esbench.types import Range


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
        self.upsample = nn.Upsample(scale_factor=2, mode=upsample)
        self.norm = nn.BatchNorm2d(s + k)
        self.up = nn.Sequential(conv(s + k, u, 3), conv(u, u, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of this scale, of the size of x."""
        h = self.upsample(self.inner(self.down(x)))
        if self.skip is not None:
            # an odd side was rounded up on the way down: 2 ceil(n / 2) is one too many
            h = torch.cat([self.skip(x), h[..., : x.shape[-2], : x.shape[-1]]], dim=1)
        return self.up(self.norm(h))  # type: ignore[no-any-return]


def conv(c: int, d: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return convolution (reflection padding, bias), batch normalisation and leaky ReLU of slope 0.2."""
    pad = [nn.ReflectionPad2d(kernel // 2)] if kernel > 1 else []
    return nn.Sequential(*pad, nn.Conv2d(c, d, kernel, stride), nn.BatchNorm2d(d), nn.LeakyReLU(0.2, inplace=True))
