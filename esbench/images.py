"""Pictures from files and from users' arrays."""

from __future__ import annotations

import base64
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench.disk import reason, regular, replacing
from esbench.errors import DataError, EsbenchError, UsageError
from esbench.pictures import Bytes, Floats, Pictures

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

#: The suffixes of picture files in a folder.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".ppm", ".pgm")

#: The formats to read, by Pillow's names. Some of its other formats start external programs (EPS: Ghostscript), and
#: many are rare and seldom tested.
READ = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF")

#: How a TIFF begins: little or big endian, with addresses of 32 or 64 bits.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: The default limit of pixels per picture: above that of cameras with 108 megapixels. A file of a kilobyte can claim
#: any size, and each pixel takes up to 20 bytes of memory.
MAX_PIXELS = 128_000_000

#: The longest side of a picture that `smaller` reduces.
SMALL = 512

#: The formats in which a photo can be written, by suffix, and the longest side of each.
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
LONGEST = {"JPEG": 65_500, "WEBP": 16_383}

#: The EXIF tags that are kept: description, camera, software, date, artist, copyright. The other tags of the first
#: directory describe the layout of the old file.
KEPT = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
ORIENTATION = 0x0112

#: How to turn stored pixels upright, by EXIF orientation. Pillow's own function rewrites the EXIF data, which fails on
#: unexpected values.
UPRIGHT: dict[int, Callable[[Any], Any]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def read(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Bytes:
    """Return a picture file as uint8, (H, W, 3) RGB or (H, W, 1) grey.

    The EXIF orientation is applied, transparency is dropped, and 16 bits become 8.

    Args:
        path: PNG, JPEG, TIFF, WebP, BMP, PPM or GIF, by its content.
        max_pixels: a larger picture is rejected before it is decoded.

    Raises:
        Missing: there is no such file.
        DataError: it is not a picture that can be read.
    """
    with _opened(path, max_pixels) as image:
        image.load()
        turned = UPRIGHT.get(image.getexif().get(ORIENTATION, 1), np.asarray)
        if image.mode.startswith("I"):
            # 16 bits, which Pillow keeps as integers: 65535 becomes 255
            grey = np.rint(np.asarray(image, dtype=np.float64) / 257).clip(0, 255)
            return np.ascontiguousarray(turned(grey.astype(np.uint8))[..., None])
        if image.mode in ("1", "L", "LA"):
            return np.ascontiguousarray(turned(np.asarray(image.convert("L")))[..., None])
        if image.mode != "F":
            return np.ascontiguousarray(turned(np.asarray(image.convert("RGB"))))
    raise DataError(f"{os.fspath(path)!r} has floating-point pixels: save it with 8 or 16 bits.")


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return height and width of a picture file as they are stored, without decoding it.

    Raises:
        Missing: there is no such file.
        DataError: it is not a picture that can be read.
    """
    with _opened(path, MAX_PIXELS) as image:
        return image.height, image.width


@contextmanager
def _opened(path: str | os.PathLike[str], max_pixels: int) -> Iterator[ImageFile]:
    """Open a picture file; any exception of a decoder becomes a DataError.

    Raises:
        Missing: there is no such file.
        DataError: it is not a picture, damaged, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    name = repr(os.fspath(path))
    if os.path.isdir(path):
        raise DataError(f"{name} is a folder: give the pictures in it.")
    regular(path)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours is checked below, and can be raised
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=READ) as image:
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"{name} claims {image.width} x {image.height} pixels, more than max-pixels ({max_pixels:,}): "
                    "increase it if the picture really is so large."
                )
            yield image
    except EsbenchError:
        raise
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            if file.read(4) in TIFF:
                kind = "is a TIFF of a kind that cannot be read, such as one of floating-point colours"
                raise DataError(f"{name} {kind}: save it with 8 or 16 bits.") from None
        raise DataError(f"{name} is not a picture that can be read (by its content, not its name).") from None
    except MemoryError as error:
        raise DataError(f"{name} cannot be read as a picture: there is not enough memory.") from error
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise DataError(f"{name} cannot be read as a picture: {reason(error)}.") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def write(path: str | os.PathLike[str], image: Bytes) -> None:
    """Write uint8 (H, W, 3) or (H, W, 1) to a file, in the format of its suffix."""
    pillow(image).save(path)


def pillow(image: Bytes) -> Image.Image:
    """Return a picture (H, W, C) of 1 or 3 channels as a Pillow image."""
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def encoded(image: Bytes, side: int, kind: str, fast: bool = False, **options: Any) -> bytes:
    """Return a picture as a file, reduced if it is longer than `side`.

    Args:
        image: (H, W, C) of 1 or 3 channels.
        side: its longest side, at most.
        kind: the format, as Pillow calls it.
        fast: reduce it by the means of boxes.
        options: the options of Pillow's writer.
    """
    from PIL import Image

    small, file = pillow(image), io.BytesIO()
    small.thumbnail((side, side), Image.Resampling.BOX if fast else Image.Resampling.LANCZOS)
    small.save(file, kind, **options)
    return file.getvalue()


def smaller(data: bytes, side: int, quality: int) -> bytes:
    """Return a WebP file reduced to a longest side; unchanged if it is no WebP file, or a large one."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            if max(image.size) > SMALL:
                return data
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError):
        return data
    return encoded(pixels, side, "WEBP", quality=quality)


def data_url(data: bytes, kind: str) -> str:
    """Return a picture file as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


# -- photos: users' pictures, which lose neither bits nor metadata -----------------------------------------------------


@dataclass(frozen=True)
class Photo:
    """A user's picture file: its pixels and metadata.

    Attributes:
        pixels: uint8 or uint16, upright; (H, W, 3) RGB or (H, W, 1) grey.
        alpha: (H, W, 1) of the same dtype, or None.
        profile: the ICC colour profile; empty if the file has none.
        exif: description, camera, date, place and the like by EXIF tag, directories as dicts; never the orientation.
    """

    pixels: Any
    alpha: Any = None
    profile: bytes = b""
    exif: Mapping[int, Any] = field(default_factory=dict)


def read_photo(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Photo:
    """Return a PNG, JPEG, TIFF or WebP file with all its bits and its EXIF orientation applied.

    Args:
        path: the file; its content determines the format, not its name.
        max_pixels: a larger picture is rejected before it is decoded.

    Raises:
        Missing: there is no such file.
        DataError: it is not such a picture, has several pages, or colours that are not grey or RGB.
    """
    with _opened(path, max_pixels) as image:
        problem = _unfit(image)
        if not problem:
            return _photo(image, Path(path))
    raise DataError(f"{os.fspath(path)!r} {problem}.")


def write_photo(path: str | os.PathLike[str], photo: Photo) -> None:
    """Write a photo atomically, in the format of the suffix.

    PNG, TIFF and WebP are lossless, JPEG has quality 95 without colour subsampling. 16 bits stay 16 in PNG and TIFF,
    and are rounded to 8 in the others; see `unwritable` for the limits.
    """
    path = Path(path)
    data = ENCODERS[FORMATS[path.suffix.lower()]](photo)
    with replacing(path) as part:
        part.write_bytes(data)


def unwritable(path: str | os.PathLike[str], photo: Photo) -> str:
    """Return why a photo cannot be written to a file of this name, or an empty string."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        return f"{os.fspath(path)!r} must end in one of {', '.join(FORMATS)}"
    if max(photo.pixels.shape[:2]) > LONGEST.get(FORMATS[suffix], 2**31):
        longest = LONGEST[FORMATS[suffix]]
        return f"{FORMATS[suffix]} holds at most {longest} pixels per side: choose .png or .tif for {os.fspath(path)!r}"
    if FORMATS[suffix] == "JPEG" and photo.alpha is not None and photo.alpha.min() < np.iinfo(photo.alpha.dtype).max:
        return f"JPEG holds no transparency: choose .png, .tif or .webp for {os.fspath(path)!r}"
    return ""


def _unfit(image: ImageFile) -> str:
    """Return why an opened file is not a photo, or an empty string."""
    if image.format not in ("PNG", "JPEG", "MPO", "TIFF", "WEBP"):
        return f"is a {image.format} file: save it as PNG, JPEG, TIFF or WebP"
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # the other pictures of a JPEG are previews of the first
        return f"has {pages} pages: save one of them as a separate file"
    if image.mode == "F" or (image.mode == "I" and not _deep(image)):
        return f"has {'floating-point' if image.mode == 'F' else 'signed or 32-bit'} pixels: save it with 8 or 16 bits"
    channels = image.tag_v2.get(277, 1) if image.format == "TIFF" else 1  # type: ignore[attr-defined]
    if channels > 4:
        return f"has {channels} channels: save it as RGB"
    if image.mode in ("CMYK", "LAB", "HSV"):
        return f"has {image.mode} colours: save it as RGB"
    return ""


def _deep(image: ImageFile) -> bool:
    """Whether an opened file has 16 bits per channel, which Pillow keeps only for grey pictures."""
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        return 16 in tags.get(258, ()) and set(tags.get(339, (1,))) == {1}  # unsigned
    raw = image.tile[0].args if image.tile else ""
    return ";16" in str(raw[0] if isinstance(raw, tuple) else raw)


def _photo(image: ImageFile, path: Path) -> Photo:
    """Return the photo in an opened file."""
    deep = _deep(image)
    if image.format == "PNG" or not deep:
        image.load()  # EXIF data may come last; Pillow turns a TIFF here
    exif, profile = image.getexif(), image.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) else b""  # a damaged TIFF may have a number
    if deep:
        pixels = _decoded(image, path)
    else:
        mode = "LA" if image.mode in ("1", "L", "LA") else "RGBA"
        pixels = np.asarray(image.convert(mode if image.has_transparency_data else mode[:-1]))
    pixels = UPRIGHT.get(exif.get(ORIENTATION, 1), np.asarray)(pixels)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    n = 1 if pixels.shape[2] < 3 else 3  # the rest is alpha
    alpha = pixels[..., n:] if pixels.shape[2] > n else None
    return Photo(np.ascontiguousarray(pixels[..., :n]), alpha, profile, _kept(exif))


def _decoded(image: ImageFile, path: Path) -> Any:
    """Return the stored pixels of a 16-bit PNG or TIFF, (H, W) or (H, W, C)."""
    import imagecodecs

    data = path.read_bytes()
    # `out` ensures that a damaged file has the same size as for Pillow
    if image.format == "PNG":
        channels = {0: 1, 2: 3, 4: 2, 6: 4}[data[25]] + ("transparency" in image.info)
        shape = (image.height, image.width, channels)[: 2 + (channels > 1)]
        return imagecodecs.png_decode(data, out=np.empty(shape, np.uint16))
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    h, w, channels, planes = tags[257], tags[256], tags.get(277, 1), tags.get(284) == 2  # a plane per channel
    shape = (h, w) if channels == 1 else (channels, h, w) if planes else (h, w, channels)
    pixels = imagecodecs.tiff_decode(data, out=np.empty(shape, np.uint16))
    if planes and channels > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    return np.invert(pixels) if tags.get(262) == 0 else pixels  # 0: white is zero


def _kept(exif: Image.Exif) -> dict[int, Any]:
    """Return the EXIF data that stays valid for the pixels in any file."""
    from PIL import ExifTags

    # Pillow writes only ASCII; as bytes, a text stays as it was in the file
    kept: dict[int, Any] = {tag: str(exif[tag]).encode("latin-1", "replace") for tag in KEPT if tag in exif}
    sizes = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)  # of the pixels before they were turned
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        values = {
            tag: value
            for tag, value in exif.get_ifd(directory).items()
            if tag not in sizes and _can_be_kept(int(directory), tag, value)
        }
        if values:
            kept[int(directory)] = values
    return kept


def _can_be_kept(directory: int, tag: int, value: Any) -> bool:
    """Whether an EXIF value can be written again; that of a damaged file must not make writing the picture fail."""
    try:
        _exif({directory: {tag: value}})
    except Exception:  # text instead of a number, and anything else that the encoder does not expect
        return False
    return True


def _channels(photo: Photo) -> Any:
    """Return pixels and alpha as one array, (H, W) or (H, W, 2 to 4)."""
    both = photo.pixels if photo.alpha is None else np.concatenate([photo.pixels, photo.alpha], axis=2)
    return np.ascontiguousarray(both[..., 0] if both.shape[2] == 1 else both)


def _profile(photo: Photo, channels: int) -> bytes:
    """Return the profile if it matches the channels, else nothing; readers reject a file with a mismatch."""
    return photo.profile if photo.profile[16:20] == (b"GRAY" if channels < 3 else b"RGB ") else b""


def _exif(values: Mapping[int, Any]) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    for tag, value in values.items():
        if isinstance(value, dict):
            exif.get_ifd(tag).update(value)
        else:
            exif[tag] = value
    return exif.tobytes() if values else b""


def _eight_bits(photo: Photo) -> Any:
    """Return `_channels` as a Pillow image of 8 bits."""
    from PIL import Image

    pixels = _channels(photo)
    return Image.fromarray(pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8))


def _jpeg(photo: Photo) -> bytes:
    file, profile, exif = io.BytesIO(), _profile(photo, photo.pixels.shape[2]), _exif(photo.exif)
    exif = exif if len(exif) < 65_500 else b""  # the limit of a JPEG segment
    _eight_bits(Photo(photo.pixels)).save(
        file, "JPEG", quality=95, subsampling=0, exif=exif, icc_profile=profile or None
    )
    return file.getvalue()


def _webp(photo: Photo) -> bytes:
    """Return a WebP, which is always RGB; `exact` keeps the colours under full transparency."""
    file, profile = io.BytesIO(), _profile(photo, 3)
    exif = _exif(photo.exif)
    _eight_bits(photo).save(file, "WEBP", lossless=True, exact=True, exif=exif, icc_profile=profile or None)
    return file.getvalue()


def _png(photo: Photo) -> bytes:
    """Return a PNG. Pillow writes 16 bits only for grey, and imagecodecs neither profile nor EXIF."""
    import imagecodecs

    data = bytes(imagecodecs.png_encode(_channels(photo)))
    chunks = b""
    if profile := _profile(photo, photo.pixels.shape[2]):
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if exif := _exif(photo.exif):
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    after_header = 33
    return data[:after_header] + chunks + data[after_header:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _tiff(photo: Photo) -> bytes:
    """Return a TIFF of one deflated strip. Pillow writes 16 bits only for grey, and OpenCV neither profile nor EXIF."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    pixels = _channels(photo)
    if pixels.ndim == 3 and pixels.shape[2] == 2:  # few programs read grey with transparency
        pixels = pixels[..., [0, 0, 0, 1]]
    strip = zlib.compress(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    tags: Any = ImageFileDirectory_v2()
    tags[256], tags[257] = pixels.shape[1], pixels.shape[0]
    tags[258] = (8 * pixels.itemsize,) * channels
    tags[259] = 8  # deflate
    tags[262] = 2 if channels > 2 else 1  # RGB, or grey with black at zero
    tags[273] = 0  # the start of the strip: Pillow puts it behind the tags
    tags[277], tags[278], tags[279] = channels, pixels.shape[0], len(strip)
    tags[284] = 1  # the channels of a pixel side by side
    if photo.alpha is not None:
        tags[338] = 2  # unassociated: not premultiplied
    if profile := _profile(photo, channels):
        tags.tagtype[34675] = 7  # bytes
        tags[34675] = profile
    for tag, value in photo.exif.items():
        tags[tag] = value
    file = io.BytesIO()
    tags.save(file)
    return file.getvalue() + strip


ENCODERS: dict[str, Callable[[Photo], bytes]] = {"PNG": _png, "JPEG": _jpeg, "TIFF": _tiff, "WEBP": _webp}


# -- arrays of users ---------------------------------------------------------------------------------------------------


#: The floating-point types of pictures, by name; others, such as float8, lack the functions to check their range.
FLOATS = ("float16", "bfloat16", "float32", "float64")

#: The value of white of integer types.
TOPS = {"uint8": 255, "uint16": 65535}


def pictures(image: Any, what: str = "image") -> Pictures:
    """Return a user's picture as a batch of one.

    Args:
        image: NumPy or torch, uint8 or float in [0, 1]; (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with C of 1 or 3.
            If both ends could be channels, NumPy is taken as (H, W, C) and torch as (C, H, W). Or the path of a file,
            of which 8 bits are read.
        what: its name in a message.

    Raises:
        UsageError: it is something else.
    """
    array, kind, tensor = _array(read(image) if isinstance(image, str | os.PathLike) else image, what)
    if kind not in ("uint8", *FLOATS):
        raise UsageError(f"{what} must be uint8 or float in [0, 1], got {array.dtype}.")
    array = _with_channels(array, tensor, what)
    return Pictures((array.float() / 255 if tensor and kind == "uint8" else array)[None])


def checked(image: Any, what: str = "image") -> Pictures:
    """Return `pictures(image)` after checking its range.

    Raises:
        UsageError: floats far outside [0, 1], or NaN.
    """
    found = pictures(image, what)
    low, high = float(found._source.min()), float(found._source.max())
    if found._source.dtype != np.uint8 and not (low >= -0.5 and high <= 1.5):
        raise UsageError(f"{what} must be uint8 or float in [0, 1], got floats from {low:.3g} to {high:.3g}.")
    return found


def unpacked(image: Any, what: str = "image") -> tuple[Floats, Callable[[Floats], Any]]:
    """Return a user's picture as (H, W, C) in [0, 1], and a function that restores its type, shape and dtype.

    Args:
        image: as for `pictures`, or uint16; a file is read with all its bits.
        what: its name in a message.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(image, str | os.PathLike):
        image = read_photo(image).pixels
    array, kind, tensor = _array(image, what)
    shape, top, dtype = tuple(array.shape), TOPS.get(kind), None if tensor else np.asarray(image).dtype
    if kind == "uint16":
        array = array.cpu().numpy() if tensor else array
        array = array.astype(np.float32) / np.float32(65535)
        if tensor:
            import torch

            array = torch.from_numpy(array)
    found = checked(array, what).float[0]

    def back(picture: Floats) -> Any:
        out: Any = picture if top is None else np.rint(picture.astype(np.float64) * top).astype(kind)
        if len(shape) == 2:
            out = out[..., 0]
        elif _channels_first(shape[-3:], tensor):
            out = np.moveaxis(out, -1, 0)
        out = np.require(out[None] if len(shape) == 4 else out, requirements=["C", "W"])
        if tensor:
            import torch

            return torch.from_numpy(out).to(image.device, image.dtype)
        return out.astype(dtype)

    return found, back


def _array(image: Any, what: str) -> tuple[Any, str, bool]:
    """Return a user's array in a form that NumPy and torch support, the name of its type, and whether it is a tensor.

    Raises:
        UsageError: values are missing.
    """
    if hasattr(image, "detach"):
        return _dense(image.detach(), what)
    if np.ma.is_masked(image):
        raise UsageError(f"{what} must have a value at each pixel, got a masked array: fill it, as in image.filled(0).")
    try:
        array = np.asarray(image)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{what} must be an array, got {type(image).__name__}: {reason(error)}.") from error
    native = array.dtype.newbyteorder("=")
    if native.kind == "f" and native.itemsize > 8:  # longdouble, which torch does not have
        native = np.dtype(np.float64)
    with np.errstate(over="ignore"):  # it becomes infinite, which the check of the range rejects
        array = array.astype(native, copy=False)
    # torch supports neither negative strides nor those of a field of a record
    if not array.flags.aligned or any(stride < 0 or stride % max(1, array.itemsize) for stride in array.strides):
        array = array.copy()
    return array, array.dtype.name, False


def _dense(tensor: Any, what: str) -> tuple[Any, str, bool]:
    """Return the result of `_array` for a tensor."""
    import torch

    unlike = {
        "masked": torch.masked.is_masked_tensor(tensor),
        "nested": tensor.is_nested,
        "quantized": tensor.is_quantized,
        str(tensor.layout): tensor.layout != torch.strided,
    }
    if kind := next((kind for kind, found in unlike.items() if found), ""):
        raise UsageError(f"{what} must be a dense tensor with a value at each pixel, got a {kind} one.")
    if tensor.is_meta:
        raise UsageError(f"{what} must have values, got a tensor on the device 'meta'.")
    # a tensor with the negative bit is a view of a complex one, which NumPy does not support
    return tensor.resolve_neg(), str(tensor.dtype).removeprefix("torch."), True


def _with_channels(array: Any, tensor: bool, what: str) -> Any:
    """Return a user's array in the layout of `Pictures`: (C, H, W) for torch, (H, W, C) for NumPy."""
    shape = tuple(array.shape)
    if len(shape) == 4 and shape[0] == 1:
        array, shape = array[0], shape[1:]
    if len(shape) != 2 and not (len(shape) == 3 and {shape[0], shape[-1]} & {1, 3}):
        raise UsageError(f"{what} must be (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with C of 1 or 3, got {shape}.")
    if 0 in shape:
        raise UsageError(f"{what} must have pixels, got {shape}.")
    if len(shape) == 2:
        return array[None] if tensor else array[..., None]
    first = _channels_first(shape, tensor)
    if tensor:
        return array if first else array.permute(2, 0, 1)
    return np.moveaxis(array, 0, -1) if first else array


def _channels_first(shape: tuple[int, ...], tensor: bool) -> bool:
    """Whether a shape of three is (C, H, W); if both ends could be channels, those of a tensor are the first."""
    return shape[0] in (1, 3) and (tensor or shape[-1] not in (1, 3))


def centre_crop(image: Bytes, side: int) -> Bytes:
    """Return the centre of a picture, at most `side` in each direction; offsets are rounded down."""
    h, w = image.shape[:2]
    top, left = max(0, h - side) // 2, max(0, w - side) // 2
    return image[top : top + side, left : left + side]


def unit(image: Bytes) -> Floats:
    """Return uint8 as float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def files(folder: Path) -> list[Path]:
    """Return the picture files of a folder by name, without hidden ones."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
