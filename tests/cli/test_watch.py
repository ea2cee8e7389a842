"""Watching, pausing, resuming and stopping, as it is typed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from esbench.bench import control
from esbench.bench.control import Control, ask
from esbench.bench.store import Run
from esbench.process import environ, python


def waited(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is true, while a process is running."""
    deadline = time.monotonic() + 120
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def run(pictures, tmp_path) -> tuple[object, ...]:
    """A run of two units that take longer than a test."""
    small = ("--network", "skip[channels=2,scales=1]", "--iterations", 50_000, "--patience", 50, "--device", "cpu")
    return ("run", "-d", pictures("a", "b", size=(16, 16)), "-c", "loss", *small, "--out", tmp_path / "RUN")


def test_a_run_is_paused_resumed_and_stopped_and_continues_later(esbench, run, tmp_path):
    folder = tmp_path / "RUN"
    with subprocess.Popen(
        python("esbench", *map(str, run)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ()
    ) as process:

        def state() -> dict[str, str]:
            return json.loads(esbench("status", folder, "--json").out)[0]

        def step() -> int:
            return int(re.search(r"at step (\d+)|$", state()["reason"])[1] or 0)

        try:
            waited(lambda: (folder / "run.toml").exists() and step(), process)
            assert esbench("ctl", folder, "pause", "pictures-a").code == 0
            waited(lambda: state()["status"] == "paused", process)
            assert re.fullmatch(r"at step \d+ of 50000, by esbench ctl", state()["reason"])
            there = step()
            time.sleep(2 * control.LOOK_EVERY)
            assert step() == there
            assert esbench("ctl", folder, "resume").out == f"{folder}: resume\n"
            waited(lambda: state()["status"] == "running" and step() > there, process)
            assert esbench("ctl", folder, "stop").code == 0
            _, said = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 0
    assert "paused at step" in said
    assert "2 units left: run the same command again to continue" in said
    assert state()["status"] == "paused"
    answer = esbench("resume", folder, "--budget", "1s")
    assert answer.code == 0
    assert re.search(r"resumed at step [1-9]", answer.err)


def test_what_was_asked_last_holds_and_only_of_commands_that_were_started_before(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "LOOK_EVERY", 0)
    before = time.time()
    a, b, run = (Control(tmp_path, before, unit) for unit in ("a", "b", ""))
    assert (a(), b(), run()) == ("resume", "resume", "resume")
    ask(tmp_path, "pause")
    assert (a(), b(), run()) == ("pause", "pause", "pause")
    ask(tmp_path, "resume", "a")
    assert (a(), b(), run()) == ("resume", "pause", "pause")
    ask(tmp_path, "stop", "b")
    assert (a(), b(), run()) == ("resume", "stop", "pause")
    ask(tmp_path, "resume")
    assert (a(), b(), run()) == ("resume", "resume", "resume")
    ask(tmp_path, "stop")
    assert Control(tmp_path, time.time() + 1)() == "resume"  # a later command


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"a": 3}',
        b'{"": ["explode", 1]}',
        b'{"": ["stop"]}',
        b"\xff",
        b'{"": ["stop", 1%s]}' % (b"0" * 400),
        b"[" * 9**5,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_control_file_that_cannot_be_read_asks_nothing(tmp_path, content):
    (tmp_path / control.FILE).write_bytes(content)
    assert Control(tmp_path, 0)() == "resume"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("watch", "absent"), "'absent' is not a run of esbench"),
        (("watch",), "There is no run under 'esbench-runs'"),
        (("ctl", "absent", "stop"), "'absent' is not a run of esbench"),
        (("resume", "absent"), "'absent' is not a run of esbench"),
        (("resume", "RUN"), "'RUN' was run on a cluster, 'dask[address=tcp://127.0.0.1:1]': repeat --executor"),
        (("ctl", "RUN", "halt"), "'halt' is not one of 'pause', 'resume', 'stop'"),
        (("ctl", "RUN", "stop", "zebra"), "No unit 'zebra' in 'RUN': 'esbench status' lists them."),
        (("ctl", "RUN", "stop", "pictures"), "No unit 'pictures' in 'RUN': it is in 2 ids."),
        (("ctl", "RUN", "pause"), "No process is running 'RUN'; 'esbench resume RUN' continues it."),
        (("watch", "RUN", "--port", "99999"), "99999 is not in the range 0<=x<=65535"),
    ],
)
def test_what_cannot_be_is_one_sentence(esbench, run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    if "RUN" in arguments:
        assert esbench(*run, "-q", "--budget", "0s").code == 0
        folder = Run("RUN")
        elsewhere = dataclasses.replace(folder.config(), executor="dask[address=tcp://127.0.0.1:1]")
        folder.begin(elsewhere, [], {}, {})
    answer = esbench(*arguments)
    assert answer.code in (2, 3)
    assert (answer.out, answer.err.count("\n")) == ("", 1)
    assert sentence in answer.err


def test_watch_shows_the_newest_run_without_a_folder(run, esbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new"):
        assert esbench(*run[:-1], Path("esbench-runs") / name, "-q", "--budget", "0s").code == 0
    os.utime("esbench-runs/old/run.json", (0, 0))
    with subprocess.Popen(python("esbench", "watch"), stderr=subprocess.PIPE, text=True, env=environ()) as process:
        try:
            address = process.stderr.readline().removeprefix("watching at ").strip()
            with urlopen(address.replace("/?", "/api/state?")) as answer:
                assert json.load(answer)["name"] == "new"
        finally:
            process.terminate()
