from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image

import esbench
from esbench import images
from esbench.builtin.tasks.jpeg import ROUNDING, Jpeg
from esbench.builtin.tasks.jpeg_file import read
from esbench.engine import build
from esbench.errors import UsageError
from esbench.metrics import psnr
from esbench.pictures import Pictures
from esbench.restoration import whole
from esbench.restoration.tiles import spans

TINY = {"network": "skip[channels=4,scales=1]", "device": "cpu", "iterations": 4, "patience": 1}


def picture(h: int = 48, w: int = 64, c: int = 3) -> np.ndarray:
    """Return a picture of 8 bits with edges, colours and saturated areas, (H, W, C) float32 in [0, 1]."""
    y, x = np.mgrid[:h, :w] / 6
    planes = [0.6 + 0.5 * np.sin(x + i) * np.cos(y) + 0.2 * (x + y > 7) for i in range(c)]
    noise = np.random.default_rng(0).normal(0, 0.03, (h, w, c))
    return (np.rint((np.stack(planes, -1) + noise).clip(0, 1) * 255) / 255).astype(np.float32)


def degraded(task: Jpeg, clean: np.ndarray):
    return task.degrade(clean, np.random.default_rng(0), lambda a: a, {})


def tensor(picture: np.ndarray) -> torch.Tensor:
    return Pictures(picture[None]).tensor.clone()


CASES = [
    (quality, subsampling, shape)
    for quality in (10, 60, 95)
    for subsampling in (420, 422, 444)
    for shape in ((48, 64, 3), (45, 61, 3), (45, 61, 1))
]


@pytest.mark.parametrize(("quality", "subsampling", "shape"), CASES)
def test_the_clean_picture_lies_in_the_intervals_but_for_the_rounding_of_the_encoder(quality, subsampling, shape):
    task, clean = Jpeg(quality=quality, subsampling=subsampling, fit="interval"), picture(*shape)
    seen = degraded(task, clean)
    assert seen.y.shape == shape
    assert ROUNDING <= task.distance(tensor(clean), seen) < 2 * ROUNDING
    assert task.distance(tensor(1 - clean), seen) > 100 * ROUNDING


@pytest.mark.parametrize(("quality", "subsampling", "shape"), CASES)
def test_a_finished_picture_is_compressed_to_the_same_file_as_nearly_as_rounding_allows(quality, subsampling, shape):
    task, clean = Jpeg(quality=quality, subsampling=subsampling), picture(*shape)
    seen = degraded(task, clean)
    output = (clean + np.random.default_rng(1).normal(0, 0.05, shape)).clip(0, 1).astype(np.float32)
    finished = task.finish(output, seen)
    again = degraded(task, np.rint(finished * 255).astype(np.float32) / 255)
    before = degraded(task, output)

    def same(other) -> float:
        both = zip(seen.extra["jpeg"].planes, other.extra["jpeg"].planes, strict=True)
        return float(np.mean(np.concatenate([(a.levels == b.levels).ravel() for a, b in both])))

    assert same(again) > (0.99 if quality < 90 else 0.93)
    assert same(again) > same(before)
    assert np.mean((finished - clean) ** 2) < np.mean((output - clean) ** 2)


def test_the_distance_is_that_to_the_projection():
    task, clean = Jpeg(subsampling=444, fit="interval"), picture(32, 32, 1)
    seen = degraded(task, clean)
    off = clean * 0.7 + 0.2  # away from 0 and 1, so that nothing is clipped
    coefficients = seen.extra["jpeg"].planes[0]
    k, n = np.mgrid[:8, :8]
    dct = np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k, 0.5, 0.5 / np.sqrt(2))
    blocks = (255 * off[..., 0] - 128).reshape(4, 8, 4, 8)
    c = np.einsum("ki,aibj,lj->akbl", dct, blocks, dct).reshape(32, 32)
    centre, half = coefficients.levels * coefficients.steps, coefficients.steps / 2
    outside = np.maximum(0, np.abs(c - centre) - half)
    expected = (outside**2).sum() / 255**2 / 32**2 + ROUNDING
    assert task.distance(tensor(off), seen).item() == pytest.approx(expected, rel=1e-4)


def test_the_gradient_is_that_of_the_distance():
    task = Jpeg(fit="interval")
    seen = degraded(task, picture(19, 21))
    x = torch.rand(1, 3, 19, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: task.distance(x, seen), x, fast_mode=True)


def test_pixels_is_the_mean_squared_error_to_the_decoded_file():
    task, clean = Jpeg(), picture()
    seen = degraded(task, clean)
    assert task.distance(tensor(clean), seen).item() == pytest.approx(np.mean((clean - seen.y) ** 2), rel=1e-4)


def test_the_score_is_the_mean_psnr_of_the_colours():
    task, clean = Jpeg(), picture() * np.float32(0.8)
    seen = degraded(task, clean)
    assert task.score(clean + np.float32(0.1), clean, seen) > 100  # luma alone
    blue = clean.copy()
    blue[..., 2] += 0.1
    cb, cr = (-20 * math.log10(0.1 * share) for share in (0.5, 0.081312))
    assert task.score(blue, clean, seen) == pytest.approx((cb + cr) / 2, abs=0.01)
    grey = picture(c=1)
    assert task.score(grey * np.float32(0.9), grey, seen) == pytest.approx(
        -10 * math.log10(np.mean((0.1 * grey) ** 2)), abs=0.01
    )


def test_the_baseline_is_the_file_as_pillow_decodes_it():
    task, clean = Jpeg(quality=30, subsampling=422), picture()
    file = io.BytesIO()
    Image.fromarray(np.rint(clean * 255).astype(np.uint8)).save(file, "JPEG", quality=30, subsampling="4:2:2")
    assert np.array_equal(np.rint(task.baseline(degraded(task, clean)) * 255), np.asarray(Image.open(file)))


# -- a user's file


def saved(path, shape=(45, 61, 3), orientation: int | None = None, **options):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    pixels = np.rint(picture(*shape) * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels).save(path, "JPEG", exif=exif, **options)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_is_restored_with_its_own_quantisation(tmp_path, channels, progressive):
    path = saved(tmp_path / "a.jpg", (45, 61, channels), quality=23, progressive=progressive)
    restored = esbench.restore(path, "jpeg", **TINY)
    assert restored.image.shape == (45, 61, channels)
    assert restored.image.dtype == np.uint8
    again = io.BytesIO()
    Image.fromarray(restored.image.squeeze()).save(again, "JPEG", quality=23)
    both = zip(read(path.read_bytes()).planes, read(again.getvalue()).planes, strict=True)
    assert all((a.levels == b.levels).mean() > 0.95 for a, b in both)


@pytest.mark.parametrize("quality", [5, 30, 90])
def test_a_restoration_that_ends_early_is_not_worse_than_the_file(tmp_path, quality):
    clean = picture(45, 61, 3)
    path = saved(tmp_path / "a.jpg", quality=quality)
    restored = esbench.restore(path, "jpeg", **TINY | {"iterations": 1})
    file = images.unit(images.read(path))
    assert psnr(images.unit(restored.image), clean) > psnr(file, clean) - 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_restored_as_it_is_stored_and_given_back_upright(tmp_path, orientation):
    path = saved(tmp_path / "a.jpg", orientation=orientation, quality=40)
    plain = saved(tmp_path / "b.jpg", quality=40)
    turned, stored = (esbench.restore(str(file), "jpeg", **TINY).image for file in (path, plain))
    expected = esbench.images.UPRIGHT.get(orientation, np.asarray)(stored)
    assert np.array_equal(turned, expected)


def test_a_large_file_is_cut_at_whole_blocks(tmp_path, monkeypatch):
    for name, value in (("WHOLE", 2000), ("SIDE", 64), ("OVERLAP", 8)):
        monkeypatch.setattr(whole, name, value)
    path = saved(tmp_path / "a.jpg", (100, 91, 3), quality=30)
    restored = esbench.restore(path, "jpeg", **TINY)
    assert len(restored.optimised) > 1
    assert all(top % 32 == left % 32 == 0 for top, left, _, _ in (each.tile for each in restored.optimised))
    assert restored.image.shape == (100, 91, 3)


@pytest.mark.parametrize("length", [65, 100, 512, 513, 1000, 1500])
def test_pieces_on_a_grid_cover_the_length_and_overlap(length):
    pieces = spans(length, 128, 20, 32)
    total = np.zeros(length)
    for piece in pieces:
        assert piece.start % 32 == 0
        total[piece.slice] += piece.window
    assert np.allclose(total, 1)
    for a, b in itertools.pairwise(pieces):
        assert a.start + len(a.window) - b.start >= 20


def test_a_picture_that_is_too_small_for_the_network_is_continued(tmp_path):
    path = saved(tmp_path / "a.jpg", (9, 11, 3), quality=30)
    restored = esbench.restore(path, "jpeg", **(TINY | {"network": "skip[channels=4]"}))
    assert restored.image.shape == (9, 11, 3)


def test_what_is_no_jpeg_file_is_one_sentence(tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="needs a JPEG file, got a file of another format"):
        esbench.restore(tmp_path / "a.png", "jpeg", **TINY)
    with pytest.raises(UsageError, match="needs the JPEG file itself"):
        esbench.restore(picture(), "jpeg", **TINY)


def test_nothing_can_be_held_out_of_intervals(tmp_path):
    path = saved(tmp_path / "a.jpg")
    with pytest.raises(UsageError, match="cannot hold out pixels, as its coefficients depend on all"):
        esbench.restore(path, "jpeg[fit=interval]", criterion="holdout", **TINY)
    assert esbench.restore(path, "jpeg", criterion="holdout", **TINY).criterion == "holdout"


def test_an_optimisation_comes_nearer_to_the_intervals():
    task = Jpeg(fit="interval")
    seen = degraded(task, picture(40, 40))
    settings = build.settings("jpeg[fit=interval]", "skip[channels=8,scales=2]", iterations=60)
    trajectory = build.trajectory(settings, task, seen, "cpu", network_seed=0, input_seed=1)
    losses = [block.losses[0] for block in trajectory]
    assert losses[-1] < losses[0] / 3
