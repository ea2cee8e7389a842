from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esbench.stopping.rule import Running, Stop, first_stop

MISSING = [None, math.nan]

# Few distinct numbers, so that ties are common; infinities, missing values and every kind of float beside them.
values = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0]),
    st.sampled_from([math.inf, -math.inf, *MISSING]),
    st.floats(allow_nan=False),
)
curves = st.lists(values, min_size=1, max_size=40)
patiences = st.integers(0, 45)


def is_missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def eq4(curve: list[float | None], patience: int) -> Stop:
    """Eq. (4) word by word: the first t < len(curve) - S with M_t <= M_tau for all tau in (t, t + S]."""
    for t in range(len(curve) - patience):
        if is_missing(curve[t]):
            continue
        window = [m for m in curve[t + 1 : t + patience + 1] if not is_missing(m)]
        if all(curve[t] <= m for m in window):
            return Stop(t, curve[t], decided_at=t + patience)
    last = len(curve) - 1
    return Stop(last, None if is_missing(curve[last]) else curve[last], decided_at=last, fallback=True)


def online(curve: list[float | None], patience: int, min_delta: float = 0.0) -> Running:
    rule = Running(patience, min_delta)
    for value in curve:
        rule.update(value)
    return rule


@given(curves, patiences)
@example([2.0, 1.0, 1.0, 3.0], 2)
@example([math.nan, None, math.nan], 0)
@example([math.inf, math.inf], 1)
@example([-math.inf, -math.inf, 0.0], 1)
def test_first_stop_is_equation_4(curve, patience):
    assert first_stop(curve, patience) == eq4(curve, patience)


@given(curves, patiences, st.sampled_from([0.0, 0.5, 1.0]))
def test_online_and_offline_agree(curve, patience, min_delta):
    rule = online(curve, patience, min_delta)
    whole = first_stop(curve, patience, min_delta)
    if rule.stop is None:
        assert whole.fallback
        assert whole.step == rule.step == len(curve) - 1
    else:
        assert rule.stop == whole


@given(curves, patiences)
def test_online_the_choice_is_known_once_the_patience_is_over_and_not_before(curve, patience):
    stop = first_stop(curve, patience)
    if not stop.fallback:
        assert stop.decided_at == stop.step + patience
        assert online(curve[: stop.decided_at], patience).stop is None
        assert online(curve[: stop.decided_at + 1], patience).stop == stop


@given(curves, curves, patiences)
def test_what_comes_after_the_decision_changes_nothing(curve, later, patience):
    stop = first_stop(curve, patience)
    if not stop.fallback:
        assert first_stop(curve + later, patience) == stop


@given(curves, patiences, st.sampled_from([0.0, 0.5]), st.data())
def test_a_rule_saved_and_loaded_at_any_step_continues_as_if_never_interrupted(curve, patience, min_delta, data):
    at = data.draw(st.integers(0, len(curve)))
    saved = json.loads(json.dumps(online(curve[:at], patience, min_delta).state_dict()))
    resumed = Running()
    resumed.load_state_dict(saved)
    for value in curve[at:]:
        resumed.update(value)
    assert resumed == online(curve, patience, min_delta)


@given(curves, patiences)
def test_update_says_whether_the_step_is_the_best_so_far(curve, patience):
    rule = Running(patience)
    for t, value in enumerate(curve):
        if rule.stop is not None:
            break
        before = [m for m in curve[:t] if not is_missing(m)]
        expected = not is_missing(value) and all(value < m for m in before)
        assert rule.update(value) is expected


def test_a_tie_keeps_the_earlier_step():
    assert first_stop([3, 1, 2, 1, 2, 1, 2], patience=2) == Stop(1, 1.0, decided_at=3)


def test_a_constant_curve_stops_at_its_first_step():
    assert first_stop([4.0] * 10, patience=5) == Stop(0, 4.0, decided_at=5)


def test_without_patience_the_first_step_with_a_value_is_the_stop():
    assert first_stop([None, math.nan, 5.0, 1.0], patience=0) == Stop(2, 5.0, decided_at=2)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_curve_as_short_as_the_patience_falls_back_to_the_last_step(length):
    assert first_stop([7.0] * length, patience=3) == Stop(length - 1, 7.0, decided_at=length - 1, fallback=True)


def test_one_step_more_than_the_patience_is_enough():
    assert first_stop([7.0] * 4, patience=3) == Stop(0, 7.0, decided_at=3)


def test_a_falling_curve_falls_back_to_the_last_step():
    assert first_stop([5, 4, 3, 2, 1], patience=2) == Stop(4, 1.0, decided_at=4, fallback=True)


@pytest.mark.parametrize("missing", MISSING)
def test_a_curve_without_values_falls_back_to_the_last_step_without_a_value(missing):
    assert first_stop([missing] * 3, patience=1) == Stop(2, None, decided_at=2, fallback=True)


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_value_never_improves(missing):
    assert first_stop([2.0, missing, 3.0, 3.0], patience=2) == Stop(0, 2.0, decided_at=2)


@pytest.mark.parametrize("missing", MISSING)
def test_missing_steps_count_towards_the_patience(missing):
    assert first_stop([2.0, missing, missing, missing, 1.0], patience=3) == Stop(0, 2.0, decided_at=3)


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_value_does_not_end_the_window_of_another_step(missing):
    assert first_stop([2.0, missing, 1.0, 3.0, 3.0, 3.0], patience=3) == Stop(2, 1.0, decided_at=5)


def test_infinity_is_a_number():
    assert first_stop([math.inf, math.inf, 5.0], patience=1) == Stop(0, math.inf, decided_at=1)
    assert first_stop([math.inf, 5.0, 6.0], patience=1) == Stop(1, 5.0, decided_at=2)
    assert first_stop([0.0, -math.inf, -math.inf], patience=1) == Stop(1, -math.inf, decided_at=2)


def records(curve: list[float | None], patience: int, min_delta: float) -> Stop | None:
    """The first step that is lower than the record before it by more than min_delta, and stands for S steps."""
    best = None
    for t, value in enumerate(curve):
        if is_missing(value) or (best is not None and not value < best - min_delta):
            continue
        best = value
        window = [m for m in curve[t + 1 : t + patience + 1] if not is_missing(m)]
        if t + patience < len(curve) and all(not m < value - min_delta for m in window):
            return Stop(t, value, decided_at=t + patience)
    return None


finite_or_missing = st.lists(
    st.one_of(st.sampled_from(MISSING), st.integers(-5, 5).map(float)), min_size=1, max_size=40
)


@given(finite_or_missing, patiences, st.sampled_from([0.0, 1.0, 2.5]))
def test_with_min_delta_only_a_value_that_is_lower_by_more_than_that_is_a_new_best(curve, patience, min_delta):
    stop = first_stop(curve, patience, min_delta)
    assert (None if stop.fallback else stop) == records(curve, patience, min_delta)


def test_min_delta_is_measured_from_the_best_so_far_and_not_from_the_step_before():
    assert first_stop([10.0, 9.6, 9.2, 8.8, 8.8, 8.8, 8.8], patience=3, min_delta=1.0) == Stop(3, 8.8, decided_at=6)


def test_numpy_curves_give_plain_numbers():
    for dtype in (np.float32, np.float64):
        stop = first_stop(np.array([3, 1, 2, 2], dtype), patience=2)
        assert stop == Stop(1, 1.0, decided_at=3)
        assert type(stop.value) is float


def test_the_precision_of_a_curve_does_not_move_the_threshold():
    curve = np.array([1.0, 0.9, 0.9, 0.9], np.float32)  # the float32 next to 0.9 is below 0.9
    assert first_stop(curve, 2, min_delta=0.1) == first_stop([float(v) for v in curve], 2, min_delta=0.1)


def test_an_empty_curve_is_refused():
    with pytest.raises(ValueError, match="at least one step"):
        first_stop([])


def test_negative_patience_is_refused():
    with pytest.raises(ValueError, match="patience must be at least 0, got -1"):
        first_stop([1.0], patience=-1)


@pytest.mark.parametrize("min_delta", [-0.5, math.nan])
def test_a_min_delta_that_is_no_distance_is_refused(min_delta):
    with pytest.raises(ValueError, match="min_delta must be at least 0"):
        first_stop([1.0], min_delta=min_delta)
