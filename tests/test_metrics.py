from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from esbench.metrics import psnr, ssim


@st.composite
def pairs(draw):
    """Give a picture and a noisier one, (H, W, C) float32 in [0, 1]."""
    shape = (draw(st.integers(11, 30)), draw(st.integers(11, 30)), draw(st.sampled_from([1, 3])))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    clean = rng.random(shape, dtype=np.float32) * np.linspace(0, 1, shape[1], dtype=np.float32)[:, None]
    noise = draw(st.floats(0.001, 0.5)) * rng.standard_normal(shape)
    return np.clip(clean + noise, 0, 1).astype(np.float32), clean


@given(pairs())
@settings(deadline=None)
def test_psnr_is_that_of_scikit_image_over_all_channels_together(pair):
    image, clean = pair
    theirs = peak_signal_noise_ratio(clean.astype(np.float64), image.astype(np.float64), data_range=1)
    assert psnr(image, clean) == pytest.approx(theirs, abs=1e-9)


@given(pairs())
@settings(deadline=None, max_examples=40)
def test_ssim_is_that_of_scikit_image_with_the_windows_of_the_paper(pair):
    image, clean = (x.astype(np.float64) for x in pair)
    theirs, windows = structural_similarity(
        clean,
        image,
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    # scikit-image, too, leaves out the windows that do not fit
    assert theirs == pytest.approx(windows[5:-5, 5:-5].mean(), abs=1e-9)
    assert ssim(image, clean) == pytest.approx(theirs, abs=1e-9)


def test_a_picture_is_infinitely_near_to_itself():
    x = np.random.default_rng(0).random((12, 13, 3))
    assert psnr(x, x) == math.inf
    assert ssim(x, x) == pytest.approx(1)


def test_psnr_of_a_constant_error_is_known():
    assert psnr(np.full((4, 4, 3), 0.6), np.full((4, 4, 3), 0.5)) == pytest.approx(20)


def test_what_is_beyond_the_range_of_a_picture_is_clipped_first():
    clean = np.linspace(0, 1, 300).reshape(10, 10, 3).repeat(2, 0).repeat(2, 1)
    image = 3 * (clean - 0.5)
    assert psnr(image, clean) == psnr(image.clip(0, 1), clean)
    assert ssim(image, clean) == ssim(image.clip(0, 1), clean)
