"""The encoder-decoder with skip connections of Deep Image Prior.

Ulyanov, Vedaldi and Lempitsky, "Deep Image Prior" (CVPR 2018), figure 21 of the supplement. The network stays in train
mode at all times: batch normalisation uses the statistics of the single picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import nn

from esbench.builtin.networks.layers import Double, Reflect, Sigmoid, too_small
from esbench.errors import ParamError
from esbench.records import Range

#: The default number of scales, if neither a list nor `scales` is given.
SCALES = 5

#: The most scales: with more, a picture would have to be larger than 256 x 256.
MOST = 8


def skip(
    inputs: int,
    outputs: int,
    *,
    channels: Annotated[int | tuple[int, ...], Range(1)] = 128,
    skips: Annotated[int | tuple[int, ...], Range(0)] = 4,
    scales: Annotated[int, Range(1, MOST)] = SCALES,
    upsample: Literal["bilinear", "nearest"] | tuple[Literal["bilinear", "nearest"], ...] = "bilinear",
    downsample: Literal["stride", "average"] = "stride",
    kernel: Literal[3, 5] = 3,
    pointwise: bool = True,
    bn_init: Literal["ones", "uniform"] = "ones",
) -> Skip:
    """Return the network; the defaults are those of the paper's denoising. A list has a value per scale, finest first.

    Args:
        inputs: channels of z.
        outputs: channels of the picture.
        channels: width of the down and up paths.
        skips: channels of each skip connection; 0 leaves them out.
        scales: number of scales, unless a list gives it; both sides of the picture must be larger than 2**scales.
        upsample: how the up path doubles the size.
        downsample: how the down path halves it: by the stride of a convolution, or by averages of 2 x 2 after it.
        kernel: side of the convolutions of the down path.
        pointwise: whether a 1x1 convolution follows each 3x3 convolution of the up path.
        bn_init: initial weights of the batch normalisations: ones, as in current PyTorch, or uniform in [0, 1], as in
            PyTorch when the paper was written.

    Raises:
        ParamError: the lists differ in length, or do not have `scales` values.
    """
    lists = per_scale(scales, channels=channels, skips=skips, upsample=upsample)
    network = Skip(inputs, outputs, **lists, downsample=downsample, kernel=kernel, pointwise=pointwise)
    if bn_init == "uniform":
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight)
    return network


def per_scale(scales: int, **given: Any) -> dict[str, tuple[Any, ...]]:
    """Return each value as a list with an item per scale.

    Raises:
        ParamError: the lists differ in length, or do not have `scales` values.
    """
    lengths = {name: len(value) for name, value in given.items() if isinstance(value, tuple)}
    n = next(iter(lengths.values()), scales)
    told = " and ".join(f"{length} in {name}" for name, length in lengths.items())
    if len(set(lengths.values())) > 1:
        raise ParamError(f"The lists of 'skip' must have one length, a value per scale, finest first; got {told}.")
    if scales not in (SCALES, n):
        raise ParamError(
            f"The lists of 'skip' must have a value per scale, got {told} and scales={scales}: leave scales out."
        )
    if n > MOST:
        raise ParamError(f"The lists of 'skip' must have at most {MOST} values, one per scale, got {told}.")
    return {name: value if isinstance(value, tuple) else (value,) * n for name, value in given.items()}


class Skip(nn.Sequential):
    """All scales and the head; any size in, the same size out.

    Args:
        inputs: channels of z.
        outputs: channels of the picture.
        channels: width of the down and up paths at each scale, finest first.
        skips: width of the skip connection, likewise; 0 for none.
        upsample: mode of the up-sampling, likewise.
        downsample: "stride" or "average".
        kernel: side of the convolutions of the down path.
        pointwise: whether the up path has 1x1 convolutions.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        skips: Sequence[int],
        upsample: Sequence[str],
        downsample: str = "stride",
        kernel: int = 3,
        pointwise: bool = True,
    ) -> None:
        widths_in = [inputs, *channels[:-1]]
        inner: nn.Module = nn.Identity()
        inner_width = channels[-1]
        for c, d, s, mode in reversed(list(zip(widths_in, channels, skips, upsample, strict=True))):
            inner = Scale(c, d, s, inner, inner_width, mode, downsample, kernel, pointwise)
            inner_width = d
        super().__init__(inner, nn.Conv2d(inner_width, outputs, 1), Sigmoid())
        self.scales: int = len(channels)
        self.kernel = kernel

    def input_size(self, h: int, w: int) -> tuple[int, int]:
        """Return the size of z: that of the picture."""
        return h, w

    def unfit(self, h: int, w: int) -> str:
        """Return why it cannot make a picture of h x w, or an empty text."""
        return too_small(h, w, self.scales, self.kernel // 2, "skip[scales={}]".format)


class Scale(nn.Module):
    """One scale: down, all deeper scales, up; and the skip connection.

    Args:
        c: channels in.
        d: width of the down and up paths, and channels out.
        s: channels of the skip connection, or 0.
        inner: the deeper scales.
        k: their channels out.
        upsample: mode of the up-sampling.
        downsample: "stride" or "average".
        kernel: side of the convolutions of the down path.
        pointwise: whether the up path has a 1x1 convolution.
    """

    def __init__(
        self,
        c: int,
        d: int,
        s: int,
        inner: nn.Module,
        k: int,
        upsample: str,
        downsample: str,
        kernel: int,
        pointwise: bool,
    ) -> None:
        super().__init__()
        self.skip = conv(c, s, 1) if s else None
        self.down = nn.Sequential(conv(c, d, kernel, halve=downsample), conv(d, d, kernel))
        self.inner = inner
        self.upsample = Double(upsample)
        self.norm = nn.BatchNorm2d(s + k)
        self.up = nn.Sequential(conv(s + k, d, 3), *([conv(d, d, 1)] if pointwise else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of this scale, of the size of x."""
        h = self.upsample(self.inner(self.down(x)))
        if h.shape[-2:] != x.shape[-2:]:  # an odd side was rounded up on the way down: 2 ceil(n / 2) is one too many
            h = h[..., : x.shape[-2], : x.shape[-1]]
        if self.skip is not None:
            h = torch.cat([self.skip(x), h], dim=1)
        return self.up(self.norm(h))  # type: ignore[no-any-return]


def conv(c: int, d: int, kernel: int, halve: str = "") -> nn.Sequential:
    """Return convolution (reflection padding, bias), batch normalisation and leaky ReLU of slope 0.2.

    Args:
        c: channels in.
        d: channels out.
        kernel: side of the convolution.
        halve: "stride" or "average" to halve the size, rounded up.
    """
    pad = [Reflect(kernel // 2)] if kernel > 1 else []
    pool = [nn.AvgPool2d(2, ceil_mode=True)] if halve == "average" else []
    convolution = nn.Conv2d(c, d, kernel, stride=2 if halve == "stride" else 1)
    return nn.Sequential(*pad, convolution, *pool, nn.BatchNorm2d(d), nn.LeakyReLU(0.2, inplace=True))
