from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

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


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"  # for which Pillow would start Ghostscript


@pytest.mark.parametrize("content", [b"", b"This is no picture.\n", b"\x89PNG\r\n\x1a\n", EPS])
def test_a_file_that_is_only_called_a_picture_is_refused_by_its_content(tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"text\.png' (is not a picture that can be read|cannot be read as a picture)"):
        images.read(path)


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="is a folder: give the pictures in it"):
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
        (None, "image must be uint8 or float in [0, 1], got object."),
    ],
)
def test_what_is_no_picture_is_refused_with_what_it_is(image, problem):
    with pytest.raises(UsageError) as refused:
        images.pictures(image)
    assert str(refused.value).startswith("image must be ")
    assert str(refused.value).endswith(problem)


FIELDS = np.zeros((6, 8), [("mark", "u1"), ("grey", "f4")])  # a field has strides that are no multiple of its size
FIELDS["grey"] = HWC[..., 0]
COMPLEX = torch.complex(torch.zeros(6, 8), torch.from_numpy(-HWC[..., 0]))
NEGATED = COMPLEX.conj().imag  # a view that is negated when it is read
assert NEGATED.is_neg()


def as_float32(image: Any) -> np.ndarray:
    return np.asarray(image.resolve_neg() if isinstance(image, torch.Tensor) else image, dtype=np.float32)


@pytest.mark.parametrize(
    "image",
    [
        HWC.astype(">f4"),  # as FITS files have it
        HWC.astype(">f8"),
        HWC.astype(np.longdouble),
        HWC[::-1],
        HWC[:, ::-2],
        np.broadcast_to(HWC[..., :1], HWC.shape),
        np.asfortranarray(HWC),
        FIELDS["grey"],
        np.frombuffer(b"-" + HWC.tobytes(), np.uint8)[1:].view(np.float32).reshape(HWC.shape),  # not aligned
        np.ma.masked_array(HWC, mask=False),
        torch.from_numpy(HWC[..., 0]).T,
        torch.from_numpy(HWC[..., 0]).expand(3, 6, 8),
        NEGATED,
    ],
    ids=lambda x: "",
)
def test_an_array_of_any_byte_order_and_strides_is_the_same_picture(image):
    tensor = isinstance(image, torch.Tensor)
    seen = as_float32(image)
    seen = seen[..., None] if seen.ndim == 2 else np.moveaxis(seen, 0, -1) if tensor else seen
    found = images.checked(image)
    assert np.array_equal(found.float[0], seen)
    assert np.array_equal(found.tensor[0].float().movedim(0, -1).numpy(), seen)
    assert found.finite == [True]
    unpacked, back = images.unpacked(image)
    assert np.array_equal(unpacked, seen)
    assert back(unpacked).dtype == image.dtype
    assert np.array_equal(as_float32(back(unpacked)), as_float32(image))


@given(
    st.sampled_from(["u1", "<u2", ">u2", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "longdouble"]),
    st.sampled_from([(5, 7), (5, 7, 1), (5, 7, 3), (3, 5, 7), (1, 5, 7), (1, 3, 5, 7)]),
    st.permutations(range(4)),
    st.lists(st.sampled_from([1, -1, 2, -3]), min_size=4, max_size=4),
    st.booleans(),
)
def test_whatever_the_type_order_and_strides_an_array_is_its_contiguous_copy(dtype, shape, order, steps, tensor):
    n = len(shape)
    order = [axis for axis in order if axis < n]
    # laid out in memory in another order of axes, with gaps, and some of them backwards
    big = [shape[axis] * abs(steps[axis]) for axis in order]
    top = {"u1": 255, "<u2": 65535, ">u2": 65535}.get(dtype, 1)
    memory = (np.random.default_rng(0).random(big) * top).astype(dtype)
    image = memory[tuple(slice(None, None, steps[axis]) for axis in order)].transpose(np.argsort(order))
    assert image.shape == shape
    plain = np.ascontiguousarray(image).astype(image.dtype.newbyteorder("="))
    if tensor:
        if dtype == "longdouble":
            return
        strides = [s // plain.itemsize for s in image.strides]
        image = torch.from_numpy(plain)
        if min(strides) > 0:
            base = torch.from_numpy(memory.astype(plain.dtype))
            image = base.as_strided(shape, strides)
        plain = image.clone(memory_format=torch.contiguous_format)
    elif dtype == "longdouble":
        plain = plain.astype(np.float64)
    found, back = images.unpacked(image)
    expected, _ = images.unpacked(plain)
    assert np.array_equal(found, expected)
    again = back(found)
    assert again.dtype == image.dtype
    assert again.shape == image.shape
    if top > 1:
        assert (again == image).all()
    if dtype not in ("<u2", ">u2"):
        assert np.array_equal(images.checked(image).tensor, images.checked(plain).tensor)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: np.ma.masked_array(HWC, HWC > 0.5), "must have a value at each pixel, got a masked array: fill it"),
        (lambda: [[0.5], [0.5, 0.5]], "must be an array, got list: setting an array element with a sequence"),
        (lambda: torch.zeros(6, 8, device="meta"), "must have values, got a tensor on the device 'meta'."),
        (lambda: torch.rand(6, 8).to_sparse(), "got a torch.sparse_coo one."),
        (lambda: torch.rand(6, 8).to_sparse_csr(), "got a torch.sparse_csr one."),
        (lambda: torch.rand(1, 3, 6, 8).to_mkldnn(), "got a torch._mkldnn one."),
        (lambda: torch.nested.nested_tensor([torch.rand(3, 6), torch.rand(2, 6)]), "got a nested one."),
        (lambda: torch.quantize_per_tensor(torch.rand(6, 8), 0.01, 0, torch.quint8), "got a quantized one."),
        (
            lambda: torch.masked.masked_tensor(torch.rand(6, 8), torch.rand(6, 8) > 0.5),
            "must be a dense tensor with a value at each pixel, got a masked one.",
        ),
        (lambda: torch.rand(6, 8).to(torch.float8_e4m3fn), "in [0, 1], got torch.float8_e4m3fn."),
        (lambda: COMPLEX.conj(), "in [0, 1], got torch.complex64."),
        (lambda: np.full((6, 8), np.longdouble("1e4000")), "got floats from inf to inf."),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
@pytest.mark.filterwarnings("ignore")  # torch calls some of these a prototype
def test_an_array_without_a_value_at_each_pixel_is_refused(make, problem):
    for take in (images.checked, images.unpacked):
        with pytest.raises(UsageError, match=re.escape(problem)):
            take(make())


@pytest.mark.parametrize("as_kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_a_large_picture_of_16_bit_floats_is_finite(as_kind):
    bright = np.ones((300, 300), np.float16)  # their sum is above the largest float16
    assert images.pictures(as_kind(bright)).finite == [True]
    bright[0, 0] = np.inf
    assert images.pictures(as_kind(bright)).finite == [False]


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


# -- photos: files of people -------------------------------------------------------------------------------------------

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CAMERA, ARTIST, TAKEN, WIDTH_TAG, LATITUDE = 0x0110, 0x013B, 0x9003, 0xA002, 2
ARTIST_UTF8 = "Zoë Ångström".encode()
EXIF = {
    CAMERA: b"Camera 1",
    ARTIST: ARTIST_UTF8,
    0x8769: {TAKEN: "2024:05:06 07:08:09"},
    0x8825: {LATITUDE: (48.0, 1.5, 2.0)},
}


def photo(
    dtype=np.uint8, channels: int = 3, alpha: bool = False, size: tuple[int, int] = (9, 12), **more
) -> images.Photo:
    rng, top = np.random.default_rng(0), np.iinfo(dtype).max + 1
    pixels = rng.integers(0, top, (*size, channels), dtype=dtype)
    return images.Photo(pixels, rng.integers(0, top, (*size, 1), dtype=dtype) if alpha else None, **more)


def same(a, b) -> bool:
    return (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_photo_comes_back_to_the_bit(tmp_path, suffix, dtype, channels, alpha):
    written = photo(dtype, channels, alpha)
    images.write_photo(tmp_path / f"p{suffix}", written)
    found = images.read_photo(tmp_path / f"p{suffix}")
    if suffix != ".png" and channels == 1 and alpha:  # as RGBA, which more programs read
        assert (found.pixels == found.pixels[..., :1]).all()
        found = dataclasses.replace(found, pixels=found.pixels[..., :1])
    assert same(found.pixels, written.pixels)
    assert same(found.alpha, written.alpha)


@pytest.mark.parametrize("alpha", [False, True])
def test_webp_keeps_every_pixel_and_what_is_under_transparency(tmp_path, alpha):
    written = photo(alpha=alpha)
    if alpha:
        written.alpha[:4] = 0
    images.write_photo(tmp_path / "p.webp", written)
    found = images.read_photo(tmp_path / "p.webp")
    assert same(found.pixels, written.pixels)
    assert same(found.alpha, written.alpha)


def test_jpeg_is_written_well(tmp_path):
    y, x = np.mgrid[:32, :40] * 4
    smooth = images.Photo(np.stack([x, y, x // 2 + y // 2], -1).astype(np.uint8))
    images.write_photo(tmp_path / "p.jpg", smooth)
    found = images.read_photo(tmp_path / "p.jpg")
    assert np.abs(found.pixels.astype(int) - smooth.pixels).max() <= 4
    assert Image.open(tmp_path / "p.jpg").layer[1][1:3] == (1, 1)  # as many pixels of colour as of brightness


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_other_programs_read_sixteen_bits_of_colour_from_it(tmp_path, suffix, alpha):
    written = photo(np.uint16, alpha=alpha)
    images.write_photo(tmp_path / f"p{suffix}", written)
    found = cv2.imread(str(tmp_path / f"p{suffix}"), cv2.IMREAD_UNCHANGED)
    assert same(found[..., 2::-1], written.pixels)
    assert not alpha or same(found[..., 3:], written.alpha)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_that_other_programs_wrote_are_read(tmp_path, suffix):
    pixels = photo(np.uint16).pixels
    cv2.imwrite(str(tmp_path / f"colour{suffix}"), pixels[..., ::-1])
    assert same(images.read_photo(tmp_path / f"colour{suffix}").pixels, pixels)
    Image.fromarray(pixels[..., 0]).save(tmp_path / f"grey{suffix}")
    assert same(images.read_photo(tmp_path / f"grey{suffix}").pixels, pixels[..., :1])


def test_sixteen_bits_a_plane_a_channel_and_with_white_at_zero_are_read(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pixels = photo(np.uint16).pixels
    planes = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate", byteorder=">")
    assert same(images.read_photo(tmp_path / "p.tif").pixels, pixels)
    tifffile.imwrite(tmp_path / "w.tif", pixels[..., 0], photometric="miniswhite")
    assert same(images.read_photo(tmp_path / "w.tif").pixels, 65535 - pixels[..., :1])


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_sixteen_bits_are_rounded_where_the_format_has_eight(tmp_path, suffix):
    deep = images.Photo(np.full((16, 16, 3), 257 * 100 + 128, np.uint16))
    images.write_photo(tmp_path / f"p{suffix}", deep)
    found = images.read_photo(tmp_path / f"p{suffix}")
    assert found.pixels.dtype == np.uint8
    assert np.abs(found.pixels.astype(int) - 100).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_profile_and_exif_data_go_with_the_pixels(tmp_path, suffix):
    images.write_photo(tmp_path / f"a{suffix}", photo(profile=SRGB, exif=EXIF))
    found = images.read_photo(tmp_path / f"a{suffix}")
    assert found.profile == SRGB
    assert found.exif == EXIF
    with Image.open(tmp_path / f"a{suffix}") as opened:
        assert opened.info["icc_profile"] == SRGB
        assert opened.getexif()[CAMERA] == "Camera 1"
        assert opened.getexif().get_ifd(0x8769)[TAKEN] == "2024:05:06 07:08:09"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_profile_of_colours_is_not_written_beside_grey_pixels(tmp_path, suffix):
    images.write_photo(tmp_path / f"p{suffix}", photo(channels=1, profile=SRGB))
    assert images.read_photo(tmp_path / f"p{suffix}").profile == b""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_upright_for_viewers_that_turn_it_and_for_those_that_do_not(tmp_path, suffix, orientation):
    sides = np.zeros((16, 24, 3), np.uint8)
    sides[:8, :12] = 255  # one corner is white
    exif = Image.Exif()
    exif[0x0112], exif[CAMERA] = orientation, "Camera 1"
    exif.get_ifd(0x8769)[WIDTH_TAG] = 24
    Image.fromarray(sides).save(tmp_path / f"in{suffix}", exif=exif)
    with Image.open(tmp_path / f"in{suffix}") as opened:
        seen = np.asarray(ImageOps.exif_transpose(opened))

    found = images.read_photo(tmp_path / f"in{suffix}")
    images.write_photo(tmp_path / "out.png", found)
    with Image.open(tmp_path / "out.png") as opened:
        stored, turned = np.asarray(opened), np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(stored, turned)
    assert np.array_equal(turned, seen)
    assert found.exif == {CAMERA: b"Camera 1"}  # the width is that of the stored pixels


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_sixteen_bits_are_turned_as_eight_are(tmp_path, suffix, orientation):
    for dtype in (np.uint8, np.uint16):
        pixels = photo().pixels.astype(dtype) * ((dtype == np.uint16 and 257) or 1)
        images.write_photo(tmp_path / f"{dtype.__name__}{suffix}", images.Photo(pixels, exif={0x0112: orientation}))
    eight, sixteen = (images.read_photo(tmp_path / f"{name}{suffix}").pixels for name in ("uint8", "uint16"))
    assert np.array_equal(sixteen // 257, eight)
    assert eight.shape[:2] == ((9, 12) if orientation in (1, 3) else (12, 9))


def test_a_palette_becomes_its_colours_and_its_transparency_alpha(saved):
    picture = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    opaque = images.read_photo(saved(picture))
    assert opaque.pixels.tolist() == [[red, green, blue], [blue, green, red]]
    assert opaque.alpha is None
    holed = images.read_photo(saved(picture, transparency=1))
    assert holed.pixels.tolist() == opaque.pixels.tolist()
    assert holed.alpha[..., 0].tolist() == [[255, 0, 255], [255, 0, 255]]


def test_black_and_white_becomes_grey(saved):
    assert images.read_photo(saved(Image.fromarray(np.array([[True, False]])))).pixels.tolist() == [[[255], [0]]]


def test_the_previews_in_a_jpeg_do_not_make_it_several_pages(tmp_path):
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (40, 200)]
    frames[0].save(tmp_path / "p.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(images.read_photo(tmp_path / "p.jpg").pixels.astype(int) - 40).max() <= 2


def bomb() -> bytes:
    header = struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + crc + idat


@pytest.mark.parametrize(
    ("name", "make", "problem"),
    [
        ("p.jpg", lambda path: Image.new("CMYK", (16, 16)).save(path), "has CMYK colours: save it as RGB"),
        ("p.tif", lambda path: Image.new("LAB", (8, 8)).save(path), "has LAB colours: save it as RGB"),
        ("p.tif", lambda path: Image.new("F", (8, 8)).save(path), "has floating-point pixels: save it with 8 or 16"),
        ("p.tif", lambda path: path.write_bytes(b"II*\0" + bytes(60)), "is a TIFF of a kind that cannot be read, such"),
        (
            "p.tif",
            lambda path: Image.new("I", (8, 8)).save(path),
            "has signed or 32-bit pixels: save it with 8",
        ),
        (
            "p.bmp",
            lambda path: Image.new("RGB", (8, 8)).save(path),
            "is a BMP file: save it as PNG, JPEG, TIFF or WebP",
        ),
        ("p.png", lambda path: path.write_bytes(b""), "is not a picture that can be read"),
        (
            "p.png",
            lambda path: path.write_bytes(bomb()),
            "claims 60000 x 60000 pixels, more than max-pixels",
        ),
        ("p.png", lambda path: path.mkdir(), "is a folder: give the pictures in it"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_is_no_photo_is_refused_in_a_sentence(tmp_path, name, make, problem):
    make(tmp_path / name)
    with pytest.raises(DataError, match=re.escape(problem)) as refused:
        images.read_photo(tmp_path / name)
    assert str(refused.value).startswith(f"'{tmp_path / name}' ")
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize("name", ["p.tif", "p.png", "p.webp"])
def test_several_pages_are_refused_with_their_number(tmp_path, name):
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 100, 200)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"has 3 pages: save one of them as a separate file"):
        images.read_photo(tmp_path / name)


@pytest.mark.parametrize("name", ["p.jpg", "p.png", "p.tif", "p.webp"])
def test_half_a_file_is_refused(tmp_path, name):
    images.write_photo(tmp_path / name, photo(size=(64, 64)))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"p\.\w+' (cannot be read as a picture|is not a picture that can be read)"):
        images.read_photo(tmp_path / name)


def test_a_missing_photo_is_named():
    with pytest.raises(Missing, match=r"There is no file 'nowhere/a\.png'\."):
        images.read_photo("nowhere/a.png")


@pytest.mark.parametrize(
    ("name", "picture", "problem"),
    [
        ("p.gif", photo(), "'p.gif' must end in one of .png, .jpg, .jpeg, .tif, .tiff, .webp"),
        ("p", photo(), "'p' must end in one of"),
        ("p.jpg", photo(alpha=True), "JPEG holds no transparency: choose .png, .tif or .webp for 'p.jpg'"),
        (
            "p.webp",
            photo(size=(1, 16_384)),
            "WEBP holds at most 16383 pixels per side: choose .png or .tif for 'p.webp'",
        ),
        ("p.jpg", dataclasses.replace(photo(), alpha=np.full((9, 12, 1), 255, np.uint8)), ""),
        ("p.png", photo(np.uint16, alpha=True), ""),
        ("P.PNG", photo(), ""),
    ],
)
def test_what_a_format_cannot_hold_is_known_before(name, picture, problem):
    assert images.unwritable(name, picture).startswith(problem)
    assert bool(images.unwritable(name, picture)) == bool(problem)


def test_a_photo_that_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path):
    images.write_photo(tmp_path / "p.jpg", photo())
    before = (tmp_path / "p.jpg").read_bytes()
    with pytest.raises(OSError):  # noqa: PT011
        images.write_photo(tmp_path / "p.jpg", photo(size=(1, 70_000)))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        images.write_photo(tmp_path / "folder.png", photo())
    assert (tmp_path / "p.jpg").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "p.jpg"]


# -- damage, and files that are made to harm ---------------------------------------------------------------------------


def tiff(entries: dict[int, tuple[int, list[int]]], strips: list[bytes], after: bytes = b"") -> bytes:
    """Return a little-endian TIFF file of strips, from its entries: tag to type (3: 16 bits, 4: 32 bits) and values."""
    n = len(entries) + 2
    tail, end, fields = b"", 8 + 2 + 12 * n + 4, b""
    long = {tag: len(values) * (2 if kind == 3 else 4) for tag, (kind, values) in entries.items()}
    tails = sum(size for size in long.values() if size > 4) + (8 * len(strips) if len(strips) > 1 else 0)
    at = [end + tails + sum(map(len, strips[:i])) for i in range(len(strips))]
    for tag, (kind, values) in sorted((entries | {273: (4, at), 279: (4, [*map(len, strips)])}).items()):
        data = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(data) > 4:
            data, tail = struct.pack("<I", end + len(tail)), tail + data
        fields += struct.pack("<HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, n) + fields + bytes(4) + tail + b"".join(strips) + after


def deep_tiff(h: int, w: int, planar: bool, **entries: tuple[int, list[int]]) -> bytes:
    """Return a TIFF file of 16-bit RGB from `deep_pixels`; entries with the name of a tag are added, or replace one."""
    pixels = deep_pixels(h, w)
    strips = [p.tobytes() for p in np.moveaxis(pixels, -1, 0)] if planar else [pixels.tobytes()]
    tags = {256: (4, [w]), 257: (4, [h]), 258: (3, [16] * 3), 259: (3, [1]), 262: (3, [2]), 277: (3, [3])}
    tags |= {278: (4, [h]), 284: (3, [1 + planar])} | {int(name[1:]): entry for name, entry in entries.items()}
    return tiff({tag: entry for tag, entry in tags.items() if entry[1]}, strips)


def deep_pixels(h: int, w: int) -> np.ndarray:
    return np.arange(h * w * 3, dtype=np.uint16).reshape(h, w, 3) * 97


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(("h", "w"), [(5, 7), (1, 7), (5, 1), (1, 1), (3, 4), (4, 3), (1, 3)])
def test_sixteen_bits_of_any_size_are_read(tmp_path, planar, h, w):
    (tmp_path / "p.tif").write_bytes(deep_tiff(h, w, planar))
    found = images.read_photo(tmp_path / "p.tif")
    assert same(found.pixels, deep_pixels(h, w))
    assert found.alpha is None


GONE = (4, [])
DAMAGED = {
    "no width": deep_tiff(5, 7, False, t256=GONE),
    "no height": deep_tiff(5, 7, True, t257=GONE),
    "a directory that lies elsewhere": b"II*\0" + struct.pack("<I", 2**31) + bytes(40),
    "another width in a plane": deep_tiff(5, 7, True, t256=(4, [9])),
    "four channels of three planes": deep_tiff(5, 7, True, t277=(3, [4]), t258=(3, [16] * 4)),
    "a compression that there is not": deep_tiff(5, 7, False, t259=(3, [77])),
    "a size beyond the file": deep_tiff(5, 7, False, t256=(4, [9000]), t257=(4, [9000])),
    "a size beyond all numbers": deep_tiff(5, 7, False, t256=(4, [2**32 - 1]), t257=(4, [2**32 - 1])),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_tiff_is_refused_in_a_sentence(tmp_path, content):
    path = str(tmp_path / "p.tif")
    (tmp_path / "p.tif").write_bytes(content)
    with pytest.raises(DataError) as refused:
        images.read_photo(path)
    assert str(refused.value).startswith(f"{path!r} ")
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)
    with contextlib.suppress(DataError):  # Pillow alone makes something of a few of them
        assert images.read(path).dtype == np.uint8


def test_a_number_in_the_place_of_the_profile_is_no_profile(tmp_path):
    content = deep_tiff(5, 7, False, t34675=(4, [5]))
    (tmp_path / "p.tif").write_bytes(content)
    found = images.read_photo(tmp_path / "p.tif")
    assert found.profile == b""
    images.write_photo(tmp_path / "q.png", found)
    assert same(images.read_photo(tmp_path / "q.png").pixels, deep_pixels(5, 7))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_an_exif_value_that_cannot_be_written_again_is_left_out_and_the_others_stay(tmp_path, suffix):
    exif = {CAMERA: b"Camera 1", 0x0112: 6, 0x8825: {1: "N", 29: "2024:05:06"}}
    images.write_photo(tmp_path / "p.jpg", photo(size=(16, 24), exif=exif))
    content = (tmp_path / "p.jpg").read_bytes()
    entry, damaged = b"\0\x1d\0\2", b"\0\6\0\2"  # the date of the place becomes its height, and stays a text
    entry, damaged = (entry, damaged) if entry in content else (b"\x1d\0\2\0", b"\6\0\2\0")
    assert content.count(entry) == 1
    (tmp_path / "p.jpg").write_bytes(content.replace(entry, damaged))
    with Image.open(tmp_path / "p.jpg") as opened, pytest.raises(TypeError):
        opened.getexif().tobytes()
    found = images.read_photo(tmp_path / "p.jpg")
    assert found.exif == {CAMERA: b"Camera 1", 0x8825: {1: "N"}}
    assert found.pixels.shape == images.read(tmp_path / "p.jpg").shape == (24, 16, 3)  # rotated nevertheless
    images.write_photo(tmp_path / f"q{suffix}", found)
    assert images.read_photo(tmp_path / f"q{suffix}").exif == found.exif


@given(st.data(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_a_directory_pixels_and_alpha_have_one_size(tmp_path_factory, data, planar):
    content = bytearray(deep_tiff(5, 7, planar))
    for _ in range(data.draw(st.integers(1, 3))):
        entry = 10 + 12 * data.draw(st.integers(0, 9))
        field, kind = data.draw(st.sampled_from([(0, "<H"), (2, "<H"), (4, "<I"), (8, "<I"), (8, "<H")]))
        top = 2 ** (16 if kind == "<H" else 32) - 1
        number = data.draw(st.one_of(st.integers(0, 20), st.sampled_from([256, 257, 258, 277, 284, 338, top])))
        struct.pack_into(kind, content, entry + field, min(number, top))
    path = tmp_path_factory.getbasetemp() / "directory.tif"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        found = images.read_photo(path)
        assert found.pixels.ndim == 3
        assert found.pixels.shape[2] in (1, 3)
        assert found.alpha is None or found.alpha.shape == (*found.pixels.shape[:2], 1)
    with contextlib.suppress(DataError):
        assert images.read(path).ndim == 3


@pytest.mark.parametrize("read", [images.read, images.read_photo])
def test_a_picture_never_starts_another_program(tmp_path, monkeypatch, read):
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:/usr/bin:/bin")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for again
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "photo.png").write_bytes(page)
    with pytest.raises(DataError, match="is not a picture that can be read"):
        read(tmp_path / "photo.png")
    assert not (tmp_path / "started").exists()


def claiming(kind: str, side: int) -> bytes:
    """Return a small file that claims side x side pixels."""
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, kind)
    content = bytearray(file.getvalue())
    if kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">2H", side, side)
    else:
        content[16:24] = struct.pack(">2I", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("read", [images.read, images.read_photo])
def test_a_small_file_that_claims_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, kind, read):
    path = tmp_path / "bomb"
    path.write_bytes(claiming(kind, 12_000))
    assert path.stat().st_size < 1000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=r"claims 12000 x 12000 pixels, more than max-pixels \(128,000,000\)"):
        read(path)
    with pytest.raises(DataError, match=r"claims 12000 x 12000 pixels, more than max-pixels \(143,999,999\)"):
        read(path, max_pixels=143_999_999)


@pytest.mark.parametrize("read", [images.read, images.read_photo])
def test_max_pixels_can_be_more_than_pillow_takes(tmp_path, monkeypatch, read):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    Image.fromarray(RGB).resize((20, 20)).save(tmp_path / "p.png")
    read(tmp_path / "p.png", max_pixels=400)
    with pytest.raises(DataError, match="claims 20 x 20 pixels"):
        read(tmp_path / "p.png", max_pixels=399)
    assert Image.MAX_IMAGE_PIXELS == 50


# -- and back ----------------------------------------------------------------------------------------------------------

SHAPES = [(4, 5), (4, 5, 1), (4, 5, 3), (3, 4, 5), (1, 4, 5), (1, 3, 4, 5), (1, 1, 4, 5), (3, 3, 3), (1, 1), (3, 1, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("tensor", [False, True])
def test_what_is_unpacked_goes_back_to_what_it_was(shape, dtype, tensor):
    if dtype == "bfloat16" and not tensor:
        pytest.skip("NumPy has no bfloat16")
    n = int(np.prod(shape))
    if dtype.startswith("u"):
        image = (np.arange(n) * 997 % (np.iinfo(dtype).max + 1)).astype(dtype).reshape(shape)
    else:
        image = (np.arange(n) / n).astype("float32" if dtype == "bfloat16" else dtype).reshape(shape)
    if tensor:
        image = torch.from_numpy(image)
        image = image.bfloat16() if dtype == "bfloat16" else image
    found, back = images.unpacked(image)
    h, w = shape[:2] if len(shape) == 2 else shape[-2:] if images._channels_first(shape[-3:], tensor) else shape[-3:-1]
    assert found.shape == (h, w, n // (h * w))
    assert found.dtype == np.float32
    again = back(found)
    assert type(again) is type(image)
    assert again.dtype == image.dtype
    assert again.shape == image.shape
    if tensor:
        again, image = again.float().numpy(), image.float().numpy()
    assert np.array_equal(again, image) if dtype != "float64" else np.abs(again - image).max() < 1e-7


def test_what_goes_back_is_rounded_not_cut_off():
    _, back = images.unpacked(np.zeros((1, 2, 1), np.uint8))
    assert back(np.array([[[0.7 / 255], [254.5 / 255 - 1e-4]]], np.float32)).tolist() == [[[1], [254]]]


def test_floats_beyond_the_range_are_clipped():
    found, _ = images.unpacked(np.array([[-0.2, 0.5, 1.3]]))
    assert found[..., 0].tolist() == [[0.0, 0.5, 1.0]]


@pytest.mark.parametrize("image", [np.zeros((4, 5), np.int32), np.zeros((4, 5, 4), np.uint16), np.full((4, 5), 255.0)])
def test_what_is_no_picture_cannot_be_unpacked(image):
    with pytest.raises(UsageError, match="noisy must be"):
        images.unpacked(image, "noisy")


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
