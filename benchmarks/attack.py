"""Damage picture files: `python -m benchmarks.attack pictures --cases 10000 --seed 0`.

pictures: valid picture files of many formats are damaged and read by `images.read` and `images.read_photo`, and what
can be read is written again, in a process with a limit of time and memory. Each is readable, refused with a sentence,
raises another exception, hangs or crashes; the last three are bugs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import random
import resource
import struct
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from esbench import images
from esbench.errors import DataError

#: The limits of one case: a longer one is a hang, one with more memory fails.
SECONDS, BYTES = 20, 4 << 30

#: Numbers that sizes, counts and offsets are set to.
NUMBERS = (0, 1, 2, 3, 7, 8, 16, 17, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)

Damage = Callable[[random.Random, bytes, list[bytes]], bytes]


# -- valid files -------------------------------------------------------------------------------------------------------


def valid() -> dict[str, bytes]:
    """Return small pictures in all formats and kinds that can be written here, by name."""
    from PIL import Image

    y, x = np.mgrid[:24, :40]
    rgb = np.stack([6 * x, 10 * y, 3 * (x + y)], -1).astype(np.uint8)
    rgb ^= np.random.default_rng(0).integers(0, 16, rgb.shape, np.uint8)
    colour, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    kinds = {
        "1": grey.convert("1"),
        "L": grey,
        "LA": colour.convert("LA"),
        "P": colour.quantize(16),
        "RGB": colour,
        "RGBA": colour.convert("RGBA"),
        "CMYK": colour.convert("CMYK"),
        "LAB": Image.new("LAB", (40, 24), (100, 20, 30)),
        "I;16": Image.fromarray(rgb[..., 0].astype(np.uint16) * 257),
        "I": grey.convert("I"),
        "F": grey.convert("F"),
    }
    exif = Image.Exif()
    exif[0x0112], exif[0x0110], exif[0x013B] = 6, "Camera 1", "Zoë"
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x829A: (1, 250), 0x9286: b"ASCII\0\0\0note"})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 1.5, 2.0), 29: "2024:05:06"})
    more: dict[str, list[dict[str, Any]]] = {
        "PNG": [{"exif": exif}],
        "JPEG": [{"exif": exif, "icc_profile": bytes(600)}, {"progressive": True}, {"restart_marker_blocks": 2}],
        "TIFF": [{"exif": exif}, {"big_tiff": True}]
        + [{"compression": c} for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4", "webp")],
        "WEBP": [{"lossless": True}, {"exif": exif}],
        "AVIF": [{"exif": exif}],
    }
    formats = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF", "AVIF", "JPEG2000", "DDS", "SPIDER", "TGA", "SGI")
    formats += ("PCX", "ICO", "ICNS", "IM", "QOI", "EPS", "MSP", "XBM", "PALM", "BLP")
    files = {}
    Image.init()
    for format in formats:
        for mode, image in kinds.items():
            for i, options in enumerate([{}, *more.get(format, [])]):
                if data := _saved(image, format, options):
                    files[f"{format} {mode} {i}"] = data
    others = [colour.transpose(Image.Transpose.FLIP_LEFT_RIGHT), colour.rotate(180)]
    for format in ("MPO", "TIFF", "PNG", "WEBP", "GIF"):
        if data := _saved(colour, format, {"save_all": True, "append_images": others}):
            files[f"{format} frames"] = data
    deep = rgb.astype(np.uint16) * 257 + 1
    for channels in (1, 3):
        for alpha in (None, deep[..., 1:2]):
            photo = images.Photo(deep[..., :channels], alpha, bytes(600), {0x0110: b"Camera 1", 0x8825: {1: "N"}})
            for format in ("PNG", "TIFF"):
                files[f"{format} deep {channels}{'' if alpha is None else ' alpha'}"] = images.ENCODERS[format](photo)
    for dtype in (np.uint8, np.uint16):
        for compressed in (False, True):
            for order in "<>":
                files[f"TIFF planar {dtype.__name__} {compressed} {order}"] = _planar(
                    (deep >> 8 if dtype == np.uint8 else deep).astype(dtype), order, compressed
                )
    return files


def _saved(image: Any, format: str, options: dict[str, Any]) -> bytes:
    """Return a picture as a file, or nothing if the format cannot store it."""
    file = io.BytesIO()
    try:
        image.save(file, format, **options)
    except Exception:  # each format has its own way to refuse a mode
        return b""
    return file.getvalue()


def _planar(pixels: Any, order: str, compressed: bool) -> bytes:
    """Return a TIFF with one plane per channel, one strip each, of either byte order."""
    h, w, n = pixels.shape
    strips = [pixels[..., i].astype(pixels.dtype.newbyteorder(order)).tobytes() for i in range(n)]
    strips = [zlib.compress(strip) for strip in strips] if compressed else strips
    bits, entries, after = 8 * pixels.itemsize, 11, 8 + 2 + 11 * 12 + 4
    at = [after + 6 * n - 2 * n + 8 * n + sum(map(len, strips[:i])) for i in range(n)]
    short, long = 3, 4
    tail, fields = b"", []
    for tag, kind, values in (
        (256, long, [w]),
        (257, long, [h]),
        (258, short, [bits] * n),
        (259, short, [8 if compressed else 1]),
        (262, short, [2]),
        (273, long, at),
        (277, short, [n]),
        (278, long, [h]),
        (279, long, [len(strip) for strip in strips]),
        (284, short, [2]),
        (296, short, [1]),
    ):
        data = struct.pack(f"{order}{len(values)}{'H' if kind == short else 'I'}", *values)
        if len(data) > 4:
            field, tail = struct.pack(f"{order}I", after + len(tail)), tail + data
        else:
            field = data.ljust(4, b"\0")
        fields.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + field)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, entries)
    head = header + b"".join(fields) + bytes(4) + tail
    return head.ljust(at[0], b"\0") + b"".join(strips)


# -- damage ------------------------------------------------------------------------------------------------------------


def flips(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """Flip bits, more often near the beginning."""
    damaged = bytearray(data)
    for _i in range(rng.choice((1, 1, 2, 4, 16, 64))):
        end = len(data) if rng.random() < 0.5 else min(len(data), 200)
        damaged[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """Truncate the file."""
    return data[: rng.randrange(len(data))]


def hole(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """Remove a part, duplicate it, or set it to one byte."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:a] + rng.choice((b"", 2 * data[a:b], bytes([rng.choice((0, 255))]) * (b - a))) + data[b:]


def splice(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Continue with a part of another file."""
    other = rng.choice(others)
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def numbers(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """Set integers to numbers that a decoder does not expect: sizes, counts, offsets."""
    damaged = bytearray(data)
    for _i in range(rng.choice((1, 1, 2, 3))):
        size = rng.choice((1, 2, 4))
        at = rng.randrange(min(len(data), rng.choice((40, 300, len(data)))))
        value = (rng.choice(NUMBERS) + rng.choice((0, 0, -1, 1))) % 256**size
        damaged[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
    return bytes(damaged)


def inside(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Damage a file such that its checksums and structure stay valid: chunks, directories, headers."""
    try:
        if data[:4] == b"\x89PNG":
            return _png(rng, data, others)
        if data[:2] == b"\xff\xd8" and rng.random() < 0.5:
            return _jpeg(rng, data)
    except (struct.error, IndexError, ValueError, zlib.error):  # damaged before, so that the structure is gone
        pass
    return directories(rng, data, others)


def directories(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Edit the directories of a TIFF file, or of EXIF data, which are laid out like one."""
    at = max(data.find(b"II*\0"), data.find(b"MM\0*"))
    try:
        return data[:at] + _tiff(rng, data[at:])
    except (struct.error, IndexError, ValueError):
        return numbers(rng, data, others)


def _png(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(rng.choice((1, 1, 2))):
        i = rng.randrange(len(chunks))
        kind, content = chunks[i]
        if kind == b"IDAT" and rng.random() < 0.5:
            chunks[i] = kind, zlib.compress(_any(rng, zlib.decompress(content) if len(chunks) < 9 else content, others))
        elif rng.random() < 0.3:
            chunks.insert(rng.randrange(1, len(chunks) + 1), rng.choice(chunks))
        elif rng.random() < 0.2:
            kinds = (b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"zTXt", b"gAMA", b"IEND", b"iTXt")
            chunks[i] = rng.choice(kinds), content
        elif content:
            chunks[i] = kind, _any(rng, content, others)
    return data[:8] + b"".join(
        struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks
    )


def _any(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    return rng.choice((flips, cut, hole, numbers, directories))(rng, data, others) if data else data


def _tiff(rng: random.Random, data: bytes) -> bytes:
    """Edit the entries of a directory: tag, type, count or value; exchange or double them."""
    damaged, order = bytearray(data), "<" if data[:2] == b"II" else ">"
    found = [*struct.unpack_from(f"{order}I", data, 4)]
    for at in found[:1]:
        (n,) = struct.unpack_from(f"{order}H", data, at)
        entries = [struct.unpack_from(f"{order}HHII", data, at + 2 + 12 * i) for i in range(n)]
        found += [value for tag, _, _, value in entries if tag in (34665, 34853)]  # EXIF and place
    at = rng.choice(found)
    (n,) = struct.unpack_from(f"{order}H", data, at)
    for _ in range(rng.choice((1, 1, 2, 3))):
        entry = at + 2 + 12 * rng.randrange(n)
        what = rng.randrange(5)
        if what == 0:
            tags = (254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 324, 325, 338, 339, 34675, 34665)
            tag = rng.choice(tags) if at == found[0] else rng.randrange(32)
            struct.pack_into(f"{order}H", damaged, entry, tag)
        elif what == 1:
            struct.pack_into(f"{order}H", damaged, entry + 2, rng.randrange(20))
        elif what == 2:
            struct.pack_into(f"{order}I", damaged, entry + 4, rng.choice(NUMBERS))
        elif what == 3:
            small = rng.choice(NUMBERS) if rng.random() < 0.7 else rng.randrange(len(data))
            packed = (
                struct.pack(f"{order}I", small) if rng.random() < 0.5 else struct.pack(f"{order}HH", small & 65535, 0)
            )
            damaged[entry + 8 : entry + 12] = packed
        else:
            other = at + 2 + 12 * rng.randrange(n)
            damaged[entry : entry + 12] = damaged[other : other + 12]
    return bytes(damaged)


def _jpeg(rng: random.Random, data: bytes) -> bytes:
    """Edit the header of the frame: depth, size, components and their sampling."""
    damaged = bytearray(data)
    starts = [
        i for i in range(len(data) - 20) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC1, 0xC2, 0xDA, 0xDB, 0xC4)
    ]
    at = rng.choice(starts)
    for _ in range(rng.choice((1, 2))):
        damaged[at + 4 + rng.randrange(14)] = rng.choice((0, 1, 2, 3, 4, 0x11, 0x22, 0x7F, 0xFF))
    return bytes(damaged)


DAMAGES: tuple[Damage, ...] = (flips, cut, hole, splice, numbers, numbers, inside, inside, inside)


def cases(n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of damaged files, which depend on the seed only."""
    files = valid()
    rng, names = random.Random(seed), list(files)
    by_format: dict[str, list[str]] = {}
    for name in names:
        by_format.setdefault(name.split()[0], []).append(name)
    often = ("PNG", "JPEG", "TIFF", "TIFF", "TIFF", "WEBP", "BMP", "PPM", "GIF")
    for i in range(n):
        format = rng.choice(often) if rng.random() < 0.8 else rng.choice(list(by_format))
        name = rng.choice(by_format[format])
        data, damage = files[name], ""
        for _ in range(rng.choice((1, 1, 1, 2))):
            hurt = rng.choice(DAMAGES)
            damage += f" {hurt.__name__}"
            if data:
                data = hurt(rng, data, list(files.values()))
        yield f"{i} {name}{damage}", data


# -- readers, in a separate process ------------------------------------------------------------------------------------


def work(connection: Any, folder: str) -> None:
    """Read the files whose paths arrive, and report how each reader ended."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    connection.send(())
    while (path := connection.recv()) is not None:
        for reader in (_read, _read_photo):
            connection.send((reader.__name__.strip("_"), *_outcome(reader, path, Path(folder))))
        connection.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,))


def _outcome(reader: Callable[[str, Path], None], path: str, folder: Path) -> tuple[str, str]:
    try:
        reader(path, folder)
    except DataError as error:
        sentence = str(error)
        if sentence.startswith(repr(path)) and sentence.endswith(".") and "\n" not in sentence and len(sentence) < 500:
            return "refused", ""
        return "foreign", f"no sentence: {sentence}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "foreign", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    return "readable", ""


def _read(path: str, folder: Path) -> None:
    image = images.read(path)
    assert image.dtype == np.uint8, image.dtype
    assert image.ndim == 3, image.shape
    assert image.shape[2] in (1, 3), image.shape
    assert image.size, image.shape


def _read_photo(path: str, folder: Path) -> None:
    """Read a photo and write it in each format, because a failure to write would be noticed only after hours."""
    photo = images.read_photo(path)
    pixels, alpha = photo.pixels, photo.alpha
    assert pixels.dtype in (np.uint8, np.uint16), pixels.dtype
    assert pixels.ndim == 3, pixels.shape
    assert pixels.shape[2] in (1, 3), pixels.shape
    assert pixels.size, pixels.shape
    assert alpha is None or (alpha.dtype, alpha.shape) == (pixels.dtype, (*pixels.shape[:2], 1)), alpha.shape
    if pixels.size > 10_000_000:
        return
    for suffix in (".png", ".tif", ".jpg", ".webp"):
        out = folder / f"out{suffix}"
        if not images.unwritable(out, photo):
            images.write_photo(out, photo)
            again = images.read_photo(out)
            if suffix in (".png", ".tif"):
                assert np.array_equal(again.pixels[..., : pixels.shape[2]], pixels), suffix


def pictures(n: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """Damage pictures, read them, and count how it ended."""
    context = multiprocessing.get_context("spawn")
    counts: dict[str, Counter[str]] = {"read": Counter(), "read_photo": Counter()}
    bugs: Counter[str] = Counter()
    peak, slowest, started = 0, 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        process, ours = None, None
        path = Path(folder) / "case"
        with contextlib.suppress(KeyboardInterrupt):  # the counts so far are still printed
            for name, data in cases(n, seed):
                path.write_bytes(data)
                if process is None:
                    ours, theirs = context.Pipe()
                    process = context.Process(target=work, args=(theirs, folder), daemon=True)
                    process.start()
                    theirs.close()
                    ours.recv()  # its imports are no part of a case
                begun = time.perf_counter()
                ours.send(str(path))
                for reader in counts:
                    end, why = _heard(ours, process)
                    counts[reader][end] += 1
                    if end not in ("readable", "refused"):
                        bugs[f"{reader}: {why}"] += 1
                        if keep is not None:
                            keep.mkdir(parents=True, exist_ok=True)
                            (keep / f"{seed}-{name.replace(' ', '-')}").write_bytes(data)
                    if end in ("hang", "crash"):
                        process.kill()
                        process.join()
                        process = None
                        break
                else:
                    peak = max(peak, ours.recv()[0])
                    slowest = max(slowest, time.perf_counter() - begun)
        if process is not None:
            process.kill()
            process.join()
    return {
        "cases": counts["read"].total(),
        "seed": seed,
        **{reader: dict(sorted(ends.items())) for reader, ends in counts.items()},
        "bugs": dict(bugs.most_common(20)),
        "slowest case (s)": round(slowest, 2),
        "most memory (MB)": round(peak / 1024),
        "minutes": round((time.perf_counter() - started) / 60, 1),
    }


def _heard(connection: Any, process: Any) -> tuple[str, str]:
    """Return how a reader ended, and why."""
    if not connection.poll(SECONDS):
        return "hang", f"nothing in {SECONDS} s"
    try:
        return tuple(connection.recv()[1:])  # type: ignore[return-value]
    except EOFError:
        process.join()
        return "crash", f"exit code {process.exitcode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    sub = what.add_parser("pictures", help="damaged picture files")
    sub.add_argument("--cases", type=int, default=10_000)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--keep", type=Path, metavar="DIR", help="the folder for files that show a bug")
    a = parser.parse_args()
    asked = {"pictures": lambda: pictures(a.cases, a.seed, a.keep)}
    print(json.dumps(asked[a.what](), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
