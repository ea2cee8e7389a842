from __future__ import annotations

import numpy as np
import pytest

import esbench
from esbench.builtin.tasks.flash import Flash, relit
from esbench.engine import build
from esbench.errors import UsageError
from esbench.pictures import Pictures

TINY = {"network": "skip[channels=4,scales=1]", "device": "cpu", "iterations": 4, "patience": 1}


def picture(h: int = 40, w: int = 36, c: int = 3) -> np.ndarray:
    y, x = np.mgrid[:h, :w] / 8
    return np.stack([0.5 + 0.3 * np.sin(x + i) * np.cos(y) for i in range(c)], -1).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pair_is_the_noisy_picture_and_the_clean_one_in_other_light(channels):
    clean = picture(c=channels)
    seen = Flash().degrade(clean, np.random.default_rng(0), lambda a: a + np.float32(0.1), {})
    assert np.allclose(seen.y, clean + 0.1)
    guide = Flash().guide(seen)
    assert guide.shape == clean.shape
    assert guide.dtype == np.float32
    assert 0 <= guide.min() <= guide.max() <= 1
    assert np.mean((guide - clean) ** 2) > 1e-3
    again = Flash().degrade(clean, np.random.default_rng(0), lambda a: a, {})
    assert (again.extra["guide"] == guide).all()
    assert Flash().distance(Pictures(clean[None]).tensor, again) < 1e-12


def test_other_light_is_a_smooth_factor():
    clean = np.full((64, 48, 3), 0.3, np.float32)
    light = relit(clean, np.random.default_rng(3)) / clean
    assert np.abs(np.diff(light, axis=0)).max() < 0.1
    assert np.abs(np.diff(light, axis=1)).max() < 0.1
    assert light.mean((0, 1)).std() > 0.01  # a cast of colour


def test_a_guide_of_the_dataset_is_taken_or_asked_for():
    clean, guide = picture(), picture() ** 2
    seen = Flash(guide="dataset").degrade(clean, np.random.default_rng(0), lambda a: a, {"guide": guide})
    assert (Flash().guide(seen) == guide).all()
    with pytest.raises(UsageError, match="needs a dataset with pairs, such as dip-flash"):
        Flash(guide="dataset").degrade(clean, np.random.default_rng(0), lambda a: a, {})


def test_the_network_is_given_the_guide_at_the_rate_of_the_notebook():
    settings = build.settings("flash", "skip")
    assert (settings.input, settings.learning_rate, settings.perturbation) == ("guide", 0.1, 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_users_pair_is_restored(channels):
    y, guide = picture(), picture(c=channels) ** 2
    restored = esbench.restore(y, "flash", guide=guide, **TINY)
    other = esbench.restore(y, "flash", guide=1 - guide, **TINY)
    assert restored.criterion == "discrepancy[variance=sigma]"
    assert restored.sigma_estimate is not None
    assert restored.image.shape == y.shape
    assert (restored.image != other.image).any()
    assert (restored.image != y).mean() > 0.9


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (None, "needs a guide, the picture of the same scene with flash; none was given"),
        (picture(20, 24), "guide must have the size of the picture, 36 x 40, got 24 x 20"),
    ],
)
def test_a_guide_that_does_not_fit_is_one_sentence(guide, message):
    with pytest.raises(UsageError, match=message):
        esbench.restore(picture(), "flash", guide=guide, **TINY)


def test_a_task_without_a_guide_says_so():
    with pytest.raises(UsageError, match="The task 'denoise' takes no guide"):
        esbench.restore(picture(), "denoise", guide=picture(), **TINY)
