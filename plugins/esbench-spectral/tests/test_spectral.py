import math
from types import SimpleNamespace

import numpy as np
import pytest
from esbench import first_stop
from esbench.testing import check_criterion

from esbench_spectral import criterion
from esbench_spectral.criterion import Spectral, blur, box, grey, ratio, sharp

RNG = np.random.default_rng(0)
SMOOTH = np.add.outer(np.sin(np.arange(48) / 7), np.cos(np.arange(40) / 9)) / 4 + 0.5
NOISY = (SMOOTH + 0.1 * RNG.standard_normal(SMOOTH.shape)).clip(0, 1)


@pytest.mark.parametrize("text", ["spectral[window=4]", "spectral[threshold=0,window=10]"])
def test_it_passes_the_conformance_kit(text):
    assert [str(finding) for finding in check_criterion(text) if finding.status == "failed"] == []


def test_grey_is_the_luma():
    assert grey(np.array([[[1.0, 0.5, 0.25]]], np.float32))[0, 0] == pytest.approx(0.2989 + 0.2935 + 0.0285)


def test_box_is_the_mean_of_nine_rows_with_zeros_outside():
    wanted = np.array([np.convolve(column, np.ones(9) / 9, mode="same") for column in SMOOTH.T]).T
    assert np.allclose(box(SMOOTH), wanted)


def test_blur_is_its_formula_pixel_by_pixel():
    def along(y):
        b = np.array([np.convolve(column, np.ones(9) / 9, mode="same") for column in y.T]).T
        lost = total = 0.0
        for i in range(6, y.shape[0] - 4):
            for j in range(6, y.shape[1] - 4):
                d_f, d_b = abs(y[i, j] - y[i - 1, j]), abs(b[i, j] - b[i - 1, j])
                lost, total = lost + max(0, d_f - d_b), total + d_f
        return 1 - lost / total

    assert blur(NOISY) == pytest.approx(max(along(NOISY), along(NOISY.T)))


def test_sharp_is_its_formula_pixel_by_pixel():
    def at(i, j):
        near = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
        inside = [0 <= k < NOISY.shape[0] and 0 <= m < NOISY.shape[1] for k, m in near]
        return max(NOISY[p] if there else 0 for p, there in zip(near, inside, strict=True)) - NOISY[i, j]

    variations = sorted((at(i, j) for i, j in np.ndindex(*NOISY.shape)), reverse=True)
    terms = [(math.exp(-0.01 * k) * variations[k]) ** 2 for k in range(2, 1001)]
    assert sharp(NOISY) == pytest.approx(math.sqrt(sum(terms) / len(terms)))


def test_noise_makes_a_picture_sharper_and_less_blurred():
    assert sharp(NOISY) > sharp(SMOOTH)
    assert blur(NOISY) < blur(SMOOTH)
    assert ratio(NOISY)[0] < ratio(SMOOTH)[0]


def test_small_and_flat_pictures_have_a_reason_instead():
    assert ratio(np.zeros((11, 30)))[1] == "it is smaller than 12 pixels"
    assert ratio(np.full((30, 30), 0.5))[1] == "it is flat"


@pytest.fixture
def curve(monkeypatch):
    """Give curve(ratios, **parameters): the values of outputs with these ratios."""

    def curve(ratios, **parameters):
        found = Spectral(**parameters)
        answers = iter(ratios)
        monkeypatch.setattr(criterion, "ratio", lambda x: (next(answers), ""))
        frame = SimpleNamespace(float=np.zeros((1, 1, 1), np.float32))
        return [found.update(frame).value for _ in ratios]

    return curve


def test_the_windows_are_those_of_the_description(curve):
    n, ratios = 5, RNG.random(30)
    values = curve(ratios, window=n, threshold=0.0)
    assert values[: 2 * n + 1] == [None] * (2 * n + 1)
    for t in range(2 * n + 1, 30):
        wanted = abs(np.mean(ratios[t - 2 * n : t - n]) - np.mean(ratios[t - n + 1 : t]))
        assert values[t] == pytest.approx(wanted)


def test_the_shared_rule_stops_where_the_published_one_does(curve):
    n, threshold = 10, 0.01
    ratios = 1 + np.exp(-np.arange(300) / 40) + 0.002 * RNG.standard_normal(300)
    plain = curve(ratios, window=n, threshold=0.0)
    published = next(t for t, value in enumerate(plain) if value is not None and value < threshold)
    stop = first_stop(curve(ratios, window=n, threshold=threshold), patience=100)
    assert (stop.step, stop.fallback) == (published, False)
    assert 40 < published < 150
