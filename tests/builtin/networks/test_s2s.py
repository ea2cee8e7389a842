from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from esbench.builtin.networks.s2s import S2S, s2s


def by_hand(f: S2S, z: torch.Tensor) -> torch.Tensor:
    """Return what the paper's code gives: functions only, with the weights of `f` in the order of use."""
    weights = iter([m for m in f.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)])

    def norm(x: torch.Tensor) -> torch.Tensor:
        layer = next(weights)
        return F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)

    def plain(x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        layer = next(weights)
        return F.conv2d(F.pad(x, (1,) * 4, mode="reflect"), layer.weight, layer.bias, stride)

    def conv(x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return F.softplus(norm(plain(x, stride)))

    def joined(x: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return torch.cat([x[:, :, : beside.shape[2], : beside.shape[3]], beside], 1)

    x1 = conv(conv(z, 2))
    x2 = conv(conv(x1, 2))
    x3 = conv(conv(x2, 2))
    x4 = conv(conv(x3, 2))
    x5 = conv(conv(x4, 2))
    x = conv(x5)
    for beside in (x4, x3, x2, x1):
        x = conv(conv(norm(joined(x, beside))))
    x = plain(conv(conv(joined(x, z))))
    assert next(weights, None) is None
    return torch.sigmoid(x)


@pytest.mark.parametrize("size", [(64, 33), (35, 46)])
def test_the_output_and_its_gradients_are_those_of_the_description(size):
    torch.manual_seed(0)
    f = s2s(2, 3).double()
    z = torch.rand(1, 2, *size, dtype=torch.float64, requires_grad=True)
    ours, theirs = f(z), by_hand(f, z)
    torch.testing.assert_close(ours, theirs)
    towards = torch.rand_like(ours)
    weights = [z, *f.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad((ours * towards).sum(), weights),
        torch.autograd.grad((theirs * towards).sum(), weights),
        rtol=1e-6,
        atol=1e-12,
    )


def test_its_divergence_has_a_gradient():
    torch.manual_seed(0)
    f = s2s(1, 1).double()
    z, b = torch.rand(2, 1, 1, 33, 34, dtype=torch.float64)
    bias = f.head[0][1].weight

    def divergence() -> torch.Tensor:
        u = z.requires_grad_()
        (v,) = torch.autograd.grad((f(u) * b).sum(), u, create_graph=True)
        return (b * v).sum()

    (g,) = torch.autograd.grad(divergence(), bias)
    h = 1e-6
    with torch.no_grad():
        bias[3, 2, 1, 0] += h
        above = divergence_of(f, z, b)
        bias[3, 2, 1, 0] -= 2 * h
        below = divergence_of(f, z, b)
    assert g[3, 2, 1, 0].item() == pytest.approx((above - below) / (2 * h), rel=1e-4)


def divergence_of(f: S2S, z: torch.Tensor, b: torch.Tensor) -> float:
    with torch.enable_grad():
        u = z.detach().requires_grad_()
        (v,) = torch.autograd.grad((f(u) * b).sum(), u)
    return (b * v).sum().item()
