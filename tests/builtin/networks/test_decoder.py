from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from esbench.builtin.networks.decoder import Decoder, decoder


def by_hand(f: Decoder, z: torch.Tensor, upsample: str) -> torch.Tensor:
    """Return what the paper's code gives: functions only, in its order, with the weights of `f`."""
    *convolutions, head = (m.weight for m in f if isinstance(m, nn.Conv2d))
    norms = [m for m in f if isinstance(m, nn.BatchNorm2d)]
    x, last = z, len(convolutions) - 1
    for i, (weight, norm) in enumerate(zip(convolutions, norms, strict=True)):
        if upsample == "before" and i != 0:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
        x = F.conv2d(x, weight)
        if upsample == "after" and i != last:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
        x = F.batch_norm(F.relu(x), None, None, norm.weight, norm.bias, training=True)
    return torch.sigmoid(F.conv2d(x, head))


@pytest.mark.parametrize("upsample", ["after", "before"])
def test_the_output_and_its_gradients_are_those_of_the_description(upsample):
    torch.manual_seed(0)
    f = decoder(4, 3, channels=5, scales=3, upsample=upsample).double()
    z = torch.rand(1, 4, 3, 2, dtype=torch.float64)
    ours, theirs = f(z), by_hand(f, z, upsample)
    assert ours.shape == (1, 3, 24, 16)
    torch.testing.assert_close(ours, theirs)
    towards = torch.rand_like(ours)
    weights = list(f.parameters())
    torch.testing.assert_close(
        torch.autograd.grad((ours * towards).sum(), weights), torch.autograd.grad((theirs * towards).sum(), weights)
    )


def test_a_picture_is_the_corner_of_the_next_multiple():
    torch.manual_seed(0)
    f = decoder(4, 3, channels=4, scales=3)
    assert f.input_size(24, 16) == (3, 2)
    z = torch.rand(1, 4, 3, 2)
    whole = f(z)
    assert f.input_size(17, 13) == (3, 2)
    assert torch.equal(f(z), whole[..., :17, :13])


def test_a_picture_for_fewer_scales_is_refused_with_what_would_do():
    assert decoder(1, 3).unfit(33, 33) == ""
    assert decoder(1, 3).unfit(64, 32) == (
        "needs both sides to be at least 33: fewer scales need less, as in 'decoder[scales=4]'"
    )
