from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench.builtin.criteria.variance import ExponentialVariance, WindowedVariance
from esbench.frames import Frame
from esbench.pictures import Pictures


def frame(x: np.ndarray, step: int) -> Frame:
    return Frame(Pictures(torch.as_tensor(x).reshape(1, 1, 1, -1)), step=step)


def run(criterion, xs) -> list[float | None]:
    return [criterion.update(frame(x, step)) for step, x in enumerate(xs)]


def wmv(xs: np.ndarray, t: int, window: int) -> float | None:
    """(1/W) sum over w of |x_w - mean|^2 / N over the last W outputs, as it is written."""
    if t + 1 < window:
        return None
    last = xs[t + 1 - window : t + 1].astype(np.float64)
    # around its first picture, so that the judge itself loses nothing where the outputs are nearly constant
    last = last - last[0]
    return float(((last - last.mean(0)) ** 2).mean())


def emv(xs: np.ndarray, t: int, alpha: float) -> float:
    """The variance under exponential weights w_i, sum of w_i |x_i - mean|^2 / N, which the recursion equals."""
    weights = alpha * (1 - alpha) ** np.arange(t, -1, -1.0)
    weights[0] = (1 - alpha) ** t
    xs = xs[: t + 1].astype(np.float64)
    xs = xs - xs[0]
    mean = weights @ xs
    return float((weights @ (xs - mean) ** 2).mean())


def outputs(kind: str, steps: int, pixels: int = 12, seed: int = 0) -> np.ndarray:
    """Curves of outputs as an optimisation gives them, and worse: float32, (steps, pixels)."""
    rng = np.random.default_rng(seed)
    base, noise = rng.uniform(0, 1, pixels), rng.normal(0, 1, (steps, pixels))
    t = np.arange(steps)[:, None]
    return {
        "fitting": base * (1 - np.exp(-t / 300)) + 0.02 * noise * np.minimum(1, t / 2000 + 0.1),
        "drifting": base + np.sin(t / 500) * 0.3 + 0.01 * noise,
        "nearly constant": 0.7 + 1e-6 * noise,
        "nearly constant after a jump": np.where(t % 1037 < 37, base, 0.7) + 1e-6 * noise,
        "large": 1e4 + noise,
        "settling": base + noise * 10.0 ** (-t / (steps / 6)),
    }[kind].astype(np.float32)


KINDS = ["fitting", "nearly constant after a jump", "settling", "drifting", "nearly constant", "large"]


def long_run() -> np.ndarray:
    """20,000 outputs of every kind, one kind after the other."""
    return np.concatenate([outputs(kind, 4000, seed=i) for i, kind in enumerate(KINDS[:5])])


def check_wmv(xs: np.ndarray, window: int, every: int) -> None:
    values = run(WindowedVariance(window=window), xs)
    assert [v is None for v in values[:window]] == [True] * (window - 1) + [False]
    for t in range(window - 1, len(xs), every):
        assert values[t] == pytest.approx(wmv(xs, t, window), rel=1e-9, abs=0), t


def check_emv(xs: np.ndarray, burn_in: int, every: int) -> None:
    values = run(ExponentialVariance(alpha=0.1, burn_in=burn_in), xs)
    assert [v is None for v in values[: burn_in + 1]] == [True] * burn_in + [False]
    for t in range(burn_in, len(xs), every):
        first = max(0, t - 1500)  # what is older weighs less than 1e-68
        assert values[t] == pytest.approx(emv(xs[first:], t - first, 0.1), rel=1e-9, abs=0), t


def test_wmv_is_the_direct_formula_to_1e9_over_20000_steps():
    check_wmv(long_run(), window=100, every=7)


def test_emv_is_the_direct_formula_to_1e9_over_20000_steps():
    check_emv(long_run(), burn_in=101, every=37)


@pytest.mark.parametrize("kind", KINDS)
def test_wmv_is_the_direct_formula_to_1e9_at_every_step_of_every_kind(kind):
    check_wmv(outputs(kind, 1500, seed=1), window=40, every=1)


@pytest.mark.parametrize("kind", KINDS)
def test_emv_is_the_direct_formula_to_1e9_for_every_kind(kind):
    check_emv(outputs(kind, 1500, seed=1), burn_in=10, every=17)


@given(st.integers(2, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_wmv_is_the_direct_formula_for_every_window(window, steps, seed):
    xs = outputs("drifting", steps, pixels=3, seed=seed)
    expected = [wmv(xs, t, window) for t in range(steps)]
    assert run(WindowedVariance(window=window), xs) == [
        None if e is None else pytest.approx(e, rel=1e-9, abs=1e-300) for e in expected
    ]


@given(st.floats(0.01, 0.99), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_emv_is_the_direct_formula_for_every_alpha(alpha, steps, seed):
    xs = outputs("drifting", steps, pixels=3, seed=seed)
    values = run(ExponentialVariance(alpha=alpha, burn_in=0), xs)
    assert values == [pytest.approx(emv(xs, t, alpha), rel=1e-9, abs=1e-18) for t in range(steps)]


def test_emv_is_the_recursion_of_the_authors_divided_by_n():
    xs = outputs("fitting", 200, pixels=5).astype(np.float64)
    mean, v, alpha = xs[0], 0.0, 0.1
    expected = [0.0]
    for x in xs[1:]:
        delta = x - mean
        mean = mean + alpha * delta
        v = (1 - alpha) * (v + alpha * (delta**2).sum())
        expected.append(v / 5)
    assert run(ExponentialVariance(burn_in=0), xs) == pytest.approx(expected, rel=1e-12)


def test_a_variance_that_fell_by_twelve_orders_of_magnitude_is_right_at_every_step():
    # a jump of 1, then outputs that differ in the last bit of a float32 alone
    rng = np.random.default_rng(0)
    xs = np.concatenate([rng.uniform(0, 1, (37, 8)), 0.5 + 6e-8 * rng.integers(0, 3, (400, 8))]).astype(np.float32)
    window = 50
    values = run(WindowedVariance(window=window), xs)
    for t in range(window - 1, len(xs)):
        assert values[t] == pytest.approx(wmv(xs, t, window), rel=1e-9, abs=0), t


@pytest.mark.parametrize("criterion", [WindowedVariance(window=10), ExponentialVariance(burn_in=5)])
def test_outputs_that_do_not_change_have_no_variance(criterion):
    x = np.linspace(0, 1, 7, dtype=np.float32)
    values = [v for v in run(criterion, [x] * 40) if v is not None]
    assert len(values) > 30
    assert set(values) == {0.0}


def test_outputs_that_stop_changing_have_no_variance_once_the_window_is_full_of_them():
    rng = np.random.default_rng(0)
    xs = np.concatenate([rng.uniform(0, 1, (33, 6)), np.full((60, 6), 0.3)]).astype(np.float32)
    values = run(WindowedVariance(window=10), xs)
    assert min(v for v in values[9:42]) > 1e-5
    assert values[42:] == [0.0] * (len(xs) - 42)


@pytest.mark.parametrize("make", [lambda: WindowedVariance(window=10), lambda: ExponentialVariance(burn_in=5)])
@pytest.mark.parametrize("at", [0, 1, 4, 9, 10, 15, 19, 20, 33])
def test_a_variance_saved_and_loaded_at_any_step_continues_as_if_never_interrupted(make, at):
    xs = outputs("fitting", 40)
    expected = run(make(), xs)
    before, after = make(), make()
    for step in range(at):
        before.update(frame(xs[step], step))
    state = before.state_dict()
    kept = copy.deepcopy(state)
    before.update(frame(xs[at], at))  # the original continues; the saved state does not change
    after.load_state_dict(state)
    assert [after.update(frame(xs[t], t)) for t in range(at, 40)] == expected[at:]
    third = make()
    third.load_state_dict(state)  # as it was
    assert [third.update(frame(xs[t], t)) for t in range(at, 40)] == expected[at:]
    assert {k: v for k, v in state.items() if not torch.is_tensor(v)} == {
        k: v for k, v in kept.items() if not torch.is_tensor(v)
    }


@pytest.mark.parametrize("at", range(40, 60))
def test_a_variance_saved_and_loaded_while_it_falls_continues_as_if_never_interrupted(at):
    rng = np.random.default_rng(0)
    xs = np.concatenate([rng.uniform(0, 1, (33, 6)), 0.5 + 1e-6 * rng.normal(size=(50, 6))]).astype(np.float32)
    expected = run(WindowedVariance(window=17), xs)
    before, after = WindowedVariance(window=17), WindowedVariance(window=17)
    run(before, xs[:at])
    after.load_state_dict(before.state_dict())
    assert run(after, xs[at:]) == expected[at:]


@pytest.mark.parametrize("make", [lambda: WindowedVariance(window=4), lambda: ExponentialVariance(burn_in=0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_output_that_is_written_over_after_its_step_was_remembered_as_it_was(make, dtype):
    xs = torch.rand(9, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    apart, reused = make(), make()
    buffer = torch.empty_like(xs[0])
    for step, x in enumerate(xs):
        buffer.copy_(x)
        assert reused.update(Frame(Pictures(buffer), step=step)) == apart.update(Frame(Pictures(x), step=step))


@pytest.mark.parametrize("make", [lambda: WindowedVariance(window=4), lambda: ExponentialVariance(burn_in=3)])
def test_colour_grey_and_8_bit_outputs_are_all_variances_per_element_in_0_to_1(make):
    eight = np.random.default_rng(0).integers(0, 256, (6, 8, 7, 3), np.uint8)
    of_bytes, of_floats, of_grey = make(), make(), make()
    for step, image in enumerate(eight):
        a = of_bytes.update(Frame(Pictures(image[None]), step=step))
        b = of_floats.update(Frame(Pictures(image[None] / np.float32(255)), step=step))
        c = of_grey.update(Frame(Pictures(image[None].reshape(1, 8, 21, 1)), step=step))
        assert a == b
        assert (a is None and c is None) or c == pytest.approx(a, rel=1e-12)
    assert 0.01 < a < 0.25


def test_emv_of_independent_noise_is_comparable_with_wmv():
    # E V / N = v 2 (1 - alpha) / (2 - alpha) = 0.947 v at alpha = 0.1, and (1 - 1/W) v for a window
    xs = 0.5 + np.random.default_rng(0).normal(0, 0.1, (400, 4000))
    assert run(ExponentialVariance(), xs)[-1] == pytest.approx(0.947 * 0.01, rel=0.05)
    assert run(WindowedVariance(), xs)[-1] == pytest.approx(0.99 * 0.01, rel=0.05)


def test_with_pixels_it_is_the_variance_of_a_fixed_random_part_of_the_picture():
    xs = np.random.default_rng(0).random((12, 1, 3, 8, 9), np.float32)
    part = WindowedVariance(window=5, pixels=20)
    values = [part.update(Frame(Pictures(torch.from_numpy(x)), step=t)) for t, x in enumerate(xs)]
    index = np.random.default_rng((8, 9)).choice(72, 20, replace=False)
    assert len(set(index)) == 20
    looked_at = xs.reshape(12, 3, 72)[:, :, index].reshape(12, 60)
    assert values == [None] * 4 + [pytest.approx(wmv(looked_at, t, 5), rel=1e-9) for t in range(4, 12)]
    assert part.state_dict()["x"].shape == (5, 60)


@pytest.mark.parametrize("pixels", [72, 65536])
def test_a_picture_of_no_more_pixels_than_that_is_taken_whole(pixels):
    xs = np.random.default_rng(0).random((9, 1, 3, 8, 9), np.float32)
    whole, part = WindowedVariance(window=4), WindowedVariance(window=4, pixels=pixels)
    for t, x in enumerate(xs):
        assert part.update(Frame(Pictures(torch.from_numpy(x)), step=t)) == whole.update(
            Frame(Pictures(torch.from_numpy(x)), step=t)
        )
