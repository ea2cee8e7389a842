"""A unit that was interrupted or killed resumes at its last checkpoint and ends with the same numbers."""

from __future__ import annotations

import dataclasses
import itertools
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

import esbench
from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run, status
from esbench.bench.unit import run_unit
from esbench.events import Event, Notice, UnitPaused, UnitStarted

TIMES = ("seconds", "ms", "ms_per_step", "criterion_ms_per_step")


@pytest.fixture
def config(pictures) -> Config:
    return Config(
        dataset=str(pictures("a")),
        criterion=("cifs-jpeg", "wmv[window=5]", "emv", "loss[on=average]", "fixed[step=3]"),
        network="skip[channels=4,scales=2]",
        iterations=24,
        patience=6,
        device="cpu",
    )


def numbers(out: Path) -> dict:
    """Return everything that a run found but its times: rows, traces, columns, pictures."""
    found: dict = {"rows": [{k: v for k, v in row.items() if k not in TIMES} for row in Results(out).table()]}
    for unit in Run(out).units():
        found[unit.id] = {k: v.tolist() for k, v in unit.trace().items() if k not in TIMES}
        for text in unit.result()["criteria"]:
            columns, _ = unit.criterion(text)
            found[unit.id, text] = {k: np.nan_to_num(v, nan=-1).tolist() for k, v in columns.items() if k not in TIMES}
        found[unit.id, "pictures"] = {p.name: p.read_bytes() for p in (unit.path / "images").iterdir()}
    return found


def whole(config: Config, out: Path) -> dict:
    driver.run(config, out, driver.plan(config, out), lambda event: None)
    return numbers(out)


def begun(config: Config, out: Path) -> driver.Plan:
    """Plan a run and make its folder, as a driver does before its first unit."""
    planned = driver.plan(config, out)
    out.mkdir()
    Run(out).begin(config, planned.units, {}, {})
    return planned


def after(n: int):
    """Return what says halt when it is asked for the n-th time."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= n


@pytest.mark.parametrize("steps", [(1,), (7,), (23,), (2, 3, 9)])
def test_a_unit_that_is_left_ends_as_an_undisturbed_one(config, tmp_path, steps):
    planned = begun(config, tmp_path / "left")
    (job,) = planned.left
    events: list[Event] = []
    at = 0
    for n in steps:
        at += n
        assert run_unit(job, events.append, after(n)).status == "paused"
        assert events[-1] == UnitPaused(unit=planned.units[0], step=at)
        (left,) = driver.plan(config, tmp_path / "left").left
        assert dataclasses.replace(left, since=job.since) == job
    assert run_unit(job, events.append).status == "done"
    assert [e.step for e in events if isinstance(e, UnitStarted)][-1] == at
    unit = Run(tmp_path / "left").unit(planned.units[0])
    assert unit.result()["resumed"][-1] == at
    assert not (unit.path / "checkpoint.pt").exists()
    assert numbers(tmp_path / "left") == whole(config, tmp_path / "whole")


def test_checkpoints_come_as_often_as_asked_and_change_nothing(config, tmp_path, monkeypatch):
    kept = []
    write = esbench.bench.store.Unit.write_checkpoint
    monkeypatch.setattr(
        "esbench.bench.store.Unit.write_checkpoint", lambda unit, state: (kept.append(1), write(unit, state))[1]
    )
    often = whole(dataclasses.replace(config, checkpoint_every=0.0), tmp_path / "often")
    assert len(kept) == 23  # one after each step but the last
    kept.clear()
    assert often == whole(config, tmp_path / "never")
    assert kept == []


@pytest.mark.parametrize("other", ["patience", "criterion", "torch", "broken"])
def test_a_checkpoint_that_does_not_fit_is_reported_and_the_unit_restarts(config, tmp_path, other):
    out = tmp_path / "r"
    planned = begun(config, out)
    (job,) = planned.left
    assert run_unit(job, lambda event: None, after(5)).status == "paused"
    unit = Run(out).unit(planned.units[0])
    assert status(unit)["reason"].startswith("at step ")
    path = unit.path / "checkpoint.pt"
    if other == "broken":
        path.write_bytes(path.read_bytes()[:1000])
        sentence = "restarts: .*checkpoint.pt' cannot be read: "
    elif other == "torch":
        state = unit.checkpoint()
        unit.write_checkpoint(state | {"of": state["of"] | {"torch": "1.0"}})
        sentence = r"restarts: The checkpoint was made with another torch\."
    else:
        change = {"patience": {"patience": 7}, "criterion": {"criteria": ("emv",)}}[other]
        job = dataclasses.replace(job, **change)
        name = {"criterion": "set of criteria"}.get(other, other)
        sentence = rf"restarts: The checkpoint was made with another {name}\."
    events: list[Event] = []
    assert run_unit(job, events.append).status == "done"
    (notice,) = (e for e in events if isinstance(e, Notice) and "restarts" in e.text)
    assert re.match(sentence, notice.text)
    assert unit.result()["resumed"] == []


def test_a_budget_leaves_the_run_after_the_step_that_crosses_it_and_the_same_command_ends_it(
    config, tmp_path, monkeypatch
):
    ticks = itertools.count()  # a fast machine would end a unit within any budget
    clock = types.SimpleNamespace(monotonic=lambda: 0.02 * next(ticks), perf_counter=time.perf_counter, time=time.time)
    monkeypatch.setattr(driver, "time", clock)
    config = dataclasses.replace(config, sigma=(15.0, 25.0))
    once = dataclasses.replace(config, budget="0s")
    events: list[Event] = []
    assert driver.run(once, tmp_path / "r", driver.plan(once, tmp_path / "r"), events.append) == 0
    assert events[-1].left == 2
    assert Results(tmp_path / "r").table() == []
    unit = Run(tmp_path / "r").units()[0]
    assert unit.checkpoint() is None  # none of it was begun
    some = dataclasses.replace(config, budget="0.2s")
    for _ in range(100):
        driver.run(some, tmp_path / "r", driver.plan(some, tmp_path / "r"), events.append)
        if events[-1].left == 0:
            break
    assert any(isinstance(e, UnitPaused) for e in events)
    assert numbers(tmp_path / "r") == whole(config, tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_checkpoint_and_says_so(pictures, tmp_path, number):
    folder = pictures("a")
    command = [sys.executable, "-m", "esbench", "run", "-c", "loss", "-d", folder, "--network"]
    command += ["skip[channels=4,scales=2]", "--iterations", "100000", "--device", "cpu", "--out", tmp_path / "r"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    lock = tmp_path / "r"
    deadline = time.monotonic() + 60
    while not list(lock.glob("units/*/spec.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after this step, at a checkpoint; press Ctrl-C again to stop immediately" in err
    assert "interrupted: finished work is kept; repeat the command to continue" in err
    (unit,) = Run(lock).units()
    assert unit.checkpoint()["session"]["trajectory"]["t"] > 0
    assert not unit.busy()


def test_shards_share_the_units_and_a_folder(config, tmp_path):
    config = dataclasses.replace(config, sigma=(5.0, 15.0, 25.0, 50.0, 75.0), iterations=6)
    parts = [dataclasses.replace(config, shard=f"{i}/3") for i in (1, 2, 3)]
    plans = [driver.plan(part, tmp_path / "r") for part in parts]
    assert [len(p.jobs) for p in plans] == [2, 2, 1]
    everything = driver.plan(config, tmp_path / "r").units
    assert sorted(u for p in plans for u in p.units) == sorted(everything)
    with Run(tmp_path / "r").lock((2, 3)):
        driver.run(parts[0], tmp_path / "r", plans[0], lambda event: None)  # beside another shard
        with pytest.raises(esbench.EsbenchError, match="Another esbench is using"):
            driver.run(parts[1], tmp_path / "r", plans[1], lambda event: None)  # not beside the same
        with pytest.raises(esbench.EsbenchError, match="Another esbench is using"):
            driver.run(config, tmp_path / "r", plans[0], lambda event: None)  # nor all of them beside one
    for part in parts[1:]:
        driver.run(part, tmp_path / "r", driver.plan(part, tmp_path / "r"), lambda event: None)
    assert Run(tmp_path / "r").record()["plan"] == everything
    assert [c["shard"] for c in Run(tmp_path / "r").record()["commands"]] == ["1/3", "2/3", "3/3"]
    assert numbers(tmp_path / "r") == whole(config, tmp_path / "whole")
