from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench.bench import calibrate, driver
from esbench.bench.calibrate import GRID, MARGIN, Curve, search, without_lam
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.registry import registry

T = 200


def curve(best: float, peak: int, *, pixels: int = 1000, width: float = 50.0) -> Curve:
    """Return an optimisation whose E is lowest at its peak for mu = `best`, and earlier for less, later for more.

    The loss falls by 1 / T a step and R rises as b t^2, so that E is lowest at t = mu pixels / (2 b T).
    """
    t = np.arange(T)
    b = best * pixels / (2 * T * peak)
    psnr = 30 - ((t - peak) / width) ** 2
    return Curve(pixels, loss=1 - t / T, size=np.sqrt(b * pixels) * t, psnr_db=psnr)


@given(st.floats(5, 2000), st.integers(40, 120))
@settings(max_examples=20, deadline=None)
def test_the_best_mu_is_found_where_it_is_known(best, peak):
    found = search([curve(best, peak)], patience=10)
    assert best / 1.22 <= found.mu <= best * 1.22  # within the margin of what is best
    assert found.psnr_db <= found.peak_db == 30
    assert found.width[0] / 1.06 <= best <= found.width[1] * 1.06
    assert found.pictures == 1


def test_it_keeps_away_from_where_the_rule_never_stops(monkeypatch):
    edge = GRID[100]
    monkeypatch.setattr(Curve, "stopped_db", lambda self, mu, patience: 30 - 0.1 * (edge / mu) if mu < edge else 20.0)
    found = search([curve(100, 60)], patience=10)
    assert found.mu == GRID[100 - 1 - MARGIN]  # the last one none of whose neighbours is beyond the edge
    assert found.width[1] == GRID[99]


def test_the_width_is_what_loses_less_than_a_tenth_of_a_decibel():
    found = search([curve(100, 100, width=50)], patience=10)
    # 0.1 dB is 15.8 steps of 100: mu from 84 to 116
    assert found.width[0] == pytest.approx(84, rel=0.06)
    assert found.width[1] == pytest.approx(116, rel=0.06)


def test_several_pictures_share_one_mu_whatever_their_sizes():
    found = search([curve(80, 100, pixels=500), curve(125, 100, pixels=9000)], patience=10)
    assert 80 / 1.22 <= found.mu <= 125 * 1.22
    assert found.psnr_db < found.peak_db == 30
    assert found.pictures == 2


def test_the_stop_is_that_of_the_benchmarks_rule_on_e():
    c = curve(100, 60)
    mu = GRID[90]
    lam = mu * c.pixels
    e = lam * c.loss + c.size**2 / c.pixels  # Eq. (2) and (3)
    assert c.stopped_db(mu, 5) == c.psnr_db[int(np.argmin(e))]
    assert c.stopped_db(1e9, 5) == c.psnr_db[-1]  # nothing but the loss, which falls: the last step


@pytest.mark.parametrize(
    ("text", "measured"),
    [
        ("cifs-jpeg", "cifs-jpeg[lam=0]"),
        ("cifs-jpeg[lam=1e6]", "cifs-jpeg[lam=0]"),
        ("cifs-jpeg[quality=90]", "cifs-jpeg[lam=0,quality=90]"),
        ("cifs-jpeg[every=5,on=average,quality=90]", "cifs-jpeg[lam=0,quality=90]"),
    ],
)
def test_the_sizes_are_measured_with_lam_0_at_every_step(text, measured):
    assert registry().get("criterion", without_lam(text)).text == measured


def test_the_optimisations_of_a_run_come_by_noise_level(pictures, tmp_path):
    config = Config(
        dataset=str(pictures("a", "b")),
        criterion=("cifs-jpeg[lam=0]",),
        network="skip[channels=4,scales=2]",
        sigma=(15.0, 25.0),
        iterations=8,
        device="cpu",
    )
    driver.run(config, tmp_path / "r", driver.plan(config, tmp_path / "r"), lambda event: None)
    results = Results(tmp_path / "r")
    found = calibrate.curves(results, results.run.record()["plan"], "cifs-jpeg[lam=0]")
    assert {sigma: len(curves) for sigma, curves in found.items()} == {15.0: 2, 25.0: 2}
    unit = results.run.units()[0]
    first = found[unit.spec().sigma][0]
    assert first.pixels == 24 * 28
    assert np.array_equal(first.loss, unit.trace()["loss"])
    r = unit.criterion("cifs-jpeg[lam=0]")[0]["value"]
    assert first.size**2 / first.pixels == pytest.approx(r)

    # and what is found with it is what the criterion then does
    mu = 50.0
    lam = mu * first.pixels
    with_lam = dataclasses.replace(config, criterion=(f"cifs-jpeg[lam={lam:g}]",), patience=config.patience)
    driver.run(with_lam, tmp_path / "r", driver.plan(with_lam, tmp_path / "r"), lambda event: None)
    row = results.table(units=[unit.id], criteria=[registry().get("criterion", with_lam.criterion[0]).text])[0]
    assert row["psnr_db"] == first.stopped_db(mu, config.patience)
