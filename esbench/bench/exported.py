"""The results table as a file to share: written by `esbench export`, read and checked by `esbench leaderboard`."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from esbench import disk
from esbench.bench.rows import COLUMNS, NULLABLE, STOP, TYPES, Row
from esbench.bench.spec import UnitSpec, unit_id
from esbench.errors import DataError, UsageError
from esbench.params import split

#: Columns that older files do not have, and their values there.
LATER = {"kind": "criterion", "seconds": None}

#: Numbers are smaller, so that means and ratios of them are finite; no NaN is.
LARGEST = {int: 2**63, float: 1e300}

FORMATS = ("csv", "json", "parquet")


def written(rows: Sequence[Mapping[str, Any]], kind: str) -> bytes:
    """Return rows as a file of one of the formats."""
    if kind == "json":
        return (json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()
    if kind == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in TYPES.items()])  # a column may have no value at all
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), buffer)
    return buffer.getvalue()


def read(path: Path) -> list[Row]:
    """Return the rows of a file that `written` made.

    The file may come from another user: each row must be complete, its numbers must agree with each other, and the id
    of its unit must be that of its settings.

    Raises:
        UsageError: it has another format.
        DataError: it cannot be read, or a row is not consistent.
    """
    readers: dict[str, Callable[[bytes], Iterable[dict[str, Any]]]]
    readers = {".csv": _csv, ".json": _json, ".parquet": _parquet}
    if path.suffix not in readers:
        raise UsageError(
            f"{str(path)!r} is neither a run nor a table of results: expected the folder of a run, or a file of "
            "'esbench export', .csv, .json or .parquet."
        )
    disk.regular(path)
    try:
        rows = list(readers[path.suffix](path.read_bytes()))
    except (ValueError, TypeError, OSError, RecursionError, csv.Error) as error:
        raise DataError(f"{str(path)!r} cannot be read: {disk.reason(error)}.") from error
    for i, row in enumerate(rows, 1):
        row |= {name: value for name, value in LATER.items() if name not in row}
        if lacking := [name for name in COLUMNS if name not in row]:
            raise DataError(f"{str(path)!r} lacks the column {lacking[0]!r}: export it again with this esbench.")
        if fault := _fault(row):
            raise DataError(f"{str(path)!r} cannot be used: {fault} (row {i}). Export it again from its run.")
    return [cast("Row", {name: row[name] for name in COLUMNS}) for row in rows]


def _csv(data: bytes) -> list[dict[str, Any]]:
    lines = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return [{name: _value(name, cell) for name, cell in line.items() if name in TYPES} for line in lines]


def _value(name: str, cell: str | None) -> Any:
    """Return a cell of a CSV file as a value of its column's type; the text itself if it is not one."""
    if not cell and name in NULLABLE:
        return None
    if TYPES[name] is bool:
        return {"True": True, "False": False}.get(cell or "", cell)
    try:
        return None if cell is None else TYPES[name](cell)
    except ValueError:
        return cell


def _json(data: bytes) -> list[dict[str, Any]]:
    rows = json.loads(data)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it must be an array of objects")
    return rows


def _parquet(data: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(data)).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    return rows


def _fault(row: dict[str, Any]) -> str:
    """Return what is wrong with a row, or an empty string."""
    for name, kind in TYPES.items():
        value: Any = row[name]
        if value is None and name in NULLABLE:
            continue
        if type(value) in (int, float) and not abs(value) < LARGEST[type(value)]:
            return f"{name} must be a finite number of usual size, got {value!r:.80}"
        if kind is float and type(value) is int:
            value = row[name] = float(value)  # JSON has one kind of number
        if type(value) is not kind:
            return f"{name} must be {kind.__name__}, got {value!r:.80}"
    try:
        split(row["criterion"])
    except UsageError:
        return f"{row['criterion']!r} is not the name of a criterion"
    if row["kind"] not in ("criterion", "baseline"):
        return f"kind must be criterion or baseline, got {row['kind']!r}"
    stopped = row["kind"] == "criterion"
    if wrong := [name for name in STOP if (row[name] is None) is stopped]:
        return f"{wrong[0]} of a {row['kind']} must {'not ' * stopped}be null"
    if stopped and not (0 <= row["stop_step"] < row["iterations"] and row["patience"] >= 0 and row["steps_run"] >= 1):
        return "stop_step, steps_run and patience must be steps of the optimisation"
    for prefix in ("", "average_", "score_"):
        value = row["score_db"] if prefix == "score_" else row[f"{prefix}psnr_db"]
        peak, gap = row[f"{prefix}peak_db"], row[f"{prefix}gap_db"]
        if gap is not None and (None in (peak, value) or abs(peak - value - gap) > 1e-6 or gap < -1e-6):
            return f"{prefix}gap_db must be the distance of the stop to the peak, and at least 0, got {gap!r}"
    spec = UnitSpec(**{field.name: row[field.name] for field in dataclasses.fields(UnitSpec)})
    if (id := unit_id(spec)) != row["unit"]:
        return f"the settings of {row['unit']!r} are those of {id!r}"
    return ""
