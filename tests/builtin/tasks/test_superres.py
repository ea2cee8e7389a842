from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import esbench
from esbench.bench.grid import open_dataset
from esbench.builtin.tasks.superres import Superres, bicubic, least_sigma, luma, reduction
from esbench.noise import estimate
from esbench.observation import NoiseModel, Observation
from esbench.pictures import Pictures
from esbench.restoration.options import Options
from esbench.restoration.whole import Restoration, cut

FACTORS, KERNELS = (2, 3, 4, 8), ("lanczos2", "lanczos3")


def picture(h: int, w: int, c: int = 3) -> np.ndarray:
    """Return a smooth picture with an edge, (H, W, C) float32 in [0, 1]."""
    y, x = np.mgrid[:h, :w] / 16
    planes = [0.5 + 0.25 * np.sin(x + i) * np.cos(y) + 0.1 * (x + y > 3) for i in range(c)]
    return np.stack(planes, -1).astype(np.float32)


def observed(task: Superres, clean: np.ndarray) -> Observation:
    return task.degrade(clean, np.random.default_rng(0), lambda a: a, {})


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(64, 96, 3), (61, 50, 1)], ids=str)
def test_the_model_of_the_clean_picture_is_near_what_was_observed(factor, kernel, shape):
    task, clean = Superres(factor=factor, kernel=kernel), picture(*shape)
    seen = observed(task, clean)
    h, w, c = shape
    assert seen.y.shape == (math.ceil(h / factor), math.ceil(w / factor), c)
    assert task.shape(seen) == shape
    assert task.distance(Pictures(clean[None]).tensor, seen) < 0.01**2


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("lobes", [2, 3])
def test_for_an_even_factor_it_is_the_padded_convolution_of_deep_image_prior(factor, lobes):
    n = 2 * lobes * factor  # methods: sample i = 1 ... 2ar, d = |i - ar - 1/2| / r
    d = np.abs(np.arange(1, n + 1) - lobes * factor - 0.5) / factor
    weights = lobes * np.sin(np.pi * d) * np.sin(np.pi * d / lobes) / (np.pi * d) ** 2
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    x = torch.rand(1, 3, 5 * factor, 7 * factor, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = F.pad(x, [(n - factor) // 2] * 4, mode="replicate")
    expected = F.conv2d(padded, torch.tensor(kernel).expand(3, 1, n, n), stride=factor, groups=3)
    task = Superres(factor=factor, kernel=f"lanczos{lobes}")
    assert torch.allclose(task.forward(x, Observation(np.zeros((5, 7, 3), np.float32))), expected, atol=1e-12)


@settings(deadline=None)
@given(
    st.sampled_from(FACTORS),
    st.sampled_from((2, 3)),
    st.integers(1, 9),
    st.integers(0, 7),
)
def test_a_constant_stays_what_it_is_and_a_mirrored_axis_is_reduced_to_its_mirror(factor, lobes, n, lacking):
    full = n * factor - min(lacking, factor - 1)
    a = reduction(n, full, factor, lobes)
    assert a.shape == (n, full)
    assert np.allclose(a.sum(1), 1)
    if full == n * factor:
        assert np.allclose(a[::-1, ::-1], a)


def test_the_gradient_is_the_adjoint():
    task, x = Superres(factor=3), torch.rand(1, 1, 9, 8, dtype=torch.float64, requires_grad=True)
    seen = Observation(np.zeros((3, 3, 1), np.float32))
    assert torch.autograd.gradcheck(lambda x: task.forward(x, seen), x)
    task.distance(torch.rand(1, 1, 9, 8, requires_grad=True), seen).backward()


def test_the_score_is_the_luma_without_four_pixels_at_each_edge():
    task, clean = Superres(), picture(40, 44)
    seen = observed(task, clean)
    spoiled = clean.copy()
    spoiled[:4], spoiled[-4:], spoiled[:, :4], spoiled[:, -4:] = 0, 0, 0, 0
    assert task.score(spoiled, clean, seen) == math.inf
    off = clean.copy()
    off[..., 2] += 0.1  # 24.966 / 255 of a step of blue
    assert task.score(off, clean, seen) == pytest.approx(-20 * math.log10(0.1 * 24.966 / 255), abs=1e-3)
    # BT.601: black is 16, white 235
    assert [luma(np.full((1, 1, c), v, np.float32)).item() * 255 for c in (1, 3) for v in (0, 1)] == pytest.approx(
        [16, 235, 16, 235]
    )


def test_a_picture_of_eight_pixels_is_scored_whole():
    task, clean = Superres(factor=2), picture(8, 8)
    assert math.isfinite(task.score(clean * 0.9, clean, observed(task, clean)))


def test_the_baseline_is_bicubic_and_of_the_pictures_size():
    task, clean = Superres(factor=4), picture(61, 50)
    seen = observed(task, clean)
    assert task.baseline(seen).shape == clean.shape
    assert task.score(task.baseline(seen), clean, seen) > 30
    assert np.allclose(bicubic(np.full((5, 6, 1), 0.3, np.float32), 3), 0.3)


def test_noise_comes_on_top_of_the_reduced_picture():
    seen = Superres().degrade(picture(32, 32), np.random.default_rng(0), lambda a: a + np.float32(0.25), {})
    assert np.allclose(seen.y - observed(Superres(), picture(32, 32)).y, 0.25)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_users_picture_becomes_exactly_that_many_times_larger(kind):
    y = picture(20, 17)
    top = 1 if kind is np.float32 else np.iinfo(kind).max
    small = (y * top).astype(kind)
    restored = esbench.restore(
        small, "superres[factor=3]", network="skip[channels=4,scales=1]", iterations=3, patience=1
    )
    assert restored.image.shape == (60, 51, 3)
    assert restored.image.dtype == kind
    assert restored.task == "superres[factor=3]"
    assert restored.sigma_estimate is None


def test_a_picture_that_becomes_large_is_cut_into_tiles_of_the_observation():
    pieces, factor = cut((300, 200), (1200, 800))
    assert factor == 4
    assert max(tile.window.size for tile in pieces) <= 128 * 128
    laid = np.zeros((1200, 800, 1))
    for tile in pieces:
        tile.times(factor).of(laid)[...] += tile.times(factor).window
    assert np.allclose(laid, 1)


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from(FACTORS),
    st.sampled_from(KERNELS),
    st.integers(4, 20),
    st.integers(4, 20),
    st.integers(0, 2**32 - 1),
)
def test_without_noise_the_final_picture_is_the_nearest_that_gives_the_observation(factor, kernel, h, w, seed):
    task, rng = Superres(factor=factor, kernel=kernel), np.random.default_rng(seed)
    clean, x = (0.5 + 0.02 * rng.standard_normal((2, h * factor, w * factor, 3))).astype(np.float32)
    y = task.forward(Pictures(clean[None]).tensor, Observation(np.zeros((h, w, 3), np.float32)))[0]
    seen = Observation(y.numpy().transpose(1, 2, 0), noise=NoiseModel("gaussian", 0.0))
    final = task.finish(x, seen)
    assert task.distance(Pictures(final[None]).tensor, seen) < 1e-5**2
    assert np.abs(task.finish(final, seen) - final).max() < 1e-5
    # the change is orthogonal to the change between any two pictures with this observation
    other = task.finish(clean, seen)
    assert abs(np.mean((final - x) * (final - other))) < 1e-6


def test_the_final_picture_takes_back_no_noise():
    task, rng = Superres(factor=4), np.random.default_rng(0)
    clean = picture(128, 128)
    seen = observed(task, clean)
    noisy = Observation(np.clip(seen.y + 0.1 * rng.standard_normal(seen.y.shape), 0, 1).astype(np.float32))
    assert np.mean((task.finish(clean, noisy) - clean) ** 2) < 0.02 * 0.1**2  # y and the estimate of its noise


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 1), (33, 5, 3)], ids=str)
def test_the_final_picture_of_a_tiny_observation_is_finite(shape):
    h, w, c = shape
    final = Superres(factor=2).finish(picture(2 * h, 2 * w, c), Observation(picture(h, w, c)))
    assert final.shape == (2 * h, 2 * w, c)
    assert np.isfinite(final).all()
    assert final.dtype == np.float32


def test_the_noise_of_a_reduced_picture_is_told_from_its_detail_by_its_colours():
    photograph = open_dataset("samples")[1].load("hopper").astype(np.float32) / 255
    seen = observed(Superres(factor=2), photograph).y
    assert least_sigma(seen) < estimate(seen).sigma
    noisy = np.clip(seen + 10 / 255 * np.random.default_rng(0).standard_normal(seen.shape), 0, 1).astype(np.float32)
    assert least_sigma(noisy) == pytest.approx(10, abs=0.5)
    assert least_sigma(seen[..., :1]) == estimate(seen[..., :1]).sigma


def test_noise_that_a_reduced_picture_has_after_all_stops_it():
    photograph = open_dataset("samples")[1].load("hopper").astype(np.float32) / 255
    seen = observed(Superres(factor=2), photograph).y
    noisy = np.clip(seen + 15 / 255 * np.random.default_rng(0).standard_normal(seen.shape), 0, 1).astype(np.float32)
    found = pytest.approx(15, abs=1)
    for y, sigma, estimate_, used in (
        (seen, None, None, 0),
        (noisy, None, found, found),
        (noisy[:28, :28], None, None, 0),  # too few pixels to tell noise from detail
        (noisy, 0, None, 0),  # told: nothing is looked for
        (noisy, 20, None, 20),
        (noisy[..., :1], None, None, 0),  # detail of a grey one looks like noise
    ):
        restoration = Restoration(y, Options(task="superres[factor=2]", sigma=sigma))
        assert (restoration.sigma_estimate, restoration.observation.noise.sigma) == (estimate_, used)
