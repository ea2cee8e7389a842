"""Convolutions with another order of sums give the same as PyTorch's, and their networks keep their state."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from esbench.builtin.networks.skip import skip
from esbench.engine import convolution, winograd
from esbench.engine.convolution import Aligned, Multiplied, Striped, align, multiply, strip, weight_gradient


@pytest.fixture
def all_multiplied(monkeypatch):
    """Also convolutions of few channels and small pictures."""
    monkeypatch.setattr(convolution, "NARROW", 1)
    monkeypatch.setattr(convolution, "PAIRS", 1)
    monkeypatch.setattr(convolution, "MANY", 0)


@pytest.fixture(params=[1, 1000], ids=["tiles", "products"])
def wide(request, monkeypatch):
    """Every 3 x 3 kernel by Winograd's algorithm, and none."""
    monkeypatch.setattr(convolution, "WIDE", request.param)


@pytest.mark.parametrize(
    ("change", "kind", "changed"),
    [(align, Aligned, 4), (multiply, Multiplied, 6)],  # 4 and 8 + 3 channels; 3x3 kernels; in two scales each
)
def test_a_changed_network_gives_the_same_and_keeps_its_state(change, kind, changed, all_multiplied, wide):
    f = skip(4, 3, channels=8, skips=3, scales=2).double().to(memory_format=torch.channels_last)
    other = copy.deepcopy(f)
    change(other)
    assert sum(isinstance(m, kind) for m in other.modules()) == changed
    x = torch.rand(1, 4, 12, 14, dtype=torch.float64)
    y, z = f(x), other(x)
    torch.testing.assert_close(z, y, rtol=1e-12, atol=1e-12)
    y.square().sum().backward(), z.square().sum().backward()
    for p, q in zip(f.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-9, atol=1e-12)
        assert q.grad.stride() == p.grad.stride() or q.grad.shape[2:] == (1, 1)
    assert other.state_dict().keys() == f.state_dict().keys()


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3),
    st.integers(0, 9), st.integers(0, 9),
)  # fmt: skip
def test_the_gradient_of_the_weights_is_that_of_pytorch(n, c, d, k, s, more_rows, more_columns):
    x = torch.randn(n, c, k + more_rows, k + more_columns, dtype=torch.float64)
    w = torch.zeros(d, c, k, k, dtype=torch.float64, requires_grad=True)
    y = nn.functional.conv2d(x, w, stride=s)
    g = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, w, g)
    torch.testing.assert_close(weight_gradient(g, x, k, s), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
def test_losses_with_a_gradient_of_their_own_find_one(stride, all_multiplied, wide):
    conv = nn.Conv2d(2, 3, 3, stride).double()
    multiply(conv)
    x = torch.rand(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, x)
    assert torch.autograd.gradgradcheck(conv, x)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(64, 64, 1),
        nn.Conv2d(64, 64, 3, dilation=2),
        nn.Conv2d(64, 64, 3, groups=2),
        nn.Conv2d(64, 64, (3, 1)),
        nn.Conv2d(64, 64, 3, stride=(1, 2)),
        nn.Conv2d(3, 64, 3),
        Aligned(64, 64, 3),
    ],
)
def test_what_it_was_not_made_for_is_left_alone(conv):
    before = type(conv)
    multiply(conv)
    assert type(conv) is before


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": (2, 1)},
        {"padding": "same"},
        {"padding": "valid"},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": "same", "padding_mode": "circular"},
        {"padding": 1, "stride": 2, "bias": False},
    ],
)
def test_a_convolution_that_pads_gives_the_same(options, all_multiplied, wide):
    conv = nn.Conv2d(2, 3, 3, **options).double()
    x = torch.rand(2, 2, 9, 8, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    theirs = conv(x)
    g = torch.rand_like(theirs)
    expected = torch.autograd.grad(theirs, (x, conv.weight), g)
    multiply(conv)
    assert type(conv) is Multiplied
    ours = conv(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for mine, other in zip(torch.autograd.grad(ours, (x, conv.weight), g), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [1, 4, 1000])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"bias": False},
        {"padding": 1},
        {"padding": 1, "padding_mode": "reflect", "stride": 2},
        {"kernel_size": 5},
    ],
)
def test_strips_give_the_gradients_of_bfloat16(options, rows, monkeypatch):
    """The same output; gradients that are as near the exact ones as those of PyTorch."""
    monkeypatch.setattr(convolution, "STRIP", rows)
    monkeypatch.setattr(convolution, "LARGE", 1)
    torch.manual_seed(0)
    conv = nn.Conv2d(**{"in_channels": 8, "out_channels": 16, "kernel_size": 3} | options)
    conv.to(memory_format=torch.channels_last)
    x = torch.randn(1, 8, 17, 12).to(memory_format=torch.channels_last).requires_grad_()
    inputs = [x, *conv.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
        strip(conv)
        z = conv(x)
    assert type(conv) is Striped
    assert torch.equal(z, y)
    g = torch.randn_like(y)
    rounded = copy.deepcopy(conv).bfloat16().double()
    other = x.detach().bfloat16().double().requires_grad_()
    exact = torch.autograd.grad(rounded(other), [other, *rounded.parameters()], g.double())
    for ours, theirs, right in zip(*(torch.autograd.grad(a, inputs, g) for a in (z, y)), exact, strict=True):
        assert ours.dtype == torch.float32
        assert ours.stride() == theirs.stride()
        far, near = ((a - right).square().mean().sqrt() for a in (theirs, ours))
        assert near < 1.5 * far + 1e-6


def test_strips_leave_layers_in_float32_alone():
    conv = nn.Conv2d(2, 3, 3)
    x = torch.rand(1, 2, 9, 9)
    y = conv(x)
    strip(conv)
    assert torch.equal(conv(x), y)


def test_strips_have_a_gradient_of_their_gradient():
    conv = nn.Conv2d(4, 8, 3)
    x = torch.randn(1, 4, 9, 9, requires_grad=True)
    found = []
    for change in (None, strip):
        if change:
            change(conv)
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(x).square().sum()
        (of_x,) = torch.autograd.grad(y, x, create_graph=True)
        found.append(torch.autograd.grad(of_x.square().sum(), (x, conv.weight)))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05 * float(theirs.abs().max()))


@pytest.mark.parametrize("height", [10, 11, 12])
@pytest.mark.parametrize("width", [10, 11])
def test_the_next_layer_may_work_in_place(height, width, all_multiplied, wide):
    conv = nn.Conv2d(2, 3, 3)
    multiply(conv)
    x = torch.rand(1, 2, height, width).to(memory_format=torch.channels_last)
    y = nn.ReLU(inplace=True)(conv(x))
    torch.testing.assert_close(y, nn.functional.conv2d(x, conv.weight, conv.bias).relu(), rtol=1e-4, atol=1e-5)
    y.sum().backward()


@pytest.mark.parametrize(
    "options", [{"dilation": 2}, {"padding": 2, "padding_mode": "reflect"}, {"stride": 2}, {"groups": 3}]
)
def test_an_aligned_convolution_gives_the_same(options):
    conv = nn.Conv2d(3, 6, 3, **options).double()
    x = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    y = conv(x)
    align(conv)
    torch.testing.assert_close(conv(x), y, rtol=1e-12, atol=1e-12)


def test_a_picture_that_is_no_batch_is_left_to_pytorch(all_multiplied, wide):
    conv = nn.Conv2d(2, 3, 3)
    x = torch.rand(2, 9, 9)
    y = conv(x)
    multiply(conv)
    assert torch.equal(conv(x), y)


def test_small_pictures_are_left_to_pytorch(monkeypatch):
    conv = nn.Conv2d(40, 64, 3)
    multiply(conv)
    seen = []
    monkeypatch.setattr(convolution, "weight_gradient", lambda *of: seen.append(of) or weight_gradient(*of))
    conv(torch.rand(1, 40, 10, 10)).sum().backward()
    assert not seen
    conv(torch.rand(1, 40, 70, 70)).sum().backward()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("conv", "tiled"),
    [
        (nn.Conv2d(64, 64, 3), True),
        (nn.Conv2d(64, 40, 3), False),
        (nn.Conv2d(40, 64, 3), False),
        (nn.Conv2d(64, 64, 3, 2), False),
        (nn.Conv2d(64, 64, 5), False),
    ],
)
def test_wide_kernels_of_three_are_tiled(conv, tiled, monkeypatch):
    multiply(conv)
    seen = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *of: seen.append(of) or convolve(*of))
    x = torch.rand(1, conv.in_channels, 120, 120)
    theirs = nn.functional.conv2d(x, conv.weight, conv.bias, conv.stride)
    torch.testing.assert_close(conv(x), theirs, rtol=1e-4, atol=1e-5)
    assert bool(seen) is tiled
