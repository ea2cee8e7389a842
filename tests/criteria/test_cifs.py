from __future__ import annotations

import dataclasses
import io
import math
import zlib

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from esbench.builtin.criteria import cifs
from esbench.builtin.criteria.cifs import Cifs
from esbench.errors import LoadError, ParamError, PluginError, UsageError
from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.pictures import Picture, Pictures
from esbench.plugins import PluginHost
from esbench.records import CodecInfo, CriterionInfo
from esbench.registry import Record, Registry, parameters
from esbench.stopping.criterion import Criterion


@pytest.fixture(scope="module")
def built_in() -> Registry:
    return Registry(PluginHost({"ESBENCH_PLUGINS": "none"}))


def photo(height=48, width=64, channels=3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = [128 + 100 * np.sin(x / (9 + 2 * c)) * np.cos(y / (7 + c)) for c in range(channels)]
    return np.stack(planes, -1).round().astype(np.uint8)


def frame(image: np.ndarray, loss: float | None = None, problem: Problem | None = None) -> Frame:
    return Frame(Pictures(image[None]), loss=loss, problem=problem)


def problem(height: int, width: int, sigma: float | None = 25.0) -> Problem:
    return Problem(Picture(Pictures(np.zeros((1, height, width, 3), np.float32))), sigma=sigma)


def raw(image) -> bytes:
    return image.tobytes()


def of(target, **info) -> Cifs:
    return Cifs(CodecInfo(name="foo", summary="x", target=target, **info))


# -- Eq. (2) and (3)


@pytest.mark.parametrize("lam", [1.0, 2e6, 0.25])
@pytest.mark.parametrize("channels", [1, 3])
def test_cifs_is_equations_2_and_3_word_by_word(built_in, lam, channels):
    image, loss = photo(40, 24, channels), 0.0123
    length = len(cv2.imencode(".jpg", image[..., ::-1])[1])  # L_t: bytes of the JPEG, as cv2 writes it without options
    e = lam * loss + length**2 / (40 * 24)  # E = lam * loss + R(L), R(L) = L^2 / (H W)
    value = Criterion(built_in.get("criterion", f"cifs-jpeg[lam={lam}]"), Problem()).update(frame(image, loss))
    assert value.value == pytest.approx(e, rel=1e-14)
    assert value.parts == {"bytes": length}


def test_the_size_is_that_of_pillow_at_quality_95_too(built_in):
    stream = io.BytesIO()
    Image.fromarray(photo()).save(stream, "jpeg", quality=95)
    value = Criterion(built_in.get("criterion", "cifs-jpeg[lam=0]"), Problem()).update(frame(photo()))
    assert value.parts == {"bytes": len(stream.getvalue())}


def test_the_size_is_a_length_that_stays(built_in):
    # "a flat 512 x 512 colour image is 4,723 bytes": measured elsewhere, OpenCV 5.0 and Pillow 13.0
    value = built_in.get("criterion", "cifs-jpeg").target(frame(np.zeros((512, 512, 3), np.uint8)), lam=0)
    assert value == Value(4723**2 / 512**2, {"bytes": 4723.0})


def test_an_output_is_rounded_to_bytes_before_it_is_measured():
    tensor = torch.from_numpy(photo()).movedim(-1, 0)[None] / 255
    nearly = tensor + 0.4 / 255
    seen = []
    of(lambda image: seen.append(image) or b"x")(Frame(Pictures(nearly)), lam=0)
    assert np.array_equal(seen[0], photo())


def test_parameters_of_the_codec_are_parameters_of_the_criterion(built_in):
    component = built_in.get("criterion", "cifs-jpeg[quality=50,lam=0]")
    assert component.text == "cifs-jpeg[lam=0,quality=50]"
    length = len(cv2.imencode(".jpg", photo()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1])
    assert Criterion(component, Problem()).update(frame(photo())).parts == {"bytes": length}


def test_every_codec_has_its_cifs(built_in):
    for codec in built_in.records["codec"]:
        component = built_in.get("criterion", f"cifs-{codec.info.name}[lam=1000]")
        own = parameters(codec)
        assert {name: p for name, p in parameters(component.record).items() if name in own} == own
        data = built_in.get("codec", codec.info.name)
        length = len(data.target(photo(), **data.values))
        value = Criterion(component, Problem()).update(frame(photo(), 0.5))
        assert (value.value, value.parts) == (500 + length**2 / (48 * 64), {"bytes": length})


# -- without a loss


def test_without_a_loss_there_is_no_value_but_the_size(built_in):
    value = Criterion(built_in.get("criterion", "cifs-jpeg[lam=5]"), Problem()).update(frame(photo()))
    assert value.value is None
    assert value.reason == "needs the loss of an optimisation; with lam=0 it is the size alone"
    assert value.parts["bytes"] > 600


def test_with_lam_0_there_is_a_value_without_a_loss(built_in):
    value = Criterion(built_in.get("criterion", "cifs-jpeg[lam=0]"), Problem()).update(frame(photo()))
    assert value.value == value.parts["bytes"] ** 2 / (48 * 64)


def test_auto_of_a_single_picture_has_no_value_but_the_size(built_in):
    value = Criterion(built_in.get("criterion", "cifs-jpeg"), Problem()).update(frame(photo()))
    assert value.value is None
    assert value.parts["bytes"] > 600


def test_a_loss_that_is_not_finite_gives_no_value(built_in):
    value = Criterion(built_in.get("criterion", "cifs-jpeg[lam=5]"), Problem()).update(frame(photo(), math.nan))
    assert (value.value, value.reason) == (None, "it gave nan")


# -- lam=auto


ROWS = {"foo": {"10": 400.0, "20": 100.0, "50": 25.0}, "foo[level=3]": {"25": 7.0}}


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(cifs, "table", lambda: {"origin": "made here", "mu": ROWS, "texture": {}, "grey": {}})


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [
        (10, 400.0),
        (20, 100.0),
        (50, 25.0),
        (200**0.5, 200.0),  # half way: the geometric mean of both
        (1000**0.5, 50.0),
        (12.5, 400 * 1.25**-2),
        (5, 1600.0),  # beyond: on the same line
        (2.5, 6400.0),
        (100, 25 * 2 ** (math.log(0.25) / math.log(2.5))),
        (0, 400 * 1200),  # that of rounding, 1 / sqrt(12)
    ],
)
def test_the_logarithm_of_mu_is_linear_in_that_of_sigma_between_the_levels_and_beyond_them(rows, sigma, expected):
    assert cifs.mu("foo", "foo", sigma) == pytest.approx(expected, rel=1e-9)


def test_one_level_alone_is_that_of_all(rows):
    assert {cifs.mu("foo", "foo[level=3]", sigma) for sigma in (0, 5, 25, 100)} == {7.0}


def test_auto_is_mu_times_the_number_of_pixels(rows):
    resolved = of(raw).resolve(problem(40, 30, sigma=20), lam="auto")
    assert resolved == {"lam": pytest.approx(100.0 * 40 * 30)}


def test_auto_takes_the_row_of_the_parameters_of_the_codec(rows):
    def encode(image, *, level: int = 6) -> bytes: ...

    assert of(encode).resolve(problem(10, 10), lam="auto", level=3) == {"lam": pytest.approx(700), "level": 3}
    assert of(encode).resolve(problem(10, 10, 20), lam="auto", level=6) == {"lam": pytest.approx(1e4), "level": 6}


def test_auto_estimates_the_noise_level_where_it_is_not_known(rows):
    noisy = (0.5 + np.random.default_rng(0).normal(0, 20 / 255, (64, 64, 3))).astype(np.float32)
    known = Problem(Picture(Pictures(noisy[None])))
    lam = of(raw).resolve(known, lam="auto")["lam"]
    assert lam == pytest.approx(cifs.mu("foo", "foo", known.noise_level) * 64 * 64)
    assert lam == pytest.approx(100 * 64 * 64, rel=0.15)


def test_a_number_is_taken_literally(rows):
    assert of(raw).resolve(problem(40, 30), lam=2e6) == {"lam": 2e6}


def test_with_auto_the_order_of_two_outputs_does_not_depend_on_the_size_of_the_picture(rows):
    # raw bytes grow exactly as the pixels do, so that E of a picture tiled 2 x 2 must be four times E
    cifs_raw, small = of(raw), photo(16, 20)
    large = np.tile(small, (2, 2, 1))
    values = []
    for image in (small, large):
        lam = cifs_raw.resolve(problem(*image.shape[:2], sigma=20), lam="auto")["lam"]
        values.append(cifs_raw(frame(image, 0.01), lam=lam).value)
    assert values[1] == pytest.approx(4 * values[0], rel=1e-12)


@pytest.fixture
def textures(monkeypatch):
    """Rows by texture: with sigma 20 it takes 0.05 bytes per pixel, with 50 0.06; half the mu if a picture is grey."""
    table = {
        "mu": ROWS,
        "texture": {"foo": {"20": 0.05, "50": 0.06}},
        "grey": {"foo": {"texture": 0.8, "mu": 0.5}},
        "power": 1.5,
    }
    monkeypatch.setattr(cifs, "table", lambda: table)


def changes(image, *, level: int = 6) -> int:
    """A codec that takes 100 bytes, and one for each pixel whose first channel differs from its left neighbour's."""
    return 100 + int(np.count_nonzero(np.diff(image[..., 0], axis=1)))


def bars(n: int, channels: int = 3, height: int = 40, width: int = 1000) -> Problem:
    """Return a problem with a picture of which `changes` takes n bytes per row: bars in the first channel."""
    row = 0.2 + 0.5 * (np.minimum(np.arange(width) // 8, n) % 2)
    row[4::8] += 0.2  # what the median of 5 x 5 removes
    picture = np.zeros((height, width, channels), np.float32)
    picture[..., 0] = row
    return Problem(Picture(Pictures(picture[None])), sigma=20.0)


@pytest.mark.parametrize(("n", "times"), [(50, 1), (40, 1.25**1.5), (60, 1.2**-1.5), (10, 2), (120, 0.5)])
def test_auto_falls_with_the_bytes_of_texture_within_a_factor_of_two(textures, n, times):
    assert of(changes).resolve(bars(n), lam="auto", level=6)["lam"] == pytest.approx(100 * 40 * 1000 * times)


def test_auto_without_a_row_for_textures_or_with_missing_pixels_is_by_noise_level_alone(textures):
    assert of(changes).resolve(bars(40), lam="auto", level=3)["lam"] == pytest.approx(7 * 40 * 1000)
    known = dataclasses.replace(bars(40), known=np.ones((40, 1000), bool))
    assert of(changes).resolve(known, lam="auto", level=6)["lam"] == pytest.approx(100 * 40 * 1000)


def test_auto_is_another_for_a_grey_picture_of_one_channel_or_of_equal_ones(textures):
    one = bars(40, 1)
    three = Problem(Picture(Pictures(one.noisy.float.repeat(3, -1)[None])), sigma=20.0)
    for grey in (one, three):
        assert of(changes).resolve(grey, lam="auto", level=6)["lam"] == pytest.approx(0.5 * 100 * 40 * 1000)


@given(st.integers(1, 3), st.integers(1, 3))
def test_auto_is_proportional_to_the_pixels_of_the_same_texture(built_in, down, across):
    noisy = np.random.default_rng(0).normal(0.5, 0.1, (128, 128, 3)).clip(0, 1).astype(np.float32)

    def lam(picture) -> float:
        known = Problem(Picture(Pictures(picture[None])), sigma=25.0)
        return built_in.get("criterion", "cifs-jpeg").target.resolve(known, lam="auto")["lam"]

    assert lam(np.tile(noisy, (down, across, 1))) == pytest.approx(down * across * lam(noisy), rel=0.02)


def test_a_codec_that_was_not_calibrated_asks_for_lam_and_names_the_command(rows):
    with pytest.raises(ParamError) as error:
        cifs.mu("foo", "foo[level=9]", 25)
    assert error.value.exit_code == 2
    assert str(error.value) == (
        "cifs-foo has no calibrated lam for 'foo[level=9]': give a number as lam=..., or find one with "
        "'esbench calibrate -c cifs-foo[level=9]'."
    )


def test_the_table_that_ships_has_an_origin_and_rows_that_name_a_codec_and_levels(built_in):
    shipped = cifs.table()
    assert shipped["origin"]
    assert "jpeg" in shipped["mu"]
    for text, levels in shipped["mu"].items():
        assert built_in.get("codec", text).text == text
        assert levels
        assert all(0 <= float(sigma) <= 255 and mu > 0 for sigma, mu in levels.items())


# -- codecs of all sorts


@pytest.mark.parametrize("size", [1234, np.int64(1234), np.uint32(1234), bytes(1234), bytearray(1234)])
def test_a_codec_may_return_bytes_or_the_size_alone(size):
    assert of(lambda image: size)(frame(photo(10, 10)), lam=0) == Value(1234**2 / 100, {"bytes": 1234.0})


@pytest.mark.parametrize("encoded", [None, "1234", [b"1234"], 1234.0])
def test_a_codec_that_returns_something_else_is_refused(encoded):
    with pytest.raises(TypeError, match=f"the codec must return bytes or their number, got a {type(encoded).__name__}"):
        of(lambda image: encoded)(frame(photo(10, 10)), lam=0)


def test_a_codec_given_by_its_place_is_imported_when_it_is_used():
    made = of("zlib:compress")
    assert made.codec.target == "zlib:compress"
    assert made._encode is zlib.compress


@pytest.mark.parametrize("target", ["nobody_has_this:encode", "zlib:no_such_function"])
def test_a_codec_that_cannot_be_imported_is_a_load_error_that_names_it(target):
    info = CriterionInfo(name="cifs-foo", summary="x", target=of(target))
    with pytest.raises(LoadError, match=r"^Codec 'foo' could not be loaded: (ModuleNotFound|Attribute)Error: "):
        parameters(Record("criterion", info, "esbench-foo", "1.0"))


def test_a_codec_of_a_plugin_that_fails_is_an_error_of_the_plugin(install, monkeypatch):
    install("good_codec")
    component = Registry(PluginHost({})).get("criterion", "cifs-deflate[lam=0]")

    def fails(image, *, level):
        raise MemoryError("no room")

    monkeypatch.setattr(component.target, "_encode", fails)
    with pytest.raises(
        PluginError, match=r"^Criterion 'cifs-deflate\[lam=0\]' of esbench-deflate 0\.3 raised MemoryError"
    ):
        Criterion(component, Problem()).update(frame(photo(), 0.1))


def test_a_picture_that_its_format_cannot_hold_is_reported_with_and_without_a_loss(built_in):
    long = np.zeros((1, 70_000, 3), np.uint8)
    for loss in (None, 0.1):
        with pytest.raises(UsageError, match="A 70000 x 1 picture cannot be written as jpg"):
            Criterion(built_in.get("criterion", "cifs-jpeg[lam=0]"), Problem()).update(frame(long, loss))
