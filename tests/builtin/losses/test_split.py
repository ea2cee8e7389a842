"""Losses that split the observation: the parts are independent, so the estimates are unbiased."""

from __future__ import annotations

from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from torch import nn

from esbench.builtin.losses.r2r import r2r
from esbench.builtin.losses.thinning import thinning

SIGMA = 25 / 255
GAIN = 0.1


class Copy(nn.Module):
    """A network that returns what it is given, so that its loss is known."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z


def drawn(loss, step, noisy, repeats: int = 60, **given) -> list[float]:
    """Return the loss of a copy of new noise each time."""
    return [loss(step(Copy(), noisy(seed), seed, sigma=25), **given).total.item() for seed in range(repeats)]


def about(values: list[float], known: float) -> bool:
    """Whether the mean of independent values is within four standard errors of a value, which are small beside it."""
    error = stdev(values) / len(values) ** 0.5
    return abs(fmean(values) - known) < 4 * error < 0.2 * known


@pytest.mark.parametrize("alpha", [0.5, 1.2, 2.0])
def test_r2r_of_a_copy_is_the_variance_of_its_input(step, clean, alpha):
    """A copy of noise is not rewarded: the estimate is its whole variance."""

    def noisy(seed):
        return clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.shape)

    assert about(drawn(r2r, step, noisy, alpha=alpha), SIGMA**2 * (1 + alpha**2))


@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_thinning_of_a_copy_is_the_variance_of_its_input(step, clean, keep):
    """The squared error of u, over u plus the gain, known by many draws of u alone."""
    dim = clean / 4  # so that ten photons, white, are next to impossible

    def noisy(seed):
        return GAIN * np.random.default_rng(seed).poisson(dim / GAIN).astype(float)

    rng = np.random.default_rng(1)
    u = GAIN / keep * rng.poisson(np.broadcast_to(keep * dim / GAIN, (4000, *dim.shape)))
    known = np.mean((u - dim) ** 2 / (u + GAIN))
    assert about(drawn(thinning, step, noisy, gain=GAIN, keep=keep), known)


def test_r2r_of_a_picture_with_much_clipped_is_about_its_error(step):
    wave = 0.5 + 0.7 * np.sin(2 * np.pi * np.arange(48) / 48)  # saturated over two fifths of it
    clean = np.broadcast_to(wave[:, None, None], (48, 48, 3)).clip(0, 1)
    blur = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    errors, estimates = [], []
    for seed in range(40):
        y = (clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.shape)).clip(0, 1)
        drawn = step(blur, y, seed, sigma=25)
        estimates.append(r2r(drawn).total.item())
        errors.append(np.mean((drawn.x[0].permute(1, 2, 0).numpy() - clean) ** 2))
    assert fmean(estimates) == pytest.approx(fmean(errors), rel=0.3)


@pytest.mark.parametrize(("loss", "given"), [(r2r, {}), (thinning, {"gain": GAIN})])
@pytest.mark.parametrize("part", ["holdout", "known"])
def test_what_the_loss_does_not_see_does_not_count(step, clean, loss, given, part):
    """Half of the picture is much too bright, and is not seen."""
    above = np.arange(20) < 10
    rows = np.repeat(above[:, None], 24, 1)
    seen = {part: rows if part == "holdout" else ~rows}
    gains = torch.where(torch.from_numpy(above), 30.0, 1.0)[:, None]
    y = GAIN * np.random.default_rng(0).poisson(clean / 4 / GAIN).astype(float)
    whole, lower = (
        loss(step(lambda z: gains * z, picture, 0, sigma=25, **parts), **given).total.item()
        for picture, parts in ((y, {}), (y, seen))
    )
    assert whole > 10 * lower


def test_thinning_keeps_the_number_of_photons(step, clean):
    y = GAIN * np.random.default_rng(0).poisson(clean / 4 / GAIN).astype(float)
    at = step(Copy(), y)
    thinning(at, gain=GAIN, keep=0.5)
    kept = at.z[0].permute(1, 2, 0).numpy() * 0.5 / GAIN
    assert np.allclose(kept, kept.round())
    assert (kept <= y / GAIN + 1e-6).all()
    assert 0.45 < kept.sum() / (y / GAIN).sum() < 0.55
