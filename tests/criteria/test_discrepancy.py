from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench import Stopper
from esbench.builtin.criteria.discrepancy import WINDOW, Discrepancy, resolve
from esbench.builtin.degradations.additive import gaussian
from esbench.errors import ParamError, UsageError
from esbench.frames import Frame
from esbench.noise import clipped_variance, estimate
from esbench.observation import Problem
from esbench.pictures import Pictures
from esbench.registry import registry
from esbench.stopping.criterion import Criterion
from esbench.stopping.rule import first_stop
from esbench.testing import check_criterion, scenes
from esbench.testing import criterion as kit


def problem(noisy: np.ndarray, **known) -> Problem:
    return Problem(noisy=Pictures(noisy[None])[0], **known)


def noisy_photograph(h: int = 48, w: int = 64, sigma: float = 25) -> np.ndarray:
    return gaussian(scenes.photograph((h, w)), np.random.default_rng(0), sigma=sigma)


def frames(outputs: list[np.ndarray], known: Problem) -> list[Frame]:
    pictures = Pictures(torch.from_numpy(np.stack(outputs)).movedim(-1, 1))
    return [Frame(pictures, i, step=i, problem=known) for i in range(len(outputs))]


def values(outputs: list[np.ndarray], known: Problem, **parameters) -> list[float]:
    criterion = Discrepancy(**{"slope": 0.0} | parameters)
    return [criterion.update(frame).value for frame in frames(outputs, known)]


def residuals(curve: list[float]) -> list[Frame]:
    """Return frames whose residuals are those of a curve."""
    y = np.zeros((2, 2, 1), np.float32)
    return frames([y + np.float32(math.sqrt(r)) for r in curve], problem(y))


# -- the value


def test_without_a_slope_it_is_the_distance_of_the_residual_from_the_share_of_the_variance():
    y, x = np.full((4, 5, 3), 0.5, np.float32), np.full((4, 5, 3), 0.4, np.float32)
    (frame,) = frames([x], problem(y))
    value = Discrepancy(c=0.9, slope=0, variance=0.03).update(frame)
    assert value.value == pytest.approx(abs(0.01 - 0.027), rel=1e-5)
    assert value.parts["residual"] == pytest.approx(0.01, rel=1e-5)


@given(st.floats(0, 0.3), st.floats(0.5, 1.5))
def test_it_is_zero_where_the_residual_is_that_share(offset, c):
    y = np.full((4, 5, 1), 0.5, np.float32)
    (frame,) = frames([y + np.float32(offset)], problem(y))
    residual = Discrepancy(variance=0.0).update(frame).parts["residual"]
    assert Discrepancy(c=c, variance=residual / c).update(frame).value == pytest.approx(0, abs=1e-12)


def test_the_fall_is_that_of_a_residual_which_is_a_line_in_the_logarithm_of_the_steps():
    curve = [0.5 - 0.05 * math.log(t + 1) for t in range(2 * WINDOW)]
    criterion = Discrepancy(slope=0.3, variance=0.1)
    found = [criterion.update(frame) for frame in residuals(curve)]
    assert found[0].parts["fall"] == 0
    assert [value.parts["fall"] for value in found[1:]] == [pytest.approx(0.05, rel=1e-3)] * (len(curve) - 1)
    assert found[-1].value == pytest.approx(curve[-1] + 0.3 * 0.05 - 0.1, rel=1e-3)


def test_a_residual_that_rises_does_not_fall():
    criterion = Discrepancy(slope=0.3, variance=0.1)
    assert [criterion.update(frame).parts["fall"] for frame in residuals([0.1, 0.2, 0.3])] == [0, 0, 0]


@pytest.mark.parametrize("most", [0.05, 0.2])
@pytest.mark.parametrize("bias", [0.5, 5.0])
def test_it_stops_near_the_best_step_of_smooth_and_of_busy_pictures_alike(most, bias):
    t, v = np.arange(400), 0.01
    d = most * (t / 400) ** 1.6  # the share of the noise that was taken up
    error = bias * np.exp(-t / 40) + 0.7 * d  # what is missing of the picture, and what is wrong in it
    curve = (v * (1 - 2 * d + error)).tolist()
    criterion = Discrepancy(variance=v)
    stop = first_stop([criterion.update(frame).value for frame in residuals(curve)], patience=50)
    assert not stop.fallback
    assert 10 * math.log10(error[stop.step] / error.min()) < 0.3


def test_the_rule_stops_at_the_crossing():
    clean, y = scenes.photograph((24, 32)), noisy_photograph(24, 32)
    outputs = [clean + np.float32(t / 20) * (y - clean) for t in range(20)]  # takes up the noise step by step
    v = float(((y - clean) ** 2).mean())
    stop = first_stop(values(outputs, problem(y), c=0.64, variance=v), patience=5)
    assert (stop.step, stop.fallback) == (4, False)  # (1 - 4/20)^2 = 0.64


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_neither_the_order_of_the_channels_nor_which_side_is_up_matters(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.random((2, 6, 7, 3), dtype=np.float32)
    (plain,) = values([x], problem(y), variance=0.05)
    for turn in (lambda z: z[..., [2, 0, 1]], lambda z: z[::-1], lambda z: z[:, ::-1], lambda z: z.swapaxes(0, 1)):
        (turned,) = values([turn(x).copy()], problem(turn(y).copy()), variance=0.05)
        assert turned == pytest.approx(plain, rel=1e-6, abs=1e-9)


def test_what_is_outside_of_0_to_1_counts_as_it_is_delivered():
    y = np.ones((3, 3, 1), np.float32)
    assert values([y + np.float32(0.7)], problem(y), variance=0.01) == [pytest.approx(0.01)]


def test_pixels_that_are_held_out_are_not_part_of_the_residual():
    y, holdout = np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), bool)
    holdout[1, 2] = True
    x = y.copy()
    x[1, 2] = 1
    assert values([x], problem(y, holdout=holdout), variance=0.0) == [0]
    assert values([x], problem(y), variance=0.0) == [pytest.approx(1 / 16)]


def test_without_a_noisy_picture_of_its_size_there_is_a_reason_and_no_value():
    y = np.zeros((4, 4, 3), np.float32)
    (without,), (other,) = frames([y], Problem()), frames([y], problem(np.zeros((2, 2, 3), np.float32)))
    value = Discrepancy(variance=0.01).update(without)
    assert (value.value, value.reason) == (None, "needs the noisy picture")
    value = Discrepancy(variance=0.01).update(other)
    assert (value.value, value.reason) == (None, "needs a noisy picture of the output's size")


def test_an_output_with_nan_has_a_reason_and_leaves_no_trace():
    y = noisy_photograph()
    broken = y.copy()
    broken[0, 0, 0] = np.nan
    criterion = Criterion(registry().get("criterion", "discrepancy"), problem(y))
    before = criterion.state_dict()
    assert "NaN" in criterion.update(frames([broken], problem(y))[0]).reason
    assert criterion.state_dict() == before


def test_it_resumes_from_a_saved_state():
    shown = residuals([0.5 / (t + 1) for t in range(WINDOW + 20)])
    whole, first = Discrepancy(variance=0.1), Discrepancy(variance=0.1)
    wanted = [whole.update(frame) for frame in shown]
    for frame in shown[:30]:
        first.update(frame)
    second = Discrepancy(variance=0.1)
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    assert [second.update(frame) for frame in shown[30:]] == wanted[30:]


# -- its parameters


def test_the_variance_is_estimated_unless_it_is_given():
    y = noisy_photograph()
    known, rest = problem(y, sigma=25.0), {"c": 1.0, "slope": 0.3}
    assert resolve(known, **rest, variance="auto") == {**rest, "variance": estimate(y).variance}
    assert resolve(known, **rest, variance="sigma") == {**rest, "variance": clipped_variance(y, 25)}
    assert resolve(known, **rest, variance=0.02) == {**rest, "variance": 0.02}


def test_a_known_level_that_is_not_known_is_an_error_with_the_way_out():
    y = np.zeros((8, 8, 3), np.float32)
    with pytest.raises(ParamError, match="variance=auto estimates it"):
        resolve(problem(y), c=1.0, slope=0.3, variance="sigma")


@pytest.mark.parametrize("given_", ["c=-1", "slope=-1", "variance=-0.1", "variance=known"])
def test_what_does_not_fit_is_refused(given_):
    with pytest.raises(ParamError):
        registry().get("criterion", f"discrepancy[{given_}]")


def test_what_was_decided_is_recorded():
    y = noisy_photograph()
    criterion = Criterion(registry().get("criterion", "discrepancy"), problem(y))
    assert (criterion.text, criterion.on) == ("discrepancy", "average")
    assert criterion.resolved == {"c": 1.0, "slope": 0.3, "variance": estimate(y).variance}


# -- pictures that occur sooner or later


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_noisy_picture_has_a_value_and_no_noise(level):
    y = np.full((16, 16, 3), level, np.float32)
    criterion = Criterion(registry().get("criterion", "discrepancy"), problem(y))
    assert criterion.resolved["variance"] == 0
    assert criterion.update(frames([y], problem(y))[0]).value == 0


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8, 1), (2, 3, 3), (1, 1, 1)])
def test_a_tiny_picture_has_a_value_too(shape):
    y = np.random.default_rng(0).random(shape, dtype=np.float32)
    criterion = Criterion(registry().get("criterion", "discrepancy"), problem(y))
    assert criterion.update(frames([y], problem(y))[0]).value >= 0


# -- with the others


def test_a_stopper_needs_the_observation_and_measures_the_average():
    with pytest.raises(UsageError, match="needs the observation"):
        Stopper("discrepancy")
    y = noisy_photograph()
    stopper = Stopper("discrepancy[slope=0]", observation=y, patience=3)
    v = stopper.criterion.resolved["variance"]
    stopper.update(y)
    assert stopper.best.value == pytest.approx(v, rel=1e-5)
    stopper.update(np.full_like(y, 0.5))
    average = 0.99 * y + 0.01 * np.float32(0.5)
    assert stopper.best.value == pytest.approx(abs(((average - y) ** 2).mean() - v), rel=1e-4)


@pytest.mark.parametrize("text", ["discrepancy", "discrepancy[on=output,slope=0,variance=sigma]"])
def test_it_passes_the_conformance_kit(text, monkeypatch):
    monkeypatch.setattr(kit, "LARGEST", (200, 300))
    found = check_criterion(text)
    assert [str(finding) for finding in found if finding.status == "failed"] == []
    assert [finding.status for finding in found if finding.check == "direction"] == ["ok"]


def test_the_noise_of_a_problem_is_looked_at_once():
    known = problem(noisy_photograph())
    assert known.noise is known.noise
    assert known.noise_level == known.noise.sigma
