from __future__ import annotations

import pytest

from esbench.errors import NameUnknown
from esbench.recommendation import recommended, table
from esbench.records import TaskInfo
from esbench.registry import registry
from esbench.restoration.options import Options


@pytest.mark.parametrize("row", table()["rows"], ids=lambda row: f"{row['task']}-{row['noisy']}")
def test_what_is_recommended_is_installed_and_is_the_best_of_those_that_were_measured(row):
    assert registry().get("criterion", row["criterion"]).text == row["criterion"]
    gaps = {each["criterion"]: each["percentile_95_db"] for each in row["ranked"]}
    assert list(gaps.values()) == sorted(gaps.values())
    assert gaps[row["criterion"]] <= min(gaps.values()) + 0.05
    best = next(each for each in row["ranked"] if each["criterion"] == row["criterion"])
    assert best["mean_db"] <= best["percentile_95_db"] <= best["largest_db"]
    assert best["never"] < best["units"] or row["last_db"] <= 0.05
    assert row["pictures"] >= 3


def test_without_a_known_level_the_recommendation_does_not_need_it():
    blind, known = (recommended("denoise", level_known=known) for known in (False, True))
    assert blind.measured["level_known"] is False
    assert not any("variance=sigma" in each["criterion"] for each in blind.measured["ranked"])
    estimating = {"discrepancy"}  # if the level is known, it is not estimated
    assert {each["criterion"] for each in blind.measured["ranked"]} - estimating < {
        each["criterion"] for each in known.measured["ranked"]
    }


@pytest.mark.parametrize("task", registry().records["task"], ids=lambda record: record.info.name)
def test_restore_takes_what_is_recommended(task):
    assert isinstance(task.info, TaskInfo)
    found = recommended(task.info.name, level_known=True)
    assert Options(task=task.info.name).stops_by == found.criterion
    if found.measured is None:
        assert found.criterion == task.info.criterion
        assert found.why == f"{task.info.name} is not in the table of measurements; this is its default."


@pytest.mark.parametrize("task", ["superres[factor=2]", "inpaint"])
def test_a_task_without_noise_of_its_own_has_rows_with_and_without(task):
    with_noise, without = (recommended(task, level_known=True, noise=noise) for noise in (True, False))
    assert with_noise.measured["noise"] == ["gaussian 10"]
    assert without.measured["noise"] == ["none"]
    assert "(no noise)" in without.why
    assert "To go on to the last step loses 0.0" in without.why
    assert Options(task=task, sigma=10).stops_by == with_noise.criterion
    assert Options(task=task, sigma=0).stops_by == Options(task=task).stops_by == without.criterion
    blind = recommended(task, level_known=False)
    assert blind.measured["noise"] == ["gaussian 10", "none"]
    assert blind.criterion == "discrepancy"


def test_parameters_of_a_task_do_not_change_the_recommendation():
    assert recommended("denoise[holdout=0.1]", level_known=False) == recommended("denoise", level_known=False)


def test_a_network_that_it_was_not_measured_with_is_named():
    known = recommended("denoise", level_known=True, network="skip[channels=8]").why
    assert "not measured with" not in known
    assert recommended("denoise", level_known=True, network="decoder").why.endswith("It was not measured with decoder.")


@pytest.mark.parametrize(("task", "network"), [("denoyse", None), ("denoise", "skipp")])
def test_a_name_that_does_not_exist_is_refused(task, network):
    with pytest.raises(NameUnknown, match="Did you mean"):
        recommended(task, level_known=True, network=network)
