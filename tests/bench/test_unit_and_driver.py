from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import faults
from esbench import metrics, models
from esbench.bench import build, driver, grid
from esbench.bench import unit as units
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.spec import Outcome, unit_id
from esbench.bench.store import Run
from esbench.bench.wire import job_from_json, job_to_json
from esbench.engine.loop import Trajectory
from esbench.errors import ConfigError, DataError, Missing, ParamError, PluginError, Unavailable, UsageError
from esbench.events import Event, Notice, Progress, RunFinished, RunStarted, UnitFailed, UnitFinished, UnitStarted
from esbench.images import read
from esbench.stopping.rule import first_stop

TIMING = ("ms_per_step", "criterion_ms_per_step", "seconds")


@pytest.fixture
def config(pictures) -> Config:
    return Config(
        dataset=str(pictures("a", "b")),
        criterion=("loss", "wmv[window=5]"),
        network="skip[channels=4,scales=2]",
        iterations=30,
        patience=8,
        device="cpu",
        image=("a",),
    )


def run(config: Config, out: Path, events: list[Event] | None = None) -> int:
    """Do what `esbench run` does, and return how many units failed."""
    planned = driver.plan(config, out)
    return driver.run(config, out, planned, (events if events is not None else []).append) if planned.left else 0


def rows(out: Path, **asked) -> list[dict]:
    """Return the rows of a run without their times."""
    return [{k: v for k, v in row.items() if k not in TIMING} for row in Results(out).table(**asked)]


def files(out: Path) -> dict[str, tuple[int, bytes]]:
    """Return everything in a folder, with the time at which it was written."""
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in out.rglob("*") if p.is_file()}


def only_unit(out: Path):
    (unit,) = Run(out).units()
    return unit


# -- one unit


def test_a_row_is_what_the_traces_say(config, tmp_path):
    assert run(config, tmp_path / "r") == 0
    unit = only_unit(tmp_path / "r")
    trace = unit.trace()
    assert trace["step"].tolist() == list(range(30))
    assert np.all(np.diff(trace["seconds"]) >= 0)
    for row in Results(tmp_path / "r").table():
        stop = first_stop(unit.criterion(row["criterion"])[0]["value"].tolist(), 8)
        assert (row["stop_step"], row["fallback"], row["steps_run"]) == (stop.step, stop.fallback, stop.decided_at + 1)
        assert row["psnr_db"] == trace["psnr_db"][stop.step]
        assert row["average_psnr_db"] == trace["average_psnr_db"][stop.step]
        assert (row["peak_step"], row["peak_db"]) == (trace["psnr_db"].argmax(), trace["psnr_db"].max())
        assert row["last_db"] == trace["psnr_db"][-1]
        assert row["average_peak_db"] == trace["average_psnr_db"].max()
        assert row["gap_db"] == row["peak_db"] - row["psnr_db"] >= 0
        assert row["average_gap_db"] == row["average_peak_db"] - row["average_psnr_db"] >= 0
        assert row["ms_per_step"] > 0
        assert row["criterion_ms_per_step"] > 0
        assert (row["dataset"], row["image"], row["noise"], row["sigma"]) == ("pictures", "a", "gaussian", 25.0)
        assert (row["network"], row["iterations"], row["patience"]) == ("skip[channels=4,scales=2]", 30, 8)
    by_name = {row["criterion"]: row for row in Results(tmp_path / "r").table()}
    assert by_name["loss"]["fallback"] is True
    assert list(by_name) == ["loss", "wmv[window=5]"]


@pytest.mark.parametrize("grey", [False, True])
def test_its_numbers_are_those_of_the_optimisation_by_hand(config, pictures, tmp_path, grey):
    pictures("a", grey=grey, size=(25, 31))
    config = dataclasses.replace(config, criterion=("fixed[step=12]", "wmv[window=5]", "loss[on=average]"))
    run(config, tmp_path / "r")
    unit = only_unit(tmp_path / "r")
    scene = build.scene(unit.spec(), config.dataset)
    clean, noisy = scene.clean, scene.observation.y
    assert scene.problem.sigma == 25.0
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert np.array_equal(clean, read(f"{config.dataset}/a.png").astype(np.float32) / np.float32(255))

    blocks = list(scene.trajectory("cpu"))
    trace = unit.trace()
    assert trace["loss"].tolist() == [loss for b in blocks for loss in b.losses]
    x = [b.outputs.float[0] for b in blocks]
    averages = [b.averages.float[0] for b in blocks]
    assert x[0].shape == (25, 31, 1 if grey else 3)
    assert trace["psnr_db"] == pytest.approx([metrics.psnr(image, clean) for image in x], abs=1e-4)
    assert trace["average_psnr_db"] == pytest.approx([metrics.psnr(image, clean) for image in averages], abs=1e-4)
    assert trace["average_loss"] == pytest.approx([((image - noisy) ** 2).mean() for image in averages], rel=1e-4)
    of_average, _ = unit.criterion("loss[on=average]")
    assert np.array_equal(of_average["value"], trace["average_loss"])

    window, _ = unit.criterion("wmv[window=5]")
    assert np.isnan(window["value"][:4]).all()
    for t in range(4, 30):
        direct = np.var(np.stack(x[t - 4 : t + 1]).astype(np.float64), axis=0).mean()
        assert window["value"][t] == pytest.approx(direct, rel=1e-6)

    row = next(r for r in rows(tmp_path / "r") if r["criterion"] == "fixed[step=12]")
    assert row["stop_step"] == 12
    assert row["ssim"] == pytest.approx(metrics.ssim(x[12], clean))
    kept = {"clean": clean, "noisy": noisy, "stop-fixed[step=12]": x[12], "last": x[-1], "peak": x[row["peak_step"]]}
    for name, image in kept.items():
        assert np.array_equal(read(unit.image_path(name)), np.rint(image * np.float32(255)).astype(np.uint8)), name


def test_a_unit_gives_the_same_numbers_alone_among_others_and_whatever_the_global_seed(config, tmp_path):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    run(config, tmp_path / "alone")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    run(dataclasses.replace(config, image=("b", "a"), sigma=(50.0, 25.0), seed=(1, 0)), tmp_path / "among")
    (id,) = (unit.id for unit in Run(tmp_path / "alone").units())
    assert len(Run(tmp_path / "among").units()) == 8
    assert rows(tmp_path / "among", units=[id]) == rows(tmp_path / "alone")
    psnr = {r["last_db"] for r in rows(tmp_path / "among")}
    assert len(psnr) == 8


def test_a_tiny_picture_has_no_ssim_and_everything_else(config, pictures, tmp_path):
    pictures("a", size=(9, 10))
    run(config, tmp_path / "r")
    assert [row["ssim"] for row in rows(tmp_path / "r")] == [None, None]


def test_every_is_a_missing_value_and_counts_for_patience(config, tmp_path):
    run(dataclasses.replace(config, criterion=("fixed[every=4,step=10]",)), tmp_path / "r")
    values, _ = only_unit(tmp_path / "r").criterion("fixed[every=4,step=10]")
    measured = ~np.isnan(values["value"])
    assert np.flatnonzero(measured).tolist() == list(range(0, 30, 4))
    (row,) = rows(tmp_path / "r")
    assert (row["stop_step"], row["steps_run"]) == (8, 17)


def test_a_criterion_gets_the_pixels_that_the_optimisation_does_not_see(config, tmp_path):
    held_out = dataclasses.replace(config, task="denoise[holdout=0.1]", criterion=("holdout", "discrepancy"))
    assert run(held_out, tmp_path / "held out") == 0
    unit = only_unit(tmp_path / "held out")
    held, loss = unit.criterion("holdout")[0]["value"], unit.trace()["loss"]
    assert np.isfinite(held).all()
    assert len(set(held)) == len(held)  # it is of the outputs, step by step
    assert held[-1] != pytest.approx(loss[-1], rel=1e-3)  # which is of the other pixels
    with pytest.raises(ParamError, match="uses all"):
        run(dataclasses.replace(config, criterion=("holdout",)), tmp_path / "all")


def test_the_resolved_parameters_are_recorded_and_reported(config, tmp_path):
    events: list[Event] = []
    run(dataclasses.replace(config, criterion=("cifs-jpeg",)), tmp_path / "r", events)
    values, made_by = only_unit(tmp_path / "r").criterion("cifs-jpeg")
    lam = made_by["resolved"]["lam"]
    assert lam > 0
    assert only_unit(tmp_path / "r").result()["criteria"]["cifs-jpeg"]["resolved"]["lam"] == lam
    assert any(isinstance(e, Notice) and e.text == f"cifs-jpeg: lam=auto is {lam:.6g}" for e in events)
    loss = only_unit(tmp_path / "r").trace(["loss"])["loss"]
    assert values["value"] == pytest.approx(lam * loss + values["bytes"] ** 2 / (24 * 28))


# -- resuming


def test_what_is_done_is_not_done_again(config, tmp_path, monkeypatch):
    config = dataclasses.replace(config, image=())
    run(config, tmp_path / "r")
    before, table = files(tmp_path / "r"), Results(tmp_path / "r").table()
    monkeypatch.setattr(Trajectory, "__iter__", lambda self: pytest.fail("an optimisation began"))
    planned = driver.plan(config, tmp_path / "r")
    assert planned.left == ()
    assert len(planned.units) == 2
    assert Results(tmp_path / "r").table() == table
    assert files(tmp_path / "r") == before


def test_a_run_keeps_its_precision_on_another_machine(config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    run(config, tmp_path / "r")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert driver.plan(config, tmp_path / "r").left == ()
    more = dataclasses.replace(config, image=("a", "b"))
    assert {job.spec.precision for job in driver.plan(more, tmp_path / "r").jobs} == {"float32"}
    (job,) = driver.plan(config, tmp_path / "other").jobs
    assert job.spec.precision == "bfloat16"


def test_a_criterion_that_is_added_later_is_joined_as_if_it_had_been_there_from_the_start(config, tmp_path):
    run(dataclasses.replace(config, criterion=("loss", "fixed[step=9]", "emv[burn_in=3]")), tmp_path / "both")
    run(dataclasses.replace(config, criterion=("loss",)), tmp_path / "later")
    unit = only_unit(tmp_path / "later")
    trace, of_loss = (
        (p.stat().st_mtime_ns, p.read_bytes()) for p in (unit.path / "trace.parquet", unit.criterion_path("loss"))
    )
    events: list[Event] = []
    run(dataclasses.replace(config, criterion=("emv[burn_in=3]",)), tmp_path / "later", events)
    run(dataclasses.replace(config, criterion=("fixed[step=9]", "loss")), tmp_path / "later", events)

    assert sum(isinstance(e, UnitStarted) for e in events) == 2
    for path, before in ((unit.path / "trace.parquet", trace), (unit.criterion_path("loss"), of_loss)):
        assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    later, both = ({row["criterion"]: row for row in rows(tmp_path / out)} for out in ("later", "both"))
    assert later == both
    for text in both:
        ours, theirs = (only_unit(tmp_path / out).criterion(text)[0]["value"] for out in ("later", "both"))
        assert np.array_equal(ours, theirs, equal_nan=True)
    assert Run(tmp_path / "later").config().criterion == ("loss", "emv[burn_in=3]", "fixed[step=9]")


def test_values_of_another_trajectory_are_not_joined(config, tmp_path):
    run(dataclasses.replace(config, criterion=("loss",)), tmp_path / "r")
    unit, before = only_unit(tmp_path / "r"), rows(tmp_path / "r")
    trace = unit.trace()
    trace["loss"] = trace["loss"] * np.where(np.arange(30) == 17, 1.001, 1)  # as from another machine
    unit.write_trace(trace)

    events: list[Event] = []
    assert run(dataclasses.replace(config, criterion=("emv",)), tmp_path / "r", events) == 1
    (failed,) = (e for e in events if isinstance(e, UnitFailed))
    assert failed.reason.startswith(
        "A different trajectory: the losses differ from those on the disk by up to 0.001 rel"
    )
    assert "another --out" in failed.reason
    assert rows(tmp_path / "r", criteria=["loss"]) == before
    assert rows(tmp_path / "r", criteria=["emv"]) == []


def test_pictures_levels_and_seeds_may_be_added_and_the_rest_stays(config, tmp_path):
    run(config, tmp_path / "r")
    before = files(tmp_path / "r" / "units")
    events: list[Event] = []
    run(dataclasses.replace(config, image=("b",), sigma=(15.0,), seed=(4,)), tmp_path / "r", events)
    assert sum(isinstance(e, UnitStarted) for e in events) == 1
    assert before.items() <= files(tmp_path / "r" / "units").items()
    grown = Run(tmp_path / "r").config()
    assert (grown.image, grown.sigma, grown.seed) == (("a", "b"), (25.0, 15.0), (0, 4))
    assert {(r["image"], r["sigma"], r["seed"]) for r in rows(tmp_path / "r")} == {("a", 25.0, 0), ("b", 15.0, 4)}


@pytest.mark.parametrize(
    "change", [{"patience": 9}, {"iterations": 31}, {"crop": 16}, {"input_scale": 1.0}, {"device": "auto"}]
)
def test_a_change_of_the_configuration_is_refused_also_when_everything_is_done(config, tmp_path, change):
    run(config, tmp_path / "r")
    before = files(tmp_path / "r")
    with pytest.raises(ConfigError, match=r"choose another --out, or keep the setting\. Only"):
        driver.plan(dataclasses.replace(config, **change), tmp_path / "r")
    assert files(tmp_path / "r") == before


def test_a_folder_of_something_else_is_refused_before_anything_is_written(config, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "lock").write_text("a file of mine")
    (tmp_path / "home" / "notes").write_text("notes")
    with pytest.raises(UsageError, match="is not a run"):
        driver.plan(config, tmp_path / "home")
    assert (tmp_path / "home" / "lock").read_text() == "a file of mine"


def test_planning_writes_nothing(config, tmp_path):
    planned = driver.plan(config, tmp_path / "r")
    assert driver.estimate(planned.left) > 0
    assert not (tmp_path / "r").exists()


def test_a_second_command_on_the_folder_does_not_wait(config, tmp_path):
    planned = driver.plan(config, tmp_path / "r")
    with Run(tmp_path / "r").lock(), pytest.raises(Unavailable, match="Another esbench is using"):
        driver.run(config, tmp_path / "r", planned, lambda event: None)


def test_what_another_command_did_since_the_plan_was_made_is_not_done_again(config, tmp_path):
    planned = driver.plan(config, tmp_path / "r")
    run(config, tmp_path / "r")
    before, events = files(tmp_path / "r" / "units"), []
    assert driver.run(config, tmp_path / "r", planned, events.append) == 0
    assert [type(e) for e in events] == [RunStarted, RunFinished]
    assert (events[0].units, events[0].done) == (1, 1)
    assert files(tmp_path / "r" / "units") == before


# -- live


LIVE = ("fixed[step=3]", "fixed[step=6]")


def test_a_live_unit_ends_when_all_criteria_have_stopped_and_knows_no_peak(config, tmp_path):
    config = dataclasses.replace(config, criterion=LIVE, live=True)
    run(config, tmp_path / "live")
    run(dataclasses.replace(config, live=False), tmp_path / "full")
    ended, full = rows(tmp_path / "live"), rows(tmp_path / "full")
    assert len(only_unit(tmp_path / "live").trace()["loss"]) == 6 + 8 + 1
    unknown = ("peak_step", "peak_db", "gap_db", "last_db", "average_peak_db", "average_gap_db")
    unknown += ("score_peak_db", "score_gap_db", "score_last_db")
    for row, whole in zip(ended, full, strict=True):
        assert all(row[name] is None and whole[name] is not None for name in unknown)
        assert {k: v for k, v in row.items() if k not in unknown} == {
            k: v for k, v in whole.items() if k not in unknown
        }
    assert driver.plan(config, tmp_path / "live").left == ()


def test_a_live_unit_runs_to_the_end_where_a_criterion_does_not_stop(config, tmp_path):
    run(dataclasses.replace(config, criterion=("fixed[step=3]", "last"), live=True), tmp_path / "r")
    assert only_unit(tmp_path / "r").result()["complete"] is True
    assert all(row["peak_db"] is not None for row in rows(tmp_path / "r"))


def test_a_full_run_takes_a_live_unit_as_unfinished(config, tmp_path):
    config = dataclasses.replace(config, criterion=LIVE)
    run(dataclasses.replace(config, live=True), tmp_path / "r")
    assert len(driver.plan(config, tmp_path / "r").left) == 1
    run(config, tmp_path / "r")
    run(config, tmp_path / "full")
    assert rows(tmp_path / "r") == rows(tmp_path / "full")


def test_a_live_command_with_another_criterion_keeps_what_was_measured(config, tmp_path):
    one, other = (dataclasses.replace(config, criterion=(text,), live=True) for text in LIVE)
    run(one, tmp_path / "r")
    before = rows(tmp_path / "r")
    run(other, tmp_path / "r")
    assert rows(tmp_path / "r", criteria=LIVE[:1]) == before
    run(dataclasses.replace(config, criterion=LIVE, live=True), tmp_path / "both")
    assert rows(tmp_path / "r", criteria=LIVE) == rows(tmp_path / "both")
    assert driver.plan(one, tmp_path / "r").left == driver.plan(other, tmp_path / "r").left == ()


def test_a_live_command_with_another_criterion_leaves_a_complete_unit_complete(config, tmp_path):
    run(dataclasses.replace(config, criterion=("loss",)), tmp_path / "r")
    before = rows(tmp_path / "r")
    run(dataclasses.replace(config, criterion=("fixed[step=3]",), live=True), tmp_path / "r")
    assert only_unit(tmp_path / "r").result()["complete"] is True
    assert rows(tmp_path / "r", criteria=["loss"]) == before
    assert rows(tmp_path / "r", criteria=["fixed[step=3]"])[0]["peak_db"] == before[0]["peak_db"]


# -- what fails

FRAGILE = """
import esbench

@esbench.hookimpl
def esbench_criteria():
    return [esbench.CriterionInfo(name="fragile", summary="breaks", target=fragile)]

def fragile(frame):
    {}
    return float(frame.step)
"""


def test_a_criterion_that_fails_costs_its_own_column_and_nothing_else(config, tmp_path, plugin):
    run(config, tmp_path / "without")
    plugin(FRAGILE.format("assert frame.step < 7, 'too far'"))
    config = dataclasses.replace(config, criterion=("fragile", *config.criterion))
    events: list[Event] = []
    assert run(config, tmp_path / "with", events) == 0
    assert rows(tmp_path / "with") == rows(tmp_path / "without")
    ((unit, criterion, reason),) = Results(tmp_path / "with").failures()
    assert (unit, criterion) == (only_unit(tmp_path / "with").id, "fragile")
    assert reason == "Criterion 'fragile' of esbench-local 1.0 raised AssertionError: too far at step 7."
    assert [e.text for e in events if isinstance(e, Notice) and not e.detail] == [reason]
    assert driver.plan(config, tmp_path / "with").left == ()
    again = dataclasses.replace(config, retry_failed=True)
    assert driver.plan(again, tmp_path / "with").left != ()


def test_a_criterion_that_failed_is_measured_again_by_a_new_version(config, tmp_path, plugin):
    config = dataclasses.replace(config, criterion=("fragile", "loss"))
    plugin(FRAGILE.format("raise RuntimeError"))
    run(config, tmp_path / "r")
    plugin(FRAGILE.format("pass"), version="1.1")
    assert run(config, tmp_path / "r") == 0
    assert {row["criterion"] for row in rows(tmp_path / "r")} == {"loss", "fragile"}
    assert Results(tmp_path / "r").failures() == []
    assert rows(tmp_path / "r", criteria=["fragile"])[0]["stop_step"] == 0


def test_values_of_two_versions_of_a_plugin_are_not_mixed(config, tmp_path, plugin):
    config = dataclasses.replace(config, criterion=("fragile",))
    plugin(FRAGILE.format("pass"))
    run(config, tmp_path / "r")
    plugin(FRAGILE.format("pass"), version="1.1")
    with pytest.raises(UsageError) as error:
        driver.plan(config, tmp_path / "r")
    assert str(error.value) == (
        "'fragile' was measured by esbench-local 1.0 (version 1) in this run, and esbench-local 1.1 (version 1) is "
        "installed: choose another --out."
    )


def test_a_unit_that_fails_does_not_stop_the_others_and_is_tried_again_on_demand(config, tmp_path, pictures):
    config = dataclasses.replace(config, image=())
    planned = driver.plan(config, tmp_path / "r")
    picture = Path(config.dataset) / "a.png"
    picture.unlink()  # between the plan and its turn
    events: list[Event] = []
    assert driver.run(config, tmp_path / "r", planned, events.append) == 1
    assert [r["image"] for r in rows(tmp_path / "r")] == ["b", "b"]
    (failed,) = (e for e in events if isinstance(e, UnitFailed))
    assert events[-1] == RunFinished(folder=str(tmp_path / "r"), done=1, failed=1)
    ((unit, criterion, reason),) = Results(tmp_path / "r").failures()
    assert (unit, criterion) == (failed.unit, "")
    assert failed.reason in reason
    assert Run(tmp_path / "r").unit(unit).error().startswith("Traceback")

    pictures("a")
    assert driver.plan(config, tmp_path / "r").left == ()
    config = dataclasses.replace(config, retry_failed=True)
    again = driver.plan(config, tmp_path / "r")
    assert [unit_id(job.spec) for job in again.left] == [unit]
    assert driver.run(config, tmp_path / "r", again, events.append) == 0
    assert Results(tmp_path / "r").failures() == []
    assert [r["image"] for r in rows(tmp_path / "r")] == ["a", "a", "b", "b"]


def test_a_bug_costs_one_unit_and_leaves_its_traceback(config, tmp_path, monkeypatch):
    def broken(image, clean):
        raise ZeroDivisionError("unexpected")

    monkeypatch.setattr(metrics, "ssim", broken)
    assert run(config, tmp_path / "r") == 1
    assert only_unit(tmp_path / "r").error().strip().endswith("ZeroDivisionError: unexpected")
    monkeypatch.undo()
    assert run(dataclasses.replace(config, retry_failed=True), tmp_path / "r") == 0
    assert only_unit(tmp_path / "r").error() == ""


@pytest.mark.parametrize("bad", [5, 29])
def test_a_divergence_is_reported_and_the_unit_continues(config, tmp_path, monkeypatch, bad):
    update = Trajectory._update

    def once_bad(self, t, z):
        x, data, parts = update(self, t, z)
        return (x * math.nan, data * math.nan, parts) if t == bad else (x, data, parts)

    monkeypatch.setattr(Trajectory, "_update", once_bad)
    events: list[Event] = []
    assert run(config, tmp_path / "r", events) == 0
    (notice,) = (e for e in events if isinstance(e, Notice) and not e.detail)
    assert notice.text == f"the loss rose at step {bad} (nan): back to an earlier state"
    unit = only_unit(tmp_path / "r")
    assert unit.result()["restored"] == [bad]
    assert unit.trace()["psnr_db"][bad] == -math.inf
    assert np.isnan(unit.criterion("loss")[0]["value"][bad])
    table = rows(tmp_path / "r")
    json.dumps(table, allow_nan=False)
    assert all(row["peak_db"] > 0 for row in table)
    assert all((row["last_db"] is None) == (bad == 29) for row in table)
    # a criterion that is added later meets the same divergence, which is no other trajectory
    assert run(dataclasses.replace(config, criterion=("emv",)), tmp_path / "r") == 0


# -- before the first step


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (
            {"network": "skip"},
            UsageError,
            "a: Network 'skip' cannot make a picture of 28 x 24: it needs both sides to be at least 33: fewer sca",
        ),
        ({"crop": 4}, UsageError, "a picture of 4 x 4: it needs both sides to be at least 5"),
        ({"criterion": ("cifs-jpeg[quality=37]",)}, ParamError, "has no calibrated lam for 'jpeg[quality=37]'"),
        ({"criterion": ("fixed",)}, ParamError, "step"),
        ({"image": ("nobody",)}, UsageError, "No picture 'nobody'"),
        ({"dataset": "nowhere"}, UsageError, "No dataset 'nowhere'."),
        ({"sigma": (-1.0,)}, ParamError, "sigma must be at least 0, got -1"),
        ({"task": "denoize"}, UsageError, "No task 'denoize'. Did you mean 'denoise'?"),
        ({"executor": "cluster"}, UsageError, "No executor 'cluster'."),
    ],
)
def test_what_cannot_work_is_found_out_before_the_first_step(config, tmp_path, change, error, sentence):
    with pytest.raises(error) as said:
        driver.plan(dataclasses.replace(config, **change), tmp_path / "r")
    assert sentence in str(said.value)
    assert not (tmp_path / "r").exists()


def test_a_dataset_or_degradation_that_breaks_its_contract_is_an_error_of_its_owner(config, tmp_path, plugin):
    plugin(faults.BREACHES)
    for name, why in faults.CONTRACTS.items():
        kind, change = ("Degradation", "noise") if name.endswith("-noise") else ("Dataset", "dataset")
        with pytest.raises(PluginError) as said:
            driver.plan(dataclasses.replace(config, **{change: name}), tmp_path / "r")
        assert str(said.value).startswith(f"{kind} {name!r} of esbench-local 1.0 "), name
        assert why in str(said.value), name
    assert not (tmp_path / "r").exists()

    fine = dataclasses.replace(config, dataset="fine", image=(), noise="changes-noise")
    planned = driver.plan(fine, tmp_path / "r")
    assert [len(unit) <= 255 and "/" not in unit for unit in planned.units] == [True, True]
    scene = build.scene(planned.jobs[0].spec, "fine")
    assert scene.clean.std() > 0.2  # it changed its own copy
    with pytest.raises(DataError, match=r"Picture '../a' of 'fine' has changed since the run was planned"):
        build.scene(dataclasses.replace(planned.jobs[0].spec, pixels="0" * 64), "fine")


def test_a_blind_degradation_tells_the_criteria_no_level(config, plugin):
    plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_degradations():\n"
        "    return [esbench.DegradationInfo(name='dark', summary='s', target=dark, parameter='sigma', blind=True)]\n"
        "def dark(clean, rng, *, sigma: float = 1.0):\n"
        "    return clean * (1 - sigma / 255)\n"
    )
    spec = next(grid.units(dataclasses.replace(config, noise="dark")))
    assert spec.sigma == 25.0
    assert build.scene(spec, config.dataset).problem.sigma is None


def test_the_noise_is_that_of_its_level_and_seed_and_independent_of_the_network(config):
    def noisy(**change) -> np.ndarray:
        return build.scene(next(grid.units(dataclasses.replace(config, **change))), config.dataset).observation.y

    assert np.array_equal(noisy(), noisy(network="skip[scales=1]", iterations=5))
    assert not np.array_equal(noisy(), noisy(seed=(1,)))
    assert not np.array_equal(noisy(sigma=(20.0,)) > 0.5, noisy() > 0.5)
    clean = read(f"{config.dataset}/a.png") / 255
    assert np.std(noisy(sigma=(5.0,)) - clean) * 255 == pytest.approx(5, rel=0.05)


def test_all_is_every_criterion_that_can_be_used_as_it_is(config, plugin, monkeypatch):
    def offline(name: str) -> Path:
        raise Missing(f"{name} could not be fetched.")

    monkeypatch.setattr(models, "find", lambda name: None)
    monkeypatch.setattr(models, "download", offline)
    plugin(FRAGILE.format("pass"))
    names, left_out = driver.expand(("wmv", "all"))
    assert {"cifs-jpeg", "wmv", "emv", "loss", "last", "fragile"} <= set(names)
    assert not {"fixed", "brisque"} & set(names)
    assert "fixed" not in left_out  # it is here, and only wants a parameter
    assert left_out["brisque"] == "brisque_model_live.yml could not be fetched."


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ({"network": "skip[channels=2,scales=7]"}, (129, 129)),
        ({"iterations": 1}, (24, 28)),
        ({"images": 2, "image": ()}, (24, 28)),
    ],
)
def test_every_plan_has_an_estimate(config, tmp_path, pictures, change, size):
    pictures("a", size=size)
    planned = driver.plan(dataclasses.replace(config, **change), tmp_path / "r")
    assert 0 < driver.estimate(planned.left) < 3600
    assert driver.long_work(planned.left) == ""


def test_so_has_one_whose_task_needs_what_the_dataset_has_beside_the_pictures(config, tmp_path, plugin):
    plugin(
        "import esbench, numpy as np\n"
        "@esbench.hookimpl\n"
        "def esbench_datasets():\n"
        "    return [esbench.DatasetInfo(name='torn', summary='a picture and its mask', target=Torn)]\n"
        "class Torn:\n"
        "    def ids(self):\n"
        "        return ['a']\n"
        "    def load(self, id):\n"
        "        return np.full((24, 28, 3), 99, np.uint8)\n"
        "    def companions(self, id):\n"
        "        return {'mask': 255 * np.eye(24, 28, dtype=np.uint8)[..., None]}\n"
    )
    config = dataclasses.replace(config, dataset="torn", image=(), task="inpaint[mask=dataset]")
    assert 0 < driver.estimate(driver.plan(config, tmp_path / "r").left) < 3600


def test_long_work_is_announced_with_what_makes_it_smaller(config, tmp_path):
    events: list[Event] = []
    planned = driver.plan(dataclasses.replace(config, iterations=10**9), tmp_path / "r")
    sentence = driver.long_work(planned.left)
    assert sentence.startswith("This will take about ")
    assert "--iterations" in sentence
    assert events == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (99.4, "99 s"), (100, "1:40 min"), (3599, "59:59 min"), (7200, "2.0 h"), (172_800, "2 days")],
)
def test_a_duration_is_readable(seconds, text):
    assert driver.duration(seconds) == text


# -- what is announced


def test_events_come_in_order_to_the_caller_and_to_plugins(config, tmp_path, plugin):
    plugin("import esbench\nseen = []\n@esbench.hookimpl\ndef esbench_event(event):\n    seen.append(event)\n")
    events: list[Event] = []
    run(dataclasses.replace(config, image=()), tmp_path / "r", events)
    import esbench_local

    assert esbench_local.seen == events
    first, second = (unit.id for unit in Run(tmp_path / "r").units())
    assert events[0] == RunStarted(folder=str(tmp_path / "r"), units=2, done=0, iterations=30)
    assert events[-1] == RunFinished(folder=str(tmp_path / "r"), done=2, failed=0)
    order = [(type(e), e.unit) for e in events[1:-1] if not isinstance(e, Progress | Notice)]
    assert order == [(UnitStarted, first), (UnitFinished, first), (UnitStarted, second), (UnitFinished, second)]
    last = [e for e in events if isinstance(e, Progress) and e.unit == first][-1]
    assert (last.step, last.iterations) == (30, 30)
    row = next(r for r in rows(tmp_path / "r", units=[first]) if r["criterion"] == "wmv[window=5]")
    assert last.psnr_db == row["last_db"]
    assert last.stopped.get("wmv[window=5]", row["stop_step"]) == row["stop_step"]


def test_a_unit_can_be_handed_to_another_process_as_plain_values(config, tmp_path):
    job = driver.plan(config, tmp_path / "r").jobs[0]
    again = job_from_json(json.loads(json.dumps(job_to_json(job))))
    assert again == job
    assert os.path.isabs(job.dataset)
    assert os.path.isabs(job.run)
    outcome = units.run_unit(again, lambda event: None)
    assert outcome == Outcome(unit=unit_id(job.spec), status="done", seconds=outcome.seconds)


def test_a_run_folder_that_vanished_is_missing(tmp_path):
    with pytest.raises(Missing):
        Results(tmp_path / "r")
