from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esbench.correlated import around, coarseness, filter_of


def correlation_of(w: np.ndarray, reach: int = 4) -> np.ndarray:
    """Return the correlation of white noise after a convolution with (C, C, K, K)."""
    channels, side = len(w), w.shape[-1]
    found = np.zeros((2 * reach + 1, 2 * reach + 1, channels, channels))
    within = min(reach, side - 1)
    for down, right in itertools.product(range(-within, within + 1), repeat=2):
        here = w[..., max(0, down) : side + min(0, down), max(0, right) : side + min(0, right)]
        there = w[..., max(0, -down) : side + min(0, -down), max(0, -right) : side + min(0, -right)]
        found[reach + down, reach + right] = np.einsum("cdij,edij->ce", here, there)
    return found / np.diag(found[reach, reach]).mean()


@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
def test_white_noise_through_the_filter_has_the_correlation(seed, channels):
    """Also where it differs between right and left, up and down, and from one channel to another and back."""
    rng = np.random.default_rng(seed)
    own = rng.uniform(0.2, 1, (channels, channels, 3, 3))
    own[..., 1, 1] += 2 * np.eye(channels)
    wanted = correlation_of(own)
    found = filter_of(wanted)
    assert found.dtype == np.float32
    assert np.abs(correlation_of(found.astype(float)) - wanted).max() < 0.02


def test_the_filter_of_white_noise_changes_nothing():
    white = np.zeros((9, 9, 3, 3))
    white[4, 4] = np.eye(3)
    w = filter_of(white)
    assert w[:, :, 8, 8] == pytest.approx(np.eye(3), abs=1e-6)
    assert np.abs(w).sum() == pytest.approx(3, abs=1e-4)


def test_what_cannot_be_a_correlation_gives_the_nearest_of_variance_1():
    """An estimate can have frequencies with less than nothing."""
    white = np.zeros((9, 9, 1, 1))
    white[4, 4] = 1
    white[4, [2, 6]] = -0.7
    w = filter_of(white).astype(float)
    assert (w**2).sum() == pytest.approx(1)
    assert -0.7 < correlation_of(w)[4, 6, 0, 0] < -0.4


def test_the_coarseness_is_the_side_of_a_square_that_was_averaged():
    box = np.eye(3)[..., None, None] * np.ones((3, 3))
    assert coarseness(correlation_of(box)) == pytest.approx(3)
    assert coarseness(None) == 1


@pytest.mark.parametrize("shape", [(40, 50), (5, 7)])
def test_around_a_picture_nothing_of_a_filter_is_lost(shape):
    w = np.random.default_rng(0).random((3, 3, 17, 17), np.float32)
    found = around(w, *shape)
    assert found.shape == (3, 3, *shape)
    assert found.sum((2, 3)) == pytest.approx(w.sum((2, 3)), rel=1e-4)
    if shape[0] > 17:
        assert np.array_equal(np.roll(found, (8, 8), (2, 3))[:, :, :17, :17], w)
