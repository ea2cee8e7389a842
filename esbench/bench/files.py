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

#: The unit id in a picture.
ID_IN_PICTURE = re.compile(rb"tEXtesbench-unit\0([A-Za-z0-9_.-]+)\n")


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


def signed(png: bytes, id: str) -> bytes:
    """Return a PNG file with the unit id in a text chunk after its header of 33 bytes."""
    content = b"tEXtesbench-unit\0" + id.encode() + b"\n"  # followed by a checksum
    chunk = struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))
    return png[:33] + chunk + png[33:]


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
