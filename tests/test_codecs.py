from __future__ import annotations

import io

import cv2
import imagecodecs as ic
import numpy as np
import pytest
from PIL import Image

from esbench.builtin.codecs import esbench_codecs
from esbench.builtin.codecs import imagecodecs as by_imagecodecs
from esbench.builtin.codecs import opencv as by_opencv
from esbench.errors import UsageError
from esbench.plugins import PluginHost
from esbench.registry import Registry

CODECS = {
    "jpeg": by_opencv.jpeg,
    "webp": by_opencv.webp,
    "png": by_opencv.png,
    "jxl": by_imagecodecs.jxl,
    "avif": by_imagecodecs.avif,
    "jpeg2k": by_imagecodecs.jpeg2k,
}
DECODE = {
    "jpeg": ic.jpeg_decode,
    "webp": ic.webp_decode,
    "png": ic.png_decode,
    "jxl": ic.jpegxl_decode,
    "avif": ic.avif_decode,
    "jpeg2k": ic.jpeg2k_decode,
}
every_codec = pytest.mark.parametrize("name", CODECS)


def waves(height=48, width=64, channels=3):
    """A smooth picture, of which every channel is another."""
    y, x = np.mgrid[:height, :width]
    planes = [128 + 100 * np.sin(x / (9 + 2 * c)) * np.cos(y / (7 + c)) for c in range(channels)]
    return np.stack(planes, -1).round().astype(np.uint8)


def decoded(name, data, channels):
    image = DECODE[name](data)
    image = image[..., None] if image.ndim == 2 else image
    if channels == 1 and image.shape[2] == 3:  # a format, or a library, without grey
        assert np.abs(image - image[..., :1].astype(int)).max() <= 1
        image = image[..., :1]
    return image


def psnr_db(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def test_there_is_a_test_for_every_codec():
    assert [info.name for info in esbench_codecs()] == list(CODECS)


@every_codec
def test_what_a_codec_gives_is_bytes_with_the_defaults_of_its_record(name):
    component = Registry(PluginHost({"ESBENCH_PLUGINS": "none"})).get("codec", name)
    assert component.target is CODECS[name]
    data = component.target(waves(), **component.values)
    assert isinstance(data, bytes)
    assert data == CODECS[name](waves())


@every_codec
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (33, 35), (1, 1), (1, 17)])
def test_bytes_decode_back_to_a_picture_of_the_same_size_that_is_near(name, height, width, channels):
    image = waves(height, width, channels)
    back = decoded(name, CODECS[name](image), channels)
    assert back.shape == image.shape
    assert np.abs(back.astype(float) - image).mean() < 8


@every_codec
def test_the_channels_are_in_their_order(name):
    image = np.zeros((32, 32, 3), np.uint8)
    image[...] = (220, 120, 20)
    assert np.abs(decoded(name, CODECS[name](image), 3).mean((0, 1)) - (220, 120, 20)).max() < 4


@every_codec
def test_a_picture_that_cannot_be_written_to_is_encoded_and_left_as_it_was(name):
    image = waves()
    image.flags.writeable = False
    assert CODECS[name](image) == CODECS[name](waves())
    assert np.array_equal(image, waves())


@every_codec
def test_the_same_picture_gives_the_same_bytes(name):
    assert CODECS[name](waves()) == CODECS[name](waves())


@every_codec
def test_noise_costs_bytes(name):
    noise = np.random.default_rng(0).normal(0, 25, (48, 64, 3))
    noisy = (waves() + noise).clip(0, 255).astype(np.uint8)
    assert len(CODECS[name](noisy)) > 1.3 * len(CODECS[name](waves()))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "encode",
    [
        ("png", {}),
        ("png", {"level": 0}),
        ("png", {"level": 9}),
        ("jxl", {"quality": 100}),
        ("avif", {"quality": 100}),
    ],
    ids=str,
)
def test_what_is_said_to_be_lossless_gives_the_picture_back(encode, channels):
    name, options = encode
    image = np.random.default_rng(0).integers(0, 256, (33, 35, channels), np.uint8)
    assert np.array_equal(decoded(name, CODECS[name](image, **options), channels), image)


def test_the_records_say_which_codecs_are_lossless_as_they_are_by_default():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    lossless = {name: np.array_equal(decoded(name, CODECS[name](image), 3), image) for name in CODECS}
    assert lossless == {info.name: info.lossless for info in esbench_codecs()}


@pytest.mark.parametrize("name", ["jpeg", "webp", "jxl", "avif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_quality_trades_bytes_for_likeness(name, channels):
    image = (waves(channels=channels) + np.random.default_rng(0).normal(0, 5, (48, 64, channels))).clip(0, 255)
    image = image.astype(np.uint8)
    low, high = (CODECS[name](image, quality=quality) for quality in (20, 95))
    assert len(low) < len(high)
    assert psnr_db(decoded(name, low, channels), image) < psnr_db(decoded(name, high, channels), image)


@pytest.mark.parametrize("psnr", [30.0, 42.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg2k_has_about_the_psnr_that_is_asked_for(psnr, channels):
    image = np.random.default_rng(0).normal(128, 30, (64, 64, channels)).clip(0, 255).astype(np.uint8)
    assert abs(psnr_db(decoded("jpeg2k", by_imagecodecs.jpeg2k(image, psnr=psnr), channels), image) - psnr) < 1.5


# -- JPEG is what the CIFS paper measures with


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_opencv_without_options_and_of_pillow_at_95_byte_for_byte(channels):
    image = (waves(channels=channels) + np.random.default_rng(0).normal(0, 25, (48, 64, channels))).clip(0, 255)
    image = image.astype(np.uint8)
    done, theirs = cv2.imencode(".jpg", image[..., ::-1])
    stream = io.BytesIO()
    Image.fromarray(image if channels == 3 else image[..., 0]).save(stream, "jpeg", quality=95)
    assert done
    assert by_opencv.jpeg(image) == theirs.tobytes() == stream.getvalue()


@pytest.mark.parametrize("quality", [10, 75, 100])
def test_jpeg_at_another_quality_is_that_of_pillow(quality):
    stream = io.BytesIO()
    Image.fromarray(waves()).save(stream, "jpeg", quality=quality, subsampling="4:2:0")
    assert by_opencv.jpeg(waves(), quality=quality) == stream.getvalue()


def test_jpeg_has_one_component_for_grey_and_three_at_420_for_colour():
    grey = Image.open(io.BytesIO(by_opencv.jpeg(waves(channels=1))))
    colour = Image.open(io.BytesIO(by_opencv.jpeg(waves())))
    assert [(tag, h, v) for tag, h, v, _ in grey.layer] == [(1, 1, 1)]
    assert [(tag, h, v) for tag, h, v, _ in colour.layer] == [(1, 2, 2), (2, 1, 1), (3, 1, 1)]
    assert (grey.mode, colour.mode) == ("L", "RGB")


def test_jpeg_is_baseline_without_restart_markers():
    data = by_opencv.jpeg(waves())
    assert b"\xff\xc0" in data  # SOF0
    assert b"\xff\xc2" not in data  # SOF2, progressive
    assert b"\xff\xdd" not in data  # DRI


@pytest.mark.parametrize(
    ("image", "length"),
    [
        # "a flat 512 x 512 colour image is 4,723 bytes": measured elsewhere, OpenCV 5.0, Pillow 13.0, libjpeg-turbo 3
        (np.full((512, 512, 3), 255, np.uint8), 4723),
        # measured here, OpenCV 5.0.0 (libjpeg-turbo 3.1), and the same by Pillow 13.0 with quality=95
        (waves(), 1505),
        (waves(channels=1), 1016),
    ],
    ids=["flat", "colour", "grey"],
)
def test_jpeg_has_the_length_that_it_has_always_had(image, length):
    assert len(by_opencv.jpeg(image)) == length


@pytest.mark.parametrize(("name", "width"), [("jpeg", 70_000), ("webp", 17_000)])
def test_a_picture_too_large_for_its_format_is_refused_in_a_sentence(name, width):
    with pytest.raises(UsageError, match=rf"^A {width} x 1 picture cannot be written as (jpg|webp): "):
        CODECS[name](np.zeros((1, width, 3), np.uint8))
