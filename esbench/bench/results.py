"""What a run found, decided from its traces. No torch here: a laptop without it can read a run."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from esbench.bench.store import Run, Unit
from esbench.metrics import finite
from esbench.rule import first_stop

if TYPE_CHECKING:
    import pandas as pd

#: The columns of the results table, the same in CSV, JSON and Parquet, with the types of their values.
TYPES: dict[str, type] = {
    "dataset": str,
    "image": str,
    "task": str,
    "noise": str,
    "sigma": float,
    "seed": int,
    "network": str,
    "iterations": int,
    "criterion": str,
    "patience": int,
    "min_delta": float,
    "stop_step": int,
    "fallback": bool,
    "steps_run": int,
    "psnr_db": float,
    "ssim": float,
    "peak_step": int,
    "peak_db": float,
    "gap_db": float,
    "last_db": float,
    "average_psnr_db": float,
    "average_peak_db": float,
    "average_gap_db": float,
    "ms_per_step": float,
    "criterion_ms_per_step": float,
    "unit": str,
}
COLUMNS = tuple(TYPES)


class Results:
    """The results of a run.

    Args:
        run: its folder.

    Example:
        ```python
        results = esbench.Results("RUN")
        for row in results.table():
            print(row["criterion"], row["stop_step"], row["gap_db"])
        ```

    Raises:
        Missing: the folder holds no run.
    """

    def __init__(self, run: str | os.PathLike[str]) -> None:
        self.run = Run(run)
        self.config = self.run.config()

    def table(
        self, *, units: Iterable[str] | None = None, criteria: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return one row for each unit that is done and each criterion.

        Args:
            units: the ids of the units; None for all.
            criteria: canonical texts of the criteria; None for all that were measured.
        """
        found = self.run.units() if units is None else [self.run.unit(id) for id in units]
        return [row for unit in found for row in self._rows(unit, criteria)]

    def export(self, kind: str) -> bytes:
        """Return the table as a file: `csv`, `json` or `parquet`."""
        rows = self.table()
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
        pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
        return buffer.getvalue()

    def failures(
        self, *, units: Iterable[str] | None = None, criteria: Sequence[str] | None = None
    ) -> list[tuple[str, str, str]]:
        """Return unit, criterion (empty for the unit itself) and reason of everything that failed."""
        found = self.run.units() if units is None else [self.run.unit(id) for id in units]
        failed = []
        for unit in found:
            result = unit.result()
            if result is None:
                if error := unit.error():
                    failed.append((unit.id, "", error.strip().splitlines()[-1]))
                continue
            for text, entry in result["criteria"].items():
                if entry["failed"] and (criteria is None or text in criteria):
                    failed.append((unit.id, text, entry["failed"]))
        return failed

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a data frame; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.table(), columns=list(COLUMNS))

    def _rows(self, unit: Unit, criteria: Sequence[str] | None) -> list[dict[str, Any]]:
        result = unit.result()
        if result is None:
            return []
        spec = unit.spec()
        trace = unit.trace(["psnr_db", "average_psnr_db"])
        psnr, average = trace["psnr_db"], trace["average_psnr_db"]
        rows = []
        for text in result["criteria"] if criteria is None else criteria:
            entry = result["criteria"].get(text)
            if entry is None or entry["failed"]:
                continue
            columns, _ = unit.criterion(text, ["value", "ms"])
            stop = first_stop(columns["value"].tolist(), self.config.patience)
            kept = entry["patience"] == self.config.patience and entry["stop_step"] == stop.step
            row = {
                "dataset": spec.dataset,
                "image": spec.image,
                "task": spec.task,
                "noise": spec.noise,
                "sigma": spec.sigma,
                "seed": spec.seed,
                "network": spec.network,
                "iterations": spec.iterations,
                "criterion": text,
                "patience": self.config.patience,
                "min_delta": 0.0,
                "stop_step": stop.step,
                "fallback": stop.fallback,
                "steps_run": stop.decided_at + 1,
                "psnr_db": finite(psnr[stop.step]),
                "ssim": entry["ssim"] if kept else None,
                "peak_step": result["peak_step"],
                "peak_db": result["peak_db"],
                "gap_db": _gap(result["peak_db"], psnr[stop.step]),
                "last_db": result["last_db"],
                "average_psnr_db": finite(average[stop.step]),
                "average_peak_db": result["average_peak_db"],
                "average_gap_db": _gap(result["average_peak_db"], average[stop.step]),
                "ms_per_step": 1000 * result["seconds"] / result["steps"],
                "criterion_ms_per_step": math.fsum(columns["ms"]) / len(columns["ms"]),
                "unit": unit.id,
            }
            rows.append(row)
        return rows


def _gap(peak: float | None, value: float) -> float | None:
    return None if peak is None else finite(peak - value)
