"""Runs that are written down without an optimisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from esbench.bench.config import Config
from esbench.bench.replay import found
from esbench.bench.results import Results
from esbench.bench.spec import UnitSpec, unit_id
from esbench.bench.store import Run
from esbench.stopping.rule import first_stop

STEPS, PATIENCE = 12, 3

#: Lowest at step 4, and never.
CURVES = {"wmv": [9.0, 8, 7, 6, 1, 2, 2, 2, 2, 2, 2, 2], "emv": list(np.linspace(5, 1, STEPS))}
PSNR = [10.0, 14, 18, 20, 21, 23, 22, 21, 20, 19, 18, 17]

SPEC = {
    "pixels": "0" * 64,
    "crop": None,
    "task": "denoise",
    "network": "skip",
    "seed": 0,
    "iterations": STEPS,
    "input_scale": 0.1,
    "learning_rate": 0.01,
    "perturbation": 1 / 30,
    "depth": 32,
    "precision": "float32",
    "device": "cpu",
    "engine": 1,
}

STAMP = {
    "esbench": "0.1.0",
    "commit": "c0ffee+dirty",
    "python": "3.11.7",
    "packages": {"torch": "2.6.0", "numpy": "2.0.0"},
    "plugins": [{"name": "foo", "distribution": "esbench-foo", "version": "1.2", "status": "ok"}],
}


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Results]:
    """Give write_run(folder, units, ...), which writes a run down and returns its results."""
    return _write_run


def _write_run(
    folder: Path,
    units: Sequence[tuple[str, float | None]] = (("kodim01", 25.0),),
    *,
    curves: Mapping[str, Sequence[float]] = CURVES,
    psnr: Sequence[float] = PSNR,
    dataset: str = "kodak24",
    noise: str = "gaussian",
    live: bool = False,
    failed: Mapping[str, str] | None = None,
    planned: Sequence[str] = (),
    pictures: bool = True,
    size: tuple[int, int, int] = (6, 8, 3),
) -> Results:
    """Write down units of (picture, sigma), all with the same curves; `failed` criteria have none."""
    run, config = Run(folder), Config(iterations=len(psnr), patience=PATIENCE, live=live)
    specs = [UnitSpec(dataset=dataset, image=image, noise=noise, sigma=sigma, **SPEC) for image, sigma in units]
    ids = [unit_id(spec) for spec in specs]
    with run.lock():
        run.begin(
            config, [*ids, *planned], STAMP, {"when": "2026-01-02T03:04:05+00:00", "command": "esbench run -c wmv"}
        )
    for id, spec in zip(ids, specs, strict=True):
        unit = run.unit(id)
        unit.begin(spec)
        unit.write_trace({"psnr_db": np.array(psnr), "average_psnr_db": np.array(psnr) - 1})
        made = {"distribution": "esbench-foo", "distribution_version": "1.2", "version": 3}
        criteria = {}
        for text, values in curves.items():
            table = {"value": np.array(values, float), "ms": np.full(len(values), 0.5, np.float32)}
            unit.write_criterion(text, table, {})
            stop = found(first_stop(list(values), PATIENCE), psnr, np.array(psnr) - 1, table["ms"])
            criteria[text] = stop | {
                "made_by": made,
                "resolved": {"lam": 1000.0 * (spec.sigma or 1)},
                "failed": "",
                "patience": PATIENCE,
                "ssim": 0.875,
                "missing": 0,
                "reason": "",
            }
        for text, reason in (failed or {}).items():
            criteria[text] = {"made_by": made, "resolved": {}, "failed": reason}
        if pictures:
            random = np.random.default_rng(len(id))
            for name in ("clean", "noisy", "peak", "last", *(f"stop-{text}" for text in curves)):
                unit.write_image(name, random.integers(0, 256, size, np.uint8))
        unit.write_result(
            {
                "complete": not live,
                "steps": len(psnr),
                "peak_step": None if live else int(np.argmax(psnr)),
                "peak_db": None if live else float(max(psnr)),
                "last_db": None if live else float(psnr[-1]),
                "average_peak_db": None if live else float(max(psnr)) - 1,
                "seconds": 6.0,
                "restored": [],
                "machine": {"host": "lab", "device": "cuda", "gpu": "H200", "driver": "555.42"},
                "criteria": criteria,
            }
        )
    return Results(folder)
