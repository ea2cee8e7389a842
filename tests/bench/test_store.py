from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest

from esbench.bench import store
from esbench.bench.config import Config
from esbench.bench.spec import UnitSpec, unit_id
from esbench.bench.store import Run, Unit, slug
from esbench.errors import ConfigError, DataError, Missing, Unavailable, UsageError
from esbench.images import read

SPEC = UnitSpec(
    dataset="d",
    image="i",
    pixels="0" * 64,
    crop=None,
    task="denoise",
    noise="gaussian",
    sigma=25.0,
    network="skip",
    seed=0,
    iterations=3,
    input_scale=0.1,
    learning_rate=0.01,
    perturbation=1 / 30,
    depth=32,
    precision="float32",
    device="cpu",
    engine=1,
)


#: A result as short as it may be.
RESULT = {"complete": False, "steps": 3, "seconds": 1.0, "criteria": {}}
RESULT |= {"peak_step": None, "peak_db": None, "last_db": None, "average_peak_db": None}


def begun(path, config=None, plan=("a",)) -> Run:
    """Return a run on the disk, as a command leaves it before its first unit."""
    run = Run(path)
    with run.lock():
        run.begin(config or Config(), list(plan), {"esbench": "0"}, {"command": "esbench run"})
    return run


# -- names


def test_criteria_with_parameters_have_files_of_their_own():
    texts = ["wmv", "wmv[window=5]", "wmv[window=6]", "some-plugin:wmv", "cifs-jpeg[lam=1e6,quality=90]"]
    names = [slug(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert names[0] == "wmv"
    assert names[1].startswith("wmv-")
    assert all("/" not in name and not name.startswith(".") for name in names)


# -- a run


def test_a_folder_without_a_run_is_missing(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Missing, match=r"is not a run of esbench \(it has no run\.toml\)\."):
            Run(path).config()


def test_what_a_command_is_about_to_do_is_written_down_before_it_does_it(tmp_path):
    run = begun(tmp_path / "r", Config(sigma=(15.0,)))
    assert run.config() == Config(sigma=(15.0,))
    record = run.record()
    assert record["plan"] == ["a"]
    assert record["stamp"] == {"esbench": "0"}
    assert record["commands"] == [{"command": "esbench run"}]


def test_a_second_command_grows_the_plan_and_the_configuration(tmp_path):
    begun(tmp_path / "r", Config(sigma=(15.0,)), ["a", "b"])
    run = begun(tmp_path / "r", Config(sigma=(25.0,)), ["b", "c"])
    assert run.config().sigma == (15.0, 25.0)
    assert [u.id for u in run.units()] == ["a", "b", "c"]
    assert len(run.record()["commands"]) == 2


def test_a_run_of_another_configuration_is_refused_and_left_as_it_is(tmp_path):
    run = begun(tmp_path / "r", Config(iterations=5))
    before = {p.name: p.read_bytes() for p in run.path.iterdir()}
    for attempt in (lambda: run.grown(Config(iterations=6)), lambda: begun(run.path, Config(iterations=6))):
        with pytest.raises(ConfigError, match=r"This run has iterations = 5, the command 6: choose another --out"):
            attempt()
    assert {p.name: p.read_bytes() for p in run.path.iterdir()} == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("\\documentclass")
    with pytest.raises(UsageError, match="already exists and is not a run: choose another --out"):
        Run(tmp_path).grown(Config())
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_an_empty_folder_and_one_that_a_killed_command_left_are_taken(tmp_path):
    assert Run(tmp_path).grown(Config()) == Config()
    (tmp_path / "lock").touch()
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / ".run.toml.1234").touch()
    assert begun(tmp_path).record()["plan"] == ["a"]


def test_a_file_in_the_place_of_the_folder_is_reported(tmp_path):
    (tmp_path / "r").touch()
    with pytest.raises(Unavailable, match=r"/r' cannot be written: Not a directory\. Choose another --out\."):
        Run(tmp_path / "r").grown(Config())
    with pytest.raises(Unavailable, match="cannot be written"), Run(tmp_path / "r" / "s").lock():
        pass


def test_a_folder_that_may_not_be_looked_at_is_reported(tmp_path, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store.Path, "exists", forbidden)
    with pytest.raises(Unavailable, match="cannot be written: Permission denied"):
        Run(tmp_path).grown(Config())


def test_only_one_command_at_a_time_may_hold_a_folder(tmp_path):
    run = Run(tmp_path / "r")
    with run.lock(), pytest.raises(Unavailable, match=r"Another esbench is using '.*/r': wait for it, or choose"):
        begun(tmp_path / "r")
    begun(tmp_path / "r")


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', "{}"])
def test_a_record_of_another_format_or_damaged_is_reported(tmp_path, text):
    run = begun(tmp_path / "r")
    (run.path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json' (cannot be read: .*|has format 2, this esbench reads format 1)\."):
        run.record()


# -- a unit


@pytest.fixture
def unit(tmp_path) -> Unit:
    made = Unit(tmp_path / "units" / unit_id(SPEC))
    made.begin(SPEC)
    return made


def test_a_unit_gives_back_what_it_was_given(unit):
    assert unit.spec() == SPEC
    unit.write_trace({"step": np.arange(3), "loss": np.array([3.0, np.nan, 1.0])})
    assert unit.trace()["loss"][2] == 1.0
    assert np.isnan(unit.trace(["loss"])["loss"][1])
    assert list(unit.trace(["loss"])) == ["loss"]
    unit.write_criterion("wmv[window=5]", {"value": np.array([1.0, np.nan])}, {"resolved": {"window": 5}})
    columns, made_by = unit.criterion("wmv[window=5]")
    assert columns["value"][0] == 1.0
    assert np.isnan(columns["value"][1])
    assert made_by == {"resolved": {"window": 5}}
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    unit.write_image("stop-wmv[window=5]", image)
    assert np.array_equal(read(unit.image_path("stop-wmv[window=5]")), image)


def test_what_a_killed_process_was_writing_is_removed_when_the_unit_begins_again(unit):
    parts = [unit.path / ".checkpoint.pt.0f90e857", unit.path / "images" / ".last.png.1b6399ab.png"]
    for part in parts:
        part.touch()
    unit.write_result(RESULT)
    unit.begin(unit.spec())
    assert not any(part.exists() for part in parts)
    assert unit.result() == RESULT


def test_a_unit_is_done_when_its_result_is_there(unit):
    assert unit.result() is None
    unit.write_error("Traceback\nValueError: no\n")
    assert unit.error().endswith("ValueError: no")
    unit.write_result(RESULT)
    assert unit.result() == RESULT
    assert unit.error() == ""


def test_a_result_has_no_number_that_json_has_not(unit):
    with pytest.raises(ValueError, match="not JSON compliant"):
        unit.write_result({"peak_db": float("nan")})
    assert unit.result() is None


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_table_is_reported_in_a_sentence(unit, part):
    unit.write_trace({"step": np.arange(500), "loss": np.random.default_rng(0).random(500)})
    path = unit.path / "trace.parquet"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(DataError, match=r"trace\.parquet' cannot be read: ") as error:
        unit.trace()
    assert "\n" not in str(error.value)


def test_what_is_missing_or_damaged_in_a_unit_is_named(unit):
    with pytest.raises(Missing, match=r"There is no file '.*trace\.parquet'\."):
        unit.trace()
    (unit.path / "result.json").write_text("{")
    with pytest.raises(DataError, match=r"result\.json' cannot be read: "):
        unit.result()
    for text in ("{", json.dumps(dataclasses.asdict(SPEC) | {"unheard": 1}), "[]"):
        (unit.path / "spec.json").write_text(text)
        with pytest.raises(DataError, match=r"spec\.json' cannot be read: "):
            unit.spec()


def test_a_unit_below_something_that_is_no_folder_is_not_done(tmp_path):
    (tmp_path / "file").touch()
    assert Run(tmp_path / "file").unit("a").result() is None
