from __future__ import annotations

import math

import pytest
import torch

from esbench.builtin.regularisers.tv import tv
from esbench.builtin.tasks.denoise import Denoise
from esbench.kinds import Step
from esbench.observation import Observation


def step(x: torch.Tensor) -> Step:
    return Step(0, lambda z: x, x, Denoise(), Observation(x[0].permute(1, 2, 0).detach().numpy()), torch.Generator())


@pytest.mark.parametrize(("across", "down"), [(0.1, 0.0), (0.0, 0.2), (0.03, 0.04)])
def test_of_a_plane_it_is_the_slope_times_the_pixels_that_have_both_neighbours(across, down):
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    x = (across * columns + down * rows).expand(1, 3, 5, 7)
    assert tv(step(x), weight=2.0).item() == pytest.approx(2 * 3 * 4 * 6 * math.hypot(across, down), rel=1e-4)


def test_a_flat_picture_has_next_to_none_and_a_finite_gradient():
    x = torch.full((1, 1, 6, 6), 0.5, requires_grad=True)
    value = tv(step(x))
    value.backward()
    assert value.item() < 1e-11
    assert torch.isfinite(x.grad).all()
