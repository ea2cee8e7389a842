from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from esbench import images
from esbench.builtin.datasets.samples import Samples
from esbench.builtin.degradations.additive import gaussian
from esbench.builtin.degradations.blind import camera, demosaiced, impulse, poisson, speckle
from esbench.correlated import coarseness
from esbench.noise import clipped_variance, declipped, estimate, estimate_gain, impulses_of, measurable


def scene(h: int, w: int, c: int) -> np.ndarray:
    """Return a picture with slopes, edges and some texture."""
    y, x = np.mgrid[:h, :w] / 32
    layers = [0.5 + 0.2 * np.sin(x + k) * np.cos(2 * y) + 0.2 * (x + y > 2) for k in range(c)]
    return np.stack(layers, -1).astype(np.float32)


def photograph(side: int = 96) -> np.ndarray:
    return images.unit(images.centre_crop(Samples().load("hopper"), side))


def noisy(sigma: float, clean: np.ndarray, seed: int = 0) -> np.ndarray:
    return gaussian(clean, np.random.default_rng(seed), sigma=sigma)


def shared(shape: tuple[int, ...], sigma: float, radius: float) -> np.ndarray:
    """Return Gaussian noise of a level that neighbours share."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).standard_normal(shape), (0, 0), radius)
    return (sigma / 255 * noise / noise.std()).astype(np.float32)


def true_variance(degrade, clean: np.ndarray, **parameters: float) -> np.ndarray:
    """Return the variance of each channel that a degradation gives to a picture, from many draws."""
    rng = np.random.default_rng(1)
    return np.var([degrade(clean, rng, **parameters) for _ in range(100)], axis=0, ddof=1).mean((0, 1))


# -- the level


def name(value: object) -> str:
    """Return the name of a case: an address would be another in each process."""
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [5, 15, 25, 50, 75])
def test_the_level_of_gaussian_noise_is_found_although_it_was_clipped(sigma, channels):
    clean = scene(96, 128, channels)
    assert estimate(noisy(sigma, clean)).sigma == pytest.approx(sigma, rel=0.04)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.6])
@pytest.mark.parametrize("sigma", [5, 15, 50])
def test_the_level_is_found_if_pixels_are_missing(sigma, share):
    y = noisy(sigma, scene(96, 128, 3))
    known = np.random.default_rng(1).random(y.shape[:2]) > share
    assert measurable(known)
    assert estimate(y, known).sigma == pytest.approx(sigma, rel=0.08)


@pytest.mark.parametrize("rate", [5, 40])
def test_the_gain_is_found_if_pixels_are_missing(rate):
    y = poisson(photograph(), np.random.default_rng(0), rate=rate)
    known = np.random.default_rng(1).random(y.shape[:2]) > 0.5
    assert estimate_gain(y, known) == pytest.approx(1 / rate, rel=0.15)


@pytest.mark.parametrize("per_channel", [True, False])
def test_missing_values_do_not_matter(per_channel):
    y = noisy(20, photograph())
    known = np.random.default_rng(1).random(y.shape if per_channel else y.shape[:2]) > 0.1
    other = np.where(known if per_channel else known[..., None], y, 1)
    assert estimate(y, known) == estimate(other, known)
    assert clipped_variance(y, 20, known) == clipped_variance(other, 20, known)
    assert clipped_variance(y, 20, known) == pytest.approx(clipped_variance(y, 20), rel=0.02)


def test_a_picture_without_missing_values_has_the_noise_of_one_that_is_wholly_known():
    y = camera(photograph(), np.random.default_rng(0), sigma=20)
    whole, plain = estimate(y, np.ones(y.shape[:2], bool)), estimate(y)
    assert whole == plain
    assert np.array_equal(whole.correlation, plain.correlation)


def test_shared_noise_is_found_between_scratches():
    clean, rng = photograph(), np.random.default_rng(0)
    y, known = camera(clean, rng, sigma=20), np.ones(clean.shape[:2], bool)
    known[::24] = known[:, ::24] = False
    found = estimate(y, known)
    assert not found.white
    assert found.variance == pytest.approx(estimate(y).variance, rel=0.15)


@given(share=st.floats(0, 1), side=st.integers(2, 48), sigma=st.sampled_from([0, 10]), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_where_enough_squares_are_known_there_is_an_estimate(share, side, sigma, seed):
    rng = np.random.default_rng(seed)
    y = noisy(sigma, photograph(side)) if sigma else photograph(side)
    for known in (rng.random((side, side)) >= share, rng.random((side, side, 3)) >= share):
        if measurable(known):
            found = estimate(y, known)
            assert np.isfinite([found.variance, found.sigma, *found.per_channel, found.typical]).all()
            assert found.variance >= 0


def test_too_few_known_squares_are_said():
    rng = np.random.default_rng(0)
    assert measurable(None)
    assert measurable(np.ones((20, 20), bool))
    assert not measurable(rng.random((20, 20)) < 0.5)
    assert not measurable(rng.random((96, 96, 3)) < 0.5)
    assert not measurable(rng.random((96, 96)) < 0.5, side=5)
    assert not measurable(np.ones((1, 4), bool))


@pytest.mark.parametrize("sigma", [15, 50])
def test_the_variance_is_that_of_the_clipped_noise_in_each_channel(sigma):
    clean = photograph()
    clean[..., 2] = (clean[..., 2] - 0.5).clip(0, 1)  # most of the third channel is black, and loses noise
    found, true = estimate(noisy(sigma, clean)), true_variance(gaussian, clean, sigma=sigma)
    assert true[2] < 0.8 * true[:2].min()
    assert np.array(found.per_channel) == pytest.approx(true, rel=0.1)
    assert found.variance == pytest.approx(true.mean(), rel=0.05)
    assert found.variance == pytest.approx(np.mean(found.per_channel), rel=1e-9)


@pytest.mark.parametrize(
    ("degrade", "parameters"),
    [(poisson, {"rate": 25}), (poisson, {"rate": 5}), (speckle, {"deviation": 0.35}), (impulse, {"share": 0.1})],
    ids=name,
)
def test_the_variance_is_right_for_noise_that_is_not_gaussian(degrade, parameters):
    clean = photograph()
    found = estimate(degrade(clean, np.random.default_rng(0), **parameters)).variance
    assert found == pytest.approx(true_variance(degrade, clean, **parameters).mean(), rel=0.06)


def test_golden():
    # Computed by this code on the sample picture, where the noise itself has a variance of 0.00872 (sigma 25).
    found = estimate(noisy(25, photograph()))
    assert found.per_channel == pytest.approx((0.0077734, 0.0094819, 0.0092012), rel=1e-3)
    assert (found.variance, found.sigma) == (pytest.approx(0.0088189, rel=1e-3), pytest.approx(25.034, rel=1e-3))
    assert (found.kind, found.white) == ("gaussian", True)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(4, 60), st.floats(1.15, 3))
def test_more_noise_is_a_higher_level(seed, sigma, more):
    clean = scene(48, 64, 3)
    low, high = (estimate(noisy(level, clean, seed)) for level in (sigma, sigma * more))
    assert low.sigma < high.sigma
    assert low.variance < high.variance


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]), st.floats(0, 80))
def test_it_does_not_depend_on_which_side_is_up_and_which_channel_is_first(seed, channels, sigma):
    image = noisy(sigma, scene(40, 52, channels), seed)
    found = estimate(image)
    for other in (image[::-1], image[:, ::-1], image[::-1, ::-1], image.transpose(1, 0, 2)):
        turned = estimate(np.ascontiguousarray(other))
        assert turned.variance == pytest.approx(found.variance, rel=1e-3)
        assert (turned.kind, turned.white) == (found.kind, found.white)
    swapped = estimate(np.ascontiguousarray(image[..., ::-1]))
    assert swapped.per_channel == pytest.approx(found.per_channel[::-1], rel=1e-3)


def test_a_grey_picture_in_colour_has_the_noise_of_the_grey_one():
    clean = scene(128, 128, 1)
    for grey in (noisy(25, clean), clean + shared((128, 128), 15, 1)[..., None]):
        one, three = estimate(grey), estimate(grey.repeat(3, 2))
        assert three.variance == pytest.approx(one.variance, rel=1e-6)
        assert three.white == one.white


def test_a_channel_without_noise_does_not_hide_that_of_the_others():
    image = noisy(25, scene(64, 64, 3))
    image[..., 1] = 0
    red, green, blue = estimate(image).per_channel
    assert green == 0
    assert [red, blue] == pytest.approx([(25 / 255) ** 2] * 2, rel=0.1)


def test_noise_that_went_through_jpeg_is_found_and_said_not_to_be_white():
    clean = photograph()
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * noisy(25, clean)).astype(np.uint8)).save(file, "JPEG", quality=90)
    image = images.unit(np.asarray(Image.open(file)))
    found = estimate(image)
    assert not found.white
    assert found.variance == pytest.approx(np.mean((image - clean) ** 2), rel=0.3)


@pytest.mark.parametrize("radius", [0.6, 1.0])
def test_noise_that_neighbours_share_is_found_and_said_not_to_be_white(radius):
    clean = photograph()
    image = (clean + shared(clean.shape, 15, radius)).clip(0, 1)
    found = estimate(image)
    assert not found.white
    assert found.variance == pytest.approx(np.mean((image - clean) ** 2), rel=0.35)


@pytest.mark.parametrize("radius", [0.7, 1.0])
@pytest.mark.parametrize("sigma", [10, 25])
def test_grain_of_a_grey_picture_is_found_and_said_not_to_be_white(radius, sigma):
    clean = scene(192, 160, 1)
    image = (clean + shared(clean.shape[:2], sigma, radius)[..., None]).clip(0, 1)
    found = estimate(image)
    assert not found.white
    assert found.variance == pytest.approx(np.mean((image - clean) ** 2), rel=0.5)
    middle = found.correlation[4:6, 4, 0, 0]  # at no displacement, and of one pixel down
    assert middle == pytest.approx([1, np.exp(-1 / (4 * radius**2))], abs=0.15)


@pytest.mark.parametrize(
    "degrade",
    [
        lambda x: x,
        lambda x: noisy(10, x),
        lambda x: noisy(40, x),
        lambda x: poisson(x, np.random.default_rng(0), rate=25),
    ],
    ids=["clean", "10", "40", "poisson"],
)
def test_detail_and_white_noise_of_grey_pictures_are_not_taken_for_grain(degrade):
    for image in (scene(192, 160, 1), np.tile(photograph(128).mean(2, keepdims=True), (2, 2, 1))):
        assert estimate(degrade(image)).white


def test_in_a_small_grey_picture_grain_is_not_told_from_detail():
    clean = scene(96, 96, 1)
    image = (clean + shared(clean.shape[:2], 15, 1)[..., None]).clip(0, 1)
    assert estimate(image).white


def test_what_neighbours_share_of_the_noise_is_estimated():
    """On a flat picture, where all of it is noise: demosaiced noise is shared by two pixels, and by channels."""
    flat = np.full((256, 256, 3), 0.5, np.float32)
    image = demosaiced(noisy(15, flat))
    n = image - flat
    found = estimate(image).correlation
    reach = len(found) // 2
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1), (2, -1), (0, 4)):
        here = n[down:, max(0, right) : 256 + min(0, right)]
        there = n[: 256 - down, max(0, -right) : 256 + min(0, -right)]
        true = np.einsum("ijc,ijd->cd", here, there) / here[..., 0].size / n.var()
        assert np.abs(found[reach + down, reach + right] - true).max() < 0.2
    assert coarseness(found) == pytest.approx(2, rel=0.4)


def test_coarse_noise_under_a_little_white_noise_is_noticed():
    clean = scene(96, 96, 3)
    image = noisy(2, clean + shared(clean.shape, 10, 2.0))
    found = estimate(image)
    assert not found.white
    assert found.variance > 5 * (2 / 255) ** 2


def test_shared_noise_is_not_taken_from_where_it_was_clipped():
    clean = scene(96, 96, 3)
    clean[:, 48:] = 0
    image = (clean + shared(clean.shape, 25, 0.7)).clip(0, 1)
    found = estimate(image)
    assert not found.white
    assert found.variance == pytest.approx(np.mean((image - clean) ** 2), rel=0.35)


# -- the kind


@pytest.mark.parametrize(
    ("degrade", "parameters"),
    [
        (gaussian, {"sigma": 15}),
        (gaussian, {"sigma": 75}),
        (poisson, {"rate": 50}),
        (poisson, {"rate": 5}),
        (speckle, {"deviation": 0.2}),
        (speckle, {"deviation": 0.45}),
        (impulse, {"share": 0.02}),
        (impulse, {"share": 0.5}),
        (impulse, {"share": 0.9}),
    ],
    ids=name,
)
def test_the_kind_of_noise_is_reported(degrade, parameters):
    image = degrade(photograph(), np.random.default_rng(0), **parameters)
    assert estimate(image).kind == degrade.__name__


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_black_and_white_of_a_drawing_are_no_impulses(share):
    drawn = np.zeros((96, 128), np.uint8)
    for i in range(8):
        cv2.putText(drawn, "impulses", (2, 12 * i + 9), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1, cv2.LINE_8)
    page = (drawn < 128).astype(np.float32)[..., None]
    assert estimate(impulse(page, np.random.default_rng(0), share=share)).kind != "impulse"


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("side", [40, 96])
def test_impulses_are_found_in_a_photograph_and_where_it_is_saturated(share, side):
    clean = photograph(side)
    clean[: side // 3] = 1  # a white sky
    noisy = impulse(clean, np.random.default_rng(0), share=share)
    found = impulses_of(noisy)
    left = np.where(found, clean, noisy)
    assert np.mean((left - clean) ** 2) < 0.002 * np.mean((noisy - clean) ** 2)
    sky = np.s_[: side // 3 - 3]
    assert found[sky][noisy[sky] == 0].mean() > 0.99
    assert found[sky][noisy[sky] == 1].mean() < 0.5


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_impulses_are_black_or_white_in_pictures_of_any_size(seed, h, w):
    image = np.random.default_rng(seed).integers(-3, 12, (h, w, 3)).clip(0, 8).astype(np.float32) / 8
    found = impulses_of(image)
    assert found.shape == image.shape
    assert not found[(image > 0) & (image < 1)].any()
    flipped = impulses_of(1 - image)  # black is as white
    assert np.array_equal(found, flipped)


# -- shot noise


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("rate", [5, 12, 25, 50])
def test_the_gain_of_shot_noise_is_found_although_it_was_clipped(rate, grey):
    clean = photograph()
    clean = clean.mean(2, keepdims=True) if grey else clean
    found = [estimate_gain(unsharp(poisson(clean, np.random.default_rng(seed), rate=rate))) for seed in range(3)]
    # with few counts the noise is far from Gaussian, which makes it come out too low
    assert np.mean(found) == pytest.approx(1 / rate, rel=0.15 if rate >= 12 else 0.3)


def unsharp(photons: np.ndarray) -> np.ndarray:
    """Return values that are no longer whole numbers of photons, by noise that is weak beside theirs."""
    return photons + 0.006 * np.random.default_rng(1).standard_normal(photons.shape, dtype=np.float32)


@pytest.mark.parametrize(("rate", "bits"), [(3, 32), (5, 32), (25, 32), (60, 32), (5, 8), (25, 8), (40, 8)])
def test_photons_that_are_visible_have_their_gain(rate, bits):
    clean = photograph()
    y = poisson(clean, np.random.default_rng(0), rate=rate)
    if bits == 8:
        y = np.rint(255 * y).astype(np.float32) / 255
    assert estimate_gain(y) == pytest.approx(1 / rate, rel=2e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_drawing_has_no_noise(channels):
    drawing = np.full((160, 192, channels), 0.5, np.float32)
    for i in range(12):
        drawing[10 * i : 10 * i + 6, 12 * i : 12 * i + 40] = 0.1 * (i % 5)
    assert estimate(drawing).sigma == 0


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 3), (4, 4, 1), (8, 8, 3), (1, 40, 1), (40, 40, 3)])
def test_any_picture_has_a_gain(shape):
    assert 0 <= estimate_gain(np.random.default_rng(0).random(shape, dtype=np.float32)) < np.inf
    for level in (0, 0.5, 1):
        assert estimate_gain(np.full(shape, level, np.float32)) == pytest.approx(0, abs=1e-9)


# -- clipping


@settings(max_examples=20, deadline=None)
@given(st.floats(0.02, 0.98), st.floats(2, 100))
def test_clipping_takes_noise_away_and_declipping_gives_it_back(level, sigma):
    image = np.full((12, 12, 1), level, np.float32)
    variance = clipped_variance(image, sigma)
    assert 0 < variance <= (sigma / 255) ** 2 * (1 + 1e-3)
    assert clipped_variance(image, declipped(image, variance)) == pytest.approx(variance, rel=1e-3)
    assert declipped(image, variance) == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("sigma", [15, 50])
def test_what_clipping_leaves_of_known_noise_is_what_draws_show(sigma):
    clean = photograph()
    known = clipped_variance(noisy(sigma, clean), sigma)
    assert known == pytest.approx(true_variance(gaussian, clean, sigma=sigma).mean(), rel=0.05)


def test_more_variance_than_clipping_can_leave_is_taken_as_it_is():
    white = np.ones((12, 12, 1), np.float32)
    assert declipped(white, 0.25) == pytest.approx(255 * 0.5)


# -- pictures that occur sooner or later


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_flat_picture_has_no_noise(level, channels):
    found = estimate(np.full((40, 50, channels), level, np.float32))
    assert found.variance == found.sigma == 0
    assert found.per_channel == (0,) * channels


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 3), (3, 9, 3), (5, 5, 1), (4, 4, 1), (8, 8, 3), (1, 40, 1)])
def test_a_tiny_picture_has_a_level_too(shape):
    found = estimate(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert 0 <= found.sigma < 255
    assert len(found.per_channel) == shape[2]


def test_the_level_of_a_small_picture_is_not_far_off():
    clean = photograph(32)
    levels = [estimate(noisy(25, clean, seed)).sigma for seed in range(5)]
    assert np.mean(levels) == pytest.approx(25, rel=0.05)


# -- noise that is hard to see


@pytest.mark.parametrize(("share", "sigma"), [(0.5, 25), (0.5, 40), (1.0, 25), (1.0, 40)])
def test_noise_that_channels_share_is_found_and_said_not_to_be_white(share, sigma):
    rng, clean = np.random.default_rng(0), photograph()
    own, common = rng.standard_normal(clean.shape), rng.standard_normal((*clean.shape[:2], 1))
    image = (clean + sigma / 255 * (np.sqrt(1 - share) * own + np.sqrt(share) * common)).clip(0, 1)
    found = estimate(image.astype(np.float32))
    assert not found.white
    assert found.sigma == pytest.approx(sigma, rel=0.15)


def test_noise_in_one_channel_is_not_even():
    clean = photograph()
    image = clean.copy()
    image[..., 2:] = noisy(20, clean[..., 2:])
    assert not estimate(image).even
    assert estimate(noisy(20, clean)).even
    assert estimate(noisy(20, clean * [0, 1, 1])).even  # one is clipped


@pytest.mark.parametrize("sigma", [5, 10, 25])
def test_noise_independent_between_channels_is_white_in_a_photograph(sigma):
    assert estimate(noisy(sigma, photograph())).white


def test_text_on_a_white_page_is_no_noise():
    page = np.ones((96, 128, 3), np.float32)
    for row in range(8, 90, 12):  # letters: bars of several greys
        for column in range(6, 120, 7):
            page[row : row + 7, column : column + 3] = 0.1 + 0.1 * ((row * column) % 5)
            page[row + 3, column : column + 5] = 0.6
    assert estimate(page).sigma == 0
    assert estimate(noisy(10, page)).sigma == pytest.approx(10, abs=4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share", [0.05, 0.1])
def test_impulses_that_hit_whole_pixels_are_counted(channels, share):
    rng, clean = np.random.default_rng(0), photograph()[..., :channels] * 0.8 + 0.1
    hit, white = rng.random(clean.shape[:2]) < share, rng.random(clean.shape[:2]) < 0.5
    image = np.where(hit[..., None], np.float32(1) * white[..., None], clean).astype(np.float32)
    found = estimate(image)
    assert found.kind == "impulse"
    assert found.variance == pytest.approx(np.mean((image - clean) ** 2), rel=0.25)
