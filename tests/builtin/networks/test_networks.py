"""What holds for every network."""

from __future__ import annotations

import pytest

from esbench.builtin import networks
from esbench.records import NetworkInfo
from esbench.registry import registry

NAMES = [info.name for info in networks.INFOS]


def test_a_network_says_nothing_of_settings_that_are_those_of_the_deep_image_prior():
    info = NetworkInfo(name="n", summary="s", target="a:b")
    assert (info.learning_rate, info.perturbation, info.input, info.depth) == (0.01, 1 / 30, "noise", 32)


@pytest.mark.parametrize("name", NAMES)
def test_the_depth_of_the_input_is_a_number_or_that_of_a_parameter(name):
    component = registry().get("network", name)
    assert isinstance(component.info, NetworkInfo)
    depth = component.info.depth
    assert (depth if isinstance(depth, int) else component.values[depth]) >= 1
