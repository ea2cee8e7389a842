from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from esbench.builtin.criteria.self_reference import blurred, csr_like
from esbench.builtin.degradations.additive import gaussian
from esbench.frames import Frame
from esbench.observation import Problem
from esbench.pictures import Pictures
from esbench.registry import registry
from esbench.stopping.rule import first_stop
from esbench.testing import check_criterion, scenes
from esbench.testing import criterion as kit


def frame(x: np.ndarray, y: np.ndarray | None, **known) -> Frame:
    noisy = None if y is None else Pictures(y[None])[0]
    return Frame(Pictures(torch.from_numpy(x[None]).movedim(-1, 1)), problem=Problem(noisy=noisy, **known))


def directly(x: np.ndarray, y: np.ndarray, scale: float) -> float:
    """The distance as it is said, channel by channel, with the Gaussian of SciPy."""

    def detail(z: np.ndarray) -> np.ndarray:
        return z - gaussian_filter(z, scale, mode="nearest", radius=int(np.ceil(3 * scale)))

    total = 0.0
    for c in range(3):
        reference = (y[..., (c + 1) % 3].astype(float) + y[..., (c + 2) % 3]) / 2
        total += float(((detail(x[..., c].astype(float)) - detail(reference)) ** 2).mean()) / 3
    return total


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.5, 1.0, 4.0]), st.integers(0, 99))
def test_it_is_the_distance_in_detail_to_the_mean_of_the_other_channels(h, w, scale, seed):
    x, y = np.random.default_rng(seed).random((2, h, w, 3), np.float32)
    assert csr_like(frame(x, y), scale=scale).value == pytest.approx(directly(x, y, scale), rel=1e-4, abs=1e-10)


def test_golden_numbers():
    """From `directly`, by SciPy 1.17."""
    x, y = np.random.default_rng(0).random((2, 16, 12, 3), np.float32)
    assert csr_like(frame(x, y)).value == pytest.approx(0.118684518, rel=1e-5)
    assert csr_like(frame(x, y), scale=1.0).value == pytest.approx(0.0905484861, rel=1e-5)


def test_the_blur_keeps_a_flat_picture_and_a_ramp_away_from_the_edge():
    ramp = torch.arange(60.0).expand(3, 60, 60)
    assert torch.allclose(blurred(torch.full((3, 9, 7), 0.3), 2.0), torch.full((3, 9, 7), 0.3))
    assert torch.allclose(blurred(ramp, 2.0)[:, :, 6:-6], ramp[:, :, 6:-6], atol=1e-4)


def test_neither_the_order_of_the_channels_nor_which_side_is_up_matters():
    x, y = np.random.default_rng(1).random((2, 8, 9, 3), np.float32)
    plain = csr_like(frame(x, y)).value
    for turn in (lambda z: z[..., [2, 0, 1]], lambda z: z[::-1], lambda z: z[:, ::-1], lambda z: z.swapaxes(0, 1)):
        assert csr_like(frame(turn(x).copy(), turn(y).copy())).value == pytest.approx(plain, rel=1e-5)


def test_it_is_smallest_between_the_blur_and_the_noise():
    clean = scenes.photograph((48, 64))
    y = gaussian(clean, np.random.default_rng(0), sigma=25)
    blur = gaussian_filter(clean, (2, 2, 0))
    # the picture is learned first, then the noise
    outputs = [blur + t / 10 * (clean - blur) for t in range(10)] + [clean + t / 10 * (y - clean) for t in range(10)]
    values = [csr_like(frame(x.astype(np.float32), y)).value for x in outputs]
    stop = first_stop(values, patience=5)
    assert not stop.fallback
    assert 8 <= stop.step <= 12


@pytest.mark.parametrize(
    ("x", "y", "known", "reason"),
    [
        ((4, 4, 3), None, {}, "needs the noisy picture"),
        ((4, 4, 3), (2, 2, 3), {}, "needs a noisy picture of the output's size"),
        ((4, 4, 1), (4, 4, 1), {}, "needs a picture with colour channels"),
        ((4, 4, 3), (4, 4, 3), {"known": np.ones((4, 4), bool)}, "needs a noisy picture without missing pixels"),
    ],
)
def test_where_there_is_no_reference_there_is_a_reason_and_no_value(x, y, known, reason):
    value = csr_like(frame(np.zeros(x, np.float32), None if y is None else np.zeros(y, np.float32), **known))
    assert (value.value, value.reason) == (None, reason)


def test_it_passes_the_conformance_kit(monkeypatch):
    monkeypatch.setattr(kit, "LARGEST", (200, 300))
    found = check_criterion("csr-like")
    assert [str(finding) for finding in found if finding.status == "failed"] == []
    assert [finding.status for finding in found if finding.check == "direction"] == ["ok"]


def test_it_is_measured_on_the_average():
    assert registry().get("criterion", "csr-like").info.measures == "average"
