"""Zero-Shot Noise2Noise: a network learns the noise of one picture from two halves of it.

    minimise over phi  R + C
    R = 1/2 (|D1 y - f(D1 y) - D2 y|^2 + |D2 y - f(D2 y) - D1 y|^2)
    C = 1/2 (|D1 y - f(D1 y) - D1(y - f(y))|^2 + |D2 y - f(D2 y) - D2(y - f(y))|^2)

D1 and D2 are the means of the two diagonals of each 2 x 2 pixels, norms are means, and y - f(y) is delivered.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn
from torch.nn import functional

from esbench.pictures import Floats
from esbench.records import Range

#: The paper's learning rate of Adam, and the number of steps after which it is halved.
RATE, HALVED = 0.001, 1000


def zs_n2n(
    y: Floats,
    generator: torch.Generator,
    *,
    iterations: Annotated[int, Range(1)] = 2000,
    channels: Annotated[int, Range(1)] = 48,
) -> Floats:
    """Return the picture without its noise, which must be independent from pixel to pixel."""
    h, w, c = y.shape
    device = generator.device
    picture = torch.from_numpy(y).permute(2, 0, 1)[None].to(device)
    picture = functional.pad(picture, (0, w % 2, 0, h % 2), mode="replicate")
    f = network(c, channels, generator)
    optimiser = torch.optim.Adam(f.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, HALVED, gamma=0.5)
    for _ in range(iterations):
        optimiser.zero_grad()
        loss(f, picture).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        x: Floats = (picture - f(picture))[0, :, :h, :w].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return x


def loss(f: nn.Module, y: torch.Tensor) -> torch.Tensor:
    """Return R + C."""
    a, b = halves(y)
    x_a, x_b = a - f(a), b - f(b)
    d_a, d_b = halves(y - f(y))
    mse = functional.mse_loss
    return (mse(x_a, b) + mse(x_b, a) + mse(x_a, d_a) + mse(x_b, d_b)) / 2


def halves(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return D1 y and D2 y, of half the height and width."""
    top, bottom = y[..., ::2, :], y[..., 1::2, :]
    return (top[..., 1::2] + bottom[..., ::2]) / 2, (top[..., ::2] + bottom[..., 1::2]) / 2


def network(c: int, channels: int, generator: torch.Generator) -> nn.Sequential:
    """Return two convolutions of 3 x 3 and one of 1 x 1, with PyTorch's initialisation."""
    f = nn.Sequential(
        nn.Conv2d(c, channels, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(channels, c, 1),
    ).to(generator.device)
    with torch.no_grad():
        for layer in f:
            if isinstance(layer, nn.Conv2d):
                bound = layer.weight[0].numel() ** -0.5
                for weights in layer.parameters():
                    weights.uniform_(-bound, bound, generator=generator)
    return f
