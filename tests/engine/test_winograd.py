"""Winograd's algorithm gives the convolution and its gradients, whatever the sizes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from esbench.engine import winograd


def drawn(n, c, d, h, w, dtype=torch.float64):
    """Return x, weights and a bias that have gradients, their convolution by PyTorch, and a gradient of it."""
    x, weight, bias = (
        torch.randn(n, c, h, w, dtype=dtype),
        torch.randn(d, c, 3, 3, dtype=dtype),
        torch.randn(d).to(dtype),
    )
    x, weight = (t.to(memory_format=torch.channels_last).requires_grad_() for t in (x, weight))
    y = nn.functional.conv2d(x, weight, bias)
    return x, weight, bias, y, torch.randn_like(y)


@pytest.mark.parametrize("block", [1, 12, winograd.BLOCK])  # a row of tiles at a time, and all of them
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(3, 24), st.integers(3, 24))
def test_it_is_the_convolution_of_pytorch(block, n, c, d, h, w):
    x, weight, bias, y, of_y = drawn(n, c, d, h, w)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "BLOCK", block)
        torch.testing.assert_close(winograd.convolve(x, weight, bias), y, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(winograd.convolve(x, weight) + bias[:, None, None], y, rtol=1e-10, atol=1e-10)
        ours = winograd.gradients(of_y, x, weight)
    for mine, theirs in zip(ours, torch.autograd.grad(y, (x, weight), of_y), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_with_many_channels_it_is_nearly_as_exact_in_float32():
    x, weight, bias, y, of_y = drawn(1, 128, 128, 22, 22)
    single = [t.detach().float() for t in (x, weight, bias, of_y)]
    ours = winograd.convolve(*single[:3]), *winograd.gradients(single[3], *single[:2])
    for mine, exact in zip(ours, (y, *torch.autograd.grad(y, (x, weight), of_y)), strict=True):
        assert (mine - exact).norm() < 1e-5 * exact.norm()


def test_what_it_returns_is_channels_last():
    x, weight, bias, _, of_y = drawn(1, 4, 5, 9, 12)
    with torch.no_grad():
        for tensor in winograd.convolve(x, weight, bias), *winograd.gradients(of_y, x, weight):
            assert tensor.stride(1) == 1


def test_it_leaves_its_arguments_as_they_are():
    x, weight, bias, _, of_y = drawn(1, 2, 3, 10, 10)  # 8 x 8 outputs: nothing is copied to fill the tiles
    given = [t.detach().clone() for t in (x, weight, bias, of_y)]
    with torch.no_grad():
        winograd.convolve(x, weight, bias), winograd.gradients(of_y, x, weight)
    for before, after in zip(given, (x, weight, bias, of_y), strict=True):
        assert torch.equal(before, after)
