from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from esbench.builtin.networks.skip import Scale, Skip, skip
from esbench.errors import UsageError
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


def averages(x: torch.Tensor) -> torch.Tensor:
    """Return the means of 2 x 2 pixels; at an odd end, of those that there are."""
    odd = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
    blocks, counts = (F.pad(t, odd).unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5)) for t in (x, torch.ones_like(x)))
    return blocks / counts


def by_hand(f: Skip, x: torch.Tensor, upsample: Sequence[str], downsample: str = "stride") -> torch.Tensor:
    """Return what the paper's code gives: functions only, with the weights of `f`."""

    def layer(branch: nn.Module, x: torch.Tensor, halve: bool = False) -> torch.Tensor:
        (conv,) = (m for m in branch.modules() if isinstance(m, nn.Conv2d))
        (norm,) = (m for m in branch.modules() if isinstance(m, nn.BatchNorm2d))
        pad = (conv.kernel_size[0] - 1) // 2
        if pad:
            x = F.pad(x, (pad,) * 4, mode="reflect")
        strided = halve and downsample == "stride"
        x = F.conv2d(x, conv.weight, conv.bias, stride=2 if strided else 1)
        if halve and not strided:
            x = averages(x)
        return F.leaky_relu(F.batch_norm(x, None, None, norm.weight, norm.bias, training=True), 0.2)

    def scale(i: int, s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(s, Scale):
            return x
        h = layer(s.down[1], layer(s.down[0], x, halve=True))
        h = F.interpolate(scale(i + 1, s.inner, h), scale_factor=2, mode=upsample[i])
        branches = [h] if s.skip is None else [layer(s.skip, x), h]
        height, width = (min(b.shape[axis] for b in (x, *branches)) for axis in (2, 3))
        cropped = []
        for b in branches:
            top, left = (b.shape[2] - height) // 2, (b.shape[3] - width) // 2
            cropped.append(b[:, :, top : top + height, left : left + width])
        h = torch.cat(cropped, 1)
        h = F.batch_norm(h, None, None, s.norm.weight, s.norm.bias, training=True)
        for branch in s.up:
            h = layer(branch, h)
        return h

    return torch.sigmoid(F.conv2d(scale(0, f[0], x), f[1].weight, f[1].bias))


def test_each_scale_is_made_as_in_the_paper():
    f = Skip(7, 3, channels=(5, 6), skips=(2, 4), upsample=("bilinear", "nearest"))
    outer = f[0]
    inner = outer.inner
    pad, act = ("reflect", (1, 1, 1, 1)), ("leaky", 0.2)

    assert described(outer.skip) == [("conv", 7, 2, 1, 1), ("norm", 2), act]
    assert described(outer.down) == [
        *(pad, ("conv", 7, 5, 3, 2), ("norm", 5), act),
        *(pad, ("conv", 5, 5, 3, 1), ("norm", 5), act),
    ]
    assert described(outer.upsample) == [("double", 2.0, "bilinear", None)]
    assert described(outer.norm) == [("norm", 2 + 6)]
    assert described(outer.up) == [
        *(pad, ("conv", 2 + 6, 5, 3, 1), ("norm", 5), act),
        *(("conv", 5, 5, 1, 1), ("norm", 5), act),
    ]

    assert described(inner.upsample) == [("double", 2.0, "nearest", None)]
    assert described(inner.skip) == [("conv", 5, 4, 1, 1), ("norm", 4), act]
    assert described(inner.down)[1] == ("conv", 5, 6, 3, 2)
    assert described(inner.norm) == [("norm", 4 + 6)]  # the deepest scale takes up its own down path
    assert described(inner.up)[1] == ("conv", 4 + 6, 6, 3, 1)
    assert described(inner.inner) == []

    assert described(nn.Sequential(f[1], f[2])) == [("conv", 5, 3, 1, 1), ("sigmoid",)]


@pytest.mark.parametrize("upsample", [("bilinear",) * 2, ("nearest",) * 2, ("nearest", "bilinear")])
@pytest.mark.parametrize("skips", [(2, 4), (0, 3), (0, 0)])
@pytest.mark.parametrize("size", [(8, 12), (9, 14), (11, 5)])
def test_the_output_and_its_gradients_are_those_of_the_description(upsample, skips, size):
    torch.manual_seed(0)
    f = Skip(3, 2, channels=(5, 6), skips=skips, upsample=upsample).double()
    compare(f, torch.rand(1, 3, *size, dtype=torch.float64), upsample)


@pytest.mark.parametrize("downsample", ["stride", "average"])
@pytest.mark.parametrize(("kernel", "pointwise"), [(3, False), (5, True), (5, False)])
@pytest.mark.parametrize("size", [(12, 16), (9, 15), (10, 11)])
def test_so_are_those_of_its_variants(downsample, kernel, pointwise, size):
    torch.manual_seed(0)
    upsample = ("bilinear", "nearest")
    f = Skip(3, 2, (5, 6), (0, 3), upsample, downsample, kernel, pointwise).double()
    compare(f, torch.rand(1, 3, *size, dtype=torch.float64), upsample, downsample)


def compare(f: Skip, x: torch.Tensor, *how: Any) -> None:
    x.requires_grad_()
    weights = [x, *f.parameters()]
    ours, theirs = f(x), by_hand(f, x, *how)
    assert ours.shape == (1, 2, *x.shape[2:])
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


@given(
    st.data(),
    st.integers(1, 5),
    st.sampled_from(["bilinear", "nearest"]),
    st.sampled_from(["stride", "average"]),
    st.sampled_from([3, 5]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_output_has_the_size_of_the_input_whatever_that_is(data, scales, upsample, downsample, kernel, pointwise):
    per_scale = [data.draw(st.lists(st.integers(low, 3), min_size=scales, max_size=scales)) for low in (1, 0)]
    channels, skips = map(tuple, per_scale)
    f = skip(
        2,
        3,
        channels=channels,
        skips=skips,
        upsample=upsample,
        downsample=downsample,
        kernel=kernel,
        pointwise=pointwise,
    )
    smallest = next(side for side in itertools.count(1) if not f.unfit(side, side))
    h, w = (data.draw(st.integers(smallest, smallest + 40)) for _ in range(2))
    assert f.unfit(h, w) == ""
    with torch.no_grad():
        assert f(torch.rand(1, 2, *f.input_size(h, w))).shape == (1, 3, h, w)
        with pytest.raises((ValueError, RuntimeError)):
            f(torch.rand(1, 2, smallest - 1, smallest - 1))


def test_a_list_says_the_number_of_scales():
    f = made("skip[channels=8/16/32,skips=0,upsample=nearest]")
    assert f.scales == 3
    assert [m.num_features for m in f.modules() if isinstance(m, nn.BatchNorm2d)].count(32) > 0
    same = made("skip[channels=8/16/32,scales=3,skips=0/0/0,upsample=nearest/nearest/nearest]")
    assert {k: v.shape for k, v in f.state_dict().items()} == {k: v.shape for k, v in same.state_dict().items()}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "skip[channels=8/16/32,skips=4/4]",
            "The lists of 'skip' must have one length, a value per scale, finest first; "
            "got 3 in channels and 2 in skips.",
        ),
        (
            "skip[channels=8/16/32,scales=4]",
            "The lists of 'skip' must have a value per scale, got 3 in channels and scales=4: leave scales out.",
        ),
        (
            "skip[skips=1/1/1/1/1/1/1/1/1]",
            "The lists of 'skip' must have at most 8 values, one per scale, got 9 in skips.",
        ),
    ],
)
def test_lists_that_do_not_go_together_are_refused_in_a_sentence(text, sentence):
    with pytest.raises(UsageError) as error:
        made(text)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("text", "size", "why"),
    [
        ("skip", (33, 40), ""),
        (
            "skip",
            (50, 20),
            "needs both sides to be at least 33: fewer scales need less, as in 'skip[scales=4]'",
        ),
        (
            "skip[scales=3]",
            (9, 8),
            "needs both sides to be at least 9: fewer scales need less, as in 'skip[scales=2]'",
        ),
        ("skip", (2, 99), "needs both sides to be at least 33"),
        ("skip[scales=1]", (2, 2), "needs both sides to be at least 3"),
    ],
)
def test_a_picture_that_is_too_small_is_refused_with_what_would_do(text, size, why):
    assert made(text).unfit(*size) == why


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
