from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.replay import found, recomputed, stop_of, wanted
from esbench.bench.results import Results
from esbench.bench.rows import COLUMNS, TYPES
from esbench.cli import cli
from esbench.errors import DataError, LoadError, NameUnknown, UsageError
from esbench.records import CriterionInfo
from esbench.registry import Record
from esbench.stopping.rule import Stop, first_stop

# -- the rule

#: Few different numbers, so that there are ties; and all that is not finite.
CURVES = st.lists(
    st.one_of(st.integers(0, 6).map(float), st.sampled_from([math.nan, math.inf, -math.inf, 0.1, 0.30000000000000004])),
    min_size=1,
    max_size=40,
)


@given(CURVES, st.integers(0, 12), st.sampled_from([0.0, 0.2, 1.0, 2.5]))
def test_an_array_stops_where_its_values_would_one_by_one(curve, patience, min_delta):
    assert stop_of(np.array(curve), patience, min_delta) == first_stop(curve, patience, min_delta)


@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.floats(0, 0.5))
def test_so_does_a_long_one_that_falls_for_most_of_its_steps(seed, patience, min_delta):
    rng = np.random.default_rng(seed)
    curve = np.cumsum(rng.normal(-0.05, 0.3, 1000))
    curve[rng.random(1000) < 0.1] = np.nan
    assert stop_of(curve, patience, min_delta) == first_stop(curve.tolist(), patience, min_delta)


def test_the_values_of_a_stop_are_pythons_own():
    stop = stop_of(np.array([3.0, 1.0, 2.0, 2.0], np.float32), 2)
    assert (stop, type(stop.step), type(stop.value)) == (Stop(1, 1.0, 3), int, float)
    assert stop_of(np.array([3.0, math.nan]), 2) == Stop(1, None, 1, fallback=True)


# -- which criterion follows from which


@pytest.mark.parametrize(
    ("asked", "measured", "source"),
    [
        ("cifs-jpeg[lam=1e6]", ["wmv", "cifs-jpeg"], "cifs-jpeg"),
        ("cifs-jpeg[lam=0]", ["cifs-jpeg[lam=5]"], "cifs-jpeg[lam=5]"),
        ("cifs-jpeg[lam=7,quality=95]", ["cifs-jpeg"], "cifs-jpeg"),
        ("cifs-jpeg[lam=7,every=6]", ["cifs-jpeg[every=4]", "cifs-jpeg[every=3]"], "cifs-jpeg[every=3]"),
        ("cifs-jpeg[every=2]", ["cifs-jpeg[lam=5]", "cifs-jpeg"], "cifs-jpeg"),
        ("loss[every=2]", ["loss"], "loss"),
        ("fixed[every=2,step=4]", ["fixed[step=4]"], "fixed[step=4]"),
        ("fixed[every=2,step=5]", ["fixed[step=4]"], "fixed[step=4]"),
        ("cifs-jpeg", ["cifs-jpeg[lam=5]"], None),
        ("cifs-jpeg[lam=7,quality=90]", ["cifs-jpeg"], None),
        ("cifs-jpeg[lam=7,on=average]", ["cifs-jpeg"], None),
        ("cifs-webp[lam=7]", ["cifs-jpeg"], None),
        ("cifs-jpeg[lam=7]", ["cifs-jpeg[every=2]"], None),
        ("wmv[every=2]", ["wmv"], None),
        ("wmv[window=5]", ["wmv"], None),
    ],
)
def test_what_can_change_is_lam_to_a_number_and_every_without_memory(asked, measured, source):
    assert wanted(asked).source(measured) == source


# -- a run that was written down


def test_nothing_changed_is_the_table(write_run):
    results = write_run({"curves": {"wmv": [9, 5, 6, 4, 7, 7], "loss": [9, 8, 1, 2, 2, 0]}})
    assert results.replay() == results.table()


def test_another_patience_and_min_delta_are_decided_again_and_reported(write_run):
    results = write_run({"curves": {"wmv": [9, 5, 6, 4, 7, 7]}})
    (row,) = results.replay(patience=1)
    assert tuple(row) == COLUMNS
    assert (row["patience"], row["stop_step"], row["steps_run"], row["psnr_db"], row["gap_db"]) == (1, 1, 3, 14.0, 6.0)
    (row,) = results.replay(min_delta=1)
    assert (row["patience"], row["min_delta"], row["stop_step"], row["steps_run"]) == (2, 1.0, 1, 4)
    assert type(row["min_delta"]) is float


def test_ssim_is_known_of_every_step_that_some_criterion_stopped_at(write_run):
    results = write_run({"curves": {"wmv": [9, 5, 6, 6, 7, 7], "loss": [9, 8, 1, 2, 2, 0]}})
    rows = {row["criterion"]: row for row in results.replay()}
    assert (rows["loss"]["stop_step"], rows["loss"]["ssim"]) == (2, 0.875)
    assert (rows["wmv"]["stop_step"], rows["wmv"]["ssim"]) == (1, None)


def test_cifs_is_lam_times_the_loss_plus_the_squared_size_over_the_pixels(write_run):
    size, loss, average = [10, 20, 30, 40, 50, 60], [9, 4, 1, 0.9, 0.8, 0.7], [9, 8, 7, 4, 1, 0.9]
    trace = {"loss": np.array(loss), "average_loss": np.array(average)}
    columns = {"value": np.zeros(6), "bytes": size}
    results = write_run({"curves": {"cifs-jpeg": columns, "cifs-jpeg[on=average]": columns}, "trace": trace})
    e = [20 * x + b**2 / 20 for x, b in zip(loss, size, strict=True)]
    assert e.index(min(e)) == 2
    (row,) = results.replay(criteria=["cifs-jpeg[lam=2e1]"])
    assert (row["criterion"], row["stop_step"], row["fallback"]) == ("cifs-jpeg[lam=20]", 2, False)
    (row,) = results.replay(criteria=["cifs-jpeg[lam=60,on=average]"], patience=1)
    assert (row["criterion"], row["stop_step"]) == ("cifs-jpeg[lam=60,on=average]", 4)
    (row,) = results.replay(criteria=["cifs-jpeg[lam=0]"])
    assert (row["stop_step"], row["steps_run"]) == (0, 3)


def test_a_missing_size_or_loss_is_a_missing_value_and_without_lam_the_loss_does_not_matter(write_run):
    columns = {"value": np.zeros(6), "bytes": [math.nan, 40, 30, 10, 50, 60]}
    trace = {"loss": np.array([0, 1, 1, math.nan, 1e308, 1])}
    results = write_run({"curves": {"cifs-jpeg": columns}, "trace": trace})
    assert results.replay(criteria=["cifs-jpeg[lam=100]"])[0]["stop_step"] == 2
    assert results.replay(criteria=["cifs-jpeg[lam=0]"])[0]["stop_step"] == 3


def test_measured_less_often_it_has_fewer_values_and_costs_less(write_run):
    results = write_run({"curves": {"loss": [9, 5, 6, 6, 7, 8]}})
    rows = results.replay(criteria=["loss", "loss[every=2]"])
    assert [(row["stop_step"], row["criterion_ms_per_step"]) for row in rows] == [(1, 0.5), (2, 0.25)]


def test_what_is_neither_measured_nor_follows_is_reported_with_what_was_measured(write_run):
    results = write_run({"curves": {"cifs-jpeg": [9, 8, 1, 2, 2, 0], "wmv": [9, 8, 1, 2, 2, 0]}})
    with pytest.raises(UsageError, match=r"'wmv\[window=7\]' was not measured in .* Measured: cifs-jpeg, wmv\.$"):
        results.replay(criteria=["wmv", "wmv[window=7]"])
    with pytest.raises(NameUnknown, match="Did you mean 'cifs-jpeg'"):
        results.replay(criteria=["cifs-jpg"])


def test_a_criterion_whose_plugin_is_not_installed_is_replayed_by_its_name(write_run):
    results = write_run({"curves": {"elsewhere[strength=2]": [9, 8, 1, 2, 2, 0]}})
    assert results.replay(patience=1)[0]["stop_step"] == 2
    assert results.replay(criteria=["elsewhere[strength=2]"])[0]["stop_step"] == 2


def test_units_without_the_criterion_have_no_row(write_run):
    curve = [9, 8, 1, 2, 2, 0]
    results = write_run(
        {"curves": {"wmv": curve, "loss": curve}}, {"image": "b", "curves": {"wmv": curve}},
        {"image": "c", "curves": {"loss": curve}, "done": False},
    )  # fmt: skip
    assert [(row["image"], row["criterion"]) for row in results.replay(criteria=["loss", "wmv"])] == [
        ("a", "loss"),
        ("a", "wmv"),
        ("b", "wmv"),
    ]


def test_a_unit_that_ended_early_is_not_taken_for_one_that_did_not_stop(write_run):
    early = {"curves": {"wmv": [9, 1, 2, 2], "loss": [1, 2, 2, 2]}, "psnr": [1.0, 2.0, 3.0, 2.0]}
    early["result"] = {"complete": False, "peak_step": None, "peak_db": None, "last_db": None, "average_peak_db": None}
    results = write_run(early)
    assert [row["stop_step"] for row in results.replay()] == [1, 0]
    assert [row["criterion"] for row in results.replay(patience=3)] == ["loss"]
    for patience, criteria in ((3, ["wmv"]), (4, None)):
        with pytest.raises(UsageError, match=rf"long enough to decide 'wmv' with patience {patience}"):
            results.replay(patience=patience, criteria=criteria)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"patience": -1}, "patience must be at least 0, got -1."),
        ({"min_delta": -0.5}, "min_delta must be a number at least 0, got -0.5."),
        ({"min_delta": math.nan}, "min_delta must be a number at least 0, got nan."),
        ({"min_delta": math.inf}, "min_delta must be a number at least 0, got inf."),
    ],
)
def test_numbers_that_are_no_rule_are_refused(write_run, rule, sentence):
    with pytest.raises(UsageError) as refused:
        write_run({"curves": {"wmv": [1] * 6}}).replay(**rule)
    assert str(refused.value) == sentence


def test_a_stop_that_is_written_with_the_result_is_not_decided_again(write_run):
    """Otherwise the table of ten thousand units would open three times as many files."""
    values, psnr = np.array([9, 8, 1, 2, 2, 0.0]), np.array([10.0, 14.0, 20.0, 19.0, 17.0, 15.0])
    stop = found(stop_of(values, 2), psnr, psnr - 1, np.full(6, 0.5, np.float32))
    made = {"distribution": "esbench", "distribution_version": "", "version": 1}
    entry = {"made_by": made, "resolved": {}, "failed": "", "patience": 2, "ssim": 0.875}
    written = write_run({"curves": {"wmv": values}, "result": {"criteria": {"wmv": entry | stop}}}, name="written")
    decided = write_run({"curves": {"wmv": values}})
    assert written.table() == decided.table()
    assert written.replay(patience=1) == decided.replay(patience=1)
    path = written.run.units()[0].criterion_path("wmv")
    path.write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    assert written.table() == decided.table()
    with pytest.raises(DataError, match=r"wmv\.parquet' cannot be read"):
        written.replay(patience=1)


def test_a_picture_that_is_gone_is_reported(write_run):
    results = write_run({"curves": {"cifs-jpeg": {"value": [1] * 6, "bytes": [1] * 6}}, "trace": {"loss": np.zeros(6)}})
    results.run.units()[0].image_path("clean").unlink()
    assert results.replay(criteria=["cifs-jpeg"])
    with pytest.raises(DataError, match=r"There is no file '.*clean\.png'"):
        results.replay(criteria=["cifs-jpeg[lam=1]"])


# -- a run that was run


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Results:
    """A unit with CIFS measured with two weights, on the output and on the average, and less often."""
    config = Config(
        criterion=(
            *("cifs-jpeg[lam=2e4]", "cifs-jpeg[lam=31415.9]", "cifs-jpeg[lam=0]", "cifs-jpeg[every=3,lam=2e4]"),
            *("cifs-jpeg[lam=2e4,on=average]", "cifs-jpeg[lam=31415.9,on=average]"),
        ),
        dataset="samples",
        crop=16,
        network="skip[channels=2,scales=1]",
        iterations=12,
        patience=3,
        device="cpu",
    )
    folder = tmp_path_factory.mktemp("replay") / "RUN"
    driver.run(config, folder, driver.plan(config, folder), lambda event: None)
    return Results(folder)


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("cifs-jpeg[lam=20000]", "cifs-jpeg[lam=31415.9]"),
        ("cifs-jpeg[lam=0]", "cifs-jpeg[lam=20000]"),
        ("cifs-jpeg[lam=20000]", "cifs-jpeg[lam=0]"),
        ("cifs-jpeg[lam=31415.9]", "cifs-jpeg[every=3,lam=20000]"),
        ("cifs-jpeg[lam=20000,on=average]", "cifs-jpeg[lam=31415.9,on=average]"),
    ],
)
def test_replayed_values_are_those_that_were_measured_to_the_bit(real, source, asked):
    (unit,) = real.run.units()
    values = wanted(asked).column(unit, source, lambda *names: unit.trace(list(names)))
    measured = unit.criterion(asked)[0]["value"]
    assert np.isfinite(measured).sum() == (4 if "every" in asked else 12)
    np.testing.assert_array_equal(values, measured)


def test_the_rows_of_a_real_run_are_what_its_curves_say(real):
    (unit,) = real.run.units()
    trace = unit.trace()
    for row in real.replay():
        columns, _ = unit.criterion(row["criterion"])
        stop = first_stop(columns["value"].tolist(), 3)
        assert (row["stop_step"], row["fallback"], row["steps_run"]) == (stop.step, stop.fallback, stop.decided_at + 1)
        assert row["psnr_db"] == trace["psnr_db"][stop.step]
        assert row["average_psnr_db"] == trace["average_psnr_db"][stop.step]
        assert row["criterion_ms_per_step"] == pytest.approx(columns["ms"].mean())
        assert all(row[name] is None or type(row[name]) is kind for name, kind in TYPES.items())


def test_the_command_prints_what_run_prints_and_needs_no_torch(real):
    code = (
        "import sys; from esbench.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        "assert not {'torch', 'matplotlib'} & {*sys.modules}"
    )
    arguments = ["replay", str(real.run.path), "-c", "cifs-jpeg[lam=1e5]", "--patience", "2", "--min-delta", "0.5"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "patience 2, min_delta 0.5"
    assert lines[2].startswith("samples, gaussian noise of sigma 25, 1 unit: peak ")
    assert lines[-1].startswith("cifs-jpeg[lam=100000]  ")


def test_json_is_the_rows_and_nothing_else(real, capsys):
    cli.main(["replay", str(real.run.path), "--patience", "2", "--json"], standalone_mode=False)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == real.replay(patience=2)
    assert printed.err == ""


def test_the_command_says_which_units_are_left_out(write_run, capsys):
    curve = [9, 8, 1, 2, 2, 0]
    results = write_run({"curves": {"wmv": curve, "loss": curve}}, {"image": "b", "curves": {"wmv": curve}})
    cli.main(["replay", str(results.run.path)], standalone_mode=False)
    printed = capsys.readouterr()
    assert printed.err == (
        "loss: 1 of 2 units; on the others it was not measured, failed, or has not decided yet (--live).\n"
    )
    assert printed.out.startswith("patience 2\n\nd, gaussian noise of sigma 25, 2 units: peak 20.00 ± 0.00 dB")


def test_the_command_continues_without_what_failed_or_was_damaged_and_says_so(write_run, capsys):
    curve = [9, 8, 1, 2, 2, 0]
    results = write_run(*({"image": image, "curves": {"wmv": curve}} for image in "abc"))
    a, b, _ = results.run.units()
    (a.path / "result.json").unlink()
    a.write_error("Traceback\n  ...\nesbench.errors.UnitError: it diverged\n")
    b.criterion_path("wmv").write_bytes(b"PAR1 cut off")
    cli.main(["replay", str(results.run.path), "--json"], standalone_mode=False)
    printed = capsys.readouterr()
    assert [row["image"] for row in json.loads(printed.out)] == ["c"]
    first, second = printed.err.splitlines()
    assert first == f"{a.id}: failed: esbench.errors.UnitError: it diverged"
    assert second.startswith(f"{b.id}: failed: ")
    assert second.endswith("wmv.parquet' cannot be read: it is truncated.")


def test_a_run_of_which_nothing_is_done_has_no_rows(write_run, capsys):
    results = write_run({"curves": {}, "done": False})
    assert results.replay(criteria=["wmv"]) == []
    cli.main(["replay", str(results.run.path), "--json"], standalone_mode=False)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == []
    assert printed.err == f"No unit of {str(results.run.path)!r} is done yet.\n"


@pytest.mark.parametrize(
    ("recompute", "said"),
    [
        (lambda columns: columns["nope"], "raised KeyError: 'nope'"),
        (lambda columns: columns["loss"][1:], r"must return 4 values from recompute, got 3 of the shape \(3,\)\."),
        (lambda columns: "low", "raised ValueError: could not convert string to float"),
    ],
)
def test_a_plugin_that_recomputes_wrongly_is_named(recompute, said):
    record = Record("criterion", CriterionInfo(name="foo", summary="x", target=len), "esbench-foo", "1.0")
    with pytest.raises(LoadError, match=f"^Criterion 'foo' of esbench-foo 1.0 {said}"):
        recomputed(record, recompute, {}, {"loss": np.zeros(4)})
