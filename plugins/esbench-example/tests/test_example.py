from types import SimpleNamespace

import numpy as np
from esbench.testing import check_criterion

from esbench_example.criterion import example


def frame(picture):
    return SimpleNamespace(float=picture, size=picture.shape[:2])


def test_it_passes_all_checks():
    assert [str(finding) for finding in check_criterion("example") if finding.status == "failed"] == []


def test_a_flat_picture_has_no_steps():
    assert example(frame(np.full((8, 8, 3), 0.5, np.float32))).value == 0


def test_a_rougher_picture_has_a_higher_value():
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8, 1)
    shuffled = np.random.default_rng(0).permutation(ramp.ravel()).reshape(8, 8, 1)
    assert example(frame(ramp)).value < example(frame(shuffled)).value
