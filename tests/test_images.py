from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from esbench import images
from esbench.errors import DataError, Missing, UsageError

RGB = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2


@pytest.fixture
def saved(tmp_path):
    """Give saved(image, name, ...): the path of a PIL image on the disk."""

    def saved(image: Image.Image, name: str = "picture.png", **options) -> str:
        path = tmp_path / name
        image.save(path, **options)
        return str(path)

    return saved


# -- files


def test_colour_is_rgb_as_it_is(saved):
    image = images.read(saved(Image.fromarray(RGB)))
    assert image.dtype == np.uint8
    assert np.array_equal(image, RGB)


def test_grey_has_one_channel(saved):
    image = images.read(saved(Image.fromarray(RGB[..., 0])))
    assert np.array_equal(image, RGB[..., :1])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_dropped_and_not_blended(saved, mode):
    opaque = Image.fromarray(RGB if mode == "RGBA" else RGB[..., 0])
    seen_through = opaque.convert(mode)
    seen_through.putalpha(3)
    assert np.array_equal(images.read(saved(seen_through)), images.read(saved(opaque, "opaque.png")))


@pytest.mark.parametrize("transparency", [None, 1])
def test_a_palette_becomes_its_colours(saved, transparency):
    picture = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    options = {} if transparency is None else {"transparency": transparency}
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    assert images.read(saved(picture, **options)).tolist() == [[red, green, blue], [blue, green, red]]


def test_one_bit_becomes_black_and_white(saved):
    picture = Image.fromarray(np.array([[True, False, True]]))
    assert picture.mode == "1"
    assert images.read(saved(picture)).tolist() == [[[255], [0], [255]]]


@pytest.mark.parametrize("name", ["picture.png", "picture.tif"])
def test_sixteen_bits_become_eight(saved, name):
    picture = Image.fromarray(np.array([[0, 128, 257, 385, 386, 32_896, 65_535]], np.uint16))
    assert images.read(saved(picture, name))[0, :, 0].tolist() == [0, 0, 1, 1, 2, 128, 255]


def test_sixteen_bit_colour_becomes_eight(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">6H", 0, 0x8080, 0xFFFF, 0x0101, 0x4040, 0x2020)
    header = struct.pack(">2I5B", 2, 1, 16, 2, 0, 0, 0)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    )
    assert images.read(path).tolist() == [[[0, 128, 255], [1, 64, 32]]]


def test_floating_point_pixels_are_refused_since_their_range_is_anyones_guess(saved):
    picture = Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4))
    with pytest.raises(DataError, match=r"picture\.tif' has floating-point pixels: save it with 8 or 16 bits\."):
        images.read(saved(picture, "picture.tif"))


def test_cmyk_becomes_rgb(saved):
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    image = images.read(saved(picture, "picture.jpg", quality=100))
    assert image.shape == (16, 16, 3)
    assert np.abs(image.astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, RGB),
        (2, RGB[:, ::-1]),
        (3, RGB[::-1, ::-1]),
        (4, RGB[::-1]),
        (5, RGB.transpose(1, 0, 2)),
        (6, np.rot90(RGB, -1)),
        (7, RGB[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(RGB)),
    ],
)
def test_a_picture_is_turned_as_its_camera_said(saved, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(images.read(saved(Image.fromarray(RGB), exif=exif)), turned)


def test_a_missing_file_is_named():
    with pytest.raises(Missing, match=r"There is no file 'nowhere/a\.png'\."):
        images.read("nowhere/a.png")


@pytest.mark.parametrize("content", [b"", b"This is no picture.\n", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_only_called_a_picture_is_refused_by_its_content(tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"text\.png' (is not a picture that can be read|cannot be read as a picture)"):
        images.read(path)


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a picture"):
        images.read(tmp_path)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@given(st.data(), st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM"]))
@settings(max_examples=60, deadline=None)
def test_a_picture_that_was_cut_short_or_altered_is_read_or_refused(tmp_path_factory, data, kind):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(RGB, (4, 4, 1))).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "altered"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        image = images.read(path)
    except DataError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] in (1, 3)


@pytest.mark.parametrize("image", [RGB, RGB[..., :1]])
def test_what_is_written_as_png_is_read_back(tmp_path, image):
    images.write(tmp_path / "a.png", image)
    assert np.array_equal(images.read(tmp_path / "a.png"), image)


def test_the_pictures_of_a_folder_come_by_name_without_hidden_ones_and_other_files(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.tif", ".hidden.png", "notes.txt", "png"):
        (tmp_path / name).touch()
    assert [p.name for p in images.files(tmp_path)] == ["a.jpeg", "b.PNG", "c.tif"]


# -- arrays

HWC = np.random.default_rng(0).random((6, 8, 3), dtype=np.float32)


@pytest.mark.parametrize("as_kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("layout", "seen"),
    [
        (HWC, HWC),
        (HWC.transpose(2, 0, 1).copy(), HWC),
        (HWC.transpose(2, 0, 1)[None].copy(), HWC),
        (HWC[..., :1].copy(), HWC[..., :1]),
        (HWC[..., 0].copy(), HWC[..., :1]),
        (HWC[None, ..., 0].copy(), HWC[..., :1]),
        (HWC[None, None, ..., 0].copy(), HWC[..., :1]),
        (np.rint(HWC * 255).astype(np.uint8), np.rint(HWC * 255).astype(np.float32) / np.float32(255)),
        (HWC.astype(np.float64), HWC),
        (HWC.astype(np.float16), HWC.astype(np.float16).astype(np.float32)),
    ],
    ids=["HWC", "CHW", "1CHW", "HW1", "HW", "1HW", "11HW", "uint8", "float64", "float16"],
)
def test_every_layout_and_type_is_the_same_picture(as_kind, layout, seen):
    found = images.pictures(as_kind(layout))
    assert len(found) == 1
    assert found[0].size == (6, 8)
    assert np.array_equal(found.float[0], seen)
    assert np.array_equal(found.uint8[0], np.rint(seen * np.float32(255)).astype(np.uint8))
    assert np.array_equal(found.tensor[0].float().movedim(0, -1).numpy(), seen)


@pytest.mark.parametrize("shape", [(3, 9, 3), (1, 9, 3), (3, 9, 1), (1, 9, 1), (3, 3, 3)])
def test_where_both_ends_could_be_channels_each_library_has_its_own_order(shape):
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    h, w, c = shape
    assert images.pictures(array)[0].size == (h, w)
    assert images.pictures(array)[0].float.shape == (h, w, c)
    assert images.pictures(torch.from_numpy(array))[0].size == (w, c)
    assert images.pictures(torch.from_numpy(array))[0].float.shape == (w, c, h)


def test_a_tensor_that_is_still_being_differentiated_is_taken():
    x = torch.rand(1, 3, 4, 5, requires_grad=True)
    assert not images.pictures(x).tensor.requires_grad


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (np.zeros((4, 5, 3), np.int64), "image must be uint8 or float in [0, 1], got int64."),
        (np.zeros((4, 5, 3), np.uint16), "image must be uint8 or float in [0, 1], got uint16."),
        (np.zeros((4, 5, 3), bool), "image must be uint8 or float in [0, 1], got bool."),
        (torch.zeros(3, 4, 5, dtype=torch.int32), "image must be uint8 or float in [0, 1], got torch.int32."),
        (torch.zeros(3, 4, 5, dtype=torch.uint16), "image must be uint8 or float in [0, 1], got torch.uint16."),
        (np.zeros((4, 5, 4), np.uint8), "C of 1 or 3, got (4, 5, 4)."),
        (np.zeros((2, 3, 4, 5), np.uint8), "C of 1 or 3, got (2, 3, 4, 5)."),
        (np.zeros((7,), np.uint8), "C of 1 or 3, got (7,)."),
        ("kodim01.png", "image must be uint8 or float in [0, 1], got <U11."),
        (None, "image must be uint8 or float in [0, 1], got object."),
    ],
)
def test_what_is_no_picture_is_refused_with_what_it_is(image, problem):
    with pytest.raises(UsageError) as refused:
        images.pictures(image)
    assert str(refused.value).startswith("image must be ")
    assert str(refused.value).endswith(problem)


def test_floats_of_another_range_are_refused_where_the_range_is_looked_at():
    with pytest.raises(UsageError, match=r"noisy must be .* got floats from 0 to 255\."):
        images.checked(np.array([[0.0, 255.0]]), "noisy")
    with pytest.raises(UsageError, match=r"got floats from -1 to 1\."):
        images.checked(torch.tensor([[-1.0, 1.0]]))
    with pytest.raises(UsageError, match=r"got floats from nan to nan\."):
        images.checked(np.array([[0.5, np.nan]]))
    images.checked(np.array([[-0.2, 1.3]]))  # Gaussian noise that was not clipped


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(UsageError, match=r"image must have pixels, got \(0, 5, 3\)\."):
        images.pictures(np.zeros((0, 5, 3), np.uint8))


# -- cropping


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
def test_a_crop_is_the_middle_and_never_larger_than_the_picture(h, w, side):
    y, x = np.mgrid[:h, :w]
    crop = images.centre_crop(np.stack([y, x], -1), side)
    assert crop.shape[:2] == (min(h, side), min(w, side))
    assert crop[0, 0].tolist() == [max(0, h - side) // 2, max(0, w - side) // 2]
    assert np.array_equal(crop - crop[0, 0], np.stack(np.mgrid[: min(h, side), : min(w, side)], -1))


def test_bytes_become_floats_by_255():
    assert images.unit(np.array([[[0], [51], [255]]], np.uint8)).ravel().tolist() == [0.0, np.float32(0.2), 1.0]
