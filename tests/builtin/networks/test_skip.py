from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from esbench.builtin.networks.skip import Scale, Skip, skip
from esbench.registry import registry


def made(text: str, inputs: int = 1, outputs: int = 1) -> Skip:
    """Return a network from its text, as the command line makes it."""
    component = registry().get("network", text)
    return component.target(inputs, outputs, **component.values)


def described(module: nn.Module) -> list[tuple]:
    """Return what a branch is made of, layer by layer."""
    found: list[tuple] = []
    for layer in module.modules():
        match layer:
            case nn.ReflectionPad2d():
                found.append(("reflect", layer.padding))
            case nn.Conv2d():
                assert layer.bias is not None
                assert (layer.padding, layer.dilation, layer.groups) == ((0, 0), (1, 1), 1)
                found.append(("conv", layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]))
            case nn.BatchNorm2d():
                assert (layer.eps, layer.momentum, layer.affine, layer.track_running_stats) == (1e-5, 0.1, True, True)
                found.append(("norm", layer.num_features))
            case nn.LeakyReLU():
                found.append(("leaky", layer.negative_slope))
            case nn.Upsample():
                found.append(("double", layer.scale_factor, layer.mode, layer.align_corners))
            case nn.Sigmoid():
                found.append(("sigmoid",))
    return found


def by_hand(f: Skip, x: torch.Tensor, upsample: str) -> torch.Tensor:
    """Return what methods.md 1.1 says the network gives: functions only, with the weights of `f`."""

    def layer(branch: nn.Module, x: torch.Tensor) -> torch.Tensor:
        (conv,) = (m for m in branch.modules() if isinstance(m, nn.Conv2d))
        (norm,) = (m for m in branch.modules() if isinstance(m, nn.BatchNorm2d))
        pad = (conv.kernel_size[0] - 1) // 2
        if pad:
            x = F.pad(x, (pad,) * 4, mode="reflect")
        x = F.conv2d(x, conv.weight, conv.bias, stride=conv.stride)
        return F.leaky_relu(F.batch_norm(x, None, None, norm.weight, norm.bias, training=True), 0.2)

    def scale(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(s, Scale):
            return x
        h = layer(s.down[1], layer(s.down[0], x))
        h = F.interpolate(scale(s.inner, h), scale_factor=2, mode=upsample)
        branches = [h] if s.skip is None else [layer(s.skip, x), h]
        height, width = (min(b.shape[axis] for b in (x, *branches)) for axis in (2, 3))
        cropped = []
        for b in branches:
            top, left = (b.shape[2] - height) // 2, (b.shape[3] - width) // 2
            cropped.append(b[:, :, top : top + height, left : left + width])
        h = torch.cat(cropped, 1)
        h = F.batch_norm(h, None, None, s.norm.weight, s.norm.bias, training=True)
        return layer(s.up[1], layer(s.up[0], h))

    return torch.sigmoid(F.conv2d(scale(f[0], x), f[1].weight, f[1].bias))


def test_the_networks_of_the_papers_have_as_many_parameters_as_theirs():
    def size(f: nn.Module) -> int:
        return sum(p.numel() for p in f.parameters())

    # counted in the authors' code: denoising, inpainting without and with wide skips, JPEG artefacts
    assert size(skip(32, 3)) == 2_217_831
    assert size(skip(2, 3, skips=0, upsample="nearest")) == 2_157_955
    assert size(skip(32, 3, skips=128, upsample="nearest")) == 3_002_627
    widths = (8, 16, 32, 64, 128)
    assert size(Skip(3, 3, widths, widths, (0, 0, 0, 4, 4), "bilinear")) == 572_827
    assert size(skip(32, 1)) == 2_217_573


def test_each_scale_is_made_as_in_the_paper():
    f = Skip(7, 3, down=(5, 6), up=(8, 9), skips=(2, 4), upsample="bilinear")
    outer = f[0]
    inner = outer.inner
    pad, act = ("reflect", (1, 1, 1, 1)), ("leaky", 0.2)

    assert described(outer.skip) == [("conv", 7, 2, 1, 1), ("norm", 2), act]
    assert described(outer.down) == [
        *(pad, ("conv", 7, 5, 3, 2), ("norm", 5), act),
        *(pad, ("conv", 5, 5, 3, 1), ("norm", 5), act),
    ]
    assert described(outer.upsample) == [("double", 2.0, "bilinear", None)]
    assert described(outer.norm) == [("norm", 2 + 9)]
    assert described(outer.up) == [
        *(pad, ("conv", 2 + 9, 8, 3, 1), ("norm", 8), act),
        *(("conv", 8, 8, 1, 1), ("norm", 8), act),
    ]

    assert described(inner.skip) == [("conv", 5, 4, 1, 1), ("norm", 4), act]
    assert described(inner.down)[1] == ("conv", 5, 6, 3, 2)
    assert described(inner.norm) == [("norm", 4 + 6)]  # the deepest scale takes up its own down path
    assert described(inner.up)[1] == ("conv", 4 + 6, 9, 3, 1)
    assert described(inner.inner) == []

    assert described(nn.Sequential(f[1], f[2])) == [("conv", 8, 3, 1, 1), ("sigmoid",)]


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
@pytest.mark.parametrize("skips", [(2, 4), (0, 3), (0, 0)])
@pytest.mark.parametrize("size", [(8, 12), (9, 14), (11, 5)])
def test_the_output_and_its_gradients_are_those_of_the_description(upsample, skips, size):
    torch.manual_seed(0)
    f = Skip(3, 2, down=(5, 6), up=(4, 7), skips=skips, upsample=upsample).double()
    x = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
    weights = [x, *f.parameters()]

    ours, theirs = f(x), by_hand(f, x, upsample)
    assert ours.shape == (1, 2, *size)
    torch.testing.assert_close(ours, theirs)
    towards = torch.rand_like(ours)
    # a bias in front of a batch normalisation has no gradient but rounding
    torch.testing.assert_close(
        torch.autograd.grad((ours * towards).sum(), weights),
        torch.autograd.grad((theirs * towards).sum(), weights),
        rtol=1e-6,
        atol=1e-12,
    )


def test_it_begins_as_pytorch_initialises_layers():
    torch.manual_seed(0)
    f = skip(32, 3)
    convolutions = [m for m in f.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 5 * 5 + 1
    for conv in convolutions:
        bound = 1 / math.sqrt(conv.in_channels * conv.kernel_size[0] ** 2)
        for drawn in (conv.weight.detach(), conv.bias.detach()):
            assert drawn.abs().max() <= bound
            if drawn.numel() > 1000:  # uniform up to the bound: both ends are reached, and the middle is 0
                assert drawn.max() > 0.99 * bound
                assert drawn.min() < -0.99 * bound
                assert abs(drawn.mean()) < 0.05 * bound
                assert drawn.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    for norm in (m for m in f.modules() if isinstance(m, nn.BatchNorm2d)):
        assert bool((norm.weight == 1).all())
        assert bool((norm.bias == 0).all())


def test_the_scales_of_the_batch_normalisations_can_begin_as_they_did_when_the_paper_was_written():
    torch.manual_seed(0)
    norms = [m for m in skip(32, 3, bn_init="uniform").modules() if isinstance(m, nn.BatchNorm2d)]
    scales = torch.cat([m.weight.detach() for m in norms])
    assert scales.min() >= 0
    assert scales.max() <= 1
    assert scales.mean() == pytest.approx(0.5, abs=0.05)
    assert scales.std() == pytest.approx(1 / math.sqrt(12), rel=0.05)
    assert all(bool((m.bias == 0).all()) for m in norms)


@given(st.integers(33, 97), st.integers(33, 97), st.sampled_from([0, 1]), st.sampled_from(["bilinear", "nearest"]))
@settings(max_examples=25, deadline=None)
def test_the_output_has_the_size_of_the_input_whatever_that_is(h, w, skips, upsample):
    f = skip(2, 3, channels=2, skips=skips, upsample=upsample)
    with torch.no_grad():
        assert f(torch.rand(1, 2, h, w)).shape == (1, 3, h, w)


@pytest.mark.parametrize(
    ("text", "size", "why"),
    [
        ("skip", (33, 40), ""),
        (
            "skip",
            (50, 20),
            "needs both sides to be at least 33: fewer scales do with less, as in 'skip[scales=4]'",
        ),
        (
            "skip[scales=3]",
            (9, 8),
            "needs both sides to be at least 9: fewer scales do with less, as in 'skip[scales=2]'",
        ),
        ("skip", (2, 99), "needs both sides to be at least 33"),
        ("skip[scales=1]", (2, 2), "needs both sides to be at least 3"),
    ],
)
def test_a_picture_that_is_too_small_is_refused_with_what_would_do(text, size, why):
    assert made(text).unfit(*size) == why


@given(st.integers(1, 5), st.integers(0, 4))
@settings(deadline=None)
def test_the_smallest_picture_is_just_large_enough(scales, more):
    f = skip(1, 1, channels=2, skips=1, scales=scales)
    side = 2**scales + 1
    assert f.unfit(side, side + more) == f.unfit(side + more, side) == ""
    assert f(torch.rand(1, 1, *f.input_size(side, side + more))).shape == (1, 1, side, side + more)
    assert f.unfit(side - 1, side + more)
    with pytest.raises((ValueError, RuntimeError)):
        f(torch.rand(1, 1, side - 1, side - 1))


def test_without_skips_there_is_no_skip_branch():
    f = skip(2, 3, channels=2, skips=0, scales=2)
    assert f[0].skip is None
    assert described(f[0].norm) == [("norm", 2)]


def test_batch_normalisation_uses_the_one_picture_also_for_the_last_output():
    torch.manual_seed(0)
    f = skip(2, 1, channels=3, skips=1, scales=2)
    x = torch.rand(1, 2, 8, 8)
    with torch.no_grad():
        first = f(x)
        f(torch.rand(1, 2, 8, 8) * 9)  # changes the running statistics, which nothing looks at
        assert torch.equal(f(x), first)
