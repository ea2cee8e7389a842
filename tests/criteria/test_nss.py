import threading

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench.builtin.criteria import nss
from esbench.frames import Frame
from esbench.pictures import Pictures


@pytest.fixture(autouse=True)
def plain_opencv():
    """OpenCV's own arithmetic, and not that of the library that some builds put in its place."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    yield
    cv2.ipp.setUseIPP(before)


def test_grey_is_opencvs_for_every_colour_on_a_fine_grid():
    values = np.r_[np.arange(0, 256, 5), 254, 1, 2, 3].astype(np.uint8)
    colours = np.stack(np.meshgrid(values, values, values, indexing="ij"), -1).reshape(1, -1, len(values), 3)
    expected = cv2.cvtColor(np.ascontiguousarray(colours[0, :, :, ::-1]), cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(nss.grey(Pictures(colours).tensor)[0].numpy(), expected)


def test_levels_are_those_of_the_8_bit_view():
    x = torch.rand(1, 3, 20, 30) * 1.5 - 0.25
    np.testing.assert_array_equal(nss.levels(x).movedim(1, -1).numpy(), Pictures(x).uint8)


@pytest.mark.parametrize(
    ("size", "wanted"), [((40, 60), (20, 30)), ((41, 63), (20, 31)), ((96, 192), (96, 48)), ((2, 3), (1, 1))]
)
def test_cubic_resizing_is_opencvs(size, wanted):
    x = np.random.default_rng(0).random(size, dtype=np.float32)
    expected = cv2.resize(x, wanted[::-1], interpolation=cv2.INTER_CUBIC)
    padded = nss.replicate(torch.from_numpy(x)[None], 2)
    np.testing.assert_allclose(nss.cubic(padded, *wanted)[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_correlating_both_ways_is_a_gaussian_blur(paired, fused):
    x = np.random.default_rng(0).random((33, 47), dtype=np.float32)
    padded = nss.replicate(torch.from_numpy(x)[None], 3)
    options = {"paired": paired, "fused": fused}
    found = nss.correlate(nss.taps(nss.correlate(nss.taps(padded, -1), **options), -2), **options)
    expected = cv2.GaussianBlur(x, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("step", [1, 2])
def test_a_product_of_matrices_filters_along_rows_and_columns(step):
    x = np.random.default_rng(0).random((2, 24 * step + 6, 36 * step + 6))
    padded = torch.from_numpy(x)
    across = nss.along_rows(padded, nss.GAUSSIAN, 12, step)
    assert across.shape == (2, 24 * step + 6, 36)
    np.testing.assert_allclose(across, nss.correlate(nss.taps(padded, -1))[..., ::step], atol=1e-7)
    np.testing.assert_allclose(nss.along_columns(padded.mT, nss.GAUSSIAN, 4, step), across.mT, atol=1e-12)


def test_a_picture_in_bands_is_the_picture(monkeypatch):
    x = torch.rand(1, 3, 41, 30)
    monkeypatch.setattr(nss, "ENTRIES_AT_ONCE", 30 * 8)
    assert [part.shape[-2] for part in nss.bands(x)] == [8, 8, 8, 8, 8, 1]
    assert [part.shape[-2] for part in nss.bands(x[..., :40, :], every=5)] == [5] * 8
    in_bands = nss.grey(x), nss.cubic(nss.replicate(x[0], 2), 20, 15), nss.replicate(x[0], 3, 0.5)
    monkeypatch.undo()
    at_once = nss.grey(x), nss.cubic(nss.replicate(x[0], 2), 20, 15), nss.replicate(x[0], 3, 0.5)
    assert all(map(torch.equal, in_bands, at_once))


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_frames_are_measured_in_order_by_threads_that_do_not_share_their_work_out(three_threads):
    outputs = torch.rand(7, 1, 4, 5)
    pictures = Pictures(outputs)
    seen = []

    def measure(x):
        seen.append((torch.get_num_threads(), threading.get_ident()))
        return x.sum((1, 2, 3))

    found = nss.measured([Frame(pictures, i) for i in range(7)], measure)
    torch.testing.assert_close(found, outputs.sum((1, 2, 3)))
    assert {threads for threads, _ in seen} == {1}
    assert threading.get_ident() not in {thread for _, thread in seen}
    assert torch.get_num_threads() == 3


def test_moments_are_the_sums_of_both_sides():
    x = np.random.default_rng(0).normal(size=(2, 50, 70)).astype(np.float32)
    x[:, 3] = 0
    m = nss.moments([torch.from_numpy(x), torch.from_numpy(-x)])
    assert m.n.tolist() == [[50 * 70] * 2] * 2
    assert m.n_left.shape == (2, 2)
    for frame in range(2):
        negative, positive = x[frame][x[frame] < 0].astype(float), x[frame][x[frame] > 0].astype(float)
        assert m.n_left[frame, 0] == m.n_right[frame, 1] == len(negative)
        assert m.n_right[frame, 0] == m.n_left[frame, 1] == len(positive)
        assert m.absolute[frame, 0] == pytest.approx(positive.sum() - negative.sum(), rel=1e-6)
        assert m.square_left[frame, 0] == pytest.approx((negative**2).sum(), rel=1e-6)
        assert m.square_right[frame, 0] == pytest.approx((positive**2).sum(), rel=1e-6)


def test_a_side_without_entries_has_a_count_and_a_sum_of_exactly_zero():
    m = nss.moments([torch.rand(1, 300, 401)])
    assert m.n_left.item() == m.square_left.item() == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.1, 2), min_size=1, max_size=20))
def test_the_shape_is_the_grid_point_that_trying_all_of_them_gives(ratios):
    grid = (np.arange(nss.STEPS) + 200) / 1000
    lgamma = lambda x: torch.lgamma(torch.from_numpy(x)).numpy()  # noqa: E731
    table = np.exp(2 * lgamma(2 / grid) - lgamma(1 / grid) - lgamma(3 / grid))
    by_scan = [grid[np.abs(table - r).argmin()] for r in ratios]
    np.testing.assert_array_equal(nss.shape(torch.tensor(ratios, dtype=torch.float64)).numpy(), by_scan)
    upside_down = [grid[np.abs(1 / table - r).argmin()] for r in ratios]
    np.testing.assert_array_equal(
        nss.shape(torch.tensor(ratios, dtype=torch.float64), inverse=True).numpy(), upside_down
    )


def test_no_ratio_gives_the_first_shape():
    assert nss.shape(torch.tensor([float("nan")], dtype=torch.float64)).tolist() == [0.2]


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.0])
def test_the_fit_finds_the_shape_and_the_sigmas_of_a_sample(shape):
    rng = np.random.default_rng(1)
    size = rng.gamma(1 / shape, size=(1, 600, 600)) ** (1 / shape)
    right = rng.random(size.shape) < 3 / 4  # an asymmetric sample has more on its wide side: 3 to 1 for scales 3 and 1
    x = torch.from_numpy(np.where(right, 3 * size, -size).astype(np.float32))
    found, left, right_sigma = nss.aggd(nss.moments([x]))
    assert found.item() == pytest.approx(shape, rel=0.03)
    assert (right_sigma / left).item() == pytest.approx(3, rel=0.02)
