"""Units on Dask workers: real processes on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run
from esbench.bench.wire import job_to_json
from esbench.errors import Unavailable
from esbench.events import Event, Progress, UnitFinished, UnitPaused, UnitStarted
from esbench.executors.dask import installed, work

TIMES = ("ms_per_step", "criterion_ms_per_step", "seconds")


@pytest.fixture
def config(config) -> Config:
    return dataclasses.replace(config, iterations=12, executor="dask[workers=2]")


def run(config: Config, out: Path, events: list[Event] | None = None) -> int:
    planned = driver.plan(config, out)
    return driver.run(config, out, planned, (events if events is not None else []).append)


def rows(out: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in Results(out).table()]


def test_a_killed_worker_costs_nothing_and_a_halt_reaches_all(config, tmp_path, plugin):
    """One run for both: starting workers takes seconds."""
    plugin(
        "import os, pathlib, time, esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='pid', summary='its process', target=pid)]\n"
        "def pid(frame):\n"
        "    pids = pathlib.Path(os.environ['PIDS'])\n"
        "    (pids / str(os.getppid())).touch()\n"
        "    end = time.monotonic() + 60\n"  # the other worker does not do both units before the new one is there
        "    while len(list(pids.iterdir())) < 3 and time.monotonic() < end:\n"
        "        time.sleep(0.02)\n"
        "    return float(frame.step)\n"
    )
    pids = tmp_path / "pids"
    pids.mkdir()
    os.environ["PIDS"] = str(pids)
    config = dataclasses.replace(config, criterion=("pid", "emv"), iterations=50, sigma=(25.0,), checkpoint_every=0.2)

    def kill_one() -> None:
        while not list(pids.iterdir()):
            time.sleep(0.02)
        os.kill(int(next(pids.iterdir()).name), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    events: list[Event] = []
    try:
        assert run(config, tmp_path / "r", events) == 0
    finally:
        killer.join()
        del os.environ["PIDS"]
    ids = sorted(unit.id for unit in Run(tmp_path / "r").units())
    assert sorted(e.unit for e in events if isinstance(e, UnitFinished)) == ids
    assert {e.unit for e in events if isinstance(e, UnitStarted)} == set(ids)
    assert any(isinstance(e, Progress) for e in events)
    assert driver.plan(config, tmp_path / "r").left == ()
    assert len(list(pids.iterdir())) == 3  # two workers, and the one that took the place of the killed
    run(dataclasses.replace(config, criterion=("emv",), executor="serial"), tmp_path / "serial")
    assert [r for r in rows(tmp_path / "r") if r["criterion"] == "emv"] == rows(tmp_path / "serial")


def test_an_interrupt_reaches_the_workers(config, tmp_path):
    config = dataclasses.replace(config, iterations=1_000_000)
    events: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and not any(isinstance(e, Progress) for e in events):
            os.kill(os.getpid(), signal.SIGINT)
        events.append(event)

    with pytest.raises(KeyboardInterrupt):
        driver.run(config, tmp_path / "r", driver.plan(config, tmp_path / "r"), listen)
    paused = [e for e in events if isinstance(e, UnitPaused)]
    assert paused
    for event in paused:
        assert Run(tmp_path / "r").unit(event.unit).checkpoint()["session"]["trajectory"]["t"] == event.step
    assert events[-1].left == 4


def test_an_unreachable_scheduler_is_reported(config, tmp_path, monkeypatch):
    monkeypatch.setattr("esbench.executors.dask.CONNECT", 1)
    with pytest.raises(Unavailable, match=r"No Dask scheduler responds at 'tcp://127\.0\.0\.1:1'"):
        run(dataclasses.replace(config, executor="dask[address=tcp://127.0.0.1:1]"), tmp_path / "r")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"esbench": "0.0.1"}, "has esbench [0-9.a-z]+, this command 0.0.1: install the same versions on both."),
        ({"esbench-foo": "1.0"}, "has no esbench-foo, this command 1.0: install the same versions on both."),
    ],
)
def test_workers_with_other_versions_are_refused(config, tmp_path, change, sentence):
    from distributed import Client, LocalCluster

    (job, *_) = driver.plan(config, tmp_path / "r").jobs
    same_path = "does not have .*: --out must be a folder with the same path everywhere."
    one = {"n_workers": 1, "processes": False, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**one) as cluster, Client(cluster) as client:
        for wanted, folder, expected in (
            (installed() | change, tmp_path, sentence),
            (installed(), tmp_path / "nowhere", same_path),
        ):
            asked = job_to_json(dataclasses.replace(job, run=str(folder)))
            answer = client.submit(work, asked, wanted, "run", pure=False).result(timeout=30)
            assert re.search(expected, answer["refused"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate that signs itself, with its key in the same file, as all processes of a cluster have it."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs the openssl command")
    file = tmp_path_factory.mktemp("tls") / "cluster.pem"
    asked = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=esbench-test"]
    key, cert = file.with_suffix(".key"), file.with_suffix(".crt")
    subprocess.run([openssl, *asked, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    file.write_text(key.read_text() + cert.read_text())
    return file


def test_over_tls_a_cluster_gives_the_same_numbers_and_refuses_who_has_no_certificate(config, tmp_path, certificate):
    """A scheduler and a worker as the commands start them, configured as docs/clusters.md says."""
    names = ("CA_FILE", "CLIENT__CERT", "SCHEDULER__CERT", "WORKER__CERT")
    tls = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(certificate) for name in names}
    tls["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "True"
    place = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ | tls}
    python = [sys.executable, "-P", "-m", "distributed.cli.dask_scheduler"]
    options = ["--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen([*python, *options, "--scheduler-file", str(place)], **quiet)
    worker = None
    try:
        deadline = time.monotonic() + 60
        while not place.exists() or not place.read_text():
            assert time.monotonic() < deadline
            assert scheduler.poll() is None
            time.sleep(0.05)
        address = json.loads(place.read_text())["address"]
        assert address.startswith("tls://")
        python = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
        worker = subprocess.Popen([*python, "--no-dashboard"], **quiet)
        config = dataclasses.replace(config, image=("a",), sigma=(25.0,), executor=f"dask[address={address}]")
        file = tmp_path / "config.toml"
        file.write_text(config.to_toml())
        command = [sys.executable, "-P", "-m", "esbench", "run", "--config", str(file), "-q", "--out"]
        given = subprocess.run([*command, str(tmp_path / "tls")], env=os.environ | tls, capture_output=True, text=True)
        assert given.returncode == 0, given.stderr
        without = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True)
        assert (without.returncode, "Traceback" in without.stderr) == (3, False)
        assert "No Dask scheduler responds at 'tls://127.0.0.1" in without.stderr
    finally:
        for process in filter(None, (worker, scheduler)):
            process.kill()
            process.wait()
    assert run(dataclasses.replace(config, executor="serial"), tmp_path / "serial") == 0
    assert rows(tmp_path / "tls") == rows(tmp_path / "serial")
