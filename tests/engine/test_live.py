"""The live files of a unit."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.driver import Plan
from esbench.bench.job import Job
from esbench.bench.spec import unit_id
from esbench.bench.store import Run, Unit, status
from esbench.bench.unit import run_unit
from esbench.engine import live
from esbench.thinning import thinned

STEPS = 40


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes follow each other without a rest."""
    for name in ("FIRST", "EVERY", "REST"):
        monkeypatch.setattr(live, name, 0)


@pytest.fixture
def job(pictures: Callable[..., Path], tmp_path: Path) -> Job:
    config = Config(
        criterion=("wmv[window=5]", "loss"),
        dataset=str(pictures("a", size=(16, 16))),
        network="skip[channels=2,scales=1]",
        iterations=STEPS,
        patience=5,
        device="cpu",
    )
    planned: Plan = driver.plan(config, tmp_path / "RUN")
    return planned.jobs[0]


def unit_of(job: Job) -> Unit:
    return Run(job.run).unit(unit_id(job.spec))


def curves(log: list[dict]) -> dict[str, list]:
    """Return the curves in a log, put together."""
    found: dict[str, list] = {}
    for line in log[1:]:
        if "from" in line:
            named = {name: line[name] for name in ("psnr", "average_psnr")} | line["values"]
            assert {len(found.get(name, [])) for name in named} == {line["from"]}
            for name, values in named.items():
                found.setdefault(name, []).extend(values)
    return found


def check(unit: Unit) -> list[int]:
    """Hold the log of a finished unit against its trace, and return the steps of its pictures."""
    log = [*live.read(unit.path / live.LOG)]
    trace, found = unit.trace(), curves(log)
    assert found["psnr"] == thinned(trace["psnr_db"], 1)
    assert found["average_psnr"] == thinned(trace["average_psnr_db"], 1)
    for text in ("wmv[window=5]", "loss"):
        assert found[text] == thinned(unit.criterion(text)[0]["value"], 1)
    assert log[0]["unit"] == unit.id
    assert log[0]["patience"] == {"wmv[window=5]": 5, "loss": 5}
    shown = [line for line in log if "picture" in line]
    for line in shown:
        with Image.open(io.BytesIO(base64.b64decode(line["webp"]))) as image:
            assert image.size == (16, 16)
    return [line["picture"] for line in shown]


def test_a_unit_leaves_its_curves_and_small_pictures_and_is_otherwise_as_without(often, job):
    assert run_unit(job, lambda event: None).status == "done"
    unit = unit_of(job)
    steps = check(unit)
    assert steps == sorted(set(steps))
    assert 0 < len(steps) <= live.FILM
    assert not (unit.path / live.STATE).exists()
    assert not (unit.path / live.PICTURE).exists()
    assert status(unit)["status"] == "done"


def test_a_unit_that_was_killed_past_its_checkpoint_continues_as_if_never_interrupted(often, job):
    unit, blocks = unit_of(job), iter(range(12))
    assert run_unit(job, lambda event: None, halt=lambda: next(blocks, None) is None).status == "paused"
    state = unit.state()
    assert (state["step"], state["iterations"]) == (13, STEPS)
    assert status(unit)["reason"] == f"at step 13 of {STEPS}"
    with open(unit.path / live.LOG, "ab") as log:
        log.write(json.dumps({"picture": 20, "webp": ""}).encode() + b"\n")
        log.write(b'[]\n{"picture": "x", "webp": "AA=="}\n{"picture": 3}\n{"picture": 4, "webp": NaN}\n' + b"[" * 9**5)
    assert run_unit(job, lambda event: None).status == "done"
    steps = check(unit)
    assert steps == sorted(set(steps))
    assert next(live.read(unit.path / live.LOG))["resumed"] == [13]


def test_a_log_that_has_no_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / live.LOG)
    reader = threading.Thread(target=lambda: [*live.read(tmp_path / live.LOG)], daemon=True)
    reader.start()
    reader.join(20)
    assert not reader.is_alive()


def test_a_unit_that_is_done_before_the_first_write_leaves_nothing(job, monkeypatch):
    monkeypatch.setattr(live, "FIRST", 1e6)
    assert run_unit(job, lambda event: None).status == "done"
    assert [path.name for path in unit_of(job).path.glob("live*")] == []


def test_what_cannot_be_written_costs_nothing_else(often, job):
    (unit_of(job).path / live.PICTURE / "in the way").mkdir(parents=True)
    assert run_unit(job, lambda event: None).status == "done"


@pytest.mark.parametrize("iterations", [1, 2, 30, 59, 60, 61, 1800, 20_000, 10**6])
def test_there_are_at_most_sixty_pictures_however_long_it_is(iterations):
    steps = live.film_steps(iterations)
    assert steps == sorted(set(steps))
    assert len(steps) <= live.FILM
    assert (steps[0], steps[-1]) == (0, iterations - 1)


def test_the_log_of_a_long_unit_is_bounded(tmp_path):
    """As many steps as the paper's, of eight criteria, and pictures of noise, the worst to store."""

    class Anything:
        def __init__(self, **attributes: object) -> None:
            self.__dict__.update(attributes)

    rng = np.random.default_rng(0)
    values, n = list(rng.standard_normal(20_000) * 1e5), 20_000
    rule = Anything(patience=1000, best_step=3, best_value=-1.5, step=n, stop=None)
    columns = [Anything(text=f"criterion-{i}", values=values, rule=rule, active=True, failed="") for i in range(8)]
    noise = rng.random((512, 512, 3), np.float32)
    trace = Anything(loss=values, psnr=values, average_psnr=values, reference=True, newest=noise)
    trajectory = Anything(settings=Anything(iterations=n))
    session = Anything(name="unit", step=0, trace=trace, columns=columns, trajectory=trajectory, resumed=[])
    writer = live.Live(tmp_path, session, noise)
    for due in [*writer._film]:  # as if each was due when it was written
        writer._film, writer._told = [due], (0, False)
        writer._write()
    assert len([line for line in live.read(tmp_path / live.LOG) if "picture" in line]) == len(live.film_steps(n))
    assert (tmp_path / live.LOG).stat().st_size < 1_000_000
    assert (tmp_path / live.PICTURE).stat().st_size < 200_000
    assert (tmp_path / live.STATE).stat().st_size < 10_000
