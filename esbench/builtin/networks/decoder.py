"""The deep decoder: too few parameters to learn the noise.

Heckel and Hand, "Deep Decoder: Concise Image Representations from Untrained Non-convolutional Networks" (ICLR 2019). No
convolution is wider than 1x1, so only the up-sampling connects neighbours. As in the authors' code, batch
normalisation comes after the activation.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import nn

from esbench.builtin.networks.layers import Double, Sigmoid, too_small
from esbench.records import Range


def decoder(
    inputs: int,
    outputs: int,
    *,
    channels: Annotated[int, Range(1)] = 128,
    scales: Annotated[int, Range(1, 8)] = 5,
    upsample: Literal["after", "before"] = "after",
) -> Decoder:
    """Return the network; the defaults are those of the paper's denoising.

    Args:
        inputs: channels of z.
        outputs: channels of the picture.
        channels: width of every layer; the paper has 32 to 128, fewer for more noise.
        scales: number of up-samplings by two; both sides of the picture must be larger than 2**scales.
        upsample: after the convolution of each layer but the last, or before that of each but the first, which the
            authors' code calls `upsample_first=False`.
    """
    return Decoder(inputs, outputs, channels, scales, upsample)


class Decoder(nn.Sequential):
    """Layers of one width, and the head; z is smaller than the picture by 2**scales, rounded up.

    Args:
        inputs: channels of z.
        outputs: channels of the picture.
        channels: width of every layer.
        scales: number of up-samplings.
        upsample: "after" or "before".
    """

    def __init__(self, inputs: int, outputs: int, channels: int, scales: int, upsample: str) -> None:
        layers: list[nn.Module] = []
        same_size = scales if upsample == "after" else 0
        for i in range(scales + 1):
            layers.append(nn.Conv2d(channels if i else inputs, channels, 1, bias=False))
            # A 1x1 convolution without bias gives the same before an up-sampling as after it, from a quarter of the
            # pixels: the variants differ in which layer keeps the size.
            if i != same_size:
                layers.append(Double("bilinear"))
            layers += [nn.ReLU(inplace=True), nn.BatchNorm2d(channels)]
        super().__init__(*layers, nn.Conv2d(channels, outputs, 1, bias=False), Sigmoid())
        self.scales: int = scales
        self.size: tuple[int, int] | tuple[None, None] = (None, None)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return the picture, cropped to the size given to `input_size`."""
        h, w = self.size
        x: torch.Tensor = super().forward(z)  # type: ignore[no-untyped-call]
        return x[..., :h, :w]

    def input_size(self, h: int, w: int) -> tuple[int, int]:
        """Return the size of z, that of the picture over 2**scales, rounded up; outputs are h x w from now on."""
        self.size = h, w
        return -(-h // 2**self.scales), -(-w // 2**self.scales)

    def unfit(self, h: int, w: int) -> str:
        """Return why it cannot make a picture of h x w, or an empty text: a z of one pixel gives a flat picture."""
        return too_small(h, w, self.scales, fewer="decoder[scales={}]".format)
