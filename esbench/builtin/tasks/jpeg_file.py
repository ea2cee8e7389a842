"""Read the quantised coefficients and the quantisation tables of a JPEG file (ITU-T T.81).

Decoders return only pixels, rounded and clipped, from which the coefficients of bright or finely quantised blocks
cannot be recovered. So the entropy coding is read here: baseline, extended and progressive Huffman files of 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from esbench.errors import DataError

CodedBlock: TypeAlias = list[int]

#: The order of the coefficients of a block in the file (T.81, figure 5).
ZIGZAG = sorted(range(64), key=lambda i: (s := sum(divmod(i, 8)), i // 8 if s % 2 else i % 8))


@dataclass(frozen=True, eq=False)
class Plane:
    """One component.

    Attributes:
        levels: (8 R, 8 C), the quantised coefficients of R x C blocks, in the layout of the picture.
        table: (8, 8), the quantisation steps.
        reduced: the subsampling factors of the component, vertical and horizontal.
    """

    levels: npt.NDArray[np.int32]
    table: npt.NDArray[np.int32]
    reduced: tuple[int, int]

    @property
    def steps(self) -> npt.NDArray[np.int32]:
        """The quantisation step of each coefficient, like `levels`."""
        rows, columns = self.levels.shape
        return np.tile(self.table, (rows // 8, columns // 8))


@dataclass(frozen=True, eq=False)
class Coefficients:
    """All components of a picture, or of a part of it.

    Attributes:
        height: the height of the picture.
        width: its width.
        planes: Y alone, or Y, Cb and Cr.
    """

    height: int
    width: int
    planes: tuple[Plane, ...]

    def window(self, rows: slice, columns: slice) -> Coefficients:
        """Return a part that starts at a block of every component."""
        (top, bottom, _), (left, right, _) = rows.indices(self.height), columns.indices(self.width)
        planes = []
        for plane in self.planes:
            v, h = plane.reduced
            within = slice(top // v, 8 * -(-bottom // (8 * v))), slice(left // h, 8 * -(-right // (8 * h)))
            planes.append(Plane(plane.levels[within], plane.table, plane.reduced))
        return Coefficients(bottom - top, right - left, tuple(planes))


def read(data: bytes) -> Coefficients:
    """Return the coefficients in a file.

    Raises:
        DataError: it is not a JPEG, is damaged, or has an unsupported format.
    """
    try:
        return _File(data).coefficients()
    except (IndexError, KeyError, ValueError, ZeroDivisionError, StopIteration) as error:
        raise DataError(f"The JPEG is damaged: {type(error).__name__} while its coefficients were read.") from error


@dataclass
class _Component:
    """A component while it is read: `blocks` row by row, padded to whole units of an interleaved scan."""

    h: int
    v: int
    table: int
    rows: int = 0
    columns: int = 0
    stride: int = 0
    blocks: list[CodedBlock] = field(default_factory=list)


@dataclass
class _Scan:
    """Parameters of a scan (T.81, B.2.3), its bits, and its state from block to block."""

    first: int
    last: int
    high: int
    low: int
    bits: _Bits
    run: int = 0


class _Bits:
    """The bits of a scan between two restarts.

    Args:
        data: the bytes, without stuffed ones.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._end = data + bytes(8), 0, 8 * len(data) + 64

    def take(self, n: int) -> int:
        """Return the next n bits, at most 16, as a number."""
        at = self._at
        self._at = at + n
        if self._at > self._end:
            raise ValueError("the scan ends too early")
        return int.from_bytes(self._data[at >> 3 : (at >> 3) + 4].ljust(4, b"\0"), "big") >> (32 - n - (at & 7)) & (
            (1 << n) - 1
        )

    def symbol(self, table: list[tuple[int, int]]) -> int:
        """Return the next symbol of a Huffman code."""
        length, symbol = table[self.take(16)]
        self._at -= 16 - length
        return symbol

    def number(self, n: int) -> int:
        """Return the next number of n bits with its sign (T.81, F.2.2.1)."""
        value = self.take(n)
        return value if not n or value >> (n - 1) else value - (1 << n) + 1


class _File:
    """A file that is being read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.tables: dict[int, npt.NDArray[np.int32]] = {}
        self.codes: dict[int, list[tuple[int, int]]] = {}
        self.components: dict[int, _Component] = {}
        self.restart = 0
        self.progressive, self.transform = False, 1
        self.height = self.width = 0

    def coefficients(self) -> Coefficients:
        for marker, body, end in self._segments():
            if marker == 0xDB:
                self._quantisation(body)
            elif marker == 0xC4:
                self._huffman(body)
            elif marker in (0xC0, 0xC1, 0xC2):
                self._frame(body, marker == 0xC2)
            elif marker in (0xC3, *range(0xC5, 0xD0)):
                raise DataError(
                    "The JPEG is lossless, hierarchical or arithmetically coded: save it as a baseline JPEG."
                )
            elif marker == 0xDD:
                self.restart = int.from_bytes(body, "big")
            elif marker == 0xEE and body[:5] == b"Adobe":
                self.transform = body[11]
            elif marker == 0xDA:
                self._scan(body, end)
        if len(self.components) not in (1, 3) or (len(self.components) == 3 and not self._luma_and_chroma()):
            raise DataError("The JPEG has colours that are not Y, Cb and Cr: save it as RGB.")
        return Coefficients(self.height, self.width, tuple(map(self._plane, self.components.values())))

    def _luma_and_chroma(self) -> bool:
        return self.transform == 1 and tuple(self.components) != tuple(b"RGB")

    def _segments(self) -> Iterator[tuple[int, bytes, int]]:
        """Yield the marker, content and end of each segment."""
        at = 2
        if self.data[:2] != b"\xff\xd8":
            raise DataError("This is not a JPEG file.")
        while 0 <= (at := self.data.find(b"\xff", at)) < len(self.data) - 1:
            marker = self.data[at + 1]
            if marker in (0, 0xFF, *range(0xD0, 0xD8)):  # inside a scan, or fill bytes
                at += 1
                continue
            if marker == 0xD9:
                return
            length = int.from_bytes(self.data[at + 2 : at + 4], "big")
            at += 2 + length
            yield marker, self.data[at - length + 2 : at], at

    def _quantisation(self, body: bytes) -> None:
        while body:
            wide, name = divmod(body[0], 16)
            size = 128 if wide else 64
            steps = np.frombuffer(body[1 : 1 + size], ">u2" if wide else "u1")
            table = np.zeros(64, np.int32)
            table[ZIGZAG] = steps
            self.tables[name] = table.reshape(8, 8)
            body = body[1 + size :]

    def _huffman(self, body: bytes) -> None:
        while body:
            counts, n = body[1:17], sum(body[1:17])
            symbols, code, table = iter(body[17 : 17 + n].ljust(n, b"\0")), 0, [(16, 0)] * 65536
            for length, count in enumerate(counts, 1):
                for _ in range(count):
                    span = 1 << (16 - length)
                    if code + span > len(table):
                        raise ValueError("the codes do not fit into 16 bits")
                    table[code : code + span] = [(length, next(symbols))] * span
                    code += span
            self.codes[body[0]] = table
            body = body[17 + n :]

    def _frame(self, body: bytes, progressive: bool) -> None:
        if self.components or body[0] != 8:
            raise DataError("The JPEG has several frames, or more than 8 bits: save it as a baseline JPEG.")
        self.progressive = progressive
        self.height, self.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        for i in range(6, 6 + 3 * body[5], 3):
            self.components[body[i]] = _Component(body[i + 1] >> 4, body[i + 1] & 15, body[i + 2])
        self.h, self.v = (max(getattr(c, name) for c in self.components.values()) for name in "hv")
        for c in self.components.values():
            if self.h % c.h or self.v % c.v:
                raise DataError("The JPEG has components of sizes that do not divide each other: save it as 4:2:0.")
            c.columns, c.rows = -(-self.width * c.h // (8 * self.h)), -(-self.height * c.v // (8 * self.v))
            c.stride = -(-self.width // (8 * self.h)) * c.h
            c.blocks = [[0] * 64 for _ in range(c.stride * -(-self.height // (8 * self.v)) * c.v)]

    def _scan(self, body: bytes, end: int) -> None:
        chosen = [(self.components[body[i]], body[i + 1]) for i in range(1, 1 + 2 * body[0], 2)]
        first, last, bits = body[-3:]
        units = list(self._units([c for c, _ in chosen]))
        each = self.restart or len(units)
        parts = self._parts(end)
        for i in range(0, len(units), each):
            scan = _Scan(first, last, bits >> 4, bits & 15, _Bits(next(parts)))
            before = [0] * len(chosen)  # each DC is the difference to the one before
            for unit in units[i : i + each]:
                for which, block in unit:
                    before[which] = self._block(scan, chosen[which][0].blocks[block], chosen[which][1], before[which])

    def _parts(self, start: int) -> Iterator[bytes]:
        """Yield the entropy-coded bytes from a position on, one restart interval at a time."""
        at = start
        while (at := self.data.find(b"\xff", at)) >= 0:
            marker = self.data[at + 1] if at + 1 < len(self.data) else 0xD9
            if marker:
                yield self.data[start:at].replace(b"\xff\0", b"\xff")
                if not 0xD0 <= marker < 0xD8:
                    return
                start = at + 2
            at += 2
        raise DataError("The JPEG ends too early.")

    def _units(self, components: list[_Component]) -> Iterator[list[tuple[int, int]]]:
        """Yield the units of a scan: single blocks of one component, or the blocks of several for the same pixels."""
        if len(components) == 1:
            (c,) = components
            for row in range(c.rows):
                for column in range(c.columns):
                    yield [(0, row * c.stride + column)]
            return
        for row in range(-(-self.height // (8 * self.v))):
            for column in range(-(-self.width // (8 * self.h))):
                yield [
                    (i, (row * c.v + y) * c.stride + column * c.h + x)
                    for i, c in enumerate(components)
                    for y in range(c.v)
                    for x in range(c.h)
                ]

    def _block(self, scan: _Scan, block: CodedBlock, codes: int, before: int) -> int:
        """Read a scan's part of a block, and return its DC as far as it is known, for the next block."""
        bits = scan.bits
        if scan.first == 0:
            if scan.high:
                block[0] |= bits.take(1) << scan.low
            else:
                before += bits.number(bits.symbol(self.codes[codes >> 4]))
                block[0] = before << scan.low
        if scan.last:
            ac = self.codes[16 | codes & 15]
            (_refine if scan.high else _first)(scan, block, ac)
        return before

    def _plane(self, c: _Component) -> Plane:
        blocks: Any = np.zeros((len(c.blocks), 64), np.int32)
        blocks[:, ZIGZAG] = c.blocks
        blocks = blocks.reshape(-1, c.stride, 8, 8)[: c.rows, : c.columns]
        levels = blocks.transpose(0, 2, 1, 3).reshape(8 * c.rows, 8 * c.columns)
        return Plane(np.ascontiguousarray(levels), self.tables[c.table], (self.v // c.v, self.h // c.h))


def _first(scan: _Scan, block: CodedBlock, ac: list[tuple[int, int]]) -> None:
    """Read the coefficients of a block for the first time (T.81, F.2.2.2 and G.1.2.2)."""
    if scan.run:
        scan.run -= 1
        return
    k = max(1, scan.first)
    while k <= scan.last:
        zeros, size = divmod(scan.bits.symbol(ac), 16)
        if size:
            k += zeros
            block[k] = scan.bits.number(size) << scan.low
            k += 1
        elif zeros == 15:
            k += 16
        else:
            scan.run = (1 << zeros) + scan.bits.take(zeros) - 1
            return


def _refine(scan: _Scan, block: CodedBlock, ac: list[tuple[int, int]]) -> None:
    """Read another bit of the coefficients of a block (T.81, G.1.2.3)."""
    bits, k, one = scan.bits, scan.first, 1 << scan.low

    def pass_over(zeros: int) -> None:
        """Refine nonzero coefficients up to the coefficient after a number of zeros."""
        nonlocal k
        while k <= scan.last and (block[k] or zeros):
            if not block[k]:
                zeros -= 1
            elif bits.take(1):
                block[k] += one if block[k] > 0 else -one
            k += 1

    while not scan.run and k <= scan.last:
        zeros, size = divmod(bits.symbol(ac), 16)
        if not size and zeros < 15:
            scan.run = (1 << zeros) + bits.take(zeros)
            break
        new = (one if bits.take(1) else -one) if size else 0
        pass_over(zeros)
        if k <= scan.last:
            block[k] = new
            k += 1
    if scan.run:
        pass_over(64)
        scan.run -= 1
