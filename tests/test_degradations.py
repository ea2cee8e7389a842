from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esbench.builtin.degradations import esbench_degradations
from esbench.builtin.degradations.additive import gaussian
from esbench.builtin.degradations.blind import camera, demosaiced, impulse, jpeg, poisson, speckle
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
        assert info.parameter in component.values or (info.parameter == "" and (info.blind or info.name == "none"))
    assert found.get("degradation", "gaussian").values == {"sigma": 25.0}
    assert found.get("degradation", "gaussian[sigma=50]").text == "gaussian[sigma=50]"
    with pytest.raises(ParamError, match=r"sigma must be at least 0, got -1 \(in 'gaussian\[sigma=-1\]'\)"):
        found.get("degradation", "gaussian[sigma=-1]")


# -- other models than additive noise ----------------------------------------------------------------------------------

#: name -> its function, and its levels 2, 3 and 4 in the pictures of ES-WMV
OTHERS = {
    "poisson": (poisson, "rate", (25.0, 12.0, 5.0)),
    "impulse": (impulse, "share", (0.3, 0.5, 0.7)),
    "speckle": (speckle, "deviation", (0.2, 0.35, 0.45)),
    "jpeg": (jpeg, "quality", (10, 20, 30)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_first_of_the_published_levels_is_the_default(name):
    _, parameter, levels = OTHERS[name]
    component = Registry(PluginHost({"ESBENCH_PLUGINS": "none"})).get("degradation", name)
    assert component.values == {parameter: levels[0]}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OTHERS)
def test_each_keeps_shape_precision_range_and_the_clean_picture(name, channels):
    function, parameter, levels = OTHERS[name]
    clean = rng(1).uniform(0, 1, (9, 7, channels)).astype(np.float32)
    before = clean.copy()
    for level in levels:
        degraded = function(clean, rng(), **{parameter: level})
        assert (degraded.shape, degraded.dtype) == (clean.shape, np.float32)
        assert 0 <= degraded.min() <= degraded.max() <= 1
        assert np.array_equal(degraded, function(clean, rng(), **{parameter: level}))
    assert np.array_equal(clean, before)


@pytest.mark.parametrize("rate", [25.0, 12.0, 5.0])
def test_poisson_counts_have_the_picture_as_mean_and_its_share_of_the_rate_as_variance(rate):
    clean = np.full((300, 300, 3), 0.3, np.float32)
    degraded = poisson(clean, rng(), rate=rate)
    assert np.allclose(degraded * rate, np.rint(degraded * rate), atol=1e-4)
    if rate > 10:  # almost nothing is clipped
        assert degraded.mean() == pytest.approx(0.3, rel=0.02)
        assert degraded.var() == pytest.approx(0.3 / rate, rel=0.03)
    assert (poisson(np.zeros_like(clean), rng(), rate=rate) == 0).all()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_impulses_hit_their_share_of_the_values_each_channel_by_itself_with_equal_odds(share):
    degraded = impulse(GREY, rng(), share=share)
    hit = degraded != 0.5
    assert hit.mean() == pytest.approx(share, abs=0.01)
    assert (degraded == 1).mean() == pytest.approx((degraded == 0).mean(), abs=0.01)
    assert set(np.unique(degraded)) == {0, 0.5, 1}
    assert abs(np.corrcoef(hit[..., 0].ravel(), hit[..., 1].ravel())[0, 1]) < 0.02


def test_no_impulses_and_all_impulses():
    assert np.array_equal(impulse(GREY, rng(), share=0.0), GREY)
    assert set(np.unique(impulse(GREY, rng(), share=1.0))) == {0, 1}


@pytest.mark.parametrize("level", [0.2, 0.5])
def test_speckle_is_as_strong_as_the_picture_is_bright(level):
    degraded = speckle(np.full((200, 200, 3), level, np.float32), rng(), deviation=0.2)
    assert degraded.std() == pytest.approx(0.2 * level, rel=0.02)
    assert (speckle(np.zeros((5, 5, 3), np.float32), rng(), deviation=0.4) == 0).all()


def test_jpeg_loses_more_at_a_lower_quality_and_draws_nothing():
    y, x = np.mgrid[:64, :64] / 64
    clean = np.stack([x, y, (x + y > 1)], -1).astype(np.float32)
    errors = [float(((jpeg(clean, rng(i), quality=q) - clean) ** 2).mean()) for i, q in enumerate((95, 50, 10))]
    assert 0 < errors[0] < errors[1] < errors[2]
    generator = rng(3)
    jpeg(clean, generator, quality=10)
    assert generator.random() == rng(3).random()


# -- a camera ----------------------------------------------------------------------------------------------------------


def test_the_noise_of_a_camera_is_shared_by_neighbours_and_channels():
    noise = camera(np.full((200, 200, 3), 0.5, np.float32), rng(), sigma=20) - np.float32(0.5)
    red, green = noise[..., 0], noise[..., 1]
    assert np.corrcoef(green[:, 1:].ravel(), green[:, :-1].ravel())[0, 1] > 0.3  # 0 before
    assert np.corrcoef(red.ravel(), green.ravel())[0, 1] > 0.2
    assert noise.std() < 0.8 * 20 / 255  # averaged
    assert noise.std() == pytest.approx(2 * camera(GREY, rng(), sigma=10).std(), rel=0.05)


@given(
    st.integers(3, 20),
    st.integers(3, 20),
    st.tuples(*3 * [st.floats(0, 1, width=32)]),
)
def test_a_flat_picture_survives_a_mosaic(h, w, colour):
    flat = np.broadcast_to(np.float32(colour), (h, w, 3)).copy()
    assert np.abs(demosaiced(flat) - flat).max() <= 1 / 65535


def test_the_mosaic_measures_each_pixel_in_its_own_colour():
    picture = rng(1).uniform(0, 1, (10, 12, 3)).astype(np.float32)
    seen = np.abs(demosaiced(picture) - picture) < 1e-4
    inner = seen[2:-2, 2:-2]  # OpenCV repeats what is inside at the edge
    assert inner[::2, ::2, 2].all()
    assert inner[1::2, 1::2, 0].all()
    assert inner[::2, 1::2, 1].all()
    assert inner[1::2, ::2, 1].all()
    assert inner.mean() < 0.4  # the other two colours are from neighbours


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 9, 3), (8, 8, 1)])
def test_there_is_no_mosaic_of_grey_or_tiny_pictures(shape):
    picture = rng(1).uniform(0, 1, shape).astype(np.float32)
    assert np.array_equal(demosaiced(picture), picture)
    assert camera(picture, rng()).shape == shape


@pytest.mark.parametrize("name", [*OTHERS, "camera"])
def test_criteria_do_not_get_the_level_of_these(name):
    info = next(info for info in esbench_degradations() if info.name == name)
    assert info.blind
