"""Faults of plugins while they are loaded, with real distributions and processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults import GOOD, IMPORTS
from esbench import loading
from esbench.plugins import PluginHost
from esbench.registry import Registry


@pytest.fixture
def place(plugin, tmp_path, monkeypatch) -> Callable[..., Path]:
    """Give place(code), which installs a plugin, with a cache of its own."""
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "cache"))

    def place(code: str) -> Path:
        site = plugin(code)
        monkeypatch.setenv("PYTHONPATH", str(site))
        return site

    return place


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "esbench", *arguments]
    return subprocess.run(line, env=os.environ | environ, capture_output=True, text=True, check=False)


def row(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    (found,) = (r for r in json.loads(done.stdout) if r["distribution"] == "esbench-local")
    return found


def begun(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command and wait until it notes that it is in the plugin."""
    process = subprocess.Popen([sys.executable, "-m", "esbench", *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any("esbench-local" in p.read_text() for p in (tmp_path / "cache").rglob("*.note")):
            return process
        time.sleep(0.02)
    raise AssertionError("it never came to the plugin")


def notes(tmp_path: Path) -> list[str]:
    return sorted(path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file())


@pytest.mark.parametrize("fault", IMPORTS)
def test_what_a_plugin_does_costs_itself_and_never_the_output(place, fault):
    code, status, reason = IMPORTS[fault]
    place(code)
    done = command("plugins", "--json")
    found = row(done)
    assert (found["status"], found["reason"][: len(reason)]) == (status, reason)
    assert "lost" not in done.stdout
    if status == "broken":
        shown = command("plugins", "--traceback", "local")
        assert shown.returncode == 0
        assert "Traceback" in shown.stdout or "shown" in shown.stdout


def test_a_plugin_that_ends_the_process_costs_one_command_and_is_left_out_until_the_user_says_so(place, tmp_path):
    place("import os\nos._exit(3)")
    assert command("list-criteria", "--json").returncode == 3
    second = command("plugins", "--json")
    assert "testing esbench-local 1.0 in a separate process" in second.stderr
    reason = "ended with exit code 3 while it was loaded. Set ESBENCH_PLUGINS=esbench-local to try it again"
    assert (row(second)["status"], row(second)["reason"]) == ("broken", reason)
    third = command("plugins", "--json")
    assert (third.stderr, row(third)["reason"]) == ("", reason)
    assert row(command("plugins", "--json", ESBENCH_PLUGINS="esbench-local"))["reason"] == reason  # it still does
    place(GOOD)
    assert row(command("plugins", "--json"))["reason"] == reason
    assert row(command("plugins", "--json", ESBENCH_PLUGINS="esbench-local"))["status"] == "ok"
    assert row(command("plugins", "--json"))["status"] == "ok"
    assert notes(tmp_path) == []


@pytest.mark.parametrize("where", ["hook", "unavailable", "leaves with 0"])
def test_it_is_known_wherever_the_process_ended(place, where):
    if where == "hook":
        place(GOOD.replace("    return [", "    import os\n    os.abort()\n    return ["))
    elif where == "unavailable":
        code = (
            GOOD.replace("target=steps)", "target=steps, unavailable=no)")
            + "\ndef no():\n    import os\n    os._exit(3)\n"
        )
        place(code)
    else:
        place("import os\nos._exit(0)")
    command("list-criteria")
    found = row(command("plugins", "--json"))
    assert found["status"] == "broken"
    assert "while it was loaded" in found["reason"]


def test_a_loop_without_end_is_left_out_after_an_interrupt(place, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "LIMIT", 3.0)
    place("while True:\n    pass")
    process = begun(tmp_path, "list-criteria")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    (found,) = (p for p in PluginHost({}).plugins if p.distribution == "esbench-local")
    assert found.reason.startswith("did not end within 3 s while it was loaded.")
    assert row(command("plugins", "--json"))["reason"] == found.reason


@pytest.mark.parametrize("where", ["import", "hook", "unavailable", "catches everything"])
def test_a_call_without_end_is_broken_off_and_its_plugin_is_left_out(place, tmp_path, monkeypatch, where):
    monkeypatch.setattr(loading, "ENDLESS", 0.3)
    monkeypatch.setattr(loading, "LIMIT", 3.0)
    loop, catch = (
        "while True: pass",
        "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    time.sleep(60)\n",
    )
    place(
        {
            "import": loop,
            "hook": GOOD.replace("    return [", f"    {loop}\n    return ["),
            "unavailable": GOOD.replace("target=steps)", "target=steps, unavailable=no)")
            + f"\ndef no():\n    {loop}\n",
            "catches everything": catch + GOOD,
        }[where]
    )
    host = PluginHost({})
    (found,) = (p for p in host.plugins if p.distribution == "esbench-local")
    if where == "unavailable":
        (record,) = (r for r in Registry(host).records["criterion"] if r.info.name == "steps")
        assert (record.status, record.reason.partition(": ")[2]) == ("broken", "it did not end within 0.3 s")
    else:
        assert found.status == "broken"
        assert found.reason.endswith(": it did not end within 0.3 s")
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    (again,) = (p for p in PluginHost({}).plugins if p.distribution == "esbench-local")
    assert again.reason.startswith("did not end within 3 s while it was loaded.")


def test_a_command_that_is_killed_from_outside_does_not_make_its_plugin_guilty(place, tmp_path):
    site = place(
        "import pathlib, time\nwhile not pathlib.Path(__file__).with_name('go').exists(): time.sleep(0.02)\n" + GOOD
    )
    process = begun(tmp_path, "list-criteria")
    process.kill()
    process.wait()
    (site / "go").touch()
    found = command("plugins", "--json")
    assert row(found)["status"] == "ok"
    assert "in a separate process: a command ended in it" in found.stderr
    again = command("plugins", "--json")
    assert (row(again)["status"], again.stderr) == ("ok", "")
    assert notes(tmp_path) == []


def test_a_command_beside_one_that_is_loading_does_not_blame_the_other(place, tmp_path):
    site = place("import os, time, pathlib\nif os.environ.get('SLOW'): time.sleep(60)\n" + GOOD)
    os.environ["SLOW"] = "1"
    try:
        process = begun(tmp_path, "list-criteria")
    finally:
        del os.environ["SLOW"]
    beside = command("plugins", "--json")
    process.kill()
    process.wait()
    assert (row(beside)["status"], beside.stderr) == ("ok", "")
    assert site.is_dir()


def test_without_a_folder_for_notes_everything_is_loaded_as_usual(place, tmp_path):
    place(GOOD)
    (tmp_path / "cache").write_text("a file in its place")
    assert row(command("plugins", "--json"))["status"] == "ok"


def test_a_reader_that_has_seen_enough_is_no_error():
    listing = subprocess.Popen(
        [sys.executable, "-m", "esbench", "list-criteria"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    listing.stdout.close()
    assert "Traceback" not in listing.stderr.read()
    assert listing.wait() in (0, 1)
