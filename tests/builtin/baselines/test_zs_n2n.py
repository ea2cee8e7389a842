import numpy as np
import pytest
import torch
from torch.nn import functional

from esbench.builtin.baselines.zs_n2n import halves, loss, network, zs_n2n


def on_cpu(seed: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def test_the_halves_are_the_two_filters_of_the_paper():
    y = torch.rand(1, 3, 6, 8, generator=on_cpu())
    for half, weights in zip(halves(y), ([[0, 0.5], [0.5, 0]], [[0.5, 0], [0, 0.5]]), strict=True):
        kernel = torch.tensor(weights)[None, None].repeat(3, 1, 1, 1)
        assert torch.allclose(half, functional.conv2d(y, kernel, stride=2, groups=3))


def test_the_network_has_as_many_parameters_as_the_papers():
    assert sum(weights.numel() for weights in network(3, 48, on_cpu()).parameters()) == 22_275


def test_the_loss_is_that_of_the_paper_written_out():
    y, f = torch.rand(1, 1, 6, 6, generator=on_cpu()), network(1, 4, on_cpu(1))
    a, b = halves(y)
    d_a, d_b = halves(y - f(y))
    square = [(x**2).mean() for x in (a - f(a) - b, b - f(b) - a, a - f(a) - d_a, b - f(b) - d_b)]
    assert torch.allclose(loss(f, y), 0.5 * (square[0] + square[1]) + 0.5 * (square[2] + square[3]))


@pytest.mark.parametrize("shape", [(32, 36, 3), (31, 33, 1)])
def test_it_takes_noise_out_and_a_seed_gives_the_same_picture(shape):
    y, x = np.mgrid[: shape[0], : shape[1]] / 9
    clean = np.stack([0.5 + 0.2 * np.sin(x + c) * np.cos(y) for c in range(shape[2])], -1)
    noise = np.random.default_rng(0).standard_normal(shape)
    noisy = (clean + 0.1 * noise).clip(0, 1).astype(np.float32)
    found = [zs_n2n(noisy, on_cpu(seed), iterations=150, channels=16) for seed in (0, 0, 1)]
    assert found[0].shape == shape
    assert np.mean((found[0] - clean) ** 2) < 0.7 * np.mean((noisy - clean) ** 2)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
