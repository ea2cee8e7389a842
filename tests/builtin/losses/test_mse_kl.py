from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench.builtin.losses.mse_kl import BINS, FLOOR, gaussian, histogram, mse_kl
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build
from esbench.kinds import Step
from esbench.observation import Observation


def step(y: np.ndarray, x: torch.Tensor) -> Step:
    return Step(0, lambda z: x, torch.zeros(1), Denoise(), Observation(y.astype(np.float32)), torch.Generator())


def picture(mean: float = 0.5, deviation: float = 0.1, shape=(40, 50, 3)) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, deviation, shape).clip(0, 1).astype(np.float32)


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40))
def test_shares_are_those_of_triangles_around_the_centres(values):
    found = histogram(torch.tensor(values).reshape(1, 1, -1))[0].double().numpy()
    centres = (np.arange(BINS) + 0.5) / BINS
    inside = np.clip(values, centres[0], centres[-1])
    by_hand = np.maximum(0, 1 - np.abs(inside[:, None] - centres) * BINS).mean(0)
    assert np.allclose(found, by_hand, atol=1e-6)
    assert found.sum() == pytest.approx(1, abs=1e-6)


def test_the_gradient_is_that_of_the_triangles():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, BINS, generator=generator, dtype=torch.float64)
    (histogram(x) * weights).sum().backward()
    centres = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    y = x.detach().clone().requires_grad_()
    inside = y.clamp(centres[0], centres[-1])
    by_hand = (1 - (inside[..., None] - centres).abs() * BINS).relu().mean((1, 2))
    (by_hand * weights).sum().backward()
    assert torch.allclose(x.grad, y.grad)


@pytest.mark.parametrize(("mean", "deviation"), [(0.5, 0.1), (0.9, 0.3), (0.0, 0.05), (0.3, 0.0)])
def test_the_gaussian_is_cut_to_the_range_and_has_the_mean_and_deviation_of_the_channel(mean, deviation):
    y = tensor(np.full((20, 20, 1), mean, np.float32) if not deviation else picture(mean, deviation, (99, 99, 1)))[0]
    p = gaussian(y)[0].double()
    assert p.sum() == pytest.approx(1, abs=1e-6)
    assert (p >= 0).all()
    edges = [i / BINS for i in range(BINS + 1)]
    m, s = float(y.double().mean()), max(float(y.double().std(correction=0)), 1 / 255)
    mass = [math.erf((b - m) / s / 2**0.5) - math.erf((a - m) / s / 2**0.5) for a, b in itertools.pairwise(edges)]
    assert torch.allclose(p, torch.tensor(mass, dtype=torch.float64) / sum(mass), atol=1e-6)


def test_it_is_lower_where_the_values_are_those_of_the_gaussian():
    y = picture()
    same = mse_kl(step(y, tensor(y))).parts["kl"]
    flat = mse_kl(step(y, torch.full((1, 3, 40, 50), 0.5))).parts["kl"]
    assert 0 <= same < 0.1 < flat < math.log(BINS / FLOOR)  # a hole costs, but is no infinity


def test_the_total_is_the_distance_and_lam_times_the_divergence():
    y = picture()
    given = step(y, tensor(picture(0.4)))
    terms = mse_kl(given, lam=0.01)
    assert terms.total.item() == pytest.approx(given.data.item() + 0.01 * terms.parts["kl"].item())


def test_grey_has_one_channel_and_the_same_divergence_as_three_equal_ones():
    y = picture(shape=(30, 30, 1))
    grey, colour = (mse_kl(step(a, tensor(a * np.float32(0.9)))) for a in (y, np.repeat(y, 3, 2)))
    assert grey.parts["kl"].item() == pytest.approx(colour.parts["kl"].item())


def outputs(loss: str) -> list[np.ndarray]:
    y = picture(shape=(24, 24, 3))
    settings = build.settings("denoise", "skip[channels=4,scales=1]", loss=loss, iterations=8)
    trajectory = build.trajectory(settings, Denoise(), Observation(y), "cpu", network_seed=0, input_seed=1)
    return [block.outputs.float[0] for block in trajectory]


def test_without_lam_it_is_mse_to_the_bit_and_with_it_another_optimisation():
    mse, without, with_it = (outputs(loss) for loss in ("mse", "mse-kl[lam=0]", "mse-kl[lam=0.1]"))
    assert all((a == b).all() for a, b in zip(mse, without, strict=True))
    assert (mse[-1] != with_it[-1]).any()
