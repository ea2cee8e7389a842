"""Units side by side on this machine: when, with how many threads, and what a kill or an interrupt costs."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esbench import device, limits
from esbench.bench import driver, share
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run
from esbench.events import Event, Notice, Progress, UnitFinished, UnitPaused

TIMES = ("ms_per_step", "criterion_ms_per_step", "seconds")

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find processes")


@pytest.fixture
def two_processors(monkeypatch):
    """Two processors to share, also by units as short as those of these tests."""
    if limits.processors() < 2:
        pytest.skip("needs two processors")
    monkeypatch.setattr(share, "WORTH", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with device.threads(2):
        yield


def run(config: Config, out: Path, listen=lambda event: None) -> int:
    return driver.run(config, out, driver.plan(config, out), listen)


def numbers(out: Path) -> tuple[list[dict], dict]:
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in Results(out).table()]
    return rows, {unit.id: unit.trace(["loss"])["loss"].tolist() for unit in Run(out).units()}


def threads_of(out: Path) -> set[int]:
    return {unit.result()["machine"]["threads"] for unit in Run(out).units()}


def children() -> list[int]:
    """Return the processes that run units for this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if (
                int(parent) == os.getpid()
                and state != "Z"
                and b"esbench.bench.watch" in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


# -- when


def shares(config: Config, out: Path, monkeypatch, processors: int) -> set[int | None]:
    monkeypatch.setattr(share, "processors", lambda: processors)
    return {job.share for job in driver.plan(config, out).left}


@pytest.mark.parametrize(
    ("change", "processors", "expected"),
    [
        ({}, 2, 1),
        ({}, 4, 1),
        ({}, 9, 2),
        ({}, 1, None),
        ({"image": ("a",), "sigma": (25.0,)}, 2, None),  # one unit
        ({"shard": "1/4"}, 2, None),
        ({"iterations": 100}, 2, None),  # done before processes could start
        ({"threads": 1}, 2, None),
        ({"executor": "serial"}, 2, None),
    ],
)
def test_several_small_units_share_the_processors(config, tmp_path, monkeypatch, change, processors, expected):
    config = dataclasses.replace(config, **{"iterations": 1000} | change)
    assert shares(config, tmp_path / "r", monkeypatch, processors) == {expected}


def test_units_of_which_one_is_large_run_one_after_the_other_unless_it_is_cropped(
    config, tmp_path, pictures, monkeypatch
):
    config = dataclasses.replace(config, iterations=1000)
    pictures("b", size=(192, 200))
    assert shares(config, tmp_path / "r", monkeypatch, 2) == {None}
    assert shares(dataclasses.replace(config, crop=192), tmp_path / "r", monkeypatch, 2) == {1}


def test_as_many_run_at_once_as_there_is_memory_for(config, tmp_path, monkeypatch):
    config = dataclasses.replace(config, iterations=1000)
    monkeypatch.setattr(share, "processors", lambda: 4)
    left = driver.plan(config, tmp_path / "r").left
    for memory, n in ((0, 1), (2.5 * share.MEMORY, 2), (99 * share.MEMORY, 4)):
        monkeypatch.setattr(limits, "memory", lambda memory=memory: int(memory))
        assert share.at_once(left) == n


# -- what


def test_side_by_side_they_give_the_numbers_of_one_thread_also_if_a_process_is_killed(config, tmp_path, two_processors):
    events: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and not any(isinstance(e, Progress) for e in events):
            time.sleep(0.2)  # until both have started
            found.extend(children())
            os.kill(found[0], signal.SIGKILL)
        events.append(event)

    found: list[int] = []
    assert run(config, tmp_path / "r", listen) == 0
    assert len(found) == 2
    assert children() == []
    assert [e.text for e in events if isinstance(e, Notice) and not e.unit] == ["2 units at once, with 1 thread each"]
    again = "Its process ended with SIGKILL. The unit resumes from its last checkpoint."
    assert [e.text for e in events if isinstance(e, Notice) and e.unit and not e.detail] == [again]
    assert len([e for e in events if isinstance(e, UnitFinished)]) == 4
    assert driver.plan(config, tmp_path / "r").left == ()
    assert threads_of(tmp_path / "r") == {1}
    run(dataclasses.replace(config, executor="serial", threads=1), tmp_path / "serial")
    assert numbers(tmp_path / "r") == numbers(tmp_path / "serial")


def test_an_interrupted_unit_keeps_its_threads(config, tmp_path, two_processors):
    config = dataclasses.replace(config, image=("a",), iterations=150)
    events: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and not any(isinstance(e, Progress) for e in events):
            os.kill(os.getpid(), signal.SIGINT)
        events.append(event)

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "r", listen)
    assert children() == []
    paused = [Run(tmp_path / "r").unit(e.unit) for e in events if isinstance(e, UnitPaused)]
    assert paused
    assert {unit.checkpoint()["threads"] for unit in paused} == {1}
    run(dataclasses.replace(config, executor="serial"), tmp_path / "r")
    assert {unit.result()["machine"]["threads"] for unit in paused} == {1}


def test_a_criterion_that_is_added_to_a_finished_unit_is_measured_with_its_threads(config, tmp_path, two_processors):
    config = dataclasses.replace(config, image=("a",), sigma=(25.0,))
    run(dataclasses.replace(config, threads=1), tmp_path / "r")
    run(dataclasses.replace(config, criterion=("last",)), tmp_path / "r")
    assert threads_of(tmp_path / "r") == {1}


def test_processes_end_with_the_driver(config, tmp_path, two_processors):
    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            raise RuntimeError("a bug of a listener")

    with pytest.raises(RuntimeError):
        run(dataclasses.replace(config, iterations=1_000_000), tmp_path / "r", listen)
    assert children() == []


def test_a_killed_command_goes_on_with_the_same_numbers(config, tmp_path, two_processors):
    config = dataclasses.replace(config, image=("a",), iterations=50, checkpoint_every=0.1)
    file = tmp_path / "config.toml"
    file.write_text(config.to_toml())
    code = "from esbench.bench import share; share.WORTH = 0; from esbench.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, "run", "--config", str(file), "-q", "--out", str(tmp_path / "r")]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "r").glob("units/*/checkpoint.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    while any(unit.busy() for unit in Run(tmp_path / "r").units()):  # its processes end too
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert any(unit.result()["resumed"] for unit in Run(tmp_path / "r").units())
    run(dataclasses.replace(config, executor="serial", threads=1), tmp_path / "whole")
    assert numbers(tmp_path / "r") == numbers(tmp_path / "whole")
