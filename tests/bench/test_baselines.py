"""Baselines in a run: rows of their own, computed once, added later, failed, refused."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.exported import FORMATS, read, written
from esbench.bench.results import Results
from esbench.bench.rows import COLUMNS
from esbench.bench.store import Run, status
from esbench.bench.summary import summary
from esbench.bench.wire import job_from_json, job_to_json
from esbench.builtin.baselines import zs_n2n as module
from esbench.cli.results import failed_lines
from esbench.errors import DataError, Unavailable, UsageError
from esbench.registry import registry
from esbench.report.files import report

QUICK = "zs-n2n[channels=4,iterations=3]"
WITHOUT = ("patience", "stop_step", "fallback", "steps_run", "peak_db", "gap_db", "average_psnr_db", "ms_per_step")


@pytest.fixture
def config(pictures) -> Config:
    return Config(
        dataset=str(pictures("a", "b")),
        criterion=("wmv[window=2]",),
        baseline=(QUICK,),
        network="skip[channels=4,scales=2]",
        iterations=8,
        patience=2,
        device="cpu",
    )


def run(config: Config, out, events: list | None = None) -> Results:
    listen = (lambda event: None) if events is None else events.append
    failed = driver.run(config, out, driver.plan(config, out), listen)
    assert failed == 0
    return Results(out)


def test_a_baseline_has_a_row_per_unit_with_null_where_there_is_no_stop(config, tmp_path):
    results = run(config, tmp_path / "r")
    rows = [row for row in results.table() if row["kind"] == "baseline"]
    assert [(row["image"], row["criterion"]) for row in rows] == [("a", QUICK), ("b", QUICK)]
    for row in rows:
        assert tuple(row) == COLUMNS
        assert all(row[name] is None for name in WITHOUT)
        assert 0 < row["psnr_db"] == row["score_db"]
        assert row["seconds"] > 0
        unit = results.run.unit(row["unit"])
        assert unit.image(f"baseline-{QUICK}") is not None
        assert unit.baseline(QUICK)["psnr_db"] == row["psnr_db"]
    assert len(results.table(baselines=())) == 2
    assert [row["kind"] for row in results.replay(patience=1)] == ["criterion"] * 2
    for kind in FORMATS:
        path = tmp_path / f"rows.{kind}"
        path.write_bytes(results.export(kind))
        assert read(path) == results.table()
    path.write_bytes(written([row | {"stop_step": 1} for row in rows], kind))
    with pytest.raises(DataError, match="stop_step of a baseline must be null"):
        read(path)


def test_the_command_prints_it_in_the_same_table_with_the_seconds_of_all(config, tmp_path):
    rows = run(config, tmp_path / "r").table()
    ((heading, table),) = summary(rows)
    assert "2 units: peak" in heading
    assert table.head[-1] == "seconds"
    criterion, baseline = table.rows
    assert baseline[0] == QUICK
    assert (baseline[1], baseline[3]) == ("-", "-")
    assert float(criterion[-1]) > 0 < float(baseline[-1])
    ((_, alone),) = summary([row for row in rows if row["kind"] == "criterion"])
    assert alone.head[-1] == "ms per step"


def test_one_that_is_added_later_leaves_the_optimisation_alone_and_is_computed_once(config, tmp_path):
    first = run(dataclasses.replace(config, baseline=()), tmp_path / "r")
    before = {unit.id: (unit.path / "result.json").read_bytes() for unit in first.run.units()}
    events: list = []
    second = run(config, tmp_path / "r", events)
    assert {unit.id: (unit.path / "result.json").read_bytes() for unit in second.run.units()} == before
    assert not [event for event in events if type(event).__name__ == "Progress"]
    assert len(second.table()) == 4
    assert driver.plan(config, tmp_path / "r").left == ()
    assert Results(tmp_path / "r").config.baseline == (QUICK,)


def test_a_file_of_it_that_is_damaged_or_another_units_is_computed_again(config, tmp_path):
    results = run(config, tmp_path / "r")
    one, other = results.run.units()
    path = one.baseline_path(QUICK)
    whole = path.read_bytes()
    for text in (b"", b"{", b"[]", whole.replace(b'"seconds"', b'"secs"'), other.baseline_path(QUICK).read_bytes()):
        path.write_bytes(text)
        assert one.baseline(QUICK) is None
        assert len(results.table()) == 3
        why = status(one)["criteria"][path.stem]
        assert f"{path.name}' cannot be read: " in why
        assert why.endswith("'esbench run' with this baseline computes it again.")
        (job,) = driver.plan(config, tmp_path / "r").left
        assert job.criteria == ()
    path.write_bytes(whole)
    shutil.copy(other.image_path(f"baseline-{QUICK}"), one.image_path(f"baseline-{QUICK}"))
    assert "it belongs to another unit" in status(one)["criteria"][path.stem]
    one.image_path(f"baseline-{QUICK}").unlink()
    one.image_path(f"baseline-{QUICK}").mkdir()  # which says nothing about the numbers
    assert len(results.table()) == 4
    path.unlink()
    assert len(run(config, tmp_path / "r").table()) == 4


def test_one_that_fails_is_reported_and_retried_only_on_demand(config, tmp_path, monkeypatch):
    def broken(c, channels, generator):
        raise ValueError("no such net")

    with monkeypatch.context() as patch:
        patch.setattr(module, "network", broken)
        results = run(config, tmp_path / "r")
    rows, failures = results.table(), results.failures()
    assert [row["kind"] for row in rows] == ["criterion"] * 2
    assert {(text, reason) for _, text, reason in failures} == {(QUICK, "ValueError: no such net")}
    assert status(results.run.units()[0])["criteria"][QUICK] == "ValueError: no such net"
    assert failed_lines(failures, results) == [f"{QUICK} failed on 2 of 2 units: ValueError: no such net"]
    (tmp_path / "report").mkdir()
    page = report(results, tmp_path / "report")[0].read_text()
    assert "2: ValueError: no such net" in page
    assert driver.plan(config, tmp_path / "r").left == ()
    assert len(run(dataclasses.replace(config, retry_failed=True), tmp_path / "r").table()) == 4


def test_a_result_that_is_no_picture_is_a_failure(config, tmp_path, monkeypatch):
    component = registry().get("baseline", QUICK)
    made = dataclasses.replace(component, target=lambda y, generator, **values: np.full_like(y, np.nan))
    monkeypatch.setattr("esbench.bench.baselines.registry", lambda: type("R", (), {"get": lambda *_: made})())
    results = run(config, tmp_path / "r")
    assert "must be finite" in results.failures()[0][2]


def test_the_report_has_it_beside_the_criteria(config, tmp_path):
    results = run(config, tmp_path / "r")
    (tmp_path / "report").mkdir()
    paths = {path.name: path for path in report(results, tmp_path / "report")}
    page = paths["index.html"].read_text()
    assert "Baselines over all units" in page
    lines = paths["table.csv"].read_text().splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == [
        "wmv[window=2]",
        "no early stopping",
        "peak",
        f'"{QUICK}"',
    ] or (QUICK in lines[-1])
    assert QUICK not in paths["table-gap.csv"].read_text()


def test_the_noise_level_is_estimated_known_or_a_number_and_recorded(config, tmp_path):
    pytest.importorskip("skimage")
    texts = ("nlm", "nlm[sigma=told]", "nlm[sigma=12]")
    results = run(dataclasses.replace(config, baseline=texts, sigma=(30.0,)), tmp_path / "r")
    levels = [results.run.units()[0].baseline(text)["resolved"]["sigma"] for text in texts]
    assert levels[1:] == [30.0, 12.0]
    assert levels[0] == pytest.approx(30, rel=0.3)
    assert levels[0] != 30
    with pytest.raises(UsageError, match=r"'nlm\[sigma=told\]' needs a noise level, and none is known: sigma=auto"):
        driver.plan(dataclasses.replace(config, baseline=texts, noise="poisson"), tmp_path / "s")


@pytest.mark.parametrize("task", ["superres[factor=2]", "inpaint[missing=0.3]", "jpeg"])
def test_it_is_refused_where_the_observation_is_not_the_picture_plus_noise(config, tmp_path, task):
    with pytest.raises(UsageError, match="needs an observation that is the picture plus noise, which that of '"):
        driver.plan(dataclasses.replace(config, task=task, noise="none"), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_one_whose_package_is_absent_says_what_to_install(config, tmp_path, monkeypatch, fresh_registry):
    monkeypatch.setattr("esbench.records._importable", lambda name: name not in ("skimage", "bm3d"))
    fresh_registry()
    for name, install in (("nlm", "needs skimage: pip install 'esbench[baselines]'"), ("bm3d", "pip install bm3d")):
        with pytest.raises(Unavailable, match=install.replace("[", r"\[")):
            driver.plan(dataclasses.replace(config, baseline=(name,)), tmp_path / "r")


def test_a_job_crosses_a_process_boundary_with_its_baselines(config, tmp_path):
    job = driver.plan(config, tmp_path / "r").jobs[0]
    assert job_from_json(json.loads(json.dumps(job_to_json(job)))) == job


def test_missing_pixels_are_no_noise(config, tmp_path):
    held = dataclasses.replace(config, task="denoise[holdout=0.1]")
    assert len(run(held, tmp_path / "r").table()) == 4
    assert Run(tmp_path / "r").units()[0].baseline(QUICK)["failed"] == ""
