from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from esbench import images
from esbench.builtin.tasks.jpeg_file import read
from esbench.cli.restore import enlarged, without_keeping
from esbench.errors import UsageError

TINY = ("--network", "skip[channels=4,scales=1]", "--iterations", "4", "--patience", "2", "--device", "cpu")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a picture, its mask, its guide, a transparent copy and a JPEG."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:20, :24] / 6
    pixels = (127 + 60 * np.stack([np.sin(x + i) * np.cos(y) for i in range(3)], -1)).astype(np.uint8)
    missing = (rng.random((20, 24)) < 0.4).astype(np.uint8) * 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(missing).save(tmp_path / "mask.png")
    Image.fromarray(pixels // 2).save(tmp_path / "guide.png")
    Image.fromarray(np.dstack([pixels, 255 - missing])).save(tmp_path / "holes.png")
    Image.fromarray(pixels).save(tmp_path / "j.jpg", quality=30)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels_of(name: str) -> np.ndarray:
    return images.read_photo(name).pixels


def test_a_picture_is_enlarged_and_its_transparency_with_it(esbench, place):
    answer = esbench("restore", "--task", "superres[factor=3]", "holes.png", "-o", "out.png", *TINY, "--json")
    assert answer.code == 0, answer.err
    (row,) = json.loads(answer.out)
    assert list(row) == [
        *("input", "output", "criterion", "stop_step", "steps_run", "reason", "seconds", "sigma_estimate", "task")
    ]
    assert (row["task"], row["sigma_estimate"]) == ("superres[factor=3]", None)
    found = images.read_photo("out.png")
    assert (found.pixels.shape, found.alpha.shape) == ((60, 72, 3), (60, 72, 1))


@pytest.mark.parametrize("marks", ["missing", "known"])
def test_known_pixels_come_out_as_they_went_in(esbench, place, marks, monkeypatch):
    monkeypatch.setattr("esbench.cli.denoise.MOST", 0.5)
    mask = images.read("mask.png")[..., 0] > 127
    Image.fromarray(images.read("mask.png")[..., 0] if marks == "missing" else 255 * (~mask).astype(np.uint8)).save(
        "m.png"
    )
    command = ("restore", "--task", "inpaint", "--mask", "m.png", "--mask-marks", marks, "a.png", *TINY)
    assert "use --mask-marks known" not in esbench(*command, "-o", "out.png").err
    assert np.array_equal(pixels_of("out.png")[~mask], pixels_of("a.png")[~mask])
    assert not np.array_equal(pixels_of("out.png")[mask], pixels_of("a.png")[mask])
    other = (*command[:5], "--mask-marks", "known" if marks == "missing" else "missing", "a.png", *TINY)
    said = esbench(*other, "-o", "other.png").err
    assert "% is missing; if the mask is white where it is known, use --mask-marks known" in said
    assert esbench(*command, "--denoise-known", "-o", "all.png").code == 0
    assert not np.array_equal(pixels_of("all.png")[~mask], pixels_of("a.png")[~mask])


def test_transparent_pixels_are_the_missing_ones_and_are_filled(esbench, place):
    assert esbench("restore", "--task", "inpaint", "holes.png", "-o", "out.jpg", *TINY).code == 0
    assert esbench("restore", "--task", "inpaint", "holes.png", "-o", "out.png", *TINY).code == 0
    known = images.read("mask.png")[..., 0] < 127
    found = images.read_photo("out.png")
    assert found.alpha is None
    assert np.array_equal(found.pixels[known], pixels_of("a.png")[known])


def test_sixteen_bits_stay_sixteen(esbench, place):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 24, 3), np.uint16)
    images.write_photo("deep.png", images.Photo(deep))
    assert esbench("restore", "--task", "inpaint", "--mask", "mask.png", "deep.png", "-o", "out.png", *TINY).code == 0
    known = images.read("mask.png")[..., 0] < 127
    assert np.array_equal(pixels_of("out.png")[known], deep[known])


def test_a_pair_is_restored(esbench, place):
    assert esbench("restore", "--task", "flash", "--guide", "guide.png", "a.png", "-o", "out.png", *TINY).code == 0
    assert pixels_of("out.png").shape == (20, 24, 3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_restored_by_its_own_quantisation_and_upright(esbench, place, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open("a.png").save("turned.jpg", quality=30, exif=exif)
    assert esbench("restore", "--task", "jpeg", "turned.jpg", "-o", "out.png", *TINY).code == 0
    upright = pixels_of("out.png")
    assert upright.shape == ((20, 24, 3) if orientation == 1 else (24, 20, 3))
    again = io.BytesIO()
    stored = upright if orientation == 1 else np.rot90(upright)
    Image.fromarray(np.ascontiguousarray(stored)).save(again, "JPEG", quality=30)
    both = zip(read((place / "turned.jpg").read_bytes()).planes, read(again.getvalue()).planes, strict=True)
    assert all((a.levels == b.levels).mean() > 0.97 for a, b in both)


def test_a_folder_stands_for_its_pictures_with_masks_of_their_names(esbench, place):
    for folder in ("in", "masks"):
        (place / folder).mkdir()
    for name in "xy":
        Image.open("a.png").save(f"in/{name}.png")
        Image.open("mask.png").save(f"masks/{name}.png")
    answer = esbench("restore", "--task", "inpaint", "in", "--mask", "masks", "-o", "out/", *TINY, "--json")
    assert [row["output"] for row in json.loads(answer.out)] == ["out/x.png", "out/y.png"]
    (place / "masks" / "y.png").unlink()
    answer = esbench("restore", "--task", "inpaint", "in", "--mask", "masks", "-o", "other/", *TINY)
    assert "contains no mask named 'y'" in answer.err


def test_the_report_tells_the_task_and_shows_pictures_of_one_size(esbench, place):
    command = ("restore", "--task", "superres[factor=2]", "a.png", "-o", "out.png", "--report", "r.html", *TINY)
    assert esbench(*command).code == 0
    text = (place / "r.html").read_text().replace("<wbr>", "")
    assert "superres[factor=2]" in text
    assert "48 x 40" in text


def test_denoising_is_the_same_as_by_its_short_form(esbench, place):
    assert esbench("restore", "--task", "denoise", "a.png", "-o", "long.png", *TINY).code == 0
    assert esbench("denoise", "a.png", "-o", "short.png", *TINY).code == 0
    assert (place / "long.png").read_bytes() == (place / "short.png").read_bytes()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("inpaint", "a.png", "--mask", "guide20.png"), "mask must have the size of the picture, 24 x 20, got 10 x 9"),
        (("flash", "a.png", "--guide", "guide20.png"), "guide must have the size of the picture, 24 x 20, got 10 x 9"),
        (("jpeg", "a.png"), "needs a JPEG file, got a file of another format"),
        (("inpaint", "a.png", "--mask", "black.png"), "and it marks no pixel"),
        (("inpaint", "a.png", "--mask", "black.png", "--mask-marks", "known"), "and it marks every pixel"),
        (("inpaint", "a.png"), "needs a mask"),
        (("flash", "a.png"), "needs a guide"),
        (("superres", "a.png", "--mask", "mask.png"), "'superres' takes no mask"),
        (("jpeg", "j.jpg", "--denoise-known"), "--denoise-known needs --task inpaint"),
        (("superres[factor=5]", "a.png"), "factor must be 2 or 3 or 4 or 8"),
    ],
)
def test_what_does_not_fit_is_one_sentence_before_any_work(esbench, place, command, message):
    Image.fromarray(np.zeros((9, 10, 3), np.uint8)).save("guide20.png")
    Image.fromarray(np.zeros((20, 24), np.uint8)).save("black.png")
    answer = esbench("restore", "--task", *command, "-o", "out.png", *TINY)
    assert answer.code == 2
    assert message in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not (place / "out.png").exists()


def test_not_keeping_is_a_parameter_of_inpainting():
    assert without_keeping("inpaint") == "inpaint[keep=false]"
    assert without_keeping("inpaint[keep=true,holdout=0.1]") == "inpaint[keep=false,holdout=0.1]"
    with pytest.raises(UsageError):
        without_keeping("denoise")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_transparency_is_enlarged_in_its_own_kind(kind):
    top = np.iinfo(kind).max
    alpha = np.array([[[0], [top]], [[0], [top]]], kind)
    found = enlarged(alpha, 8, 8)
    assert found.dtype == kind
    assert found.shape == (8, 8, 1)
    assert (found[:, 0] == 0).all()
    assert (found[:, -1] == top).all()
