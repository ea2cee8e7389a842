"""The U-Net in the Deep Image Prior authors' code (`models/unet.py`, `inpainting.ipynb`).

They use it to fill a large hole, with these settings:

- widths 8, 16, 32, 64, 128 and 128; an input of one channel of noise, not perturbed; Adam with 0.001;
- a level is two 3x3 convolutions, padded with zeros, each with instance normalisation (without weights) and ReLU;
- down by the maximum of 2 x 2, up by a transposed 4 x 4 convolution;
- the upsampled features are joined to the level's own, followed by two convolutions without normalisation.

In their code, both sides must be multiples of 2**scales. Here halves are rounded up, and the up path is cropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import nn

from esbench.builtin.networks.layers import Sigmoid, too_small
from esbench.errors import ParamError
from esbench.records import Range


def unet(
    inputs: int,
    outputs: int,
    *,
    channels: Annotated[tuple[int, ...], Range(1)] = (8, 16, 32, 64, 128, 128),
) -> UNet:
    """Return the network; the default is the one of the authors' inpainting.

    Args:
        inputs: channels of z.
        outputs: channels of the picture.
        channels: width of each level, finest first; one more than there are scales.

    Raises:
        ParamError: there are fewer than 2 levels or more than 9.
    """
    if not 2 <= len(channels) <= 9:
        raise ParamError(f"'unet' has 2 to 9 levels, got {len(channels)} in channels.")
    return UNet(inputs, outputs, channels)


class UNet(nn.Sequential):
    """All levels and the head; any size in, the same size out.

    Args:
        inputs: channels of z.
        outputs: channels of the picture.
        widths: width of each level, finest first.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int]) -> None:
        *finer, deepest = itertools.pairwise([inputs, *widths])
        level = Level(*deepest)
        for c, d in reversed(finer):
            level = Level(c, d, level)
        super().__init__(level, nn.Conv2d(widths[0], outputs, 1), Sigmoid())
        self.widths: tuple[int, ...] = tuple(widths)

    def input_size(self, h: int, w: int) -> tuple[int, int]:
        """Return the size of z: that of the picture."""
        return h, w

    def unfit(self, h: int, w: int) -> str:
        """Return why it cannot make a picture of h x w, or an empty text."""
        widths = [str(width) for width in self.widths]
        return too_small(h, w, len(widths) - 1, fewer=lambda n: f"unet[channels={'/'.join(widths[: n + 1])}]")


class Level(nn.Module):
    """One level: its own features, joined with those of all deeper levels.

    Args:
        c: channels in.
        d: width, and channels out.
        inner: the deeper levels, or None at the deepest.
    """

    def __init__(self, c: int, d: int, inner: Level | None = None) -> None:
        super().__init__()
        self.width: int = d
        self.features = nn.Sequential(*conv(c, d, nn.InstanceNorm2d(d)), *conv(d, d, nn.InstanceNorm2d(d)))
        self.inner = inner
        if inner is not None:
            self.down = nn.MaxPool2d(2, ceil_mode=True)
            self.up = nn.ConvTranspose2d(inner.width, d, 4, stride=2, padding=1)
            self.join = nn.Sequential(*conv(2 * d, d), *conv(d, d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of this level, of the size of x."""
        x = self.features(x)
        if self.inner is None:
            return x
        h = self.up(self.inner(self.down(x)))[..., : x.shape[-2], : x.shape[-1]]
        return self.join(torch.cat([h, x], dim=1))  # type: ignore[no-any-return]


def conv(c: int, d: int, *norm: nn.Module) -> list[nn.Module]:
    """Return 3x3 convolution (padded with zeros, bias), normalisation if there is one, and ReLU."""
    return [nn.Conv2d(c, d, 3, padding=1), *norm, nn.ReLU(inplace=True)]
