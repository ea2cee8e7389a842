"""The network of DF-STE: its input is the observation; it is designed for unbiased risk estimates.

Jo, Chun and Choi, "Rethinking Deep Image Prior for Denoising" (ICCV 2021), a variant of the network of Self2Self (Quan
et al., CVPR 2020). Softplus makes it smooth, so that its divergence has a gradient.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from esbench.builtin.networks.layers import Double, Reflect, Sigmoid, too_small

#: Widths of the encoder and of the decoder, and how many times the encoder halves the size.
ENCODER, DECODER, SCALES = 48, 96, 5


def s2s(inputs: int, outputs: int) -> S2S:
    """Return the network; its widths are fixed.

    Args:
        inputs: channels of the input picture.
        outputs: channels of the output picture.
    """
    return S2S(inputs, outputs)


class S2S(nn.Module):
    """Encoder, bottleneck, decoder, and a head that also gets the input; any size in, the same size out.

    Args:
        inputs: channels of the input picture.
        outputs: channels of the output picture.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = [inputs, *[ENCODER] * SCALES]
        self.encoder = nn.ModuleList(
            nn.Sequential(conv(c, d, stride=2), conv(d, d)) for c, d in itertools.pairwise(widths)
        )
        self.bottleneck = conv(ENCODER, DECODER)
        self.upsample = Double("nearest")
        merged = DECODER + ENCODER
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(merged), conv(merged, DECODER), conv(DECODER, DECODER))
            for _ in range(SCALES - 1)
        )
        self.head = nn.Sequential(
            conv(DECODER + inputs, 64), conv(64, 32), Reflect(1), nn.Conv2d(32, outputs, 3), Sigmoid()
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return the picture for z."""
        features = [z]
        for down in self.encoder:
            features.append(down(features[-1]))
        x = self.bottleneck(features.pop())
        for up in [*self.decoder, self.head]:
            beside = features.pop()
            h = self.upsample(x)[..., : beside.shape[-2], : beside.shape[-1]]
            x = up(torch.cat([h, beside], dim=1))
        return x  # type: ignore[no-any-return]

    def input_size(self, h: int, w: int) -> tuple[int, int]:
        """Return the size of z: that of the picture."""
        return h, w

    def unfit(self, h: int, w: int) -> str:
        """Return why it cannot make a picture of h x w, or an empty text."""
        return too_small(h, w, SCALES)


def conv(c: int, d: int, stride: int = 1) -> nn.Sequential:
    """Return 3x3 convolution (reflection padding, bias), batch normalisation and softplus."""
    return nn.Sequential(Reflect(1), nn.Conv2d(c, d, 3, stride), nn.BatchNorm2d(d), nn.Softplus())
