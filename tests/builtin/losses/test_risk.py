"""The unbiased estimates: against what is known of a linear filter, and against the clean picture over many draws."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from torch import nn

from esbench.builtin.criteria.risk import probe_sure, recompute_sure
from esbench.builtin.losses.df_ste import df_ste
from esbench.builtin.losses.pure import DECAY, pure
from esbench.builtin.losses.r2r import r2r
from esbench.builtin.losses.sure import sure

SIGMA = 25 / 255

#: What each value of the filter's output takes from the same value of its input.
CENTRE = 0.4


@pytest.fixture
def filtered() -> nn.Module:
    """Give a linear filter of 3 x 3 for three channels, each by itself, with borders that go round."""
    f = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular", groups=3, bias=False).double()
    kernel = torch.full((3, 3), (1 - CENTRE) / 8, dtype=torch.float64)
    kernel[1, 1] = CENTRE
    with torch.no_grad():
        f.weight.copy_(kernel.expand_as(f.weight))
    return f


@pytest.fixture
def curved() -> nn.Module:
    """Give a network of two layers that is not linear, with the statistics of its input in between."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Softplus(), nn.Conv2d(8, 3, 3, padding=1)
    return nn.Sequential(*layers).double().train()


def about_zero(values: list[float], errors: float = 4) -> bool:
    """Whether the mean of independent values is within so many standard errors of 0."""
    return abs(fmean(values)) < errors * stdev(values) / math.sqrt(len(values))


def noisy(clean, seed: int):
    return clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.shape)


def shot(clean, seed: int, gain: float):
    return gain * np.random.default_rng(seed).poisson(clean / gain).astype(float)


def error(x: torch.Tensor, clean) -> float:
    return float(np.mean((x.detach()[0].permute(1, 2, 0).numpy() - clean) ** 2))


# -- a linear filter, whose divergence is known


@pytest.mark.parametrize("divergence", ["finite", "exact"])
def test_sure_of_a_filter_is_its_known_risk_estimate(step, filtered, clean, divergence):
    y = noisy(clean, 0)
    x = filtered(torch.from_numpy(y).permute(2, 0, 1)[None])
    known = error(x, y) + 2 * SIGMA**2 * CENTRE - SIGMA**2
    drawn = [sure(step(filtered, y, seed, sigma=25), divergence=divergence).total.item() for seed in range(60)]
    assert about_zero([value - known for value in drawn])
    assert fmean(drawn) == pytest.approx(known, rel=0.05)  # known to a few per cent by then


#: Of noise that is averaged over 3 x 3 pixels, and over two channels: its covariance with that at each displacement.
SHARED = np.zeros((9, 9, 3, 3))
SHARED[2:7, 2:7] = np.multiply.outer(np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]) / 9, np.eye(3))
SHARED[2:7, 2:7, 0, 1] = SHARED[2:7, 2:7, 1, 0] = SHARED[2:7, 2:7, 0, 0]


def shared(clean, seed: int):
    white = np.random.default_rng(seed).standard_normal(clean.shape)
    white[..., 1] = white[..., 0]
    return clean + SIGMA / 3 * sum(np.roll(white, (i, j), (0, 1)) for i in range(3) for j in range(3))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("loss", [sure, r2r], ids=lambda f: f.__name__)
def test_of_noise_that_pixels_share_they_are_the_error_if_they_are_told_so(step, filtered, clean, loss, told):
    """A picture that was made smoother keeps most of such noise: told that it is white, they would not know."""
    off = []
    for seed in range(150):
        noise = {"correlation": SHARED} if told else {}
        at = step(filtered, shared(clean, seed), seed, sigma=25, noise=noise)
        estimate = loss(at).total.item()
        off.append(estimate - error(filtered(at.z), clean))
    assert about_zero(off) == told


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("loss", [sure, r2r], ids=lambda f: f.__name__)
def test_of_noise_that_grows_with_the_brightness_they_are_the_error_everywhere_if_they_are_told_so(
    step, filtered, loss, told
):
    """Over the whole picture too much here and too little there would be even, so only a brighter part is seen."""
    clean = np.broadcast_to(np.linspace(0.2, 0.6, 40)[:, None, None], (40, 24, 3))
    typical = float(np.sqrt(np.mean(clean**2)))
    bright = np.broadcast_to((np.arange(40)[:, None] >= 24) & (np.arange(40)[:, None] < 36), (40, 24))
    noise = {"kind": "speckle", "typical": typical} if told else {}
    off = []
    for seed in range(150):
        y = clean * (1 + SIGMA / typical * np.random.default_rng(seed).standard_normal(clean.shape))
        at = step(filtered, y, seed, sigma=25, noise=noise, known=bright)
        # a constant apart, which is the mean of the variance: here that of what is seen
        estimate = loss(at).total.item() + SIGMA**2 - SIGMA**2 * float(np.mean((clean[bright] / typical) ** 2))
        x = filtered(at.z).detach()[0].permute(1, 2, 0).numpy()
        off.append(estimate - float(np.mean((x - clean)[bright] ** 2)))
    assert about_zero(off) == told


def test_pure_of_a_filter_is_its_known_risk_estimate(step, filtered, clean):
    y = shot(clean, 0, 0.02)
    x = filtered(torch.from_numpy(y).permute(2, 0, 1)[None])
    known = error(x, y) + 2 * 0.02 * CENTRE * y.mean() - 0.02 * y.mean()
    drawn = [pure(step(filtered, y, seed), gain=0.02).total.item() for seed in range(60)]
    assert about_zero([value - known for value in drawn])
    assert fmean(drawn) == pytest.approx(known, rel=0.05)


def test_df_ste_without_extra_noise_is_sure(step, filtered, curved, clean):
    y = noisy(clean, 0)
    for f in (filtered, curved):
        with_none = [df_ste(step(f, y, seed, sigma=25), rho=0).parts["divergence"].item() for seed in range(60)]
        exact = [sure(step(f, y, seed, sigma=25), divergence="exact").parts["divergence"].item() for seed in range(60)]
        assert about_zero([a - b for a, b in zip(with_none, exact, strict=True)])
        assert fmean(with_none) == pytest.approx(fmean(exact), rel=0.1)


# -- finite and exact


@pytest.mark.parametrize("seed", range(3))
def test_finite_differences_come_as_near_to_the_exact_product_as_their_step_is_small(step, curved, clean, seed):
    y = noisy(clean, seed)
    exact = sure(step(curved, y, seed, sigma=25), divergence="exact").total.item()
    off = [abs(sure(step(curved, y, seed, sigma=25), epsilon=epsilon).total.item() - exact) for epsilon in (1e-2, 1e-4)]
    assert off[1] < 0.05 * off[0]
    assert off[1] < 1e-2 * abs(exact)


@pytest.mark.parametrize("loss", [sure, pure])
def test_both_divergences_have_the_same_gradient(step, curved, clean, loss):
    y = noisy(clean, 0)
    gain = {} if loss is sure else {"gain": 0.02}
    gradients = []
    for how in ({"divergence": "exact"}, {"epsilon": 1e-5}):
        curved.zero_grad()
        loss(step(curved, y, sigma=25), **how, **gain).total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in curved.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


# -- clipped


@pytest.mark.parametrize("clipped", [True, False])
def test_stein_holds_for_clipped_noise_too(step, filtered, clean, clipped):
    """E[n f(y)] = sigma^2 E[df/dn], and df/dn is 0 where y was clipped: here at half of the elements, or nowhere."""
    clean = clean.round() if clipped else clean
    differences, divergences = [], []
    for seed in range(60):
        y = noisy(clean, seed)
        noise, y = y - clean, y.clip(0, 1)
        x = filtered(torch.from_numpy(y).permute(2, 0, 1)[None])
        divergences.append(sure(step(filtered, y, seed, sigma=25), divergence="exact").parts["divergence"].item())
        taken = float(np.mean(noise * x.detach()[0].permute(1, 2, 0).numpy()))
        differences.append(taken - SIGMA**2 * divergences[-1])
    assert about_zero(differences)
    assert fmean(divergences) == pytest.approx(CENTRE * (0.5 if clipped else 1), rel=0.05)


def test_sure_of_a_picture_with_much_clipped_is_about_its_error(step, filtered):
    wave = 0.5 + 0.7 * np.sin(2 * np.pi * np.arange(48) / 48)  # saturated over two fifths of it
    clean = np.broadcast_to(wave[:, None, None], (48, 48, 3)).clip(0, 1)
    errors, estimates = [], []
    for seed in range(40):
        y = noisy(clean, seed).clip(0, 1)
        drawn = step(filtered, y, seed, sigma=25)
        estimates.append(sure(drawn, divergence="exact").total.item())
        errors.append(error(drawn.x, clean))
    assert fmean(estimates) == pytest.approx(fmean(errors), rel=0.3)  # without regard to it: -79 %


@pytest.mark.parametrize("clip", [False, True])
def test_the_criterion_is_the_loss_along_the_same_direction(step, filtered, clean, clip):
    clean = clean.round() if clip else clean
    y = noisy(clean, 0).clip(0, 1)
    loss = sure(step(filtered, y, 1, sigma=25), divergence="exact").total.item()
    assert recompute_sure(probe_sure(step(filtered, y, 1, sigma=25)), sigma=25).item() == pytest.approx(loss)


# -- unbiased


@pytest.mark.parametrize("divergence", ["finite", "exact"])
def test_sure_is_the_error_to_the_clean_picture_on_average(step, curved, clean, divergence):
    difference, errors = [], []
    for seed in range(200):
        at = step(curved, noisy(clean, seed), seed, sigma=25)
        difference.append(sure(at, divergence=divergence).total.item())
        errors.append(error(at.x, clean))
        difference[-1] -= errors[-1]
    assert about_zero(difference)
    assert stdev(difference) / math.sqrt(200) < 0.02 * fmean(errors)  # so that being about zero says something


def test_sure_of_another_level_is_not(step, curved, clean):
    off = []
    for seed in range(200):
        at = step(curved, noisy(clean, seed), seed, sigma=30)
        off.append(sure(at).total.item() - error(at.x, clean))
    assert not about_zero(off)


@pytest.mark.parametrize("gain", [0.01, 0.05])
def test_pure_is_the_error_to_the_clean_picture_on_average(step, filtered, clean, gain):
    difference, errors = [], []
    for seed in range(200):
        at = step(filtered, shot(clean, seed, gain), seed)
        difference.append(pure(at, gain=gain).total.item())
        errors.append(error(at.x, clean))
        difference[-1] -= errors[-1]
    assert about_zero(difference)
    assert stdev(difference) / math.sqrt(200) < 0.05 * fmean(errors)


@pytest.mark.parametrize("part", ["holdout", "known"])
def test_what_the_loss_does_not_see_does_not_count(step, clean, part):
    y, above = noisy(clean, 0), np.arange(20) < 10
    gains = torch.where(torch.from_numpy(above), 3.0, 0.25)[:, None]
    rows = np.repeat(above[:, None], 24, 1)
    seen = {part: rows if part == "holdout" else ~rows}
    data = np.mean((0.25 * y[10:] - y[10:]) ** 2)
    drawn = [sure(step(lambda z: gains * z, y, seed, sigma=25, **seen)).total.item() for seed in range(60)]
    known = data + 2 * SIGMA**2 * 0.25 - SIGMA**2
    assert about_zero([value - known for value in drawn])
    assert fmean(drawn) == pytest.approx(known, rel=0.01)


# -- what is drawn


def test_df_ste_draws_fresh_noise_at_each_step_or_keeps_the_first(step, filtered, clean):
    y = noisy(clean, 0)
    for ste in (True, False):
        first = step(filtered, y, sigma=25)
        df_ste(first, ste=ste)
        second = step(filtered, y, sigma=25)
        second.generator.set_state(first.generator.get_state())
        second.memory.update(first.memory)
        df_ste(second, ste=ste)
        xi = [(at.z.detach() - torch.from_numpy(y).permute(2, 0, 1)) for at in (first, second)]
        xi = [each / each.std() for each in xi]
        assert torch.allclose(*xi) is not ste
        assert list(first.memory) == ([] if ste else ["xi"])


@pytest.mark.parametrize(("channels", "rho"), [(1, 0.3), (3, 0.5)])
def test_the_extra_noise_of_df_ste_is_uniform_up_to_rho_sigma(step, clean, channels, rho):
    y = noisy(clean, 0)[..., :channels]
    levels = []
    for seed in range(300):
        at = step(nn.Identity(), y, seed, sigma=25)
        df_ste(at)
        levels.append(float((at.z.detach() - torch.from_numpy(y).permute(2, 0, 1)).std()) / SIGMA)
    assert rho * 0.95 < max(levels) < rho * 1.1
    assert min(levels) < 0.05 * rho
    assert fmean(levels) == pytest.approx(rho / 2, rel=0.1)


def test_the_output_of_df_ste_is_that_of_the_noisier_input(step, filtered, clean):
    at = step(filtered, noisy(clean, 0), sigma=25)
    df_ste(at)
    assert torch.equal(at.x, filtered(at.z))


@pytest.mark.parametrize(("t", "times"), [(0, 0), (7, 0), (8, 1), (27, 1), (28, 2), (208, 11)])
def test_the_step_of_pure_decreases_as_that_of_its_authors(step, clean, t, times):
    # their counter is t + 1 when it is looked at, and decreases the step where it is 9 modulo 20
    assert times == sum(1 for count in range(1, t + 2) if count % 20 == 9)
    seen = []

    def f(z: torch.Tensor) -> torch.Tensor:
        seen.append(z.detach())
        return z

    pure(step(f, clean, t=t), gain=0.02)
    # the output is asked for first or second, the other is moved by the step
    y = torch.from_numpy(clean).permute(2, 0, 1)
    away = max(float((z - y).abs().max()) for z in seen)
    assert away == pytest.approx(0.1 * DECAY**times)
