from __future__ import annotations

import pytest

from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.pictures import Pictures
from esbench.plugins import PluginHost
from esbench.registry import Registry
from esbench.stopping.criterion import Criterion
from esbench.stopping.rule import first_stop


def values(name: str, losses: list[float | None]) -> list[Value]:
    import torch

    criterion = Criterion(Registry(PluginHost({"ESBENCH_PLUGINS": "none"})).get("criterion", name), Problem())
    return [
        criterion.update(Frame(Pictures(torch.zeros(1, 3, 4, 4)), step=step, loss=loss))
        for step, loss in enumerate(losses)
    ]


def test_loss_is_the_loss():
    assert values("loss", [0.5, 0.25]) == [Value(0.5), Value(0.25)]


def test_loss_outside_an_optimisation_has_no_value():
    assert values("loss", [None])[0].value is None


@pytest.mark.parametrize("step", [0, 3, 6])
def test_fixed_stops_at_its_step(step):
    curve = [v.value for v in values(f"fixed[step={step}]", [0.1] * 10)]
    assert curve == [abs(t - step) for t in range(10)]
    assert first_stop(curve, patience=3).step == step


def test_last_never_stops():
    curve = [v.value for v in values("last", [0.1] * 10)]
    stop = first_stop(curve, patience=2)
    assert (stop.step, stop.fallback) == (9, True)
    assert values("last", [0.1])[0].reason == "no early stopping"
