from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.rows import COLUMNS, TYPES
from esbench.bench.spec import UnitSpec, unit_id
from esbench.bench.store import Run, Unit
from esbench.bench.summary import summary
from esbench.errors import Missing, Unavailable, UsageError

CONFIG = Config(criterion=("wmv",), iterations=6, patience=2)

SPEC = UnitSpec(
    dataset="d",
    image="i",
    pixels="0" * 64,
    crop=None,
    task="denoise",
    noise="gaussian",
    sigma=25.0,
    network="skip",
    seed=3,
    iterations=6,
    input_scale=0.1,
    learning_rate=0.01,
    perturbation=1 / 30,
    depth=32,
    precision="float32",
    device="cpu",
    engine=1,
)

#: The one unit that is written down.
U = unit_id(SPEC)

MADE = {"made_by": {"distribution": "esbench", "distribution_version": "", "version": 1}, "resolved": {}}

PSNR = [10.0, 14.0, 20.0, 19.0, 17.0, 15.0]
AVERAGE = [10.0, 12.0, 15.0, 18.0, 21.0, 20.5]


def written(
    out: Path, curves: dict[str, list[float]], *, config: Config = CONFIG, psnr: list[float] = PSNR, **result
) -> Results:
    """Return the results of a run that is written down here, without an optimisation."""
    run = Run(out)
    with run.lock():
        run.begin(config, [U, "not-begun"], {}, {})
    unit = run.unit(U)
    unit.begin(SPEC)
    unit.write_trace({"psnr_db": np.array(psnr), "average_psnr_db": np.array(AVERAGE[: len(psnr)])})
    criteria = {}
    for text, values in curves.items():
        table = {"value": np.array(values, dtype=float), "ms": np.full(len(values), 0.5, np.float32)}
        unit.write_criterion(text, table, {})
        criteria[text] = MADE | {"failed": "", "patience": 2, "stop_step": 2, "ssim": 0.875}
    whole = {
        "complete": True,
        "steps": 6,
        "peak_step": 2,
        "peak_db": 20.0,
        "last_db": 15.0,
        "average_peak_db": 21.0,
        "seconds": 3.0,
        "criteria": criteria,
    }
    unit.write_result(whole | result)
    return Results(out)


def test_the_columns_are_those_that_were_promised():
    assert ", ".join(COLUMNS) == (
        "dataset, image, task, noise, sigma, seed, network, iterations, criterion, patience, min_delta, stop_step, "
        "fallback, steps_run, psnr_db, ssim, peak_step, peak_db, gap_db, last_db, average_psnr_db, average_peak_db, "
        "average_gap_db, ms_per_step, criterion_ms_per_step, loss, input, score_db, score_peak_db, score_gap_db, "
        "score_last_db, baseline_db, unit, pixels, crop, regulariser, input_scale, learning_rate, perturbation, depth, "
        "precision, device, engine, distribution, distribution_version, version, "
        "kind, seconds"
    )


def test_a_row_holds_the_stop_and_what_it_cost(tmp_path):
    (row,) = written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0]}).table()
    assert row == {
        "dataset": "d",
        "image": "i",
        "task": "denoise",
        "noise": "gaussian",
        "sigma": 25.0,
        "seed": 3,
        "network": "skip",
        "iterations": 6,
        "criterion": "wmv",
        "patience": 2,
        "min_delta": 0.0,
        "stop_step": 2,
        "fallback": False,
        "steps_run": 5,
        "psnr_db": 20.0,
        "ssim": 0.875,
        "peak_step": 2,
        "peak_db": 20.0,
        "gap_db": 0.0,
        "last_db": 15.0,
        "average_psnr_db": 15.0,
        "average_peak_db": 21.0,
        "average_gap_db": 6.0,
        "ms_per_step": 500.0,
        "criterion_ms_per_step": 0.5,
        "loss": "mse",
        "input": "noise",
        "score_db": 20.0,
        "score_peak_db": 20.0,
        "score_gap_db": 0.0,
        "score_last_db": 15.0,
        "baseline_db": None,  # of a folder that was written before there was one
        "unit": U,
        "pixels": "0" * 64,
        "crop": None,
        "regulariser": "",
        "input_scale": 0.1,
        "learning_rate": 0.01,
        "perturbation": 1 / 30,
        "depth": 32,
        "precision": "float32",
        "device": "cpu",
        "engine": 1,
        "distribution": "esbench",
        "distribution_version": "",
        "version": 1,
        "kind": "criterion",
        "seconds": pytest.approx(5 * 0.5005),
    }
    assert tuple(row) == COLUMNS
    assert all(type(row[name]) is kind for name, kind in TYPES.items() if row[name] is not None)


def test_a_curve_that_does_not_stop_falls_back_to_the_last_step_and_says_so(tmp_path):
    (row,) = written(tmp_path, {"wmv": [9, 8, 7, 6, 5, 4]}).table()
    assert (row["stop_step"], row["fallback"], row["steps_run"]) == (5, True, 6)
    assert (row["psnr_db"], row["gap_db"], row["average_gap_db"]) == (15.0, 5.0, 0.5)
    assert row["ssim"] is None  # that of another step is on the disk


def test_missing_values_never_win(tmp_path):
    (row,) = written(tmp_path, {"wmv": [math.nan, 5, math.nan, math.nan, 1, 1]}).table()
    assert (row["stop_step"], row["steps_run"]) == (1, 4)


def test_a_unit_that_ended_early_has_no_peak(tmp_path):
    early = {
        "complete": False,
        "peak_step": None,
        "peak_db": None,
        "last_db": None,
        "average_peak_db": None,
        "steps": 5,
    }
    (row,) = written(tmp_path, {"wmv": [9, 8, 1, 2, 2]}, psnr=PSNR[:5], **early).table()
    assert row["stop_step"] == 2
    assert row["ms_per_step"] == 600.0
    unknown = [name for name, value in row.items() if value is None]
    assert unknown == [
        *("peak_step", "peak_db", "gap_db", "last_db", "average_peak_db", "average_gap_db"),
        *("score_peak_db", "score_gap_db", "score_last_db", "baseline_db", "crop"),
    ]


def test_an_output_that_was_lost_has_no_psnr_and_the_row_is_still_json(tmp_path):
    results = written(tmp_path, {"wmv": [9, 8, 7, 6, 5, 4]}, psnr=[*PSNR[:5], -math.inf], last_db=None)
    (row,) = results.table()
    assert (row["psnr_db"], row["gap_db"]) == (None, None)
    json.dumps(row, allow_nan=False)


def test_units_and_criteria_can_be_chosen_and_come_in_the_order_asked_for(tmp_path):
    results = written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0], "emv": [1, 2, 3, 4, 5, 6], "loss": [3, 2, 1, 3, 3, 3]})
    assert [r["criterion"] for r in results.table()] == ["wmv", "emv", "loss"]
    assert [r["criterion"] for r in results.table(criteria=["loss", "wmv", "cifs-jpeg"])] == ["loss", "wmv"]
    assert results.table(units=["not-begun"]) == []
    assert len(results.table(units=[U, "not-begun"])) == 3


def test_what_failed_is_listed_and_has_no_row(tmp_path):
    entry = MADE | {"failed": "Criterion 'bad' of plugin 1.0 raised ValueError: no."}
    results = written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0]})
    result = results.run.unit(U).result()
    results.run.unit(U).write_result(result | {"criteria": result["criteria"] | {"bad": entry}})
    results.run.unit("not-begun").write_error("Traceback\n  ...\nesbench.errors.UnitError: it diverged\n")
    assert [r["criterion"] for r in results.table()] == ["wmv"]
    assert results.failures() == [
        (U, "bad", entry["failed"]),
        ("not-begun", "", "esbench.errors.UnitError: it diverged"),
    ]
    assert results.failures(criteria=["wmv"], units=[U]) == []


def test_a_unit_is_read_once_and_again_where_it_has_another_result(tmp_path, monkeypatch):
    results = written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0]})
    read, inspect = [], Unit.inspect
    monkeypatch.setattr(Unit, "inspect", lambda unit: read.append(unit.id) or inspect(unit))
    assert (len(results.table()), results.failures(), list(results.done())) == (1, [], [U])
    assert read.count(U) == 1
    unit = results.run.unit(U)
    unit.write_result(unit.result() | {"last_db": 7.0})
    assert results.table()[0]["last_db"] == 7.0
    assert read.count(U) == 2


def test_it_becomes_a_data_frame(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0]}).to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert frame.loc[0, "stop_step"] == 2
    assert isinstance(frame, pd.DataFrame)


def test_a_run_without_units_is_a_data_frame_of_the_same_columns(tmp_path):
    pytest.importorskip("pandas")
    run = Run(tmp_path)
    with run.lock():
        run.begin(CONFIG, [], {}, {})
    assert list(Results(tmp_path).to_pandas().columns) == list(COLUMNS)


def test_a_folder_without_a_run_is_reported(tmp_path):
    with pytest.raises(Missing, match="is not a run of esbench"):
        Results(tmp_path)


def test_a_unit_with_a_damaged_table_has_no_rows_and_is_listed_with_what_failed(tmp_path):
    results = written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0]})
    path = results.run.unit(U).criterion_path("wmv")
    path.write_bytes(path.read_bytes()[:40])
    assert results.table() == []
    assert results.failures() == [(U, "", f"{str(path)!r} cannot be read: it is truncated.")]


def test_the_patience_is_that_of_the_run(tmp_path):
    config = dataclasses.replace(CONFIG, patience=4)
    (row,) = written(tmp_path, {"wmv": [9, 5, 6, 4, 7, 7]}, config=config).table()
    assert row["fallback"] is True
    assert row["patience"] == 4


def test_it_shows_itself_by_its_folder_and_in_a_notebook_by_its_tables(tmp_path):
    results = written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0], "last": [math.nan] * 6})
    assert repr(results) == f"Results({str(tmp_path)!r})"
    page = results._repr_html_()
    assert "<p>d, gaussian noise of sigma 25, 1 unit: peak 20.00 dB at step 2, last step 15.00 dB</p>" in page
    assert '<tr><th scope="row">wmv</th><td>2</td><td class="number">20.00</td>' in page
    assert "<td>5 (not stopped)</td>" in page


def test_a_task_with_a_score_of_its_own_is_scored_by_it_and_by_the_psnr(write_run):
    score = [20.0, 24.0, 22.0, 30.0, 29.0, 28.0]
    unit = {
        "task": "inpaint",
        "loss": "mse",
        "curves": {"wmv": [9, 8, 1, 2, 2, 0], "loss": [9, 8, 7, 6, 5, 4]},
        "trace": {"score_db": np.array(score)},
        "result": {"score_peak_db": 30.0, "score_last_db": 28.0, "baseline_db": 18.5},
    }
    results = write_run(unit)
    wmv, loss = results.replay(patience=2)
    assert (wmv["stop_step"], wmv["score_db"], wmv["score_peak_db"], wmv["score_gap_db"]) == (2, 22.0, 30.0, 8.0)
    assert (wmv["psnr_db"], wmv["gap_db"]) == (20.0, 0.0)
    assert (loss["score_db"], loss["score_last_db"], loss["baseline_db"]) == (28.0, 28.0, 18.5)
    text = "\n".join(f"{heading}\n{table.text()}" for heading, table in summary(results.table()))
    assert "inpaint" in text
    assert "score: peak 30.00 dB, without optimisation 18.50 dB" in text
    assert "score at stop (dB)" in text


def test_a_table_of_denoising_says_nothing_of_scores(write_run):
    rows = write_run({"curves": {"wmv": [9, 8, 1, 2, 2, 0]}}).table()
    ((heading, table),) = summary(rows)
    assert "score" not in heading + table.text()


def test_the_plot_has_a_dot_for_each_unit_of_a_criterion_and_their_mean(tmp_path):
    from matplotlib.figure import Figure

    results = written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0], "loss": [9, 8, 7, 6, 5, 4]})
    axes = results.plot(Figure().subplots())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["wmv", "loss"]
    assert [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "."] == [
        [row["gap_db"]] for row in results.table()
    ]
    early = dict.fromkeys(("peak_step", "peak_db", "last_db", "average_peak_db"))
    live = written(tmp_path / "live", {"wmv": [9, 8, 1, 2, 2]}, psnr=PSNR[:5], complete=False, steps=5, **early)
    with pytest.raises(UsageError, match="has a gap yet"):
        live.plot()


def test_without_pandas_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(Unavailable, match=r"needs pandas, which is not installed: pip install pandas\."):
        written(tmp_path, {"wmv": [9, 8, 1, 2, 2, 0]}).to_pandas()
