from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from esbench.builtin.networks.unet import UNet, unet
from esbench.errors import UsageError


def by_hand(f: UNet, z: torch.Tensor) -> torch.Tensor:
    """Return what the paper's code gives: functions only, with the weights of `f`."""

    def convs(branch: nn.Module, x: torch.Tensor, normalised: bool) -> torch.Tensor:
        for layer in (m for m in branch if isinstance(m, nn.Conv2d)):
            x = F.conv2d(x, layer.weight, layer.bias, padding=1)
            if normalised:
                mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
                x = (x - mean) / (var + 1e-5).sqrt()
            x = F.relu(x)
        return x

    levels = [f[0]]
    while levels[-1].inner is not None:
        levels.append(levels[-1].inner)
    features = [convs(levels[0].features, z, True)]
    for level in levels[1:]:
        x = features[-1]
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-1)  # features are not negative
        features.append(convs(level.features, x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)), True))
    x = features.pop()
    for level, beside in zip(reversed(levels[:-1]), reversed(features), strict=True):
        x = F.conv_transpose2d(x, level.up.weight, level.up.bias, stride=2, padding=1)
        x = torch.cat([x[:, :, : beside.shape[2], : beside.shape[3]], beside], 1)
        x = convs(level.join, x, False)
    return torch.sigmoid(F.conv2d(x, f[1].weight, f[1].bias))


@pytest.mark.parametrize("size", [(16, 24), (9, 18), (13, 11)])
def test_the_output_and_its_gradients_are_those_of_the_description(size):
    torch.manual_seed(0)
    f = unet(2, 3, channels=(3, 4, 5, 4)).double()
    z = torch.rand(1, 2, *size, dtype=torch.float64)
    ours, theirs = f(z), by_hand(f, z)
    assert ours.shape == (1, 3, *size)
    torch.testing.assert_close(ours, theirs)
    towards = torch.rand_like(ours)
    weights = list(f.parameters())
    torch.testing.assert_close(
        torch.autograd.grad((ours * towards).sum(), weights),
        torch.autograd.grad((theirs * towards).sum(), weights),
        rtol=1e-6,
        atol=1e-12,
    )


@pytest.mark.parametrize("channels", [(8,), (1,) * 10])
def test_a_number_of_levels_that_makes_no_sense_is_refused(channels):
    with pytest.raises(UsageError, match=rf"^'unet' has 2 to 9 levels, got {len(channels)} in channels\.$"):
        unet(1, 3, channels=channels)


def test_a_picture_for_fewer_levels_is_refused_with_what_would_do():
    assert unet(1, 3).unfit(33, 33) == ""
    assert unet(1, 3).unfit(64, 32) == (
        "needs both sides to be at least 33: fewer scales need less, as in 'unet[channels=8/16/32/64/128]'"
    )
