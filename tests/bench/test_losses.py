"""Every loss in a run: its defaults, how it is interrupted and resumed, and when it is refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

import esbench
from esbench.bench import driver
from esbench.bench.build import scene
from esbench.bench.config import Config, resolve
from esbench.bench.results import Results
from esbench.bench.store import Run
from esbench.bench.unit import run_unit
from esbench.errors import UsageError
from esbench.restoration.options import Options

LOSSES = [
    "sure",
    "sure[divergence=exact]",
    "r2r",
    "thinning[gain=0.05]",
    "df-ste",
    "df-ste[ste=false]",
    "pure[gain=0.05]",
    "pure[divergence=exact,gain=0.05]",
    "poisson[gain=0.05]",
]
CRITERIA = ("sure", "sure-zero", "pure[gain=0.05]", "pure-zero[gain=0.05]", "loss")


@pytest.fixture
def config(pictures) -> Config:
    return Config(
        dataset=str(pictures("a")),
        criterion=CRITERIA,
        network="skip[channels=4,scales=2]",
        iterations=14,
        patience=3,
        device="cpu",
    )


def run(config: Config, out: Path) -> None:
    assert driver.run(config, out, driver.plan(config, out), lambda event: None) == 0
    assert Results(out).failures() == []


def numbers(out: Path) -> dict:
    """Return the numbers of the only unit."""
    (unit,) = Run(out).units()
    found = {name: column.tolist() for name, column in unit.trace().items() if name != "seconds"}
    for text in unit.result()["criteria"]:
        columns = unit.criterion(text)[0]
        found[text] = {k: np.nan_to_num(v, nan=1e9).tolist() for k, v in columns.items() if k != "ms"}
    return found


@pytest.mark.parametrize(("loss", "regulariser"), zip(LOSSES, itertools.cycle([None, "tv[weight=1e-5]"])))
def test_it_is_interrupted_and_resumes_to_the_bit(config, tmp_path, loss, regulariser):
    config = dataclasses.replace(config, loss=loss, regulariser=regulariser)
    run(config, tmp_path / "whole")
    planned = driver.plan(config, tmp_path / "left")
    (tmp_path / "left").mkdir()
    Run(tmp_path / "left").begin(config, planned.units, {}, {})
    (job,) = planned.left
    for n in (1, 5):
        asked = itertools.count(1)
        assert run_unit(job, lambda event: None, lambda n=n, asked=asked: next(asked) >= n).status == "paused"
    run(config, tmp_path / "left")
    assert Run(tmp_path / "left").units()[0].result()["resumed"] == [1, 6]
    assert numbers(tmp_path / "left") == numbers(tmp_path / "whole")


def test_a_total_far_below_zero_is_no_divergence(config, tmp_path):
    run(dataclasses.replace(config, loss="pure[gain=3]"), tmp_path / "r")
    (unit,) = Run(tmp_path / "r").units()
    assert unit.trace()["total"].max() < 0
    assert unit.result()["restored"] == []


def test_what_is_added_is_recorded_and_part_of_what_is_minimised(config, tmp_path):
    run(dataclasses.replace(config, regulariser="tv"), tmp_path / "r")
    (unit,) = Run(tmp_path / "r").units()
    trace = unit.trace()
    assert unit.spec().regulariser == "tv"
    assert trace["regulariser"].min() > 0
    assert np.allclose(trace["total"], trace["loss"] + trace["regulariser"], rtol=1e-5)


def test_much_total_variation_makes_a_flat_picture(config, tmp_path):
    spread = []
    for weight in (1e-7, 1.0):
        out = tmp_path / f"{weight}"
        run(dataclasses.replace(config, regulariser=f"tv[weight={weight}]", iterations=60), out)
        trace = Run(out).units()[0].trace()
        spread.append(trace["regulariser"][-1] / weight)
    assert spread[1] < 0.2 * spread[0]


# -- criteria by a probe


@pytest.mark.parametrize("loss", ["mse", "sure", "df-ste", "poisson[gain=0.05]"])
def test_the_criteria_work_beside_any_loss_if_the_network_is_given_the_observation(config, tmp_path, loss):
    own = {} if loss in ("sure", "df-ste") else {"input": "observation", "perturbation": 0.0}
    run(dataclasses.replace(config, loss=loss, **own), tmp_path / "with")
    run(dataclasses.replace(config, loss=loss, criterion=("loss",), **own), tmp_path / "without")
    found, alone = numbers(tmp_path / "with"), numbers(tmp_path / "without")
    assert {key: value for key, value in found.items() if key in alone} == alone
    for text in CRITERIA:
        assert np.isfinite(found[text]["value"]).all()
        assert 1e9 not in found[text]["value"]
    if loss != "df-ste":  # whose output is that of a noisier input
        assert np.allclose(found["pure[gain=0.05]"]["residual"], found["loss"]["value"], rtol=1e-5)
        assert np.allclose(found["sure"]["residual"], found["loss"]["value"], rtol=1e-2)  # a few values are clipped


def test_the_criterion_and_the_loss_estimate_the_same(config, tmp_path):
    run(dataclasses.replace(config, loss="sure", iterations=60), tmp_path / "r")
    found = numbers(tmp_path / "r")
    spread = np.std(np.subtract(found["sure"]["value"], found["total"])) / np.sqrt(60)
    assert abs(np.mean(np.subtract(found["sure"]["value"], found["total"]))) < 4 * spread


@pytest.mark.parametrize("changed", [{}, {"input": "observation"}, {"input": "meshgrid", "perturbation": 0.0}])
def test_there_is_no_value_for_another_input_and_the_reason_is_reported(config, tmp_path, changed):
    run(dataclasses.replace(config, **changed), tmp_path / "r")
    result = Run(tmp_path / "r").units()[0].result()["criteria"]
    for text in CRITERIA[:-1]:
        assert result[text]["missing"] == 14
        assert result[text]["reason"] == (
            "needs a network whose input is the observation: --input observation, --perturbation 0"
        )


def test_there_is_no_value_for_an_average(config, tmp_path):
    run(dataclasses.replace(config, loss="sure", criterion=("sure[on=average]",)), tmp_path / "r")
    (found,) = Run(tmp_path / "r").units()[0].result()["criteria"].values()
    assert found["missing"] == 14
    assert found["reason"] == "is an estimate for the output, not for an average of outputs"


def test_another_level_needs_no_new_optimisation(config, tmp_path):
    run(dataclasses.replace(config, loss="sure", criterion=("sure[sigma=25]",)), tmp_path / "r")
    again = dataclasses.replace(config, loss="sure", criterion=("sure[sigma=40]",))
    run(again, tmp_path / "again")
    (replayed,) = Results(tmp_path / "r").replay(criteria=["sure[sigma=40]"])
    (measured,) = Results(tmp_path / "again").table()
    assert replayed["stop_step"] == measured["stop_step"]


# -- defaults


def test_a_loss_alone_is_enough_to_do_the_right_thing(pictures):
    from esbench.bench.grid import units

    where = str(pictures("a", size=(40, 40)))
    (sure,) = units(resolve({"dataset": where, "loss": "sure", "device": "cpu"}))
    assert (sure.loss, sure.network, sure.input) == ("sure", "skip", "observation")
    assert (sure.perturbation, sure.learning_rate) == (0, 0.001)
    (ste,) = units(resolve({"dataset": where, "loss": "df-ste[ste=true]", "device": "cpu"}))
    assert (ste.loss, ste.network, ste.input, ste.learning_rate) == ("df-ste", "s2s", "observation", 0.003)
    (own,) = units(resolve({"dataset": where, "loss": "df-ste", "network": "skip", "learning_rate": 0.02}))
    assert (own.network, own.learning_rate) == ("skip", 0.02)
    (shot,) = units(resolve({"dataset": where, "loss": "poisson", "noise": "poisson"}))
    assert (shot.network, shot.input, shot.learning_rate) == ("skip", "noise", 0.01)
    assert Options(loss="df-ste").settings(100).network == "s2s"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"loss": "sure", "input": "noise"},
            "needs the observation as the input of the network, got --input noise: leave it out",
        ),
        ({"loss": "r2r", "perturbation": 0.1}, "unchanged observation .*, got --perturbation 0.1: leave it out"),
        ({"loss": "pure[gain=0.1]", "network": "decoder[scales=2]"}, "that of 'decoder.*' has 7 x 6 pixels: choose"),
        ({"loss": "sure", "task": "superres[factor=2]"}, "the picture plus noise, which that of 'superres.*' is not"),
        ({"loss": "df-ste", "task": "jpeg"}, "the picture plus noise, which that of 'jpeg' is not"),
        ({"loss": "poisson[gain=0.1]", "task": "jpeg"}, "the picture plus noise, which that of 'jpeg' is not"),
        ({"loss": "pure"}, "fewer than 32 x 32 pixels, got 28 x 24: give it, as in 'pure\\[gain=0.04\\]'"),
        ({"loss": "thinning"}, "fewer than 32 x 32 pixels, got 28 x 24: give it, as in 'thinning\\[gain=0.04\\]'"),
        ({"loss": "poisson"}, "fewer than 32 x 32 pixels, got 28 x 24: give it, as in 'poisson\\[gain=0.04\\]'"),
        ({"loss": "masking"}, "fill in missing values, and in an observation of 'denoise' none is missing"),
        (
            {"loss": "masking", "task": "superres[factor=2]"},
            "the picture plus noise, which that of 'superres.*' is not",
        ),
        (
            {"loss": "masking", "task": "inpaint", "input": "noise"},
            "needs the masked observation as the input of the network, got --input noise: leave it out",
        ),
        ({"loss": "sure", "noise": "poisson"}, "fewer than 32 x 32 pixels, got 28 x 24: give it, as in --sigma"),
    ],
)
def test_an_invalid_combination_is_refused_in_a_sentence_before_the_run(config, tmp_path, changed, sentence):
    with pytest.raises(UsageError, match=sentence):
        driver.plan(dataclasses.replace(config, **changed), tmp_path / "r")


@pytest.mark.parametrize("per", ["pixel", "channel"])
def test_a_network_learns_to_fill_in_from_what_is_hidden(config, tmp_path, per):
    masking = dataclasses.replace(config, loss="masking", task=f"inpaint[missing=0.3,per={per}]", criterion=("last",))
    masking = dataclasses.replace(masking, learning_rate=0.01, network="skip[channels=8,scales=2]", iterations=80)
    run(masking, tmp_path / "r")
    loss = numbers(tmp_path / "r")["loss"]
    assert np.mean(loss[-20:]) < 0.6 * np.mean(loss[:5])
    (row,) = Results(tmp_path / "r").table()
    assert (row["loss"], row["input"]) == ("masking", "masked")


@pytest.mark.parametrize("loss", ["sure", "r2r", "pure[gain=0.05]"])
def test_missing_pixels_do_not_matter(config, tmp_path, loss):
    run(dataclasses.replace(config, loss=loss, task="inpaint[missing=0.3]", criterion=CRITERIA), tmp_path / "r")
    found = numbers(tmp_path / "r")
    for text in CRITERIA:
        assert 1e9 not in found[text]["value"], text


# -- in Python


@pytest.mark.parametrize(
    "loss", ["sure", "r2r", "thinning[gain=0.05]", "df-ste", "pure[gain=0.05]", "poisson[gain=0.05]"]
)
def test_a_picture_is_denoised_with_a_loss(loss):
    y, x = np.mgrid[:40, :44] / 16
    clean = np.stack([0.5 + 0.3 * np.sin(x + c) * np.cos(y) for c in range(3)], -1)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape)
    small = {"network": "skip[channels=4,scales=2]", "device": "cpu", "iterations": 40, "patience": 10}
    denoised = esbench.denoise(noisy.clip(0, 1), loss=loss, **small)
    assert denoised.image.shape == clean.shape
    assert np.mean((denoised.image - clean) ** 2) < np.mean((noisy - clean) ** 2)


@pytest.mark.parametrize("criterion", ["sure", "pure-zero"])
def test_no_picture_is_denoised_by_a_criterion_that_would_have_no_value(criterion):
    with pytest.raises(UsageError, match=f"'{criterion}' needs the observation as the input of the network: choose"):
        esbench.denoise(np.zeros((40, 40, 3)), criterion)
    noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((40, 40, 3))
    small = {"network": "skip[channels=4,scales=2]", "device": "cpu", "iterations": 6, "patience": 2}
    assert np.isfinite(esbench.denoise(noisy, criterion, loss="sure", **small).values).all()


@pytest.mark.parametrize("loss", ["mse", "sure"])
def test_a_network_that_is_given_the_observation_does_not_see_what_is_held_out(config, tmp_path, loss):
    own = {} if loss == "sure" else {"input": "observation", "perturbation": 0.0}
    task = "denoise[holdout=0.1]"
    config = dataclasses.replace(config, task=task, loss=loss, criterion=("sure", "holdout"), iterations=3, **own)
    run(config, tmp_path / "r")
    (unit,) = Run(tmp_path / "r").units()
    assert np.isfinite(unit.criterion("sure")[0]["value"]).all()
    with_job = driver.plan(dataclasses.replace(config, iterations=4), tmp_path / "q").jobs[0]
    what = scene(with_job.spec, config.dataset)
    z = what.trajectory("cpu").z[0].numpy()
    assert (z[:, what.observation.holdout] == 0).all()
    assert (z[:, ~what.observation.holdout] > 0).mean() > 0.9
