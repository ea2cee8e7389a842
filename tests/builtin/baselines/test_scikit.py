import numpy as np
import pytest

from esbench.registry import registry

pytest.importorskip("skimage")
METHODS = ["nlm", "tv", "wavelet", "bm3d"]
PACKAGES = {"wavelet": "pywt", "bm3d": "bm3d"}


def scene(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a clean and a noisy picture, sigma 20."""
    y, x = np.mgrid[:40, :44] / 9
    clean = np.stack([0.5 + 0.2 * np.sin(x + c) * np.cos(y) for c in range(channels)], -1).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32)
    return clean, (clean + 20 / 255 * noise).clip(0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_it_takes_the_noise_out_and_more_of_it_at_a_higher_level(name, channels):
    pytest.importorskip(PACKAGES.get(name, "skimage"))
    denoise = registry().get("baseline", name).target
    clean, noisy = scene(channels)
    x = denoise(noisy, None, sigma=20.0)
    assert x.shape == noisy.shape
    assert np.mean((x - clean) ** 2) < 0.3 * np.mean((noisy - clean) ** 2)
    assert np.mean((denoise(noisy, None, sigma=5.0) - noisy) ** 2) < np.mean((x - noisy) ** 2)


def test_total_variation_leaves_a_residual_as_large_as_the_noise():
    noisy = scene(3)[1]
    x = registry().get("baseline", "tv").target(noisy, None, sigma=20.0)
    assert np.mean((x - noisy) ** 2) == pytest.approx((20 / 255) ** 2, rel=0.02)
