from __future__ import annotations

import copy

import pytest
import torch

from esbench.engine.adam import Adam


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 1, 3))


def updated(f: torch.nn.Module, optimiser: Adam | torch.optim.Adam, steps: range) -> None:
    """Do steps, at first without a gradient of the last layer."""
    for t in steps:
        x = f[:2](torch.linspace(0, 1, 2 * 9 * 9).view(1, 2, 9, 9) * t)
        optimiser.zero_grad()
        (f[2](x) if t > 2 else x).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize("fused", [None, True])
def test_it_is_that_of_pytorch_to_the_bit(fused):
    theirs, ours = network(), network()
    updated(theirs, torch.optim.Adam(theirs.parameters(), lr=0.01, fused=fused), range(12))
    updated(ours, Adam(ours.parameters(), 0.01, fused=fused), range(12))
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert not torch.equal(ours[2].weight, network()[2].weight)


def test_it_goes_on_from_its_state():
    whole, first = network(), network()
    updated(whole, Adam(whole.parameters(), 0.01), range(12))
    optimiser = Adam(first.parameters(), 0.01)
    updated(first, optimiser, range(5))
    second, saved = network(), copy.deepcopy(optimiser.state_dict())
    second.load_state_dict(first.state_dict())
    again = Adam(second.parameters(), 0.01)
    again.load_state_dict(saved)
    updated(second, again, range(5, 12))
    assert all(map(torch.equal, second.parameters(), whole.parameters()))
