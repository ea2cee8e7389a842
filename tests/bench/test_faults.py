"""Faults of the disk during a run: one clear sentence, the other units continue, and nothing finished is lost."""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run, status
from esbench.errors import Unavailable
from esbench.events import Event, UnitFailed

TIMES = ("ms_per_step", "criterion_ms_per_step", "seconds")


@pytest.fixture
def config(pictures) -> Config:
    return Config(
        dataset=str(pictures("a", "b", "c")),
        criterion=("emv", "loss"),
        network="skip[channels=4,scales=2]",
        iterations=20,
        patience=5,
        device="cpu",
    )


def run(config: Config, out: Path) -> tuple[int, list[Event]]:
    events: list[Event] = []
    return driver.run(config, out, driver.plan(config, out), events.append), events


def rows(out: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in Results(out).table()]


def damage(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_files_that_were_cut_cost_their_units_and_are_repaired_on_demand(config, pictures, tmp_path, esbench_command):
    config, out = dataclasses.replace(config, dataset=str(pictures(*"abcde"))), tmp_path / "r"
    assert run(config, out)[0] == 0
    whole = rows(out)
    files = ["trace.parquet", "criteria/emv.parquet", "result.json", "spec.json"]
    spared, *units = Run(out).units()
    for unit, file in zip(units, files, strict=True):
        damage(unit.path / file)

    answer = esbench_command(config, out)
    assert answer.returncode == 1
    for unit, file in zip(units, files, strict=True):
        (line,) = (line for line in answer.stderr.splitlines() if unit.id in line)
        assert f"{Path(file).name}' cannot be read: " in line
    assert "retry them with --retry-failed" in answer.stderr
    assert rows(out) == [row for row in whole if row["unit"] == spared.id]

    again = dataclasses.replace(config, retry_failed=True)
    assert run(again, out)[0] == 0
    assert rows(out) == whole


@pytest.fixture
def esbench_command():
    """Give a function that runs the command line of a configuration on a folder, in a process of its own."""

    def command(config: Config, out: Path, **how) -> subprocess.CompletedProcess:
        file = out.parent / "config.toml"
        file.write_text(config.to_toml())
        return subprocess.run(
            [sys.executable, "-m", "esbench", "run", "--config", str(file), "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
            **how,
        )

    return command


def test_a_disk_that_is_full_costs_the_units_that_need_it_and_they_are_done_when_there_is_room(
    config, tmp_path, esbench_command
):
    out = tmp_path / "r"
    first = dataclasses.replace(config, image=("a",))
    assert run(first, out)[0] == 0
    before = {p: p.read_bytes() for p in out.glob("units/*/**/*") if p.is_file()}

    def full() -> None:  # the same error that a full disk gives, for every file above this size
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    answer = esbench_command(dataclasses.replace(config, image=("a", "b")), out, preexec_fn=full)
    assert answer.returncode in (1, 3)
    assert "File too large" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert {p: p.read_bytes() for p in before} == before
    assert not list(out.rglob(".*.????????*"))  # no half-written file is left

    again = dataclasses.replace(config, image=("a", "b"), retry_failed=True)
    assert run(again, out)[0] == 0
    assert {row["image"] for row in rows(out)} == {"a", "b"}


def test_a_checkpoint_that_cannot_be_written_is_reported_and_the_unit_continues(config, tmp_path, esbench_command):
    """There is room for every file of the unit, but not for a checkpoint, which is larger than all of them."""

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    config = dataclasses.replace(config, checkpoint_every=0.0, image=("a",))
    assert run(config, tmp_path / "whole")[0] == 0
    answer = esbench_command(config, tmp_path / "r", preexec_fn=full)
    assert "no checkpoint at step 1: [Errno 27] File too large" in answer.stderr
    assert answer.returncode == 0, answer.stderr
    assert rows(tmp_path / "r") == rows(tmp_path / "whole")
    assert not list((tmp_path / "r").rglob("*checkpoint*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_reported_immediately(config, tmp_path):
    (tmp_path / "r").mkdir(mode=0o555)
    with pytest.raises(Unavailable, match=r"cannot be written: Permission denied\. Choose another --out"):
        run(config, tmp_path / "r")


def test_a_file_in_the_place_of_the_folder_is_reported(config, tmp_path):
    (tmp_path / "r").write_text("mine")
    with pytest.raises(Unavailable, match=r"cannot be written: Not a directory\. Choose another --out"):
        run(config, tmp_path / "r")
    assert (tmp_path / "r").read_text() == "mine"


def test_a_clock_that_goes_backwards_changes_nothing(config, tmp_path, monkeypatch):
    run(config, tmp_path / "forward")
    now = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    assert run(config, tmp_path / "backward")[0] == 0
    assert rows(tmp_path / "backward") == rows(tmp_path / "forward")
    for unit in Run(tmp_path / "backward").units():
        assert (unit.trace(["seconds"])["seconds"] >= 0).all()


def test_a_unit_that_another_process_holds_is_left_to_it(config, tmp_path, monkeypatch):
    monkeypatch.setattr("esbench.bench.store.LOCK_TRIES", 1)
    planned = driver.plan(config, tmp_path / "r")
    run(dataclasses.replace(config, budget="0s"), tmp_path / "r")
    held = Run(tmp_path / "r").unit(planned.units[0])
    with held.lock():
        assert status(held)["status"] == "running"
        failed, events = run(config, tmp_path / "r")
        assert failed == 1
    (event,) = (e for e in events if isinstance(e, UnitFailed))
    assert event.reason == "Another process is running this unit."
    assert held.error() == ""  # nothing is wrong with it
    assert run(config, tmp_path / "r")[0] == 0
    assert [status(unit)["status"] for unit in Run(tmp_path / "r").units()] == ["done"] * 3


def test_status_shows_every_state(config, tmp_path, monkeypatch):
    out = tmp_path / "r"
    run(dataclasses.replace(config, image=("a",)), out)
    planned = driver.plan(dataclasses.replace(config, budget="0s"), out)
    driver.run(dataclasses.replace(config, budget="0s"), out, planned, lambda event: None)
    done, paused, missing = Run(out).units()
    paused.begin(planned.jobs[1].spec)
    assert [status(unit)["status"] for unit in (done, paused, missing)] == ["done", "paused", "missing"]
    missing.write_error("Traceback\nRuntimeError: no")
    assert status(missing) | {"criteria": {}} == {
        "unit": missing.id,
        "status": "failed",
        "reason": "RuntimeError: no",
        "criteria": {},
    }
    damage(done.path / "result.json")
    assert status(done)["status"] == "failed"
