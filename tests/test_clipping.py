"""What a noisy picture was before it was clipped, against many draws."""

from __future__ import annotations

import pytest
import torch

from esbench.clipping import before


@pytest.mark.parametrize("x", [0.0, 0.05, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_the_mean_and_variance_are_those_of_the_values_that_are_clipped(x, sigma):
    drawn = x + sigma * torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = drawn.clamp(0, 1)
    mean, variance = before(y, torch.full_like(y, x), sigma)
    for bound in (0, 1):
        at = y == bound
        if at.sum() > 1000:
            assert mean[at][0].item() == pytest.approx(drawn[at].mean().item(), abs=0.02 * sigma)
            assert variance[at][0].item() == pytest.approx(drawn[at].var().item(), abs=0.02 * sigma**2)
    within = (y > 0) & (y < 1)
    assert torch.equal(mean[within], y[within])
    assert not variance[within].any()


def test_an_output_that_noise_does_not_explain_gives_finite_numbers():
    y = torch.tensor([0.0, 1.0, 0.0, 1.0])
    mean, variance = before(y, torch.tensor([1.0, 0.0, -1.0, 2.0]), 0.004)
    assert mean.tolist() == pytest.approx([0, 1, -1, 2], abs=2e-3)
    assert (variance >= 0).all()
    assert variance[0] < 1e-6
