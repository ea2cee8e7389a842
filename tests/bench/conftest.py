"""Runs that are written down without an optimisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.spec import UnitSpec, unit_id
from esbench.bench.store import Run

#: Of one unit, where a test does not say otherwise.
SPEC: dict[str, Any] = {
    "dataset": "d",
    "image": "a",
    "pixels": "0" * 64,
    "crop": None,
    "task": "denoise",
    "noise": "gaussian",
    "sigma": 25.0,
    "network": "skip",
    "seed": 0,
    "iterations": 6,
    "input_scale": 0.1,
    "learning_rate": 0.01,
    "perturbation": 1 / 30,
    "depth": 32,
    "precision": "float32",
    "device": "cpu",
    "engine": 1,
}

PSNR = [10.0, 14.0, 20.0, 19.0, 17.0, 15.0]


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Results]:
    """Give write_run(*units, name="RUN", patience=2): the results of a run with these units, done.

    A unit is a mapping of what differs from SPEC, and: `curves`, criterion -> values (or columns by name); `psnr`;
    `trace`, more of its columns; `result`, what differs in result.json; `done`.
    """

    def write_run(*units: Mapping[str, Any], name: str = "RUN", patience: int = 2) -> Results:
        specs = [UnitSpec(**{key: each.get(key, value) for key, value in SPEC.items()}) for each in units]
        run = Run(tmp_path / name)
        with run.lock():
            run.begin(Config(iterations=6, patience=patience), [unit_id(spec) for spec in specs], {}, {})
        for spec, each in zip(specs, units, strict=True):
            unit, psnr = run.unit(unit_id(spec)), np.array(each.get("psnr", PSNR))
            unit.begin(spec)
            unit.write_trace({"psnr_db": psnr, "average_psnr_db": psnr - 1} | each.get("trace", {}))
            unit.write_image("clean", np.zeros((4, 5, 3), np.uint8))
            criteria = {}
            for text, values in each["curves"].items():
                columns = values if isinstance(values, Mapping) else {"value": values}
                arrays = {key: np.array(column, float) for key, column in columns.items()}
                unit.write_criterion(text, {"ms": np.full(len(psnr), 0.5, np.float32)} | arrays, {})
                made = {"distribution": "esbench", "distribution_version": "", "version": 1}
                criteria[text] = {"made_by": made, "resolved": {}, "failed": ""}
                criteria[text] |= {"patience": patience, "stop_step": 2, "ssim": 0.875}
            result = {
                "complete": True,
                "steps": len(psnr),
                "peak_step": int(psnr.argmax()),
                "peak_db": psnr.max(),
                "last_db": psnr[-1],
                "average_peak_db": psnr.max() - 1,
                "seconds": 3.0,
                "criteria": criteria,
            }
            if each.get("done", True):
                unit.write_result(result | each.get("result", {}))
        return Results(run.path)

    return write_run
