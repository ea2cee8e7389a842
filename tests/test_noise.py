from __future__ import annotations

import numpy as np
import pytest

from esbench.noise import estimate_sigma


def scene(h: int, w: int, c: int) -> np.ndarray:
    """Return a picture with slopes, edges and some texture."""
    y, x = np.mgrid[:h, :w] / 32
    layers = [0.5 + 0.2 * np.sin(x + k) * np.cos(2 * y) + 0.2 * (x + y > 2) for k in range(c)]
    return np.stack(layers, -1).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [5, 15, 25, 50, 75])
def test_the_level_of_gaussian_noise_is_found_within_a_tenth(sigma, channels):
    rng = np.random.default_rng(0)
    clean = scene(96, 128, channels)
    noisy = clean + np.float32(sigma / 255) * rng.standard_normal(clean.shape, dtype=np.float32)
    assert estimate_sigma(noisy) == pytest.approx(sigma, rel=0.1)


def test_more_noise_is_a_higher_level():
    rng = np.random.default_rng(0)
    clean, noise = scene(64, 64, 3), rng.standard_normal((64, 64, 3), dtype=np.float32)
    levels = [estimate_sigma(clean + np.float32(s / 255) * noise) for s in (2, 5, 10, 20, 40, 80)]
    assert levels == sorted(levels)


def test_a_flat_picture_has_no_noise():
    assert estimate_sigma(np.full((40, 50, 3), 0.5, np.float32)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 9, 3), (5, 5, 1), (4, 4, 1)])
def test_a_tiny_picture_has_a_level_too(shape):
    level = estimate_sigma(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert 0 <= level < 255
