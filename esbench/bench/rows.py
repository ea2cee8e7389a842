"""The results table: one row per unit and criterion, with the same columns in CSV, JSON and Parquet."""

from __future__ import annotations

import types
import typing
from typing import Any, TypedDict


class Row(TypedDict):
    """One row. The order of the columns is stable; docs/results.md describes each of them.

    The columns after `unit` complete the settings of the unit and name the maker of the criterion, so that a row alone
    shows whether it can be compared with a row of another user.
    """

    dataset: str
    image: str
    task: str
    noise: str
    sigma: float | None
    seed: int
    network: str
    iterations: int
    criterion: str
    patience: int | None
    min_delta: float | None
    stop_step: int | None
    fallback: bool | None
    steps_run: int | None
    psnr_db: float | None
    ssim: float | None
    peak_step: int | None
    peak_db: float | None
    gap_db: float | None
    last_db: float | None
    average_psnr_db: float | None
    average_peak_db: float | None
    average_gap_db: float | None
    ms_per_step: float | None
    criterion_ms_per_step: float | None
    loss: str
    input: str
    score_db: float | None
    score_peak_db: float | None
    score_gap_db: float | None
    score_last_db: float | None
    baseline_db: float | None
    unit: str
    pixels: str
    crop: int | None
    regulariser: str
    input_scale: float
    learning_rate: float
    perturbation: float
    depth: int
    precision: str
    device: str
    engine: int
    distribution: str
    distribution_version: str
    version: int
    kind: str
    seconds: float | None


def _kind(annotation: Any) -> type:
    """Return the type of a column's values that are not null."""
    if isinstance(annotation, types.UnionType):
        annotation = next(kind for kind in typing.get_args(annotation) if kind is not type(None))
    kind: type = annotation
    return kind


#: The type of each column's values, in the order of the table.
TYPES: dict[str, type] = {name: _kind(annotation) for name, annotation in typing.get_type_hints(Row).items()}
COLUMNS = tuple(TYPES)

#: The columns of a stop, which a baseline does not have.
STOP = ("patience", "min_delta", "stop_step", "fallback", "steps_run", "ms_per_step", "criterion_ms_per_step")

#: The columns that may be null.
NULLABLE = frozenset(name for name, kind in typing.get_type_hints(Row).items() if isinstance(kind, types.UnionType))
