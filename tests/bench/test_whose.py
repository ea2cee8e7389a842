"""A folder of a run that is damaged, mixed up or made to do harm: told in a sentence, healed, and no code is run."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.shapes import Damaged, json_bytes, read_json
from esbench.bench.store import Run, status
from esbench.bench.unit import run_unit
from esbench.cli import cli
from esbench.errors import DataError, EsbenchError
from esbench.events import Event, Notice
from esbench.images import write as write_picture

TIMES = ("ms_per_step", "criterion_ms_per_step", "seconds")
CRITERIA = ("emv", "loss")
FILES = ("spec.json", "trace.parquet", "criteria/emv.parquet", "criteria/loss.parquet", "result.json")


def rows(out: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in Results(out).table()]


def run(config: Config, out: Path, **change) -> tuple[int, list[Event]]:
    config, events = dataclasses.replace(config, **change), []
    return driver.run(config, out, driver.plan(config, out), events.append), events


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Config, Path]:
    """A configuration and the folder of its run, of two units; no test writes to it."""
    place = tmp_path_factory.mktemp("whose")
    for i, name in enumerate("ab"):
        (place / "pictures").mkdir(exist_ok=True)
        image = np.random.default_rng(i).integers(0, 256, (24, 28, 3), np.uint8)
        write_picture(place / "pictures" / f"{name}.png", image)
    config = Config(
        dataset=str(place / "pictures"),
        criterion=CRITERIA,
        network="skip[channels=4,scales=2]",
        iterations=8,
        patience=3,
        device="cpu",
    )
    assert run(config, place / "r")[0] == 0
    return config, place / "r"


@pytest.fixture
def copy(made, tmp_path) -> tuple[Config, Path]:
    shutil.copytree(made[1], tmp_path / "r")
    return made[0], tmp_path / "r"


def told(out: Path) -> list[str]:
    """Return what `status` says of units that failed."""
    return [found["reason"] for found in map(status, Run(out).units()) if found["status"] == "failed"]


def without_ids(out: Path) -> None:
    """Make of a run one from before files had ids and checksums."""
    import pyarrow.parquet as pq

    record, asked = out / "run.json", out / "run.toml"
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "sha256"}))
    asked.write_text(asked.read_text().partition("# sha256")[0])

    for unit in Run(out).units():
        result = unit.path / "result.json"
        kept = {k: v for k, v in json.loads(result.read_text()).items() if k not in ("unit", "sha256")}
        result.write_text(json.dumps(kept))
        for path in unit.path.rglob("*.parquet"):
            table = pq.read_table(path)
            kept = {k: v for k, v in table.schema.metadata.items() if k == b"esbench"}
            pq.write_table(table.replace_schema_metadata(kept), path, compression="zstd")
        for path in unit.path.rglob("*.png"):
            data = path.read_bytes()
            i = data.index(b"tEXt")
            path.write_bytes(data[: i - 4] + data[i + 8 + int.from_bytes(data[i - 4 : i]) :])


# -- whose a file is


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_another_unit_is_refused_and_repaired_on_demand(copy, made, file):
    config, out = copy
    first, second = Run(out).units()
    for unit, other in ((first, second), (second, first)):
        shutil.copy(made[1] / "units" / other.id / file, unit.path / file)
    assert [f"it belongs to another unit, {second.id!r}." in text for text in told(out)] == [True, False]
    assert [f"it belongs to another unit, {first.id!r}." in text for text in told(out)] == [False, True]
    assert rows(out) == []
    run(config, out)
    assert len(told(out)) == 2  # unchanged until --retry-failed
    assert run(config, out, retry_failed=True)[0] == 0
    assert rows(out) == rows(made[1])


SHOWN = [*(f"images/{name}.png" for name in ("clean", "noisy", "peak", "last", "stop-emv", "stop-loss")), "live.jsonl"]


@pytest.mark.parametrize("file", SHOWN)
def test_a_file_of_another_unit_that_is_only_shown_is_told_and_mended_on_demand(copy, made, file):
    config, out = copy
    first, second = Run(out).units()
    if file == "live.jsonl":  # these units were too quick to leave one
        for unit in (first, second):
            (unit.path / file).write_text(f'{{"unit":"{unit.id}","name":""}}\n')
    shutil.copy(first.path / file, second.path / file)
    (why,) = told(out)
    assert f"{second.id}/{file}' cannot be read: it belongs to another unit, {first.id!r}. Remove it, or run" in why
    assert run(config, out, retry_failed=True)[0] == 0
    assert (told(out), rows(out)) == ([], rows(made[1]))
    shutil.copy(first.path / "spec.json", second.path / "images" / "notes.txt")  # not ours
    (second.path / file).unlink(missing_ok=True)  # nobody needs them
    assert (told(out), rows(out)) == ([], rows(made[1]))


def test_a_picture_in_the_place_of_another_or_damaged_is_not_shown_and_mended_on_demand(copy, made):
    config, out = copy
    unit = Run(out).units()[0]
    path, good = unit.image_path("clean"), unit.image_path("clean").read_bytes()
    assert unit.image("clean") == path
    shutil.copy(unit.image_path("last"), path)
    assert "clean.png' cannot be read: it is the picture 'last'. Remove it, or run" in told(out)[0]
    with pytest.raises(DataError, match="it is the picture 'last'"):
        unit.image("clean")
    for bad, why in ((good[:-20], "it is truncated"), (good[:300] + b"?" + good[301:], "its checksum does not match")):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=rf"clean\.png' cannot be read: {why}\. Remove it"):
            cli.main(["report", str(out)], standalone_mode=False)
    assert run(config, out, retry_failed=True)[0] == 0
    assert path.read_bytes() == good
    assert (told(out), rows(out)) == ([], rows(made[1]))


def test_the_error_of_another_unit_is_told(copy):
    _, out = copy
    first, second = Run(out).units()
    for unit in (first, second):
        (unit.path / "result.json").unlink()
        unit.write_error("Traceback\nValueError: no\n")
    assert told(out) == ["ValueError: no"] * 2
    shutil.copy(first.path / "error.txt", second.path / "error.txt")
    assert told(out)[1].endswith(
        f"error.txt' cannot be read: it belongs to another unit, {first.id!r}. --retry-failed runs this one."
    )


def test_a_column_of_another_criterion_is_refused(copy):
    _, out = copy
    unit = Run(out).units()[0]
    shutil.copy(unit.criterion_path("loss"), unit.criterion_path("emv"))
    with pytest.raises(DataError, match=r"emv\.parquet' cannot be read: it belongs to another criterion, 'loss'\."):
        unit.criterion("emv")
    assert "another criterion" in unit.inspect(whole=True).damage


def after(n: int):
    asked = itertools.count(1)
    return lambda: next(asked) >= n


def test_a_unit_does_not_resume_from_another_units_checkpoint(made, tmp_path):
    config, whole = made
    planned = driver.plan(config, tmp_path / "r")
    (tmp_path / "r").mkdir()
    Run(tmp_path / "r").begin(config, planned.units, {}, {})
    first, second = (Run(tmp_path / "r").unit(id) for id in planned.units)
    assert run_unit(planned.jobs[0], lambda event: None, after(4)).status == "paused"
    second.begin(planned.jobs[1].spec)
    shutil.copy(first.path / "checkpoint.pt", second.path / "checkpoint.pt")
    events: list[Event] = []
    for job in planned.jobs:
        assert run_unit(job, events.append).status == "done"
    (notice,) = (e.text for e in events if isinstance(e, Notice) and "restarts" in e.text)
    assert f"checkpoint.pt' cannot be read: it belongs to another unit, {first.id!r}." in notice
    assert rows(tmp_path / "r") == rows(whole)


def test_a_run_whose_files_have_no_ids_is_read_and_resumed(copy, made):
    config, out = copy
    without_ids(out)
    assert rows(out) == rows(made[1])
    replayed = Results(out).replay(patience=1)
    assert [r["stop_step"] for r in replayed] == [r["stop_step"] for r in Results(made[1]).replay(patience=1)]
    assert Run(out).units()[0].image("clean") is not None
    assert run(config, out, criterion=(*CRITERIA, "wmv[window=3]"), sigma=(15.0, 25.0))[0] == 0
    assert [unit.result() is not None for unit in Run(out).units()] == [True] * 4
    assert Run(out).units()[0].inspect(whole=True).damage == ""


# -- a bit that flipped


@pytest.mark.parametrize("file", ["result.json", "run.json", "run.toml", "spec.json", "trace.parquet"])
def test_no_flipped_bit_changes_the_table_silently(copy, made, file):
    _, out = copy
    path = out / file if file.startswith("run") else Run(out).units()[0].path / file
    good, rng = path.read_bytes(), random.Random(file)
    for _ in range(60):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with contextlib.suppress(DataError):
            assert told(out) or rows(out) == rows(made[1])


@pytest.mark.parametrize(("file", "old", "new"), [("result.json", "peak_db", "last_db"), ("run.toml", "= 3", "= 2")])
def test_a_value_that_was_changed_is_reported_and_repaired_on_demand(copy, made, file, old, new):
    config, out = copy
    path = out / file if file.startswith("run") else Run(out).units()[0].path / file
    path.write_text(path.read_text().replace(old, new, 1))
    if file == "run.toml":
        with pytest.raises(Damaged, match="its checksum does not match"):
            Run(out).config()
    else:
        assert told(out)[0].endswith("its checksum does not match.")
    assert run(config, out, retry_failed=True)[0] == 0
    assert rows(out) == rows(made[1])


def test_a_configuration_that_its_owner_changed_is_read_without_its_checksum(copy):
    _, out = copy
    lines = (out / "run.toml").read_text().replace("patience = 3", "patience = 2").splitlines(keepends=True)
    (out / "run.toml").write_text("".join(lines))
    with pytest.raises(DataError, match="if the change is yours, delete its last line"):
        Results(out)
    (out / "run.toml").write_text("".join(lines[:-1]))
    assert Results(out).config.patience == 2


# -- what lies in a folder runs no code


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_a_checkpoint_that_is_a_pickle_is_not_run(made, tmp_path):
    config, _ = made
    planned = driver.plan(config, tmp_path / "r")
    (tmp_path / "r").mkdir()
    Run(tmp_path / "r").begin(config, planned.units, {}, {})
    unit = Run(tmp_path / "r").unit(planned.units[0])
    unit.begin(planned.jobs[0].spec)
    torch.save({"of": Evil(tmp_path / "pwned")}, unit.path / "checkpoint.pt")
    events: list[Event] = []
    assert run_unit(planned.jobs[0], events.append).status == "done"
    assert "restarts: " in events[0].text
    assert "it is not a state of this version of esbench" in events[0].text
    assert not (tmp_path / "pwned").exists()


def test_a_checkpoint_that_is_right_but_does_not_fit_costs_its_unit_once(made, tmp_path):
    config, whole = made
    planned = driver.plan(config, tmp_path / "r")
    (tmp_path / "r").mkdir()
    Run(tmp_path / "r").begin(config, planned.units, {}, {})
    (job, _), unit = planned.jobs, Run(tmp_path / "r").unit(planned.units[0])
    assert run_unit(job, lambda event: None, after(3)).status == "paused"
    state = unit.checkpoint()
    unit.write_checkpoint(state | {"session": state["session"] | {"trace": {}, "columns": []}})
    outcome = run_unit(job, lambda event: None)
    assert outcome.reason == "Its checkpoint does not fit it and was removed; --retry-failed restarts it."
    assert run(config, tmp_path / "r", retry_failed=True)[0] == 0
    assert rows(tmp_path / "r") == rows(whole)


def test_a_memory_that_is_not_plain_costs_its_own_column_and_names_its_owner(made, tmp_path, plugin):
    plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='keeps', summary='keeps code', target=Keeps)]\n"
        "class Keeps:\n"
        "    def update(self, frame):\n"
        "        return float(frame.step)\n"
        "    def state_dict(self):\n"
        "        return {'f': [len]}\n"
        "    def load_state_dict(self, state):\n"
        "        pass\n"
    )
    config, whole = made
    assert run(config, tmp_path / "r", criterion=("keeps", *CRITERIA), checkpoint_every=0.0)[0] == 0
    assert {why for _, _, why in Results(tmp_path / "r").failures()} == {
        "Criterion 'keeps' of esbench-local 1.0 must return tensors, arrays and plain data from state_dict(), got a "
        "builtin_function_or_method at ['f'][0]."
    }
    assert rows(tmp_path / "r") == rows(whole)


# -- JSON of the wrong shape


#: Short values that a reader may trip over.
SHAPES = st.recursive(
    st.sampled_from([None, True, 0, -1, 1.5, 10**400, "", "..", "\ud800", [], {}, [[]], "x" * 300]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["failed", "steps", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)
TEXTS = st.sampled_from(
    ["", "[]", "null", "{", "NaN", '"x"', "[" * 5000, '{"a":' * 5000, "\x00", "1e999", "9" * 5000]
) | st.binary(max_size=9)


def text_of(value: object) -> bytes:
    return json.dumps(value).encode()


@st.composite
def spoiled(draw, whole: dict) -> bytes:
    """A JSON file with one thing in it that is something else, or is not there, or with nothing of it left."""
    if draw(st.booleans()):
        text = draw(TEXTS)
        return text if isinstance(text, bytes) else text.encode()
    value = json.loads(json.dumps(whole))
    value.pop("sha256", None)  # older files have none; else it would tell before anything else does
    at = value
    while True:
        key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[key], dict | list) and at[key] and draw(st.booleans()):
            at = at[key]
            continue
        if draw(st.booleans()) or isinstance(at, list):
            at[key] = draw(SHAPES)
        else:
            del at[key]
        return text_of(value)


def commands(out: Path) -> list[list[str]]:
    return [["status", str(out)], ["export", str(out), "--format", "csv"], ["replay", str(out), "--patience", "1"]]


@pytest.mark.parametrize("file", ["run.json", "spec.json", "result.json"])
def test_json_of_any_shape_is_read_as_it_is_or_refused_in_a_sentence(made, tmp_path, file):
    """Every command either takes it, where it is a valid file, or says in one sentence why not."""
    _, whole = made
    shutil.copytree(whole, tmp_path / "r")
    path = tmp_path / "r" / file if file == "run.json" else Run(tmp_path / "r").units()[0].path / file
    good = path.read_bytes()

    @settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
    @given(spoiled(json.loads(good)))
    def hold(data):
        path.write_bytes(data)
        said: list[str] = []
        for command in commands(tmp_path / "r"):
            try:
                cli.main(command, standalone_mode=False)
            except EsbenchError as error:
                said.append(str(error))
        assert "\n" not in "".join(said).encode().decode()
        try:
            units = Run(tmp_path / "r").units()
        except DataError:
            return
        assert {unit.path.parent for unit in units} <= {tmp_path / "r" / "units"}
        for unit in units:
            assert "\n" not in status(unit)["reason"]

    hold()


@pytest.mark.parametrize("value", ["", True, [1], 10**400], ids=["text", "truth", "list", "too large"])
@pytest.mark.parametrize(
    "name",
    ["score_db", "psnr_db", "ssim", "average_psnr_db", "peak_db", "score_peak_db", "score_last_db", "baseline_db"],
)
def test_a_measurement_that_is_no_number_is_refused_in_a_sentence(made, tmp_path, name, value):
    _, whole = made
    shutil.copytree(whole, tmp_path / "r")
    path = Run(tmp_path / "r").units()[0].path / "result.json"
    result = json.loads(path.read_bytes())
    del result["sha256"]
    (result["criteria"]["emv"] if name in result["criteria"]["emv"] else result)[name] = value
    path.write_text(json.dumps(result))
    with pytest.raises(DataError, match=rf"result\.json' cannot be read: {name} must be a number"):
        Run(tmp_path / "r").units()[0].result()
    cli.main(["export", str(tmp_path / "r")], standalone_mode=False)


@pytest.mark.parametrize("file", ["run.json", "spec.json", "result.json"])
@pytest.mark.parametrize("text", ["[]", "null", "{}", "", "[" * 5000, '{"criteria": {"emv": NaN}}', '{"plan": 5}'])
def test_json_of_the_wrong_shape_is_repaired_on_demand(copy, made, file, text):
    config, out = copy
    path = out / file if file == "run.json" else Run(out).units()[0].path / file
    path.write_text(text)
    if file == "run.json":
        with pytest.raises(Damaged, match=r"run\.json' cannot be read: "):
            run(config, out)
    else:
        assert f"{file}' cannot be read: " in told(out)[0]
    assert run(config, out, retry_failed=True)[0] == 0
    assert rows(out) == rows(made[1])


@pytest.mark.parametrize("name", ["../../other", "..", ".", "/etc", "a/b", "", "a\x00b", 5])
def test_an_id_that_is_a_path_is_not_followed(copy, name):
    _, out = copy
    record = read_json(out / "run.json")
    (out / "run.json").write_bytes(json_bytes(record | {"plan": [name]}))
    with pytest.raises(DataError, match="its plan must be a list of names of units"):
        Run(out).units()


@pytest.mark.parametrize("kept", [0, 1, 200])
def test_a_configuration_that_is_not_whole_is_refused_and_repaired_on_demand(copy, made, kept):
    config, out = copy
    lines = (out / "run.toml").read_text().splitlines(keepends=True)
    (out / "run.toml").write_text("".join(lines)[:kept] if kept > 1 else "".join(lines[:kept]))
    for command in (["status", str(out)], ["export", str(out), "--format", "csv"]):
        with pytest.raises(Damaged, match=r"run\.toml' (is not|cannot be read) .* --retry-failed writes it again"):
            cli.main(command, standalone_mode=False)
    with pytest.raises(Damaged):
        run(config, out)
    assert run(config, out, retry_failed=True)[0] == 0
    assert rows(out) == rows(made[1])


@pytest.mark.parametrize("file", ["run.json", "run.toml"])
@pytest.mark.parametrize("how", ["gone", "a folder"])
def test_a_run_without_its_own_files_is_repaired_on_demand(copy, made, file, how):
    config, out = copy
    (out / file).unlink()
    if how == "a folder":
        (out / file / "mine").mkdir(parents=True)
    with pytest.raises(EsbenchError):
        run(config, out)
    assert run(config, out, retry_failed=True)[0] == 0
    assert rows(out) == rows(made[1])


@pytest.mark.parametrize("file", [*FILES, "images/clean.png", "error.txt", "checkpoint.pt", "lock"])
def test_a_folder_in_the_place_of_a_file_is_moved_aside_on_demand(copy, made, file):
    config, out = copy
    unit = Run(out).units()[0]
    (unit.path / file).unlink(missing_ok=True)
    (unit.path / file / "mine").mkdir(parents=True)
    if file in FILES:
        assert "is a folder, not a regular file" in told(out)[0]
    (unit.path / "result.json").unlink() if file not in FILES else None
    assert run(config, out, retry_failed=True)[0] == 0
    assert rows(out) == rows(made[1])
    assert [path.name for path in unit.path.rglob("mine")] == ["mine"] or file in ("error.txt", "lock")


@pytest.mark.parametrize("place", ["", "criteria", "images"])
def test_a_file_in_the_place_of_a_folder_is_moved_aside(copy, made, place):
    config, out = copy
    path = Run(out).units()[0].path / place
    shutil.rmtree(path)
    path.write_text("mine")
    if place == "images":
        (path.parent / "result.json").unlink()
    assert run(config, out, retry_failed=True)[0] == 0
    assert rows(out) == rows(made[1])


def test_bits_that_flipped_within_a_table_are_seen_and_repaired_on_demand(copy, made):
    config, out = copy
    path = Run(out).units()[0].criterion_path("emv")
    import pyarrow.parquet as pq

    place = next(c for c in map(pq.read_metadata(path).row_group(0).column, range(3)) if c.path_in_schema == "value")
    data = bytearray(path.read_bytes())
    data[place.data_page_offset + place.total_compressed_size // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"emv\.parquet' cannot be read"):
        Results(out).replay(patience=1)
    assert run(config, out, retry_failed=True)[0] == 0
    assert Run(out).units()[0].inspect(whole=True).damage == ""
    assert rows(out) == rows(made[1])


def test_the_error_of_a_unit_may_be_anything(copy):
    _, out = copy
    unit = Run(out).units()[0]
    (unit.path / "result.json").unlink()
    for content in (b"\xff\xfe", b"", b"  \n", b"Traceback\nValueError: no\n"):
        (unit.path / "error.txt").write_bytes(content)
        assert status(unit)["status"] == "failed"
    assert status(unit)["reason"] == "ValueError: no"


# -- a current directory with files that are called like modules


TRAP = """
import pathlib, traceback
pathlib.Path("pwned").write_text("".join(traceback.format_stack()))
raise ImportError("taken for the standard library")
"""


@pytest.mark.parametrize(("how", "executor"), [("-P -m esbench", "serial"), ("-m esbench", "dask[workers=1]")])
def test_files_in_the_current_directory_are_never_imported(made, tmp_path, how, executor, plugin):
    site = plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='steps', summary='counts', target=steps)]\n"
        "def steps(frame):\n"
        "    return float(frame.step)\n"
    )
    config, _ = made
    here = tmp_path / "here"
    (here / "esbench").mkdir(parents=True)
    (here / "esbench" / "__init__.py").write_text(TRAP)
    if "-P" not in how:
        shutil.rmtree(here / "esbench")  # Python itself looks for the module there
    for name in ("tempfile", "queue", "mmap", "torch", "pluggy", "multiprocessing"):
        (here / f"{name}.py").write_text(TRAP)
    info = here / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[esbench]\nevil = evil\n")
    (here / "evil.py").write_text(TRAP)
    command = [sys.executable, *how.split(), "run", "-d", config.dataset, "--image", "a", "-c", "steps", "-c", "loss"]
    command += ["--network", config.network, "--iterations", "6", "--patience", "2", "--device", "cpu"]
    environ = os.environ | {"PYTHONPATH": str(site)}
    command += ["--out", str(tmp_path / "r"), "--executor", executor]
    done = subprocess.run(command, cwd=here, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (here / "pwned").exists(), (here / "pwned").read_text()
    assert len(rows(tmp_path / "r")) == 2
