from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from esbench.bench.rows import COLUMNS, TYPES
from esbench.bench.store import Run
from esbench.engine.loop import Trajectory

TIMING = ("ms_per_step", "criterion_ms_per_step", "seconds")
CRITERIA = ("-c", "cifs-jpeg", "-c", "wmv[window=5]")


@pytest.fixture
def command(pictures, tmp_path, tiny):
    """The arguments of a run of two units, a moment each."""
    return ("run", *CRITERIA, "--dataset", pictures("a", "b"), *tiny, "--out", tmp_path / "r")


def without_times(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]


def written(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


# -- what it prints


def test_json_is_one_array_of_rows_with_the_promised_columns_and_nothing_else(esbench, command):
    answer = esbench(*command, "--json")
    assert answer.code == 0
    rows = json.loads(answer.out)
    assert [(row["image"], row["criterion"]) for row in rows] == [
        (image, criterion) for image in "ab" for criterion in ("cifs-jpeg", "wmv[window=5]")
    ]
    for row in rows:
        assert tuple(row) == COLUMNS
        assert all(type(row[name]) is kind for name, kind in TYPES.items() if name != "crop")
        assert row["gap_db"] >= 0
        assert 0 <= row["stop_step"] <= row["steps_run"] - 1 < 30


@pytest.mark.skipif("ESBENCH_DATA" not in os.environ, reason="kodak24 is not available: ESBENCH_DATA is not set")
def test_the_command_of_the_foundation_prints_its_rows(esbench, tmp_path):
    answer = esbench(
        *("run", "--criterion", "cifs-jpeg", "--dataset", "kodak24", "--images", "2", "--crop", "48"),
        *("--iterations", "12", "--patience", "4", "--device", "cpu", "--out", tmp_path / "r", "--json"),
    )
    assert answer.code == 0
    rows = json.loads(answer.out)
    assert [(r["dataset"], r["image"], r["criterion"]) for r in rows] == [
        ("kodak24", "kodim01", "cifs-jpeg"),
        ("kodak24", "kodim02", "cifs-jpeg"),
    ]
    assert tuple(rows[0]) == COLUMNS


def test_for_people_it_prints_a_table_and_says_where_the_pictures_are(esbench, command, tmp_path):
    answer = esbench(*command)
    assert answer.code == 0
    assert "pictures, gaussian noise of sigma 25, 2 units: peak " in answer.out
    lines = [line.split() for line in answer.out.splitlines()]
    assert [line[0] for line in lines if line and line[0] in ("cifs-jpeg", "wmv[window=5]")] == [
        "cifs-jpeg",
        "wmv[window=5]",
    ]
    report = tmp_path / "r" / "report"
    assert f"pictures: {report / 'pictures.png'}" in answer.err
    assert f"report:   esbench report {report.parent}\nwatch:    esbench watch {report.parent}\n" in answer.err
    assert "esbench resume" not in answer.err
    for name in ("pictures.png", "curves.png"):
        assert (report / name).read_bytes().startswith(b"\x89PNG")


def test_progress_is_plain_lines_on_stderr_where_that_is_no_terminal(esbench, command):
    answer = esbench(*command, "--json")
    assert answer.err.splitlines()[0].endswith("/r: 2 units")
    assert sum(" done in " in line for line in answer.err.splitlines()) == 2
    # on a busy machine a unit may say it twice
    assert len({line.split(":")[0] for line in answer.err.splitlines() if ": step 30/30, " in line}) == 2
    assert "\x1b" not in answer.err


def test_threads_are_reported_when_verbose_and_may_differ_between_commands(esbench, command):
    first = esbench(*command, "--threads", "1", "--precision", "float32", "-v")
    assert first.code == 0
    # the same of another unit is not said again
    assert first.err.count(": on the CPU with 1 thread, in float32\n") == 1
    again = esbench(*command, "--threads", "2", "--precision", "float32", "--iterations", "30")
    assert again.code == 0  # nothing is left to do
    assert esbench(*command, "--threads", "0").err == "esbench: threads must be at least 1, got 0.\n"


def test_quiet_says_nothing_but_the_results(esbench, command):
    answer = esbench(*command, "-q", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert len(json.loads(answer.out)) == 4
    again = esbench(*command, "-q")
    assert again.err == ""
    assert "wmv[window=5]" in again.out


def test_a_dry_run_writes_nothing_and_shows_the_plan(esbench, command, tmp_path):
    before = written(tmp_path)
    answer = esbench(*command, "--dry-run")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert [line.split("-")[1] for line in lines[:2]] == ["a", "b"]
    assert lines[2].startswith("2 units, 2 left, 30 steps each, criteria cifs-jpeg, wmv[window=5]: about ")
    plan = json.loads(esbench(*command, "--dry-run", "--json").out)
    assert [unit["done"] for unit in plan["units"]] == [False, False]
    assert plan["criteria"] == ["cifs-jpeg", "wmv[window=5]"]
    assert plan["seconds"] >= 0
    assert written(tmp_path) == before


def test_without_out_the_folder_is_named_by_what_cannot_grow_and_said_first(
    esbench, pictures, tiny, monkeypatch, tmp_path
):
    folder = pictures("a", "b")
    monkeypatch.chdir(tmp_path)

    def named(*arguments: object) -> str:
        answer = esbench("run", "-c", "loss", "--dataset", folder, *tiny, "--dry-run", *arguments)
        assert answer.code == 0
        first = answer.err.splitlines()[0]
        assert first.startswith("run: esbench-runs/pictures-")
        return first

    same = named()
    assert named("--sigma", "50", "--seed", "3", "-c", "wmv", "--images", "1", "--live") == same
    assert named("--crop", "16") != same
    assert named("--patience", "9") != same
    assert not (tmp_path / "esbench-runs").exists()


def test_a_preset_says_what_it_scaled_down_and_flags_go_before_it(esbench, pictures, tiny, tmp_path):
    answer = esbench("run", "--preset", "quick", "-d", pictures("a"), *tiny, "--out", tmp_path / "r", "--dry-run")
    assert answer.code == 0
    assert "preset quick: 96 x 96 pixels, a network of a quarter of the width, a twentieth of the steps" in answer.err
    assert "30 steps each, criteria cifs-jpeg, wmv, emv, loss, last" in answer.out


def test_the_configuration_in_the_folder_repeats_the_run(esbench, command, tmp_path):
    rows = json.loads(esbench(*command, "--json").out)
    answer = esbench("run", "--config", tmp_path / "r" / "run.toml", "--out", tmp_path / "again", "--json")
    assert without_times(json.loads(answer.out)) == without_times(rows)


def test_what_is_printed_is_what_this_command_asked_for(esbench, command, tmp_path):
    esbench(*command, "--json")
    fewer = [part for part in command if part not in ("-c", "cifs-jpeg")]
    fewer = ["run", "-c", "wmv[window=5]", *fewer[2:], "--image", "b"]
    rows = json.loads(esbench(*fewer, "--json").out)
    assert [(row["image"], row["criterion"]) for row in rows] == [("b", "wmv[window=5]")]
    assert len(json.loads(esbench("export", tmp_path / "r", "--format", "json").out)) == 4


# -- resuming


def test_the_same_command_again_prints_the_same_rows_and_does_no_optimisation(esbench, command, tmp_path, monkeypatch):
    first = esbench(*command, "--json")
    before = written(tmp_path / "r")
    monkeypatch.setattr(Trajectory, "__init__", lambda *args: pytest.fail("an optimisation began"))
    again = esbench(*command, "--json")
    assert (again.code, again.out) == (0, first.out)
    assert written(tmp_path / "r") == before


KILLER = """
import os, signal
import esbench

moment, calls, replace = os.environ.get("KILL_AT", ""), 0, os.replace

def counting(source, target):
    global calls
    if "/units/" in str(target):
        calls += 1
        if moment == f"write {calls}":
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = counting

@esbench.hookimpl
def esbench_event(event):
    if isinstance(event, esbench.UnitStarted):
        esbench_event.started = getattr(esbench_event, "started", 0) + 1
    if isinstance(event, esbench.Progress) and moment == f"step of unit {esbench_event.started}":
        os.kill(os.getpid(), signal.SIGINT if os.environ.get("GENTLY") else signal.SIGKILL)
"""


@pytest.fixture
def killed(plugin, tmp_path):
    """Give killed(moment, *arguments): the command in a process of its own, which ends itself at a moment."""
    site = plugin(KILLER)

    def killed(moment: str, *arguments: object, gently: str = "") -> subprocess.CompletedProcess[str]:
        environ = os.environ | {"PYTHONPATH": str(site), "KILL_AT": moment, "GENTLY": gently}
        # what a shell would run
        call = [sys.executable, "-m", "esbench", *map(str, arguments)]
        return subprocess.run(call, env=environ, capture_output=True, text=True, check=False)

    return killed


def test_killed_at_any_moment_and_repeated_it_ends_with_the_rows_of_an_undisturbed_run(
    esbench, command, killed, tmp_path
):
    undisturbed = without_times(json.loads(esbench(*command[:-1], tmp_path / "undisturbed", "--json").out))
    folder = tmp_path / "r"

    # in the middle of writing the first unit; in the middle of the second; just before its result
    for moment, done in (("write 5", 0), ("step of unit 2", 1), ("write 9", 1)):
        answer = killed(moment, *command, "--json")
        assert answer.returncode == -signal.SIGKILL, answer.stderr
        assert answer.stdout == ""
        finished = [unit for unit in Run(folder).units() if unit.result() is not None]
        assert len(finished) == done
        if done:
            kept = written(finished[0].path)
    last = esbench(*command, "--json")
    assert last.code == 0
    assert without_times(json.loads(last.out)) == undisturbed
    first = Run(folder).units()[0]
    assert written(first.path) == kept  # what was finished was not done again
    assert "2 units, 1 already done" in last.err


def test_ctrl_c_keeps_what_was_finished_and_says_how_to_resume(command, killed, tmp_path):
    answer = killed("step of unit 2", *command, "-q", "--json", gently="yes")
    assert answer.returncode == 130
    assert answer.stdout == ""
    # an empty line first, since a terminal shows ^C
    assert answer.stderr == "\nesbench: interrupted: finished work is kept; repeat the command to continue\n"
    assert [unit.result() is not None for unit in Run(tmp_path / "r").units()] == [True, False]


def test_a_reader_that_stops_listening_is_not_a_bug():
    with subprocess.Popen(
        [sys.executable, "-m", "esbench", "list-criteria", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1  # as click has it


# -- what fails

BROKEN = """
import esbench

@esbench.hookimpl
def esbench_criteria():
    return [esbench.CriterionInfo(name="broken", summary="breaks", target=broken)]

def broken(frame):
    raise OSError("no more")
"""


def test_a_criterion_that_fails_is_reported_and_the_exit_code_is_1(esbench, command, plugin):
    plugin(BROKEN)
    answer = esbench(*command, "-c", "broken", "--json", "-q")
    assert answer.code == 1
    assert len(json.loads(answer.out)) == 4
    assert answer.err == (
        "broken failed on 2 of 2 units: Criterion 'broken' of esbench-local 1.0 raised OSError: no more at step 0.\n"
    )


def test_what_a_criterion_prints_is_no_part_of_the_results(esbench, command, plugin):
    plugin(BROKEN.replace('raise OSError("no more")', 'print("I was here"); return 1.0'))
    answer = esbench(*command, "-c", "broken", "--json", "-q")
    assert len(json.loads(answer.out)) == 6
    assert answer.err == "I was here\n" * 60


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_unit_that_fails_is_reported_and_the_exit_code_is_1(esbench, command, monkeypatch, quiet):
    begin = Trajectory.__iter__

    def fails_for_a(self):
        if self.fit.observation.y.mean() == fails_for_a.first:
            raise RuntimeError("not this one")
        return begin(self)

    def remember(self):
        fails_for_a.first = self.fit.observation.y.mean()
        monkeypatch.setattr(Trajectory, "__iter__", fails_for_a)
        return fails_for_a(self)

    monkeypatch.setattr(Trajectory, "__iter__", remember)
    answer = esbench(*command, "--json", *quiet)
    assert answer.code == 1
    assert {row["image"] for row in json.loads(answer.out)} == {"b"}
    assert sum("-a-" in line and "failed: RuntimeError: not this one" in line for line in answer.err.splitlines()) == 1


def test_a_bug_shows_everything_and_is_4(esbench, command, monkeypatch):
    monkeypatch.setattr("esbench.bench.driver.plan", lambda *args: 1 / 0)
    answer = esbench(*command)
    assert answer.code == 4
    assert answer.err.startswith("Traceback (most recent call last):")
    assert answer.err.splitlines()[-1].startswith("esbench: this is a bug in esbench or one of its plugins; ")


# -- export


def test_every_format_holds_the_same_table(esbench, command, tmp_path):
    rows = json.loads(esbench(*command, "--json").out)
    out = tmp_path / "r"
    assert json.loads(esbench("export", out, "--format", "json").out) == rows
    for kind in ("json", "csv", "parquet"):
        answer = esbench("export", out, "--format", kind, "-o", tmp_path / f"table.{kind}")
        assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert json.loads((tmp_path / "table.json").read_text()) == rows
    assert pq.read_table(tmp_path / "table.parquet").to_pylist() == rows

    text = esbench("export", out).out
    assert text == (tmp_path / "table.csv").read_text()
    cells = list(csv.DictReader(io.StringIO(text)))
    parse = {bool: lambda cell: cell == "True", str: str, int: lambda cell: int(cell) if cell else None, float: float}
    assert [{name: parse[TYPES[name]](cell) for name, cell in line.items()} for line in cells] == rows


def test_a_column_without_a_value_keeps_its_type(esbench, command, tmp_path):
    fixed = ["run", "-c", "fixed[step=2]", *command[5:], "--live", "-q", "--json"]
    rows = json.loads(esbench(*fixed).out)
    assert {row["peak_db"] for row in rows} == {None}
    esbench("export", tmp_path / "r", "--format", "parquet", "-o", tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.to_pylist() == rows
    assert str(table.schema.field("peak_db").type) == "double"
    assert str(table.schema.field("peak_step").type) == "int64"
    assert ",,," in esbench("export", tmp_path / "r").out


def test_a_table_that_was_cut_short_is_reported_in_a_sentence(esbench, command, tmp_path):
    esbench(*command, "-q", "--json")
    path = Run(tmp_path / "r").units()[0].path / "trace.parquet"
    path.write_bytes(path.read_bytes()[:50])
    for again, code in ((("export", tmp_path / "r"), 0), ((*command, "--json"), 1)):
        answer = esbench(*again)
        assert answer.code == code
        (line,) = (line for line in answer.err.splitlines() if "-a-" in line)
        assert "trace.parquet' cannot be read: it is truncated." in line
        assert "-b-" in answer.out


def test_export_says_what_it_cannot_write_or_read(esbench, command, tmp_path):
    answer = esbench("export", tmp_path / "nowhere")
    assert (answer.code, answer.err) == (
        3,
        f"esbench: '{tmp_path}/nowhere' is not a run of esbench (it has no run.toml).\n",
    )
    esbench(*command, "-q", "--json")
    answer = esbench("export", tmp_path / "r", "-o", tmp_path / "r")
    assert (answer.code, answer.err) == (3, f"esbench: '{tmp_path}/r' cannot be written: Is a directory.\n")


# -- the search for lam


def test_calibrate_runs_searches_and_writes_its_table_with_the_origin(esbench, pictures, tmp_path):
    call = (
        *("calibrate", "-c", "cifs-jpeg", "-c", "cifs-png", "-d", pictures("a", "b"), "--images", "2", "--sigma", "25"),
        *("--network", "skip[channels=4,scales=2]", "--iterations", "60", "--patience", "8", "--device", "cpu"),
        *("--out", tmp_path / "c", "-o", tmp_path / "table.json", "-q", "--json"),
    )
    answer = esbench(*call)
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert [(row["codec"], row["sigma"], row["pictures"]) for row in found] == [("jpeg", 25.0, 2), ("png", 25.0, 2)]
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["mu"] == {row["codec"]: {"25": row["mu"]} for row in found}
    assert table["origin"]["run"]["iterations"] == 60
    assert esbench(*call).out == answer.out
    assert np.isfinite([row["gap_db"] for row in found]).all()
