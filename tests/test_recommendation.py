from __future__ import annotations

import pytest

from esbench.errors import NameUnknown
from esbench.recommendation import recommended, table
from esbench.records import TaskInfo
from esbench.registry import registry
from esbench.restoration.options import Options


@pytest.mark.parametrize("row", table()["rows"], ids=lambda row: f"{row['task']}-{row['level_known']}")
def test_what_is_recommended_is_installed_and_is_the_best_of_those_that_were_measured(row):
    assert registry().get("criterion", row["criterion"]).text == row["criterion"] == row["ranked"][0]["criterion"]
    gaps = [each["percentile_95_db"] for each in row["ranked"]]
    assert gaps == sorted(gaps)
    best = row["ranked"][0]
    assert best["mean_db"] <= best["percentile_95_db"] <= best["largest_db"]
    assert 2 * best["never"] <= best["units"]
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
def test_with_noise_a_task_without_it_is_stopped_by_the_level(task):
    found = recommended(task, level_known=True, noise=True)
    assert Options(task=task, sigma=10).stops_by == found.criterion == "discrepancy[variance=sigma]"
    assert "if the noise level is known" in found.why
    assert Options(task=task, sigma=0).stops_by == recommended(task, level_known=True).criterion == "wmv"


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
