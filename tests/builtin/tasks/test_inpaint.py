from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import esbench
from esbench import images
from esbench.builtin.criteria.discrepancy import resolve
from esbench.builtin.datasets.samples import Samples
from esbench.builtin.degradations.additive import gaussian
from esbench.builtin.tasks.inpaint import Inpaint, marked, nearest
from esbench.engine import build
from esbench.errors import UsageError
from esbench.observation import NoiseModel
from esbench.pictures import Pictures
from esbench.registry import registry
from esbench.restoration.options import Options
from esbench.restoration.whole import Restoration

TINY = {"network": "skip[channels=4,scales=1]", "device": "cpu", "iterations": 4, "patience": 1}


def picture(h: int = 40, w: int = 36, c: int = 3) -> np.ndarray:
    y, x = np.mgrid[:h, :w] / 8
    return np.stack([0.5 + 0.3 * np.sin(x + i) * np.cos(y) for i in range(c)], -1).astype(np.float32)


def degraded(task: Inpaint, clean: np.ndarray, seed: int = 0, **companions):
    return task.degrade(clean, np.random.default_rng(seed), lambda a: a, companions)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("per", ["pixel", "channel"])
def test_a_share_of_the_pixels_is_missing_and_what_is_known_is_the_picture(per, channels):
    clean = picture(c=channels)
    seen = degraded(Inpaint(missing=0.3, per=per), clean)
    assert seen.known.shape == (clean.shape if per == "channel" else clean.shape[:2])
    assert 0.25 < (~seen.known).mean() < 0.35
    assert (seen.y[seen.known] == clean[seen.known]).all()
    assert not seen.y[~seen.known].any()
    assert (degraded(Inpaint(missing=0.3, per=per), clean).known == seen.known).all()
    assert (degraded(Inpaint(missing=0.3, per=per), clean, seed=1).known != seen.known).any()


@pytest.mark.parametrize("per", ["pixel", "channel"])
def test_the_distance_and_its_gradient_look_at_known_pixels_alone(per):
    task, clean = Inpaint(per=per), picture()
    seen = degraded(task, clean)
    x = Pictures(clean[None]).tensor.clone()
    known = torch.from_numpy(seen.known if per == "channel" else np.repeat(seen.known[..., None], 3, 2))
    known = known.permute(2, 0, 1)[None]
    x[~known] = 0.7
    x.requires_grad_()
    assert task.distance(x, seen) == 0
    with torch.no_grad():
        x[known] += 0.1
    loss = task.distance(x, seen)
    assert loss.item() == pytest.approx(0.01, rel=1e-4)  # a mean over what is known
    loss.backward()
    assert bool((x.grad[known] > 0).all())
    assert not bool(x.grad[~known].any())


def test_the_score_is_the_psnr_of_missing_pixels():
    task, clean = Inpaint(), picture()
    seen = degraded(task, clean)
    x = clean.copy()
    x[seen.known] = 0
    assert task.score(x, clean, seen) == math.inf
    x = np.where(seen.known[..., None], clean, clean + np.float32(0.1))
    assert task.score(x, clean, seen) == pytest.approx(20, abs=1e-3)


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_nearest_is_the_nearest_by_brute_force(known):
    if not known.any():
        known[0, -1] = True
    row, column = nearest(known)
    assert known[row, column].all()
    y, x = np.mgrid[: known.shape[0], : known.shape[1]]
    ys, xs = np.nonzero(known)
    brute = ((y[..., None] - ys) ** 2 + (x[..., None] - xs) ** 2).min(2)
    assert ((row - y) ** 2 + (column - x) ** 2 == brute).all()


@pytest.mark.parametrize("per", ["pixel", "channel"])
def test_the_baseline_fills_every_hole_and_leaves_the_rest(per):
    task, clean = Inpaint(per=per), picture()
    seen = degraded(task, clean)
    found = task.baseline(seen)
    assert found.shape == clean.shape
    assert (found[seen.known] == clean[seen.known]).all()
    assert 20 < task.score(found, clean, seen) < 60


def test_a_mask_of_the_dataset_is_taken_or_asked_for():
    clean, mask = picture(), np.zeros((40, 36, 1), np.float32)
    mask[5:9, 3:20] = 1
    seen = degraded(Inpaint(mask="dataset"), clean, mask=mask)
    assert (seen.known == (mask[..., 0] == 0)).all()
    with pytest.raises(UsageError, match="needs a dataset with masks, such as set11"):
        degraded(Inpaint(mask="dataset"), clean)


# -- a user's picture


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(40, 36), (9, 11)], ids=str)
def test_known_pixels_come_out_as_they_went_in(kind, size):
    rng = np.random.default_rng(0)
    y = rng.integers(0, np.iinfo(kind).max, (*size, 3), dtype=kind)
    mask = rng.random(size) < 0.5
    restored = esbench.restore(y, "inpaint", mask=mask, **TINY).image
    assert (restored[~mask] == y[~mask]).all()
    assert (restored[mask] != 0).mean() > 0.9  # not the hole that was observed
    other = esbench.restore(y, "inpaint[keep=false]", mask=mask, **TINY).image
    assert (other[~mask] != y[~mask]).any()


def test_what_is_under_the_mask_does_not_matter():
    rng = np.random.default_rng(0)
    y, mask = rng.random((24, 24, 1)), rng.random((24, 24)) < 0.5
    y2 = np.where(mask[..., None], 0.9, y)
    first, second = (esbench.restore(each, "inpaint", mask=mask, **TINY).image for each in (y, y2))
    assert (first == second).all()


@pytest.mark.parametrize(
    "mask",
    [
        np.array([[0, 127, 128, 255]], np.uint8),
        np.array([[0, 0.4, 0.6, 1]]),
        np.array([[False, False, True, True]]),
        np.array([[0, 32767, 32768, 65535]], np.uint16),
        torch.tensor([[0, 0.4, 0.6, 1]]),
        np.repeat(np.array([[0, 127, 128, 255]], np.uint8)[..., None], 3, 2),
    ],
    ids=["uint8", "float", "bool", "uint16", "torch", "rgb"],
)
def test_above_half_is_missing(mask):
    assert marked(mask).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (None, "needs a mask: white, or above half, where pixels are missing; none was given"),
        (np.ones((20, 24)), "must have the size of the picture, 36 x 40, got 24 x 20"),
        (np.zeros((40, 36)), "must mark some pixels as missing, by values above half .*, and it marks no pixel"),
        (np.ones((40, 36)), "and it marks every pixel"),
    ],
)
def test_a_mask_that_does_not_fit_is_one_sentence(mask, message):
    with pytest.raises(UsageError, match=message) as error:
        esbench.restore(picture(), "inpaint", mask=mask, **TINY)
    assert str(error.value).count("\n") == 0


def hopper(grey: bool = False) -> np.ndarray:
    clean = images.unit(images.centre_crop(Samples().load("hopper"), 96))
    return clean.mean(2, keepdims=True) if grey else clean


def scratched(y: np.ndarray) -> np.ndarray:
    """Return a mask of lines across a picture."""
    missing = np.zeros(y.shape[:2], bool)
    missing[::24] = missing[:, ::24] = True
    return missing


@pytest.mark.parametrize("sigma", [8, 20])
@pytest.mark.parametrize("half", [True, False], ids=["half missing", "scratches"])
def test_the_noise_of_a_picture_is_found_between_its_holes(half, sigma):
    rng = np.random.default_rng(0)
    y = gaussian(hopper(), rng, sigma=sigma)
    task, missing = Inpaint(), rng.random(y.shape[:2]) < 0.5 if half else scratched(y)
    seen = task.observe(y, mask=missing)
    assert task.level(seen) == pytest.approx(sigma, rel=0.1)
    problem = build.problem("inpaint", task, seen)
    assert problem.noise_level == task.level(seen)
    found = resolve(problem, c=1, slope=0.3, variance="auto")["variance"]
    assert found == pytest.approx((np.mean((y - hopper()) ** 2)), rel=0.15)


CLEAN = {"colour": hopper(), "grey": hopper(grey=True), "grey in colour": hopper(grey=True).repeat(3, 2)}


@pytest.mark.parametrize("half", [True, False], ids=["half missing", "scratches"])
@pytest.mark.parametrize("y", CLEAN.values(), ids=CLEAN)
def test_detail_is_not_taken_for_noise(y, half):
    task, missing = Inpaint(), np.random.default_rng(0).random(y.shape[:2]) < 0.5 if half else scratched(y)
    seen = task.observe(y, mask=missing)
    assert task.level(seen) is None
    assert resolve(build.problem("inpaint", task, seen), c=1, slope=0.3, variance="auto")["variance"] < 1e-9


def test_noise_is_not_found_in_too_few_pixels():
    y = gaussian(hopper(), np.random.default_rng(0), sigma=20)[:20, :20]
    assert Inpaint().level(Inpaint().observe(y, mask=np.random.default_rng(0).random((20, 20)) < 0.5)) is None


def test_of_a_grey_picture_it_is_found_between_scratches_only():
    y = gaussian(hopper(grey=True), np.random.default_rng(0), sigma=20)
    task = Inpaint()
    assert task.level(task.observe(y, mask=scratched(y))) == pytest.approx(20, rel=0.15)
    assert task.level(task.observe(y.repeat(3, 2), mask=scratched(y))) == pytest.approx(20, rel=0.15)
    assert task.level(task.observe(y, mask=np.random.default_rng(0).random(y.shape[:2]) < 0.5)) is None


def test_found_noise_stops_it():
    y = gaussian(hopper(), np.random.default_rng(0), sigma=20)
    found = pytest.approx(20, rel=0.1)
    for seen, sigma, estimate_, used in ((hopper(), None, None, 0), (y, None, found, found), (y, 0, None, 0)):
        restoration = Restoration(seen, Options(task="inpaint", sigma=sigma), mask=scratched(y))
        assert (restoration.sigma_estimate, restoration.observation.noise.sigma) == (estimate_, used)
        assert restoration.options.stops_by == "discrepancy[variance=sigma]"


def test_a_loss_that_needs_the_level_is_refused_if_it_cannot_be_estimated():
    loss, rng = registry().get("loss", "sure"), np.random.default_rng(0)
    for per, refused in (("channel", True), ("pixel", False)):
        seen = degraded(Inpaint(per=per), gaussian(hopper(), rng, sigma=20))
        unknown = dataclasses.replace(seen, noise=NoiseModel("poisson", parameter="rate"))
        assert ("if so many pixels are missing: give it, as in --sigma" in build.levelless(loss, unknown)) == refused
