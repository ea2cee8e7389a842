from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from esbench.builtin.losses.poisson import poisson

GAIN = 0.05


def test_it_is_the_likelihood_of_scipy_without_its_constant(step, clean):
    counts = np.random.default_rng(0).poisson(clean / GAIN)
    x = [clean, 0.9 * clean + 0.05]
    ours = [poisson(step(lambda z, x=x: picture(x), GAIN * counts), gain=GAIN).total.item() for x in x]
    theirs = [-stats.poisson.logpmf(counts, x / GAIN).mean() for x in x]
    assert ours[0] - ours[1] == pytest.approx(theirs[0] - theirs[1], rel=1e-9)


def test_it_is_0_where_the_picture_is_the_observation_and_more_elsewhere(step, clean):
    y = np.where(clean > 0.5, clean, 0)  # where nothing was counted too
    same = poisson(step(lambda z: picture(y), y), gain=GAIN).total.item()
    assert same == pytest.approx(0, abs=1e-4)
    assert poisson(step(lambda z: picture(y + 0.1), y), gain=GAIN).total.item() > 0.01


def test_it_is_about_a_half_at_the_clean_picture(step, clean):
    y = GAIN * np.random.default_rng(1).poisson(clean / GAIN).astype(float)
    assert poisson(step(lambda z: picture(clean), y), gain=GAIN).total.item() == pytest.approx(0.5, rel=0.1)


def picture(x) -> torch.Tensor:
    return torch.from_numpy(x).permute(2, 0, 1)[None]
