"""Write and read files of a run: atomically, and with the id of their unit."""

from __future__ import annotations

import json
import os
import re
import struct
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esbench import disk
from esbench.errors import DataError

#: The unit id in a table: in the footer, the key, then the value preceded by its length.
ID_IN_TABLE = re.compile(rb"esbench-unit\x18[\x00-\xff]{1,2}?([A-Za-z0-9_.-]+)", re.DOTALL)

#: A picture begins with this many bytes, then its chunks follow; the first one is ours.
HEAD = 33

#: The keyword of the chunk of text with the unit id.
KEYWORD = b"esbench-unit\0"


def folder(path: Path) -> None:
    """Make a folder; a file of that name is moved aside."""
    for place in (path.parent, path):
        if not place.is_dir() and os.path.lexists(place):
            _aside(place)
    path.mkdir(parents=True, exist_ok=True)


def no_folder(path: Path) -> None:
    """Move aside a folder that has the name of a file."""
    if path.is_dir():
        _aside(path)


def _aside(path: Path) -> None:
    path.rename(path.with_name(f"{path.name.replace('.', '-')}-aside-{uuid.uuid4().hex[:8]}"))


def signed(png: bytes, id: str, name: str) -> bytes:
    """Return a PNG file with the unit id and the name of the picture in a text chunk after its header."""
    content = b"tEXt" + KEYWORD + f"{id}\n{name}\n".encode()  # followed by a checksum
    chunk = struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))
    return png[:HEAD] + chunk + png[HEAD:]


def unsigned(png: bytes) -> bytes:
    """Return a PNG file without what `signed` has added: the same picture is the same bytes."""
    if not png.startswith(KEYWORD, HEAD + 8):
        return png
    return png[:HEAD] + png[HEAD + 12 + int.from_bytes(png[HEAD : HEAD + 4]) :]


def signature(begins: bytes) -> tuple[str | None, str | None]:
    """Return the unit id and the name in the first bytes of a picture; None for what an older one does not have."""
    if not begins.startswith(KEYWORD, HEAD + 8):
        return None, None
    text = begins[HEAD + 8 : HEAD + 8 + int.from_bytes(begins[HEAD : HEAD + 4])]
    id, name, *_ = [*text.removeprefix(KEYWORD).decode(errors="replace").split("\n"), ""]
    return id, name or None


def png_fault(data: bytes) -> str:
    """Return what is wrong with the bytes of a PNG file, or an empty string."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return "it is not a PNG file"
    at, kind = 8, b""
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4])
        content, checksum = data[at + 4 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4:
            return "it is truncated"
        if zlib.crc32(content) != int.from_bytes(checksum):
            return "its checksum does not match"
        at, kind = at + 12 + length, content[:4]
    return ""


def write_table(path: Path, columns: Mapping[str, Any], made_by: Mapping[str, Any], id: str) -> None:
    """Write a table with its origin and its unit id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {"esbench": json.dumps(made_by), "esbench-unit": id}
    table = pa.table(dict(columns)).replace_schema_metadata(metadata)
    with disk.replacing(path) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def read_table(path: Path, columns: list[str] | None) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Return columns of a table (all for None), its origin, and its unit id, or None if it has none.

    Raises:
        Missing: it does not exist.
        DataError: it cannot be read.
    """
    import pyarrow.parquet as pq

    disk.regular(path)
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        table = file.read(columns=columns, use_threads=False)  # the tables are small
        metadata = table.schema.metadata or {}
        made_by = json.loads(metadata.get(b"esbench", b"{}"))
        id = metadata[b"esbench-unit"].decode() if b"esbench-unit" in metadata else None
        if lacking := [name for name in columns or () if name not in table.column_names]:
            raise ValueError(f"it has no column {lacking[0]!r}")
        values = {name: table.column(name).to_numpy() for name in table.column_names}
        if odd := [name for name, value in values.items() if value.dtype.kind not in "biuf"]:
            raise ValueError(f"its column {odd[0]!r} is not numeric")
        if not isinstance(made_by, dict):
            raise ValueError("it has no origin")
    except Exception as error:
        raise DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}.") from error
    return values, made_by, id
