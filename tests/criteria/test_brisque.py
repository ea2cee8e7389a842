import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench import models
from esbench.builtin.criteria import brisque, nss
from esbench.frames import Frame
from esbench.pictures import Pictures

DATA = Path(os.environ.get("ESBENCH_DATA", "/nowhere"))
needs_model = pytest.mark.skipif(
    not all(models.find(name) for name in (models.BRISQUE_MODEL, models.BRISQUE_RANGE)),
    reason="the model is not available",
)


def frame(array):
    return Frame(Pictures(array[None]))


def picture(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not available")
    return cv2.imread(str(path))[:, :, ::-1].copy()


@pytest.fixture
def made_up_model(monkeypatch):
    """A model for tests that are about everything but its numbers."""
    rng = torch.Generator().manual_seed(0)
    vectors = torch.rand(5, 36, generator=rng, dtype=torch.float64) * 2 - 1
    alpha = torch.tensor([1.0, -2, 3, -4, 5], dtype=torch.float64)
    low = torch.full((36,), -3.0, dtype=torch.float64)
    model = brisque.SvmModel(vectors, alpha, -50.0, 0.05, low, -low)
    monkeypatch.setattr(brisque, "_model", lambda device: model)


# OpenCV 5.0, cv2.quality.QualityBRISQUE, pictures read as BGR
GOLDEN = {
    "set9/image_Baboon512rgb.png": 18.583,
    "set9/image_F16_512rgb.png": 8.200,
    "set9/image_House256rgb.png": 4.176,
    "set9/image_Lena512rgb.png": 0.000,
    "set9/image_Peppers512rgb.png": 18.546,
    "set9/kodim01.png": 18.609,
    "set9/kodim02.png": 13.540,
    "set9/kodim03.png": 3.438,
    "set9/kodim12.png": 7.114,
}


@needs_model
@pytest.mark.parametrize(("name", "score"), GOLDEN.items())
def test_scores_are_those_of_opencv(name, score):
    assert brisque.brisque(frame(picture(name)), clamp=True).value == pytest.approx(score, abs=0.01)


@needs_model
def test_pixels_of_negative_variance_drop_out_as_in_opencv():
    """This picture is 14 away when the variance is computed in float64."""
    assert brisque.brisque(frame(picture("cbsd68/101087.png"))).value == pytest.approx(-1.0622, abs=0.01)


@needs_model
def test_the_score_is_cut_off_only_on_demand():
    lena = frame(picture("set9/image_Lena512rgb.png"))
    assert brisque.brisque(lena).value == pytest.approx(-5.425, abs=0.01)
    assert brisque.brisque(lena, clamp=True).value == 0


@needs_model
def test_a_noisier_picture_scores_higher():
    clean = picture("kodak24/kodim05.png").astype(float)
    noise = np.random.default_rng(0).normal(size=clean.shape)
    scores = [brisque.brisque(frame((clean + s * noise).clip(0, 255).astype(np.uint8))).value for s in (0, 15, 25, 50)]
    assert scores == sorted(scores)


@needs_model
def test_features_are_those_of_opencv_contrib_where_it_is_installed():
    if not hasattr(cv2, "quality"):
        pytest.skip("opencv-contrib is not installed")
    cv2.ipp.setUseIPP(False)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    expected = cv2.quality.QualityBRISQUE_computeFeatures(noise[:, :, ::-1].copy()).ravel()
    found = brisque.features(brisque_grey(noise))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


def brisque_grey(array):
    return nss.grey(frame(array).tensor[None])


def test_a_block_gives_what_its_frames_give_one_by_one(made_up_model):
    pictures = Pictures(torch.rand(4, 3, 51, 62, generator=torch.Generator().manual_seed(0)))
    block = [Frame(pictures, i) for i in range(4)]
    assert brisque.brisque_block(block) == [brisque.brisque(f) for f in block]
    assert brisque.brisque_block([]) == []


def test_floats_and_their_8_bit_picture_have_one_score(made_up_model):
    floats = np.random.default_rng(0).random((1, 48, 64, 3)).astype(np.float32)
    assert brisque.brisque(Frame(Pictures(floats))) == brisque.brisque(Frame(Pictures(Pictures(floats).uint8)))


def test_grey_and_the_same_grey_in_three_channels_have_one_score(made_up_model):
    grey = np.random.default_rng(0).integers(0, 256, (48, 64, 1), dtype=np.uint8)
    assert brisque.brisque(frame(grey)) == brisque.brisque(frame(grey.repeat(3, -1)))


def kinds(h, w, seed):
    """Pictures that differ in how much of them is flat: there the variance is nothing but rounding."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(h, w))
    tiles = np.kron(rng.integers(0, 256, (h // 12 + 1, w // 12 + 1)), np.ones((12, 12)))[:h, :w]
    pictures = [128 + 40 * noise, 128 + noise, 250 + 6 * noise, tiles, tiles + noise * (tiles > 128)]
    return torch.from_numpy(np.stack(pictures).clip(0, 255).round()).float()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(50, 2000), st.integers(0, 2**32 - 1))
def test_in_bands_the_same_entries_count_and_their_sums_are_the_same(h, w, at_once, seed):
    padded = nss.replicate(kinds(h, w, seed), 3, 1 / 255)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(nss, "ENTRIES_AT_ONCE", at_once)
        found, expected = brisque.moments_in_bands(padded), brisque.moments_at_once(padded)
    for name in ("n", "n_left", "n_right"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    torch.testing.assert_close(found.absolute, expected.absolute, rtol=1e-5, atol=1e-9)
    allowed = 1e-6 * (expected.square_left + expected.square_right)  # a side is what the other one leaves of both
    assert (found.square_left - expected.square_left).abs().le(allowed).all()
    assert (found.square_right - expected.square_right).abs().le(allowed).all()


def test_sums_over_a_band_do_not_depend_on_the_order_of_summing():
    """A large value comes first, and float32 loses small ones; neither sum of squares is a float32 number."""
    n = nss.ENTRIES_AT_ONCE
    bands = brisque._Bands(1, n)
    bands.m[1, :-1] = torch.tensor([2.0**12] + [0.5] * (n - 1))
    absolute, square = torch.tensor(bands.products(), dtype=torch.float64).view(5, 5)[[2, 4], :2].tolist()
    assert absolute == [2.0**12 + (n - 1) / 2, 2.0**11 + (n - 2) / 4]
    assert square == [2.0**24 + (n - 1) / 4, 2.0**22 + (n - 2) / 16]


FLAT = {
    "black": np.zeros((40, 50, 3), np.uint8),
    "grey": np.full((40, 50, 3), 127, np.uint8),
    "white": np.full((40, 50, 1), 255, np.uint8),
    "two colours that never meet": (np.indices((40, 50))[1] > 24)[..., None].astype(np.uint8) * 255,
}


@pytest.mark.parametrize("kind", FLAT)
def test_a_flat_picture_has_no_value_and_says_why(made_up_model, kind):
    value = brisque.brisque(frame(FLAT[kind]))
    assert value.value is None
    assert "flat" in value.reason


def test_a_pixel_that_is_no_number_takes_the_value_of_its_picture_only(made_up_model):
    x = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    x[1, 0, 3, 4] = torch.nan
    pictures = Pictures(x)
    good, bad = brisque.brisque_block([Frame(pictures, i) for i in range(2)])
    assert good.value is not None
    assert bad.value is None
    assert "NaN" in bad.reason


EXTREMES = {
    "checkerboard": (np.indices((64, 66)).sum(0) % 2 * 255)[..., None],
    "checkerboard of 3 x 3": (np.indices((64, 66)) // 3).sum(0)[..., None] % 2 * 255,
    "33 x 33": np.random.default_rng(0).integers(0, 256, (33, 33, 3)),
    "odd sides, grey": np.random.default_rng(0).integers(0, 256, (51, 77, 1)),
    "one white pixel": np.pad([[[255]]], ((20, 43), (31, 32), (0, 0))),
}


@pytest.mark.parametrize("kind", EXTREMES)
def test_an_extreme_picture_has_a_finite_value_or_a_reason(made_up_model, kind):
    value = brisque.brisque(frame(EXTREMES[kind].astype(np.uint8)))
    assert (value.value is None) == bool(value.reason)
    assert value.value is None or np.isfinite(value.value)


def test_a_picture_of_48_million_pixels_has_the_value_of_the_tile_that_it_repeats(monkeypatch):
    monkeypatch.setattr(brisque, "score", lambda features: features[:, 0])  # the shape of the map
    tile = np.random.default_rng(0).integers(0, 256, (200, 250, 1), dtype=np.uint8)
    whole, part = (brisque.brisque(frame(np.tile(tile, (n, n + n // 15, 1)))).value for n in (30, 2))
    assert whole == pytest.approx(part, abs=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_what_a_cpu_gives():
    pictures = torch.rand(32, 3, 96, 131, generator=torch.Generator().manual_seed(0))
    on_gpu, on_cpu = (brisque.features(nss.grey(pictures.to(device))).cpu() for device in ("cuda", "cpu"))
    difference = (on_gpu - on_cpu).abs()
    assert difference.max() < 2e-3  # one step of a shape, and what follows from it
    assert difference.median() < 1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 45), st.integers(1, 45), st.sampled_from([1, 3]), st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_any_small_picture_has_a_finite_value_or_a_reason(h, w, channels, spread, seed):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(brisque, "score", lambda features: features.sum(-1))
        array = np.random.default_rng(seed).integers(0, spread + 1, (h, w, channels)).astype(np.uint8)
        value = brisque.brisque(frame(array))
    assert (value.value is None) == bool(value.reason)
    assert value.value is None or np.isfinite(value.value)
