"""Faults of a plugin's criterion during a run cost its own column, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import faults
from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run
from esbench.bench.wire import event_from_json, event_to_json, job_from_json, job_to_json
from esbench.events import Event, Notice, Progress, UnitPaused, UnitStarted

TIMES = ("ms_per_step", "criterion_ms_per_step", "seconds")

#: Faults that end the process, for these tests: each costs the start of another.
ENDS = ("close", "hang", "crash")


MEMORY = """
import os
import esbench

@esbench.hookimpl
def esbench_criteria():
    return [
        esbench.CriterionInfo(name="faulty", summary="counts, and ends its process", target=Faulty),
        esbench.CriterionInfo(name="counts", summary="counts", target=Counts),
    ]

class Counts:
    def __init__(self):
        self.n = 0

    def update(self, frame):
        self.n += 1
        return float(abs(self.n - 30))

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]

class Faulty(Counts):
    def update(self, frame):
        if frame.step == 37:
            os.kill(os.getpid(), 9)
        return super().update(frame)
"""


@pytest.fixture
def config(pictures) -> Config:
    return Config(
        dataset=str(pictures("a")),
        criterion=("wmv[window=5]", "loss", "cifs-jpeg[on=average]"),
        network="skip[channels=4,scales=2]",
        iterations=60,
        patience=8,
        device="cpu",
        time_limit=3.0,
        checkpoint_every=0.2,
    )


def run(config: Config, out: Path) -> list[Event]:
    events: list[Event] = []
    assert driver.run(config, out, driver.plan(config, out), events.append) == 0
    return events


def rows(out: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in Results(out).table()]


def faulty(kinds: tuple[str, ...]) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return the code of faulty criteria, and those that end in some ways."""
    code, expected = faults.criteria(lambda: 11)
    left_out = {faults.named(name) for name in faults.ENDS if name not in ENDS} | {"cifs-codec-dies[lam=0]"}
    return code, {name: end for name, end in expected.items() if end[0] in kinds and name not in left_out}


def test_what_goes_wrong_costs_its_own_column_and_the_others_have_the_values_they_would_have_had(
    config, tmp_path, plugin
):
    """All of them in one unit: each that ends the process costs a start of another."""
    config = dataclasses.replace(config, iterations=30)
    run(config, tmp_path / "without")
    code, expected = faulty(("failed", "missing"))
    plugin(code)
    run(dataclasses.replace(config, criterion=(*expected, *config.criterion)), tmp_path / "with")
    assert [row for row in rows(tmp_path / "with") if row["criterion"] not in expected] == rows(tmp_path / "without")
    found = {criterion: why for _, criterion, why in Results(tmp_path / "with").failures()}
    entries = Run(tmp_path / "with").units()[0].result()["criteria"]
    assert len(expected) > 70
    for name, (end, why) in expected.items():
        if end == "missing":
            assert (entries[name]["missing"], entries[name]["reason"]) == (1, why), name
        else:
            assert found.pop(name).startswith(f"Criterion {name!r} of esbench-local 1.0"), name
            assert why in entries[name]["failed"], name
    assert found == {}


def test_what_a_criterion_changes_or_writes_to_is_restored(config, tmp_path, plugin):
    config = dataclasses.replace(config, iterations=30, checkpoint_every=60, time_limit=60)  # on a busy machine, too
    run(config, tmp_path / "without")
    code, expected = faulty(("",))
    plugin(code)
    run(dataclasses.replace(config, criterion=(*expected, *config.criterion)), tmp_path / "with")
    assert Results(tmp_path / "with").failures() == []
    found = {row["criterion"]: row for row in rows(tmp_path / "with")}
    assert [found[text] for text in config.criterion] == rows(tmp_path / "without")
    assert len(expected) > 70
    assert {found[text]["stop_step"] for text in expected} == {20}


LOOKS = """
import glob
import os
import time
import esbench

@esbench.hookimpl
def esbench_criteria():
    return [esbench.CriterionInfo(name="looks", summary="looks whether anything is written meanwhile", target=looks)]

def files():
    return {{name: os.stat(name).st_ino for name in glob.glob({pattern!r})}}

def looks(frame):
    before = files()
    time.sleep(0.2)
    assert files() == before
    assert before or frame.step < 11  # they are removed at the end
    return 0.0
"""


def test_the_live_files_are_written_between_the_calls_of_criteria(config, tmp_path, plugin):
    """A file that is opened while a criterion changes its process may get the place of another, or another mode."""
    plugin(LOOKS.format(pattern=f"{tmp_path}/r/units/*/live*"))
    run(dataclasses.replace(config, criterion=("looks",), iterations=12), tmp_path / "r")
    assert Results(tmp_path / "r").failures() == []


def test_a_live_unit_whose_criteria_all_fail_at_once_says_why(config, tmp_path, plugin):
    plugin(MEMORY.replace("state_dict", "state"))
    run(dataclasses.replace(config, criterion=("counts",), live=True), tmp_path / "r")
    ((_, criterion, why),) = Results(tmp_path / "r").failures()
    assert criterion == "counts"
    assert "must have the method state_dict" in why


def test_what_a_dataset_a_degradation_and_a_listener_change_is_restored(config, tmp_path, plugin):
    """In the process of the command, with a relative folder of results."""
    out = {}
    for name, harm in (("without", ()), ("with", faults.HARM)):
        site = plugin(faults.harmful(harm))
        file = tmp_path / "config.toml"
        own = {"dataset": "harmful", "noise": "harmful-noise", "criterion": ("emv", "loss"), "iterations": 8}
        file.write_text(dataclasses.replace(config, **own).to_toml())
        command = [sys.executable, "-m", "esbench", "run", "--config", str(file), "--out", name, "-q", "--json"]
        environ = os.environ | {"PYTHONPATH": str(site)}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        out[name] = [{k: v for k, v in row.items() if k not in TIMES} for row in json.loads(done.stdout)]
    assert out["with"] == out["without"]


def test_another_third_party_criterion_keeps_its_memory(config, tmp_path, plugin):
    plugin(MEMORY)
    config = dataclasses.replace(config, criterion=("counts", "faulty", "emv"), checkpoint_every=0.0)
    events = run(config, tmp_path / "r")
    begun = [e.step for e in events if isinstance(e, UnitStarted)]
    assert begun[0] == 0 < begun[1] <= 37
    (told,) = (e.text for e in events if isinstance(e, Notice) and "faulty" in e.text)
    assert told.endswith("ended its process with SIGKILL at step 37. The unit continues without it.")
    values = Run(tmp_path / "r").units()[0].criterion("counts")[0]["value"]
    assert values.tolist() == [abs(n - 30) for n in range(1, 61)]


def test_a_process_serves_one_unit_after_the_other_and_is_asked_to_halt(config, tmp_path, plugin):
    plugin(MEMORY)
    config = dataclasses.replace(config, criterion=("counts",), sigma=(15.0, 25.0), iterations=40)
    run(config, tmp_path / "r")
    assert [r["stop_step"] for r in rows(tmp_path / "r")] == [29, 29]

    long, events = dataclasses.replace(config, iterations=100_000), []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and sum(isinstance(e, Progress) for e in events) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        driver.run(long, tmp_path / "long", driver.plan(long, tmp_path / "long"), listen)
    (paused,) = (e for e in events if isinstance(e, UnitPaused))
    assert paused.step > 0
    assert events[-1].left == 2
    assert Run(tmp_path / "long").unit(paused.unit).checkpoint()["session"]["trajectory"]["t"] == paused.step


def test_a_process_that_dies_by_itself_costs_the_columns_of_plugins(config, tmp_path, plugin):
    dies = "def die():\n    time.sleep(0.3)\n    os._exit(7)\n"
    waits = "threading.Thread(target=die, daemon=True).start()"
    plugin(faults.HEAD + dies + faults.once({"end": (waits, "")}))
    config = dataclasses.replace(config, criterion=("does-end", "emv"), iterations=150)
    run(config, tmp_path / "r")
    ((_, criterion, why),) = Results(tmp_path / "r").failures()
    assert criterion == "does-end"
    assert why.startswith("Criterion 'does-end' of esbench-local 1.0 ")
    assert "ended with exit code 7, outside of plugin calls." in why or "exit code 7 at step" in why
    (row,) = Results(tmp_path / "r").table()
    assert row["criterion"] == "emv"


def test_without_the_driver_the_process_goes_too(config, tmp_path, plugin):
    site = plugin(MEMORY)
    command = [sys.executable, "-m", "esbench", "run", "-c", "counts", "-d", config.dataset, "--iterations", "1000000"]
    command += ["--network", config.network, "--device", "cpu", "--out", str(tmp_path / "r"), "-q"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(site)})
    deadline = time.monotonic() + 60
    while not list((tmp_path / "r").glob("units/*/spec.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    (unit,) = Run(tmp_path / "r").units()
    assert unit.busy()
    process.kill()
    process.wait()
    while unit.busy() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not unit.busy()


def test_what_crosses_the_wire_comes_out_as_it_went_in(config, tmp_path):
    (job,) = driver.plan(dataclasses.replace(config, criterion=("emv", "loss")), tmp_path / "r").jobs
    job = dataclasses.replace(job, disabled={"emv": "because"})
    assert job_from_json(job_to_json(job)) == job
    event = Progress(unit="u", step=3, iterations=9, psnr_db=20.5, best={"loss": 3}, stopped={})
    assert event_from_json(event_to_json(event)) == event


ALIVE = """
import pathlib, subprocess, sys
started = None

def does_start(frame):
    global started
    if started is None:
        started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (pathlib.Path(__file__).parent / "pid").write_text(str(started.pid))
    return float(frame.step)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find processes")
@pytest.mark.parametrize("end", ["at its end", "with the driver"])
def test_what_a_plugin_starts_does_not_outlive_the_run(config, tmp_path, plugin, end):
    site = plugin(faults.HEAD + ALIVE)
    config = dataclasses.replace(config, criterion=("does-start",), iterations=20)
    if end == "at its end":
        run(config, tmp_path / "r")
        pid = int((site / "pid").read_text())
    else:
        file = tmp_path / "config.toml"
        file.write_text(dataclasses.replace(config, iterations=1_000_000).to_toml())
        command = [sys.executable, "-m", "esbench", "run", "--config", str(file), "--out", str(tmp_path / "r"), "-q"]
        process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(site)})
        deadline = time.monotonic() + 60
        while not (site / "pid").exists() or not (site / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pid = int((site / "pid").read_text())
        assert is_alive(pid)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 30
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


KILLED = """
import pathlib, threading, time
started = []

def kill(times):
    left = pathlib.Path(__file__).parent / "left"
    if not left.exists():
        left.write_text(str(times))
    if (n := int(left.read_text())) > 0:
        left.write_text(str(n - 1))
        time.sleep(TIME)
        os.kill(os.getpid(), signal.SIGKILL)  # between the calls, as the system does when memory runs out

def does_count(frame):
    if not started:
        started.append(True)
        threading.Thread(target=kill, args=(TIMES,), daemon=True).start()
    return float(abs(frame.step - 20))
"""


def test_a_process_that_was_killed_from_outside_is_restarted_once(config, tmp_path, plugin):
    """The thread kills at a random moment, mostly in none of the calls; else the call is blamed, as it must be.

    It is started by the criterion, which was measured again after the first time.
    """
    code = KILLED.replace("TIMES", "2").replace("TIME", "0.3")
    plugin(faults.HEAD + code)
    config = dataclasses.replace(config, criterion=("does-count", "emv"), iterations=200, checkpoint_every=0.05)
    events: list[Event] = []
    failed = driver.run(config, tmp_path / "r", driver.plan(config, tmp_path / "r"), events.append)
    again = [e.text for e in events if isinstance(e, Notice) and "resumes from its last checkpoint" in e.text]
    blamed = [e.text for e in events if isinstance(e, Notice) and "continues without it" in e.text]
    if blamed:
        return
    assert again == [
        "Its process ended with SIGKILL, outside of plugin calls. The unit resumes from its last checkpoint."
    ]
    assert failed == 0
    assert [row["criterion"] for row in Results(tmp_path / "r").table()] == ["emv"]
    ((_, _, why),) = Results(tmp_path / "r").failures()
    assert "ended with SIGKILL, outside of plugin calls" in why
