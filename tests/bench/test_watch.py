"""Faults of a plugin's criterion during a run cost its own column, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run
from esbench.bench.wire import event_from_json, event_to_json, job_from_json, job_to_json
from esbench.events import Event, Notice, Progress, UnitPaused, UnitStarted

TIMES = ("ms_per_step", "criterion_ms_per_step", "seconds")

HEAD = """
import ctypes, faulthandler, gc, json, math, os, resource, signal, sys, time
from fractions import Fraction
import numpy as np
import torch
import esbench

def info(target):
    return esbench.CriterionInfo(name=target.__name__.replace("_", "-"), summary="may go wrong", target=target)

@esbench.hookimpl
def esbench_criteria():
    return [info(target) for name, target in sorted(globals().items()) if name.startswith("does_")]

def soft(limit, value):
    resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))

class Wrong(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return 2 * function(*args, **kwargs or {})

class Own(str):
    def __str__(self):
        raise RuntimeError("no text")

    split = encode = __hash__ = __str__

    def __hash__(self):
        return 1

class Proud(float):
    def __float__(self):
        raise RuntimeError("no float")

class Veiled(Exception):
    def __getattribute__(self, name):
        raise RuntimeError("no attributes")

    def __str__(self):
        raise RuntimeError("no text")

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")
"""

FUNCTION = """
def does_{name}(frame):
    if frame.step == 37:
        {what}
    return float(abs(frame.step - 20))
"""

#: what a criterion does at step 37 -> what is said of it
FAULTS = {
    "raise": ("raise RuntimeError('too far')", "raised RuntimeError: too far at step 37."),
    "leave": ("sys.exit('that is all')", "raised SystemExit: that is all at step 37."),
    "say": ("return 'low'", "must return a float or None, got a str at step 37."),
    "give": ("return torch.ones(3)", "must return a float or None, got a Tensor at step 37."),
    "array": ("return np.ones(1)", "must return a float or None, got a ndarray at step 37."),
    "uint8": ("frame.uint8[:] = 0", "raised ValueError: assignment destination is read-only at step 37."),
    "float": ("frame.float[:] = 0", "raised ValueError: assignment destination is read-only at step 37."),
    "huge": ("return 10**400", "must return a number that a float can hold, got a int at step 37."),
    "share": ("return Fraction(10**400, 3)", "must return a number that a float can hold, got a Fraction at step 37."),
    "proud": ("return Proud(1.0)", "raised RuntimeError: no float at step 37."),
    "text": ("return esbench.Value(1.0, parts={'x': 'str'})", "must return parts as numbers by name, got a str as 'x'"),
    "list": ("return esbench.Value(1.0, parts=[1, 2])", "must return parts as numbers by name, got a list at step 37."),
    "name": (
        "return esbench.Value(1.0, parts={'\\udc80': 1.0})",
        "must return parts as numbers by name, got a float as",
    ),
    "taken": (
        "return esbench.Value(1.0, parts={'value': 1.0})",
        "must return parts as numbers by name, got a float as",
    ),
    "why": ("return esbench.Value(None, reason=object())", "must return text as reason, got a object at step 37."),
    "interrupt": ("raise KeyboardInterrupt", "raised KeyboardInterrupt at step 37."),
    "generator": ("raise GeneratorExit", "raised GeneratorExit: at step 37."),
    "stop": ("raise StopIteration('enough')", "raised StopIteration: enough at step 37."),
    "base": ("raise BaseException('bare')", "raised BaseException: bare at step 37."),
    "mute": ("raise Mute", "raised Mute: (its text cannot be shown) at step 37."),
    "veiled": ("raise Veiled", "raised Veiled: (its text cannot be shown) at step 37."),
    "data": ("raise esbench.errors.DataError('mine')", "mine"),
    "many": ("raise BaseExceptionGroup('many', [ValueError()])", "raised ExceptionGroup: many (1 sub-exception)"),
    "alarm": (
        "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(9)",
        "ended its process with SIGALRM at step",
    ),
    "close": ("os.closerange(0, 100)", "ended its process with exit code 1 at step 37."),
    "hang": ("ctypes.CDLL(None).sleep(600)", "did not return within 3 s at step 37."),
    "loop": ("while True: pass", "did not return within 3 s at step 37."),
    "exit": ("os._exit(3)", "ended its process with exit code 3 at step 37."),
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "ended its process with SIGSEGV at step 37."),
}

#: what a criterion does at step 37 -> why there is no value
MISSING = {
    "nan": ("return math.nan", "it gave nan"),
    "none": ("return None", ""),
    "reason": ("return esbench.Value(None, reason='too dark')", "too dark"),
    "half": ("return esbench.Value(None, reason='\\udc80')", "\\udc80"),
    "own": ("return esbench.Value(None, parts={Own('x'): 1.0}, reason=Own('too red'))", "too red"),
}

#: what a criterion changes globally, in PyTorch and in the process, at every step
CHANGES = {
    "grad": "torch.set_grad_enabled(False)",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "threads": "torch.set_num_threads(7)",
    "exact": "torch.use_deterministic_algorithms(True)",
    "infer": "torch.inference_mode().__enter__()",
    "seed": "torch.manual_seed(5); np.random.seed(5)",
    "alarm": "signal.setitimer(signal.ITIMER_REAL, 0.5)",
    "profile": "signal.setitimer(signal.ITIMER_PROF, 0.05)",
    "folder": "os.chdir('/')",
    "recursion": "sys.setrecursionlimit(60)",
    "division": "np.seterr(all='raise')",
    "warnings": "__import__('warnings').simplefilter('error')",
    "environment": "os.environ.clear()",
    "umask": "os.umask(0o777)",
    "handler": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "mask": "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})",
    "descriptors": "soft(resource.RLIMIT_NOFILE, 3)",
    "size": "soft(resource.RLIMIT_FSIZE, 10)",
    "memory": "soft(resource.RLIMIT_AS, 10_000)",
    "path": "sys.path.clear(); sys.meta_path.clear()",
    "modules": "sys.modules.pop('esbench.bench.finish', None)",
    "output": "sys.stdout = sys.stderr = None",
    "input": "sys.stdin.close()",
    "closed": "os.close(0); os.close(1); os.close(2)",
    "print": "sys.stdout.close()",
    "collector": "gc.disable(); gc.callbacks.append(len)",
    "trace": "sys.settrace(lambda *_: None); sys.setswitchinterval(100)",
    "dump": "frame.step == 0 and faulthandler.dump_traceback_later(1, exit=True)",
    "function": "math.log10 = np.argmax = json.dumps = len",
    "layer": "torch.nn.functional.conv2d = torch.Tensor.clamp = None",
    "hook": "torch.nn.modules.module.register_module_forward_hook(lambda *given: given[-1] * 2)",
    "mode": "Wrong().__enter__()",
    "types": "torch.autocast('cpu').__enter__()",
    "anomaly": "torch.autograd.set_detect_anomaly(True)",
    "onednn": "torch.backends.mkldnn.set_flags(False)",
}

#: what a criterion writes to, at every step
WRITES = ("frame.tensor", "frame.average.tensor", "frame.problem.noisy.tensor")


def code(does: dict[str, tuple[str, str]]) -> str:
    return HEAD + "".join(FUNCTION.format(name=name, what=what) for name, (what, _) in does.items())


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


def test_what_goes_wrong_costs_its_own_column_and_the_others_have_the_values_they_would_have_had(
    config, tmp_path, plugin
):
    """All of them in one unit: each that ends the process costs a start of another."""
    run(config, tmp_path / "without")
    plugin(code(FAULTS))
    faulty = tuple(f"does-{name}" for name in FAULTS)
    run(dataclasses.replace(config, criterion=(*faulty, *config.criterion)), tmp_path / "with")
    assert rows(tmp_path / "with") == rows(tmp_path / "without")
    found = {criterion: why for _, criterion, why in Results(tmp_path / "with").failures()}
    assert found.keys() == {*faulty}
    for name, (_, why) in FAULTS.items():
        assert found[f"does-{name}"].startswith(f"Criterion 'does-{name}' of esbench-local 1.0"), name
        assert why in found[f"does-{name}"], name


def test_no_value_is_a_missing_value_and_what_a_plugin_writes_no_other_sees(config, tmp_path, plugin):
    run(config, tmp_path / "without")
    writes = {f"write{i}": (f"pass\n    {view}.zero_()", "") for i, view in enumerate(WRITES)}
    plugin(code(MISSING | writes))
    names = tuple(f"does-{name}" for name in MISSING | writes)
    run(dataclasses.replace(config, criterion=(*names, *config.criterion)), tmp_path / "with")
    assert Results(tmp_path / "with").failures() == []
    found = {row["criterion"]: row for row in rows(tmp_path / "with")}
    assert [found[text] for text in config.criterion] == rows(tmp_path / "without")
    entries = Run(tmp_path / "with").units()[0].result()["criteria"]
    for name, (_, reason) in MISSING.items():
        assert (entries[f"does-{name}"]["missing"], entries[f"does-{name}"]["reason"]) == (1, reason)
    assert {found[text]["stop_step"] for text in names} == {20}


def test_what_a_criterion_changes_globally_is_restored(config, tmp_path, plugin):
    run(config, tmp_path / "without")
    plugin(code({name: (f"pass\n    {what}", "") for name, what in CHANGES.items()}))
    changing = tuple(f"does-{name}" for name in CHANGES)
    run(dataclasses.replace(config, criterion=(*changing, *config.criterion)), tmp_path / "with")
    assert Results(tmp_path / "with").failures() == []
    found = {row["criterion"]: row for row in rows(tmp_path / "with")}
    assert [found[text] for text in config.criterion] == rows(tmp_path / "without")
    assert {found[text]["stop_step"] for text in changing} == {20}


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
    dies = "import threading, time\n\ndef die():\n    time.sleep(0.3)\n    os._exit(7)\n"
    waits = "threading.Thread(target=die, daemon=True).start()"
    plugin(dies + code({"end": (waits, "")}).replace("import ctypes", "import threading, ctypes"))
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
    site = plugin(HEAD + ALIVE)
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


@pytest.mark.parametrize("times", [1, 2])
def test_a_process_that_was_killed_from_outside_is_restarted_once(config, tmp_path, plugin, times):
    """The thread kills at a random moment, mostly in none of the calls; else the call is blamed, as it must be."""
    code = KILLED.replace("TIMES", str(times)).replace("TIME", "0.3")
    plugin(HEAD + code)
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
    assert [row["criterion"] for row in Results(tmp_path / "r").table()] == ["does-count", "emv"][times - 1 :]
    if times == 2:
        ((_, _, why),) = Results(tmp_path / "r").failures()
        assert "ended with SIGKILL, outside of plugin calls" in why
