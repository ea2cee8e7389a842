"""Masking: the network is compared with what it was not given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from esbench.builtin.losses.masking import masking
from esbench.filling import GREY, masked


class Seen(nn.Module):
    """A network that returns the picture that it is given, filled in, and remembers where that was known."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        self.picture, self.known = z[:, :3], z[:, 3:]
        return self.picture


def missing(shape: tuple[int, ...], share: float = 0.3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_the_network_is_compared_with_the_known_values_that_it_is_not_given(step, clean, shape, seed):
    known = torch.from_numpy(~missing(shape))
    known = (known.permute(2, 0, 1) if known.ndim == 3 else known).expand(1, 3, 20, 24)
    f, y = Seen(), torch.from_numpy(clean).permute(2, 0, 1)[None]
    total = masking(step(f, clean, seed, known=~missing(shape)), share=0.4).total
    given = f.known > 0
    assert not (given & ~known).any()
    assert torch.equal(f.picture[given], y[given])
    hidden = known & ~given
    assert hidden.sum().item() == pytest.approx(0.4 * known.sum().item(), rel=0.15)
    assert total.item() == pytest.approx(((f.picture - y)[hidden] ** 2).mean().item(), rel=1e-9)
    if len(shape) == 2:  # whole pixels miss, so whole pixels are hidden
        assert (hidden.sum(1).unique().tolist()) == [0, 3]


def test_the_values_that_it_is_given_count_a_tenth(step, clean):
    class Grey(Seen):
        def forward(self, z):
            return super().forward(z) * 0 + 0.5

    known = ~missing(clean.shape)
    total = masking(step(f := Grey(), clean, known=known)).total
    given = (f.known[0] > 0).permute(1, 2, 0).numpy()
    squares = (0.5 - clean) ** 2
    assert total.item() == pytest.approx(squares[known & ~given].mean() + 0.1 * squares[given].mean(), rel=1e-9)


def test_what_is_missing_makes_no_difference(step, clean):
    gone = missing(clean.shape)
    other = np.where(gone, 1 - clean, clean)
    totals = [masking(step(Seen(), y, known=~gone)).total.item() for y in (clean, other)]
    assert totals[0] == totals[1] > 0


def test_every_known_value_is_hidden_sooner_or_later(step, clean):
    known, found = ~missing(clean.shape), np.zeros(clean.shape, bool)
    for seed in range(60):
        masking(step(f := Seen(), clean, seed, known=known))
        found |= known & ~(f.known[0] > 0).permute(1, 2, 0).numpy()
    assert np.array_equal(found, known)


@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_a_flat_picture_is_filled_in_with_its_value(share):
    known = torch.from_numpy(~missing((1, 2, 30, 40), share)).double()
    assert known.any()
    filled = masked(torch.full((1, 2, 30, 40), 0.7, dtype=torch.float64) * known, known)[:, :2]
    assert set(filled.unique().round(decimals=9).tolist()) <= {0.7, GREY}
    assert (filled == GREY).double().mean() < (0.9 if share > 0.99 else 1e-9)


def test_without_a_known_value_all_is_grey():
    nothing = torch.zeros(1, 3, 4, 5)
    assert torch.equal(masked(nothing, nothing), torch.cat([nothing + GREY, nothing], 1))
