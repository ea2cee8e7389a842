from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench.builtin.networks.layers import Double, Reflect, Sigmoid, too_small


def features(*size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand((1, 2, *size), generator=generator, dtype=torch.float64, requires_grad=True)


@given(st.integers(1, 3), st.integers(0, 5), st.integers(0, 5))
@settings(deadline=None)
def test_a_reflection_and_its_gradient_are_those_of_pytorch(padding, h, w):
    x = features(padding + 1 + h, padding + 1 + w)
    ours, theirs = Reflect(padding)(x), F.pad(x, (padding,) * 4, mode="reflect")
    assert torch.equal(ours, theirs)
    towards = torch.rand_like(ours)
    (g,), (expected,) = (torch.autograd.grad((y * towards).sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(g, expected)


def test_in_bfloat16_a_reflection_stays_so_and_a_sigmoid_does_not():
    x = torch.linspace(-3, 3, 2048).view(1, 2, 32, 32)
    half = x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert Reflect(1)(half).dtype == torch.bfloat16
        y = Sigmoid()(half)
    assert torch.equal(y, half.float().sigmoid())
    assert Sigmoid()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("layer", [Reflect(1), Reflect(2), Double("bilinear"), Double("nearest")])
def test_layers_can_be_differentiated_twice(layer):
    # the exact divergence of an unbiased risk estimate is a gradient, and has one itself
    x = features(3, 4)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 8), st.integers(1, 2))
def test_a_picture_is_too_small_where_halving_it_leaves_too_little(h, w, scales, margin):
    halved = min(h, w)
    for _ in range(scales):
        halved = -(-halved // 2)
    why = too_small(h, w, scales, margin, "n[scales={}]".format)
    assert bool(why) == (halved <= margin)
    if "n[" in why:
        fits = int(why.partition("scales=")[2].rstrip("]'"))
        assert too_small(h, w, fits, margin) == ""
        assert too_small(h, w, fits + 1, margin) != ""
