from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from esbench.errors import ParamError, PluginError
from esbench.frames import Block, Frame, Value
from esbench.observation import Problem
from esbench.pictures import Picture, Pictures
from esbench.plugins import PluginHost
from esbench.records import CriterionInfo
from esbench.registry import Component, Record, Registry
from esbench.stopping.criterion import Criterion, lacking


def make(target, problem=None, values=None, distribution="esbench-foo", **info) -> Criterion:
    record = Record("criterion", CriterionInfo(name="foo", summary="x", target=target, **info), distribution, "1.0")
    every, on = record.info.every, record.info.measures
    component = Component(record, target, {"every": every, "on": on, **(values or {})}, "foo")
    return Criterion(component, problem or Problem())


def frames(count=4, first=0, problem=None, seed=0, shape=(3, 6, 5)) -> list[Frame]:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.rand((count, *shape), generator=generator)
    losses = [1 / (first + i + 1) for i in range(count)]
    block = Block(first, losses, losses, Pictures(outputs), Pictures(outputs / 2))
    return list(block.frames(problem or Problem()))


def numbers(values: list[Value | None]) -> list[float | None]:
    return [None if v is None else v.value for v in values]


class Counter:
    """Counts the frames that it was given."""

    def __init__(self, *, start: int = 0) -> None:
        self.count = start

    def update(self, frame):
        self.count += 1
        return float(self.count)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


# -- what it measures


def test_a_function_gives_a_value_a_frame():
    criterion = make(lambda frame, scale: scale * frame.step, values={"scale": 3})
    assert numbers(criterion.update_block(frames(3))) == [0.0, 3.0, 6.0]
    assert criterion.update(frames(3)[2]) == Value(6.0)
    assert not criterion.has_memory


def test_a_class_gets_the_frames_in_order_and_keeps_its_memory():
    criterion = make(Counter, values={"start": 10})
    assert numbers(criterion.update_block(frames(2))) == [11.0, 12.0]
    assert criterion.update(frames(1, first=2)[0]) == Value(13.0)
    assert criterion.has_memory


def test_each_optimisation_begins_with_an_empty_memory():
    first, second = make(Counter), make(Counter)
    first.update_block(frames(3))
    assert second.update(frames(1)[0]) == Value(1.0)


@pytest.mark.parametrize("target", [Counter, lambda frame: float(frame.step)], ids=["class", "function"])
def test_every_measures_steps_0_k_2k_and_no_other(target):
    criterion = make(target, every=3)
    values = criterion.update_block(frames(4)) + criterion.update_block(frames(4, first=4))
    measured = [step for step, value in enumerate(values) if value is not None]
    assert measured == [0, 3, 6]
    assert all(value.value is not None for value in values if value is not None)


def test_every_goes_for_a_batch_too():
    criterion = make(lambda frame: 0.0, every=3, batch=lambda frames: [float(f.step) for f in frames])
    assert numbers(criterion.update_block(frames(4, first=2))) == [None, 3.0, None, None]


@pytest.mark.parametrize(("on", "share"), [("output", 1.0), ("average", 0.5)])
def test_on_chooses_the_output_or_its_average(on, share):
    frame = frames(1)[0]
    value = make(lambda frame: float(frame.tensor.sum()), measures=on).update(frame)
    assert value.value == pytest.approx(share * float(frame.tensor.sum()), rel=1e-6)


def test_a_batched_function_gives_what_its_function_gives_one_by_one():
    def mean(frame, *, power):
        return float((frame.tensor.double() ** power).mean())

    def means(frames, *, power):
        return [mean(frame, power=power) for frame in frames]

    fs = frames(6)
    fs[2] = Frame(Pictures(torch.full((1, 3, 6, 5), math.nan)), step=2, loss=0.1)
    alone, batched = make(mean, values={"power": 2}), make(mean, values={"power": 2}, batch=means)
    expected = alone.update_block(fs)
    assert batched.update_block(fs) == expected
    assert [batched.update(f) for f in fs] == expected
    assert expected[2].value is None


def test_a_batch_may_give_its_results_one_after_the_other():
    criterion = make(lambda frame: 0.0, batch=lambda frames: (float(f.step) for f in frames))
    assert numbers(criterion.update_block(frames(3))) == [0.0, 1.0, 2.0]


def test_a_batch_is_not_called_for_steps_that_are_not_measured():
    called = []
    criterion = make(lambda frame: 0.0, every=100, batch=lambda frames: called.append(frames) or [0.0] * len(frames))
    assert criterion.update_block(frames(3, first=1)) == [None] * 3
    assert called == []


# -- what it cannot measure


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_output_that_is_not_finite_has_no_value_and_does_not_reach_the_criterion(bad):
    outputs = torch.rand(3, 3, 4, 4)
    outputs[1, 0, 0, 0] = bad
    block = Block(0, [0.1] * 3, [0.1] * 3, Pictures(outputs), Pictures(outputs))
    values = make(Counter).update_block(list(block.frames(Problem())))
    assert numbers(values) == [1.0, None, 2.0]
    assert values[1].reason == "the output has NaN or infinite pixels"


def test_an_average_that_is_not_finite_has_no_value_where_it_is_what_is_measured():
    averages = torch.rand(2, 3, 4, 4)
    averages[1, 0, 0, 0] = math.nan
    block = Block(0, [0.1] * 2, [0.1] * 2, Pictures(torch.rand(2, 3, 4, 4)), Pictures(averages))
    fs = list(block.frames(Problem()))
    assert numbers(make(lambda frame: float(frame.uint8.max() > 0), measures="average").update_block(fs)) == [1.0, None]
    assert numbers(make(lambda frame: 1.0).update_block(fs)) == [1.0, 1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_value_that_is_no_number_is_no_value_and_says_why(bad):
    value = make(lambda frame: Value(bad, {"bytes": 3.0})).update(frames(1)[0])
    assert value == Value(None, {"bytes": 3.0}, f"it gave {float(bad)}")


def test_none_is_no_value():
    assert make(lambda frame: None).update(frames(1)[0]) == Value(None)
    assert make(lambda frame: Value(None, reason="too early")).update(frames(1)[0]).reason == "too early"


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    ("need", "words"),
    [("loss", "loss"), ("noisy", "noisy picture"), ("sigma", "noise level"), ("holdout", "held-out pixels")],
)
def test_a_criterion_that_fails_for_want_of_what_it_needs_has_no_value_and_says_what_it_needs(need, words, batched):
    def fails(frame):
        raise TypeError("unsupported operand")

    def all_fail(frames):
        raise TypeError("unsupported operand")

    frame = Frame(Pictures(torch.rand(1, 3, 4, 4)), problem=Problem())
    criterion = make(fails, needs=(need,), batch=all_fail if batched else None)
    assert criterion.update(frame) == Value(None, reason=f"needs the {words}")


def test_an_error_that_no_missing_thing_can_cause_is_not_hidden_by_it():
    def fails(frame):
        return undefined  # noqa: F821

    with pytest.raises(PluginError, match="raised NameError: name 'undefined' is not defined at step 0"):
        make(fails, needs=("loss",)).update(Frame(Pictures(torch.rand(1, 3, 4, 4))))


def test_a_criterion_that_can_do_without_what_it_needs_has_its_value():
    frame = Frame(Pictures(torch.rand(1, 3, 4, 4)))
    assert make(lambda frame: 1.5, needs=("loss",)).update(frame) == Value(1.5)


def test_lacking_names_the_first_need_that_a_frame_does_not_have():
    noisy = Picture(Pictures(torch.rand(1, 3, 16, 16)))
    bare = Frame(Pictures(torch.rand(1, 3, 4, 4)))
    full = Frame(Pictures(torch.rand(1, 3, 4, 4)), loss=0.1, problem=Problem(noisy))
    assert lacking(("noisy", "loss"), bare) == "noisy"
    assert lacking(("sigma",), bare) == "sigma"
    assert lacking((), bare) == ""
    assert lacking(("loss", "noisy", "sigma"), full) == ""


# -- whose error it is


@pytest.mark.parametrize("thing", ["1.0", [1.0], True, np.bool_(True), torch.tensor(1.0), 1j, object()])
def test_what_is_no_number_is_an_error_of_the_plugin_named_with_its_owner(thing):
    kind = type(thing).__name__
    with pytest.raises(PluginError) as error:
        make(lambda frame: thing).update(frames(1, first=7)[0])
    assert str(error.value) == (
        f"Criterion 'foo' of esbench-foo 1.0 must return a float or None, got a {kind} at step 7."
    )


@pytest.mark.parametrize("number", [1, 1.0, np.float32(1), np.float64(1), np.int64(1)])
def test_every_real_number_is_a_value_and_becomes_a_float(number):
    value = make(lambda frame: number).update(frames(1)[0]).value
    assert value == 1.0
    assert type(value) is float


def test_what_a_criterion_raises_is_reported_with_owner_and_step():
    def fails(frame):
        raise ZeroDivisionError("division by zero")

    with pytest.raises(PluginError) as error:
        make(fails).update(frames(1, first=3)[0])
    assert str(error.value) == (
        "Criterion 'foo' of esbench-foo 1.0 raised ZeroDivisionError: division by zero at step 3."
    )
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_what_a_criterion_of_our_own_raises_stays_as_it_is():
    def fails(frame):
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        make(fails, distribution="esbench").update(frames(1)[0])


def test_what_esbench_has_to_say_stays_as_it_is():
    def fails(frame):
        raise ParamError("lam must be a number.")

    with pytest.raises(ParamError, match=r"^lam must be a number\.$"):
        make(fails).update(frames(1)[0])


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ([1.0], "must return 3 results for 3 frames, got 1 from its batch function"),
        (1.0, "raised TypeError: 'float' object is not iterable"),
        (torch.tensor(1.0), "raised TypeError: iteration over a 0-d tensor"),
    ],
)
def test_a_batch_with_another_number_of_results_is_an_error_of_the_plugin(result, said):
    criterion = make(lambda frame: 0.0, batch=lambda frames: result)
    with pytest.raises(PluginError) as error:
        criterion.update_block(frames(3))
    assert str(error.value) == f"Criterion 'foo' of esbench-foo 1.0 {said}."


class NoState:
    def update(self, frame):
        return 1.0


class NoUpdate:
    pass


def test_a_class_without_one_of_its_methods_is_an_error_of_the_plugin():
    with pytest.raises(PluginError, match=r"'foo' of esbench-foo 1\.0 must have the method state_dict, because it is"):
        make(NoState)
    with pytest.raises(PluginError, match=r"'foo' of esbench-foo 1\.0 must have the method update, because it is"):
        make(NoUpdate)


def test_a_class_that_cannot_be_made_is_an_error_of_the_plugin():
    class Fails(Counter):
        def __init__(self):
            raise OSError("no weights")

    with pytest.raises(
        PluginError, match=r"^Criterion 'foo' of esbench-foo 1\.0 raised OSError: no weights in __init__\.$"
    ):
        make(Fails)


# -- resolve


def test_parameters_are_decided_by_the_problem_before_the_first_step():
    seen = []

    def resolve(problem, *, scale):
        seen.append(problem)
        return {"scale": problem.sigma if scale == "auto" else scale}

    def target(frame, *, scale):
        return scale

    problem = Problem(sigma=25.0)
    criterion = make(target, problem, {"scale": "auto"}, resolve=resolve)
    assert criterion.resolved == {"scale": 25.0}
    assert seen == [problem]
    assert criterion.update(frames(1)[0]).value == 25.0
    assert make(target, problem, {"scale": 3.0}, resolve=resolve).resolved == {"scale": 3.0}


@pytest.mark.parametrize(
    "value", [object(), math.nan, math.inf, 10**5000, "\udc80"], ids=lambda value: type(value).__name__
)
def test_parameters_that_a_result_cannot_hold_are_refused(value):
    wanted = "'foo' of esbench-foo 1.0 must return finite numbers and text as its parameters from resolve, got "
    with pytest.raises(PluginError, match=wanted):
        make(lambda frame, *, a=1.0: 1.0, values={"a": 1.0}, resolve=lambda problem, a: {"a": value})


def test_resolve_may_return_numbers_of_numpy_and_pytorch_but_no_parameter_of_its_own():
    for value in (np.float32(0.5), np.array(0.5), torch.tensor(0.5)):
        made = make(lambda frame, *, a: a, values={"a": 1.0}, resolve=lambda problem, a, value=value: {"a": value})
        assert type(made.resolved["a"]) is float
    with pytest.raises(PluginError, match=r"must return only its parameters from resolve, got 'b'\."):
        make(lambda frame, *, a: a, values={"a": 1.0}, resolve=lambda problem, a: {"a": a, "b": a})


def test_resolve_must_return_the_parameters():
    with pytest.raises(PluginError) as error:
        make(lambda frame: 1.0, resolve=lambda problem: None)
    assert str(error.value) == (
        "Criterion 'foo' of esbench-foo 1.0 must return its parameters as a dict from resolve, got a NoneType."
    )


# -- memory


def test_a_criterion_without_memory_has_no_state():
    criterion = make(lambda frame: 1.0)
    assert criterion.state_dict() == {}
    criterion.load_state_dict({})


@pytest.mark.parametrize(
    "name", ["drift", "wmv[window=3]", "emv[burn_in=2]", "drift[every=2]", "loss", "cifs-jpeg[lam=0]"]
)
@pytest.mark.parametrize("at", [0, 1, 4, 9])
def test_a_criterion_saved_and_loaded_at_any_step_continues_as_if_never_interrupted(install, name, at):
    install("good_stateful")
    component = Registry(PluginHost({})).get("criterion", name)
    fs = frames(9)
    expected = numbers(Criterion(component, Problem()).update_block(fs))
    before, after = Criterion(component, Problem()), Criterion(component, Problem())
    first = numbers(before.update_block(fs[:at]))
    state = copy.deepcopy(before.state_dict())
    after.load_state_dict(before.state_dict())
    assert first + numbers(after.update_block(fs[at:])) == expected
    assert any(value is not None for value in expected)
    again = Criterion(component, Problem())
    again.load_state_dict(state)  # continuing from a saved state does not change it
    assert numbers(again.update_block(fs[at:])) == expected[at:]
