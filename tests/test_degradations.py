from __future__ import annotations

import numpy as np
import pytest

from esbench.degradations import esbench_degradations
from esbench.degradations.additive import gaussian
from esbench.errors import ParamError
from esbench.plugins import PluginHost
from esbench.registry import Registry

GREY = np.full((200, 200, 3), 0.5, np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_gaussian_is_clip_of_the_picture_and_noise_of_level_sigma_on_the_0_255_scale():
    clean = rng(1).uniform(0, 1, (9, 7, 3)).astype(np.float32)
    noise = rng().standard_normal(clean.shape, dtype=np.float32)
    assert np.array_equal(gaussian(clean, rng(), sigma=25.0), np.clip(clean + np.float32(25 / 255) * noise, 0, 1))


@pytest.mark.parametrize("sigma", [5.0, 15.0, 25.0])
def test_gaussian_noise_has_the_level_that_was_asked_for_and_no_mean(sigma):
    noise = gaussian(GREY, rng(), sigma=sigma) - GREY
    assert 255 * noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(255 * noise.mean()) < 0.02 * sigma


def test_gaussian_noise_is_independent_from_pixel_to_pixel_and_channel_to_channel():
    noise = (gaussian(GREY, rng(), sigma=25.0) - GREY).astype(np.float64)
    for a, b in [(noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1]), (noise[..., 0], noise[..., 1])]:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


def test_gaussian_is_clipped_and_not_quantised():
    degraded = gaussian(np.zeros((50, 50, 3), np.float32), rng(), sigma=50.0)
    assert degraded.min() == 0
    assert 0.4 < (degraded == 0).mean() < 0.6
    assert len(np.unique(degraded)) > 1000
    assert gaussian(np.ones((50, 50, 3), np.float32), rng(), sigma=50.0).max() == 1


def test_without_noise_the_picture_is_as_it_was():
    clean = rng(1).uniform(0, 1, (9, 7, 1)).astype(np.float32)
    assert np.array_equal(gaussian(clean, rng(), sigma=0.0), clean)


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_precision_stay_and_the_clean_picture_too(channels):
    clean = np.full((5, 8, channels), 0.25, np.float32)
    degraded = gaussian(clean, rng(), sigma=25.0)
    assert (degraded.shape, degraded.dtype) == (clean.shape, np.float32)
    assert (clean == 0.25).all()


def test_the_noise_is_that_of_the_generator_alone():
    np.random.seed(0)
    first = gaussian(GREY, rng(3), sigma=25.0)
    np.random.seed(1)
    assert np.array_equal(gaussian(GREY, rng(3), sigma=25.0), first)
    assert not np.array_equal(gaussian(GREY, rng(4), sigma=25.0), first)


def test_sigma_scales_the_same_noise():
    weak, strong = (gaussian(GREY, rng(), sigma=sigma) - GREY for sigma in (5.0, 10.0))
    assert np.abs(strong - 2 * weak).max() < 1e-6


def test_the_first_numbers_are_those_that_they_always_were():
    # measured here with numpy 2.4, whose generators keep their streams from version to version
    degraded = gaussian(np.full((1, 4, 1), 0.5, np.float32), rng(), sigma=25.0).ravel()
    assert degraded == pytest.approx([0.6095708, 0.36400735, 0.45817927, 0.42121693], rel=1e-6)


def test_the_record_names_the_parameter_that_a_benchmark_sweeps():
    found = Registry(PluginHost({"ESBENCH_PLUGINS": "none"}))
    for info in esbench_degradations():
        component = found.get("degradation", info.name)
        assert info.parameter in component.values
    assert found.get("degradation", "gaussian").values == {"sigma": 25.0}
    assert found.get("degradation", "gaussian[sigma=50]").text == "gaussian[sigma=50]"
    with pytest.raises(ParamError, match=r"sigma must be at least 0, got -1 \(in 'gaussian\[sigma=-1\]'\)"):
        found.get("degradation", "gaussian[sigma=-1]")
