from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from esbench.builtin.tasks.jpeg_file import ZIGZAG, read
from esbench.errors import DataError


def picture(h: int, w: int, seed: int = 0) -> Image.Image:
    """Return a picture with edges, texture and saturated areas."""
    y, x = np.mgrid[:h, :w] / 6
    rng = np.random.default_rng(seed)
    planes = [150 + 120 * np.sin(x + i) * np.cos(y + seed) + 60 * (x + y > 7) for i in range(3)]
    pixels = np.stack(planes, -1) + rng.normal(0, 12, (h, w, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def levels(data: bytes) -> list[np.ndarray]:
    return [plane.levels for plane in read(data).planes]


def test_the_zigzag_is_that_of_the_standard():
    assert ZIGZAG[:10] == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]  # T.81, figure 5
    assert ZIGZAG[-4:] == [47, 55, 62, 63]
    assert sorted(ZIGZAG) == list(range(64))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from((0, 1, 2)),
    st.sampled_from((1, 10, 50, 95, 100)),
    st.integers(0, 5),
)
def test_baseline_progressive_and_restarted_files_of_a_picture_hold_the_same(h, w, subsampling, quality, seed):
    image, options = picture(h, w, seed), {"subsampling": subsampling, "quality": quality}
    plain = levels(encoded(image, **options))
    others = ({"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2}, {"restart_marker_rows": 1})
    for other in others:
        for a, b in zip(plain, levels(encoded(image, **options, **other)), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("quality", [10, 60, 98])
@pytest.mark.parametrize("size", [(64, 48), (45, 61)], ids=str)
def test_the_luma_is_what_libjpeg_decodes(quality, size):
    data = encoded(picture(*size), quality=quality)
    plane = read(data).planes[0]
    k, n = np.mgrid[:8, :8]
    dct = np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k, 0.5, 0.5 / np.sqrt(2))
    blocks = (plane.levels * plane.steps).reshape(plane.levels.shape[0] // 8, 8, -1, 8)
    decoded = np.einsum("ki,rkcl,lj->ricj", dct, blocks, dct).reshape(plane.levels.shape) + 128
    with Image.open(io.BytesIO(data)) as image:
        image.draft("YCbCr", None)
        expected = np.asarray(image)[..., 0]
    assert np.abs(decoded[: size[0], : size[1]].clip(0, 255) - expected).max() < 1  # its arithmetic is of integers


@pytest.mark.parametrize(("subsampling", "reduced"), [(0, (1, 1)), (1, (1, 2)), (2, (2, 2))])
def test_tables_and_sampling_are_those_of_the_file(subsampling, reduced):
    data = encoded(picture(40, 50), quality=30, subsampling=subsampling)
    found = read(data)
    with Image.open(io.BytesIO(data)) as image:
        tables = [np.zeros(64, int) for _ in image.quantization]
        for table, steps in zip(tables, image.quantization.values(), strict=True):
            table[:] = steps if len(steps) == 64 else 0
    assert (found.height, found.width) == (40, 50)
    assert [plane.reduced for plane in found.planes] == [(1, 1), reduced, reduced]
    for plane, table in zip(found.planes, (tables[0], tables[1], tables[1]), strict=True):
        assert sorted(plane.table.ravel()) == sorted(table)
        assert plane.levels.shape == tuple(8 * -(-n // (8 * r)) for n, r in zip((40, 50), plane.reduced, strict=True))


def test_a_grey_file_has_one_plane():
    grey = picture(20, 30).convert("L")
    assert len(read(encoded(grey)).planes) == 1
    assert np.array_equal(levels(encoded(grey))[0], levels(encoded(grey, progressive=True))[0])


def test_a_window_is_that_part_of_every_plane():
    found = read(encoded(picture(96, 80)))
    part = found.window(slice(32, 64), slice(32, 80))
    assert (part.height, part.width) == (32, 48)
    assert np.array_equal(part.planes[0].levels, found.planes[0].levels[32:64, 32:80])
    assert np.array_equal(part.planes[1].levels, found.planes[1].levels[16:32, 16:40])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"\x89PNG" + data[4:], "not a JPEG file"),
        (lambda data: data[:-200], "ends too early|damaged"),
        (lambda data: data.replace(b"\xff\xc0", b"\xff\xc9", 1), "arithmetically coded"),
        (lambda data: data.replace(b"\xff\xdb", b"\xff\xe5"), "damaged: KeyError"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(change, message):
    with pytest.raises(DataError, match=message):
        read(change(encoded(picture(64, 64))))


def test_colours_that_are_not_luma_and_chroma_are_refused():
    with pytest.raises(DataError, match="not Y, Cb and Cr"):
        read(encoded(picture(16, 16), keep_rgb=True))


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 1500), st.integers(0, 255), st.booleans())
def test_a_damaged_file_is_read_or_refused(place, value, progressive):
    data = bytearray(encoded(picture(24, 24), progressive=progressive))
    data[place % len(data)] = value
    with contextlib.suppress(DataError):
        read(bytes(data))
