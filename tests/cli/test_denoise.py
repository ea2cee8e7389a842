from __future__ import annotations

import io
import json
import os
import re
import signal
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from esbench import images
from esbench.cli.denoise import targets
from esbench.cli.order import Order
from esbench.errors import UsageError

TINY = ("--network", "skip[channels=4,scales=1]", "--iterations", "4", "--patience", "2", "--device", "cpu")
KEYS = ["input", "output", "criterion", "stop_step", "steps_run", "reason", "seconds", "sigma_estimate"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with noisy pictures in it, and something that is none."""
    rng = np.random.default_rng(0)
    noisy = rng.integers(60, 200, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(noisy).save(tmp_path / "a.png")
    Image.fromarray(noisy[..., 0]).save(tmp_path / "b.jpg")
    (tmp_path / "empty.png").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def interrupt(monkeypatch):
    """Give interrupt(steps): Ctrl-C is pressed after so many of them."""
    module = sys.modules["esbench.cli.order"]

    def interrupt(steps: int) -> None:
        class Interrupted(module.Restoration):
            def __iter__(self):
                for i, position in enumerate(super().__iter__()):
                    yield position
                    if i + 1 == steps:
                        raise KeyboardInterrupt

        monkeypatch.setattr(module, "Restoration", Interrupted)

    return interrupt


def files(place) -> set[str]:
    return {str(p.relative_to(place)) for p in place.rglob("*") if p.is_file()}


# -- what it gives


def test_json_is_one_row_a_picture_with_the_promised_keys_and_nothing_else(esbench, place):
    answer = esbench("denoise", "a.png", "b.jpg", "-o", "out", *TINY, "--json")
    assert answer.code == 0
    rows = json.loads(answer.out)
    assert [list(row) for row in rows] == [KEYS, KEYS]
    assert [row["input"] for row in rows] == ["a.png", "b.jpg"]
    assert [row["output"] for row in rows] == ["out/a.png", "out/b.jpg"]
    for row in rows:
        assert row["criterion"] == "discrepancy[variance=sigma]"
        assert 0 <= row["stop_step"] < row["steps_run"] == 4
        assert row["reason"].startswith("not stopped in 4 steps: ")
        assert row["seconds"] > 0
        assert 20 < row["sigma_estimate"] < 60
    assert images.read_photo("out/a.png").pixels.shape == (20, 24, 3)
    assert images.read_photo("out/b.jpg").pixels.shape == (20, 24, 1)


def test_the_answer_is_a_line_a_picture_on_stdout_and_progress_is_on_stderr(esbench, place):
    answer = esbench("denoise", "a.png", "-o", "out.png", *TINY)
    assert re.fullmatch(r"out\.png: not stopped in 4 steps: .*; noise of sigma \d+\.\d, \d+ s\n", answer.out)
    assert re.match(r"a\.png: 24 x 20, noise of sigma \d+\.\d\n", answer.err)
    assert esbench("denoise", "a.png", "-o", "again.png", *TINY, "-q").err == ""


def test_the_command_and_the_function_give_the_same(esbench, place):
    import esbench as package

    esbench("denoise", "a.png", "-o", "out.png", *TINY, "--seed", "3", "--sigma", "20", "-q")
    options = {"network": TINY[1], "iterations": 4, "patience": 2, "device": "cpu", "seed": 3, "sigma": 20}
    expected = package.denoise(images.read_photo("a.png").pixels, **options).image
    assert np.array_equal(images.read_photo("out.png").pixels, expected)


def test_the_parts_of_an_optimisation_are_chosen_by_both(esbench, place):
    import esbench as package

    y = np.random.default_rng(0).integers(60, 200, (36, 40, 3), dtype=np.uint8)
    Image.fromarray(y).save("c.png")
    of = {"loss": "poisson[gain=0.1]", "regulariser": "tv[weight=1e-3]", "input": "meshgrid"}
    numbers = {"input_scale": 0.5, "learning_rate": 0.02, "perturbation": 0.01}
    flags = [text for key, value in (of | numbers).items() for text in (f"--{key.replace('_', '-')}", str(value))]
    assert esbench("denoise", "c.png", "-o", "out.png", *TINY, *flags).code == 0
    options = {"network": TINY[1], "iterations": 4, "patience": 2, "device": "cpu"}
    expected = package.denoise(y, **options, **of, **numbers).image
    assert np.array_equal(images.read_photo("out.png").pixels, expected)
    for left_out in ("loss", "regulariser", "input", "learning_rate", "perturbation"):
        others = {key: value for key, value in (of | numbers).items() if key != left_out}
        assert not np.array_equal(package.denoise(y, **options, **others).image, expected), left_out


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_all_that_a_file_is_besides_its_pixels_is_kept(esbench, place, suffix):
    rng = np.random.default_rng(0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels, alpha = rng.integers(0, 65536, (20, 24, 3), np.uint16), rng.integers(0, 65536, (20, 24, 1), np.uint16)
    images.write_photo(f"in{suffix}", images.Photo(pixels, alpha, profile, {0x0110: b"Camera 1", 0x0112: 6}))
    assert esbench("denoise", f"in{suffix}", "-o", f"out{suffix}", *TINY).code == 0
    found = images.read_photo(f"out{suffix}")
    assert found.pixels.dtype == np.uint16
    assert found.pixels.shape == (24, 20, 3)
    assert np.unique(found.pixels % 257).size > 100  # no eight bits in between
    assert np.array_equal(found.alpha, np.rot90(alpha, -1))
    assert found.profile == profile
    assert found.exif == {0x0110: b"Camera 1"}


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_photo_looks_the_same_way_round(esbench, place, orientation):
    picture = Image.fromarray(np.repeat(np.arange(24, dtype=np.uint8)[None] * 10, 20, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save("in.jpg", exif=exif, quality=95)
    options = ("--network", "skip[channels=8,scales=1]", "--iterations", "25", "--device", "cpu")
    assert esbench("denoise", "in.jpg", "-o", "out.jpg", *options).code == 0
    was, now = (np.asarray(ImageOps.exif_transpose(Image.open(name)), float) for name in ("in.jpg", "out.jpg"))
    assert now.shape == was.shape
    assert np.corrcoef(now.ravel(), was.ravel())[0, 1] > 0.9


def test_a_palette_becomes_colours_and_sixteen_bits_eight_where_the_format_asks_for_it(esbench, place):
    palette = Image.open("a.png").convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    palette.save("p.png", transparency=0)
    assert esbench("denoise", "p.png", "-o", "p-out.png", *TINY).code == 0
    assert Image.open("p-out.png").mode == "RGBA"
    images.write_photo("deep.png", images.Photo(np.full((8, 8, 3), 30000, np.uint16)))
    answer = esbench("denoise", "deep.png", "-o", "out.jpg", *TINY)
    assert answer.code == 0
    assert "out.jpg: rounded to 8 bits, the most that this format holds" in answer.err
    assert images.read_photo("out.jpg").pixels.dtype == np.uint8


def test_a_rough_noise_level_is_reported_unless_the_level_is_given(esbench, place):
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (40, 40, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1)
    Image.fromarray(coarse).save("coarse.png")
    assert "coarse.png: the noise is not white" in esbench("denoise", "coarse.png", "-o", "1.png", *TINY).err
    for option in (("coarse.png", "--sigma", "20"), ("a.png",)):
        assert "not white" not in esbench("denoise", *option, "-o", f"{len(option)}-.png", *TINY).err


# -- many files, and some that cannot be


def test_what_cannot_be_read_is_reported_and_the_others_continue(esbench, place):
    (place / "folder.png").mkdir()
    answer = esbench("denoise", "empty.png", "none.png", "folder.png", "a.png", "-o", "out/", *TINY, "--json", "-q")
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "esbench: 'empty.png' is not a picture that can be read (by its content, not its name).",
        "esbench: There is no file 'none.png'.",
        "esbench: 'folder.png' is a folder: give the pictures in it.",
    ]
    *failed, done = json.loads(answer.out)
    for row in failed:
        assert list(row) == KEYS
        assert (row["output"], row["stop_step"], row["steps_run"]) == (None, None, 0)
    assert failed[1]["reason"] == "There is no file 'none.png'."
    assert done["output"] == "out/a.png"
    assert files(place) == {"a.png", "b.jpg", "empty.png", "out/a.png"}


def test_one_that_fails_on_the_way_is_reported_and_the_others_continue(esbench, place, monkeypatch):
    monkeypatch.setattr("esbench.engine.loop.FALL_DB", -100.0)  # every step is a fall
    options = ("--network", TINY[1], "--iterations", "50", "--device", "cpu", "-c", "wmv", "-q")
    answer = esbench("denoise", "a.png", "b.jpg", "-o", "out", *options)
    assert answer.code == 1
    assert [line.split(": The")[0] for line in answer.err.splitlines()] == ["esbench: a.png", "esbench: b.jpg"]
    assert "diverged 11 times" in answer.err


BAD = {
    "there already": (("a.png", "-o", "b.jpg"), 2, "'b.jpg' exists already: choose another name, or pass --force"),
    "report there already": (("a.png", "-o", "c.png", "--report", "b.jpg"), 2, "'b.jpg' exists already"),
    "in place": (("a.png", "-o", "a.png"), 2, "'a.png' exists already"),
    "in place, in its folder": (("a.png", "-o", "."), 2, "'a.png' exists already"),
    "several into a file": (("a.png", "b.jpg", "-o", "c.png"), 2, "2 pictures need a folder as --output, got the file"),
    "a folder that is a file": (("a.png", "-o", "b.jpg/"), 2, "An --output that ends in / is a folder, got the file"),
    "several into one name": (
        ("a.png", "./a.png", "-o", "out"),
        2,
        "Two pictures would both be written to 'out/a.png'",
    ),
    "no such format": (
        ("a.png", "-o", "c.gif"),
        2,
        "'c.gif' must end in one of .png, .jpg, .jpeg, .tif, .tiff, .webp",
    ),
    "no format": (("a.png", "-o", "c"), 2, "'c' must end in one of .png"),
    "transparency in a JPEG": (
        ("alpha.png", "-o", "c.jpg"),
        2,
        "JPEG holds no transparency: choose .png, .tif or",
    ),
    "folder of a folder that is not there": (
        ("a.png", "-o", "no/no/c.png"),
        3,
        "The folder 'no/no' does not exist and cannot",
    ),
    "folder that is a file": (
        ("a.png", "-o", "b.jpg/c.png"),
        3,
        "The folder 'b.jpg' does not exist and cannot be made",
    ),
    "report in the place of the result": (
        ("a.png", "-o", "c.png", "--report", "./c.png"),
        2,
        "The report would overwrite the picture 'c.png': choose another --report.",
    ),
    "report in the place of the picture": (
        ("a.png", "-o", "c.png", "--report", "a.png", "--force"),
        2,
        "The report would overwrite the picture 'a.png'",
    ),
    "report in the place of a link to the picture": (
        ("a.png", "-o", "c.png", "--report", "link.png", "--force"),
        2,
        "The report would overwrite the picture 'link.png'",
    ),
    "report in the place of the second of several": (
        ("a.png", "b.jpg", "-o", "out", "--report", "out/b.jpg"),
        2,
        "The report would overwrite the picture 'out/b.jpg'",
    ),
    "one in the place of another that is yet to be read": (
        ("sub/a.png", "link.png", "-o", ".", "--force"),
        2,
        "'sub/a.png' would overwrite the picture 'link.png': choose another --output.",
    ),
    "report that is a device": (
        ("a.png", "-o", "c.png", "--report", "null", "--force"),
        2,
        "'null' is not a regular file: choose another name.",
    ),
    "no pixels at all": (("a.png", "-o", "c.png", "--max-pixels", "0"), 2, "0 is not in the range x>=1"),
    "no such criterion": (("a.png", "-o", "c.png", "-c", "wmw"), 2, "No criterion 'wmw'. Did you mean 'wmv'?"),
    "no such network": (("a.png", "-o", "c.png", "--network", "vnet"), 2, "No network 'vnet'."),
    "no such loss": (("a.png", "-o", "c.png", "--loss", "mze"), 2, "No loss 'mze'. Did you mean 'mse'?"),
    "learning rate -1": (("a.png", "-o", "c.png", "--learning-rate", "-1"), 2, "learning_rate must be at least 0"),
    "a loss that needs a level, and too few pixels to estimate it": (
        ("a.png", "-o", "c.png", "--loss", "sure", "-q"),  # also if the network needs a larger, padded one
        2,
        "The loss 'sure' needs the noise level, which cannot be estimated from fewer than 32 x 32 pixels, got 24 x 20: "
        "give it, as in --sigma.",
    ),
    "a loss with a network whose input is not the observation": (
        ("a.png", "-o", "c.png", "--loss", "df-ste", "--network", "decoder", "--sigma", "25", "-q"),
        2,
        "The loss 'df-ste' needs the unchanged observation as the input of the network, and that of 'decoder' has",
    ),
    "no such device": (("a.png", "-o", "c.png", "--device", "gpu"), 2, "device must be auto, cpu, cuda or cuda:N"),
    "device not here": (("a.png", "-o", "c.png", "--device", "cuda:99"), 3, "Device 'cuda:99' is not available"),
    "sigma -1": (("a.png", "-o", "c.png", "--sigma", "-1"), 2, "sigma must be at least 0, got -1"),
    "no iterations": (("a.png", "-o", "c.png", "--iterations", "0"), 2, "iterations must be at least 1, got 0."),
    "no such quality": (
        ("a.png", "-o", "c.png", "--quality", "good"),
        2,
        "'good' is not one of 'draft', 'fast', 'best'.",
    ),
    "no output": (("a.png",), 2, "Missing option '-o' / '--output'."),
    "no picture": (("-o", "c.png"), 2, "Missing argument 'IN...'."),
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which not even root can write")
def test_a_folder_in_which_nothing_can_be_written_is_refused_before_any_work(esbench, place):
    answer = esbench("denoise", "a.png", "-o", "/proc/c.png", *TINY)
    assert answer.code == 3
    assert answer.err.startswith("esbench: The folder '/proc' is not writable (")
    assert answer.err.endswith("): choose another one.\n")


@pytest.mark.parametrize(("arguments", "code", "problem"), BAD.values(), ids=BAD)
def test_what_cannot_be_is_one_sentence_and_nothing_is_written(esbench, place, arguments, code, problem):
    Image.new("RGBA", (8, 8)).save("alpha.png")
    (place / "link.png").symlink_to("a.png")
    (place / "null").symlink_to("/dev/null")
    (place / "sub").mkdir()
    Image.new("RGB", (8, 8)).save("sub/a.png")
    before = {name: (place / name).read_bytes() for name in files(place)}
    answer = esbench("denoise", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("esbench: ")
    assert problem in answer.err
    assert answer.err.count("\n") == 1
    assert {name: (place / name).read_bytes() for name in files(place)} == before


def test_force_overwrites_even_the_picture_itself(esbench, place):
    before = (place / "a.png").read_bytes()
    assert esbench("denoise", "a.png", "-o", "a.png", *TINY, "--force").code == 0
    assert (place / "a.png").read_bytes() != before
    assert files(place) == {"a.png", "b.jpg", "empty.png"}


def test_a_picture_that_is_too_large_is_reported_and_the_others_continue(esbench, place):
    Image.new("RGB", (40, 20)).save("large.png")
    answer = esbench("denoise", "large.png", "a.png", "-o", "out", *TINY, "-q", "--max-pixels", "480")
    assert answer.code == 1
    assert answer.err.startswith("esbench: 'large.png' claims 40 x 20 pixels, more than max-pixels (480): increase it ")
    assert files(place) == {"a.png", "b.jpg", "empty.png", "large.png", "out/a.png"}
    assert esbench("measure", "-c", "loss", "large.png", "--max-pixels", "799").code == 3
    assert esbench("measure", "-c", "loss", "large.png", "--max-pixels", "800").code == 0


def test_damaged_pictures_of_all_kinds_do_not_cost_the_good_ones(esbench, place):
    for name, kind in (("t.tif", "TIFF"), ("j.jpg", "JPEG"), ("w.webp", "WEBP"), ("p.png", "PNG")):
        Image.open("a.png").save(name, kind)
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: len(content) // 2])
    picture = Image.open("a.png")
    picture.save("x.tif", save_all=True, append_images=[picture])
    pages = (place / "x.tif").read_bytes().rpartition(b"\0\1\4\0")  # where the entry of the width begins
    (place / "x.tif").write_bytes(pages[0] + b"\xff\0\4\0" + pages[2])  # the second page has none
    names = ["t.tif", "j.jpg", "w.webp", "p.png", "x.tif"]
    answer = esbench("denoise", *names, "a.png", "-o", "out", *TINY, "-q")
    assert answer.code == 1
    assert [line.split("'")[1] for line in answer.err.splitlines()] == names
    assert all(line.startswith("esbench: ") and line.endswith(".") for line in answer.err.splitlines())
    assert files(place) == {"a.png", "b.jpg", "empty.png", *names, "out/a.png"}


def test_of_a_batch_that_fails_no_empty_folder_is_left(esbench, place):
    assert esbench("denoise", "empty.png", "none.png", "-o", "out/", "--report", "why/why.html", *TINY).code == 3
    Image.new("RGBA", (8, 8)).save("alpha.png")
    (place / "alpha.png").rename("alpha.jpg")
    assert esbench("denoise", "alpha.jpg", "a.png", "-o", "out/", *TINY).code == 2  # JPEG has no transparency
    assert not (place / "out").exists()
    assert not (place / "why").exists()
    (place / "out").mkdir()  # the user's own folder is kept
    assert esbench("denoise", "empty.png", "-o", "out/", *TINY).code == 3
    assert (place / "out").is_dir()


def test_a_name_as_long_as_the_system_takes_can_be_written(esbench, place):
    name = "n" * 251 + ".png"
    assert esbench("denoise", "a.png", "-o", name, *TINY).code == 0
    assert name in files(place)


def test_a_disk_that_is_full_costs_one_picture(esbench, place, monkeypatch):
    written = images.write_photo

    def full(path, photo):
        if str(path).endswith("a.png"):
            raise OSError(28, "No space left on device")
        written(path, photo)

    monkeypatch.setattr("esbench.images.write_photo", full)
    answer = esbench("denoise", "a.png", "b.jpg", "-o", "out", *TINY, "-q")
    assert answer.code == 1
    assert answer.err == "esbench: 'out/a.png' cannot be written: No space left on device.\n"
    assert "out/b.jpg" in files(place)


@pytest.mark.parametrize(
    ("pictures", "output", "expected"),
    [
        (["x/a.png"], "b.tif", ["b.tif"]),
        (["x/a.png"], "new/", ["new/a.png"]),
        (["x/a.png"], ".", ["a.png"]),
        (["x/a.png", "y/b.JPG"], "new", ["new/a.png", "new/b.JPG"]),
        (["x/a", "b.scan"], "new", ["new/a.png", "new/b.png"]),
    ],
)
def test_one_picture_is_a_file_and_several_a_folder(place, pictures, output, expected):
    assert [str(path) for path in targets(pictures, output)] == expected


def test_names_that_meet_only_in_their_format_meet_too(place):
    with pytest.raises(UsageError, match=r"would both be written to 'new/a\.png'"):
        targets(["a.png", "a.scan"], "new")


# -- progress, and Ctrl-C


def test_lines_say_how_fast_it_is_and_how_long_at_most(esbench, place, monkeypatch):
    monkeypatch.setattr("esbench.cli.progress.LINE_EVERY", 0.0)
    monkeypatch.setattr("esbench.engine.session.PROGRESS_EVERY", 0.0)
    options = (*TINY[:2], "--iterations", "6", "--patience", "9", "--device", "cpu", "--quality", "best")
    answer = esbench("denoise", "a.png", "-o", "c.png", *options)
    lines = [line for line in answer.err.splitlines() if "steps/s" in line]
    for line in lines:
        assert re.fullmatch(
            r"a\.png, \d of 4: step \d/6, at most [\d.:]+ (s|min) left, \d+\.\d steps/s; discrepancy\[.*\] \d", line
        )
    assert {line.split(":")[0] for line in lines} == {f"a.png, {i} of 4" for i in range(1, 5)}


@pytest.fixture
def long(monkeypatch):
    """All work takes long."""
    monkeypatch.setattr("esbench.cli.promise.LONG", 0.0)
    monkeypatch.setattr("esbench.cli.promise.MANY", {"cpu": 0})


def test_long_work_is_announced_once_with_what_makes_it_less(esbench, place, long):
    answer = esbench("denoise", "a.png", "b.jpg", "-o", "out", *TINY)
    assert answer.err.count("This takes up to about ") == 1
    assert "To shorten it, use --minutes N, --quality draft, a GPU or a smaller picture. Ctrl-C writes" in answer.err
    draft = esbench("denoise", "a.png", "-o", "d.png", *TINY[:2], "--device", "cpu", "--quality", "draft").err
    assert "use --minutes N, fewer --iterations, a GPU or" in draft
    assert "This takes" not in esbench("denoise", "a.png", "-o", "c.png", *TINY, "-q").err
    assert "This takes" not in esbench("denoise", "a.png", "-o", "m.png", *TINY, "--minutes", "0.02").err


class Terminal(io.StringIO):
    """A terminal at which something is typed."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "option", "code"), [("n\n", (), 130), ("", (), 130), ("y\n", (), 0), ("n\n", ("--yes",), 0)]
)
def test_on_a_terminal_long_work_is_asked_for(esbench, place, monkeypatch, long, typed, option, code):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert esbench("denoise", "a.png", "-o", "c.png", *TINY, *option).code == code
    assert (place / "c.png").exists() == (code == 0)


def test_a_dry_run_tells_size_work_and_time_and_writes_nothing(esbench, place):
    before = files(place)
    answer = esbench("denoise", "a.png", "b.jpg", "-o", "out", *TINY, "--dry-run")
    assert answer.code == 0
    assert re.fullmatch(
        r"a\.png: 24 x 20, noise of sigma \d+\.\d; 1 optimisation of at most 24 x 20 and 4 steps in all: "
        r"up to about \d+ s\nb\.jpg: .*\n",
        answer.out,
    )
    row = json.loads(esbench("denoise", "a.png", "-o", "c.png", *TINY, "--dry-run", "--json").out)[0]
    assert (row["width"], row["height"], row["tile"], row["optimisations"], row["steps"]) == (24, 20, [24, 20], 1, 4)
    assert row["seconds"] >= 0
    assert files(place) == before
    assert not (place / "out").exists()


def test_almost_no_noise_is_reported_before_work_begins(esbench, place):
    rng = np.random.default_rng(0)
    nearly_clean = np.rint(120 + 0.8 * rng.standard_normal((40, 40, 3))).astype(np.uint8)
    Image.fromarray(nearly_clean).save("clean.png")
    said = esbench("denoise", "clean.png", "-o", "1.png", *TINY).err.splitlines()
    assert re.fullmatch(r"clean\.png: 40 x 40, noise of sigma \d\.\d: little to gain", said[0])
    assert "little to gain" not in esbench("denoise", "a.png", "-o", "2.png", *TINY).err


def test_impulses_are_said_and_filled_in(esbench, place):
    rng = np.random.default_rng(0)
    clean = np.full((40, 48, 3), 120, np.uint8)
    hit = rng.random(clean.shape) < 0.2
    Image.fromarray(np.where(hit, np.uint8(255) * rng.integers(0, 2, clean.shape, np.uint8), clean)).save("sp.png")
    answer = esbench("denoise", "sp.png", "-o", "1.png", "--iterations", "3", "--device", "cpu", "--report", "why.html")
    share = f"{hit.mean():.0%}"
    assert f"sp.png: {share} of the values are impulses, black or white, and are filled in\n" in answer.err
    assert f"; {share} impulses filled in, " in answer.out
    delivered = np.asarray(Image.open("1.png"))
    assert np.array_equal(delivered[~hit], clean[~hit])
    assert not np.isin(delivered[hit], (0, 255)).all()
    why = (place / "why.html").read_text("utf-8")
    assert f"The impulses, {share} of the values, are filled in; the other values are kept." in why


def test_a_restoration_that_was_killed_resumes(esbench, place, interrupt, monkeypatch):
    options = (*TINY[:2], "--iterations", "8", "--device", "cpu", "--quality", "best")
    esbench("denoise", "a.png", "-o", "whole.png", *options)
    monkeypatch.setattr("esbench.cli.promise.KEEP_EVERY", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr("esbench.cli.promise.Kept.remove", lambda kept: None)
        interrupt(13)
        esbench("denoise", "a.png", "-o", "out.png", *options)
    monkeypatch.undo()
    monkeypatch.chdir(place)
    (place / "out.png").write_bytes((place / "whole.png").read_bytes()[:-1])  # a preview, which is no obstacle
    left = [name for name in files(place) if name.startswith(".esbench.")]
    assert len(left) == 1
    other = esbench("denoise", "a.png", "-o", "out.png", *options, "--seed", "1")
    assert other.code == 2
    assert f"'{left[0]}' was left by an unfinished restoration and cannot be resumed: it is of another" in other.err
    again = esbench("denoise", "a.png", "-o", "out.png", *options)
    assert again.code == 0
    assert "a.png, 2 of 4: resumed at step 5" in again.err
    assert not (place / left[0]).exists()
    assert (place / "out.png").read_bytes() == (place / "whole.png").read_bytes()


def test_a_damaged_checkpoint_is_one_sentence_and_can_be_left_behind(esbench, place):
    from esbench.cli.promise import Kept

    kept = Kept(Order("a.png", place / "out.png", 10**6), None, None, False, print)
    kept.path.write_bytes(b"esbench state 1\n rubbish")
    answer = esbench("denoise", "a.png", "-o", "out.png", *TINY)
    assert answer.code == 2
    assert "cannot be resumed: it is damaged. Remove it," in answer.err
    assert esbench("denoise", "a.png", "-o", "out.png", *TINY, "--force").code == 0
    assert not kept.path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_delivers_what_there_is(esbench, place, monkeypatch, number):
    module = sys.modules["esbench.cli.order"]

    class Ended(module.Restoration):
        def __iter__(self):
            for i, block in enumerate(super().__iter__()):
                yield block
                if i == 2:
                    os.kill(os.getpid(), number)

    monkeypatch.setattr(module, "Restoration", Ended)
    ignored = signal.signal(number, signal.SIG_DFL)  # as SIGHUP is under nohup
    before = signal.getsignal(number)
    answer = esbench("denoise", "a.png", "-o", "out.png", *TINY[:2], "--device", "cpu")
    assert answer.code == 130
    assert images.read_photo("out.png").pixels.shape == (20, 24, 3)
    assert signal.getsignal(number) == before
    signal.signal(number, ignored)


def test_the_output_is_there_before_the_end_if_asked_for(esbench, place, interrupt, monkeypatch):
    monkeypatch.setattr("esbench.cli.promise.KEEP_EVERY", 0.0)
    monkeypatch.setattr("esbench.cli.order.Order.finish", lambda *_: None)
    interrupt(3)
    for option in ((), ("--keep-writing",)):
        esbench("denoise", "a.png", "-o", "out.png", *TINY[:2], "--device", "cpu", *option)
        assert (place / "out.png").exists() == bool(option)
        (place / next(name for name in files(place) if name.startswith(".esbench."))).unlink()


def test_a_bar_is_for_terminals_and_names_are_shown_as_they_are(esbench, place, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    (place / "a.png").rename("[bold]x.png")
    answer = esbench("denoise", "[bold]x.png", "-o", "c.png", *TINY)
    assert answer.code == 0
    assert "[bold]x.png: 24 x 20" in answer.err


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_interrupted_it_writes_the_best_so_far_and_says_so(esbench, place, interrupt, option):
    interrupt(3)
    answer = esbench("denoise", "a.png", "b.jpg", "-o", "out", *TINY[:2], "--device", "cpu", *option)
    assert answer.code == 130
    assert answer.err.endswith("esbench: interrupted: out/a.png is the best so far; 1 not started\n")
    assert "interrupted: not stopped in 3 steps: discrepancy[variance=sigma] was lowest at step" in answer.out
    if option:
        assert [row["steps_run"] for row in json.loads(answer.out)] == [3]
    assert "out/a.png" in files(place)
    assert "out/b.jpg" not in files(place)


# -- the report


def test_the_report_is_one_page_with_the_curve_the_pictures_and_the_settings(esbench, place):
    (place / "a.png").rename("<b>&.png")
    arguments = ("denoise", "<b>&.png", "b.jpg", "-o", "out", *TINY, "-c", "fixed[step=1]", "--report", "why.html")
    assert esbench(*arguments).code == 0
    page = (place / "why.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 2
    assert page.count("data:image/png;base64,") == 6
    assert page.count("<polyline") == 2
    assert "&lt;b&gt;&amp;.png" in page
    assert "<b>&.png" not in page
    for part in ("Stopped: fixed[step=1] was lowest at step 1", "24 x 20, colour", "24 x 20, grey", "sigma "):
        assert part in page
    assert not re.search(r"(src|href)=\"(?!data:)|https?://|@import|url\(", page)


def test_a_report_that_is_there_as_a_link_is_replaced_and_not_followed(esbench, place):
    (place / "precious.txt").write_text("precious")
    (place / "why.html").symlink_to("precious.txt")
    assert esbench("denoise", "a.png", "-o", "c.png", *TINY, "--report", "why.html").code == 2
    assert esbench("denoise", "a.png", "-o", "c.png", *TINY, "--report", "why.html", "--force").code == 0
    assert (place / "precious.txt").read_text() == "precious"
    assert not (place / "why.html").is_symlink()
    assert "<section>" in (place / "why.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_costs_neither_the_picture_nor_its_row(esbench, place, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("esbench.disk.write", full)
    answer = esbench("denoise", "a.png", "-o", "c.png", *TINY, "--report", "why.html", "--json", "-q")
    assert answer.code == 1
    assert answer.err == "esbench: 'why.html' cannot be written: No space left on device.\n"
    assert [row["output"] for row in json.loads(answer.out)] == ["c.png"]
    assert "c.png" in files(place)


def test_there_is_no_report_of_nothing(esbench, place):
    assert esbench("denoise", "empty.png", "-o", "c.png", *TINY, "--report", "why.html").code == 3
    assert files(place) == {"a.png", "b.jpg", "empty.png"}


def test_a_picture_without_noise_is_written_as_it_is_and_its_page_says_so(esbench, place):
    Image.fromarray(np.full((20, 24), 255, np.uint8)).save("blank.png")
    assert esbench("denoise", "blank.png", "-o", "out.png", "--sigma", "0", "--dry-run").out.endswith("nothing to do\n")
    answer = esbench("denoise", "blank.png", "-o", "out.png", "--sigma", "0", "--report", "why.html")
    assert "no noise was found: the picture is unchanged; noise of sigma 0, as given, " in answer.out
    assert "tiles" not in answer.out
    assert np.array_equal(images.read("out.png"), images.read("blank.png"))
    page = (place / "why.html").read_text(encoding="utf-8")
    assert "blank.png: unchanged" in page
    assert "No noise was found: the picture is unchanged." in page
