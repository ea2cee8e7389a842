from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.errors import UsageError
from esbench.paper import calibrate
from esbench.paper.calibrate import MARGIN, Curve, Pieces, everywhere, mean, measured, search, windowed
from esbench.stopping.rule import first_stop

T = 200


def curve(best: float, peak: int, *, width: float = 50.0) -> Curve:
    """Return an optimisation whose E is lowest at its peak for mu = `best`, and earlier for less, later for more.

    The loss falls by 1 / T a step and R rises as b t^2, so that E is lowest at t = mu / (2 b T).
    """
    t = np.arange(T)
    return Curve(1 - t / T, best / (2 * T * peak) * t.astype(float) ** 2, 30 - ((t - peak) / width) ** 2)


#: Whole numbers, so that E is exact at the middle of every piece, and ties are ties.
points = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=40)


def optimisation(points) -> Curve:
    loss, r = np.array(points, float).T
    return Curve(loss, r, np.arange(len(points), dtype=float))


def fine_grid(pieces: Pieces) -> np.ndarray:
    """Return values of mu between 0.01 and 100 that are not on an edge, where two steps tie."""
    grid = np.geomspace(1e-2, 1e2, 150)
    return grid[~np.isclose(grid[:, None], pieces.edges, rtol=1e-9).any(1)]


# -- exact in mu


@given(points)
@settings(max_examples=100, deadline=None)
def test_the_smallest_e_of_all_steps_is_that_of_brute_force_for_every_mu(points):
    c = optimisation(points)
    pieces = everywhere(c)
    mu = fine_grid(pieces)
    assert np.array_equal(pieces(mu), np.argmin(np.outer(mu, c.loss) + c.r, axis=1))  # the first of equal ones
    assert (np.diff(pieces.edges) > 0).all()


@given(points, st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_the_stop_of_the_rule_is_that_of_brute_force_for_every_mu(points, patience):
    c = optimisation(points)
    pieces = windowed(c, patience)
    mu = fine_grid(pieces)
    e = np.outer(mu, c.loss) + c.r
    assert pieces(mu).tolist() == [first_stop(curve, patience).step for curve in e.tolist()]


@given(points, st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_every_piece_is_another_stop(points, patience):
    for pieces in (windowed(optimisation(points), patience), everywhere(optimisation(points))):
        assert len(pieces.values) == len(pieces.edges) + 1
        assert (np.diff(pieces.values) != 0).all()


@pytest.mark.parametrize("objective", calibrate.OBJECTIVES)
def test_a_long_noisy_optimisation_too(objective):
    rng, t = np.random.default_rng(0), np.arange(3000)
    loss = 0.01 * np.exp(-t / 500) + 0.005 - 1e-6 * t + 1e-5 * rng.standard_normal(len(t))
    c = Curve(loss, (0.4 + 1e-4 * t + 0.002 * rng.standard_normal(len(t))) ** 2, np.sin(t / 900))
    pieces = calibrate.stops(c, objective, 150)
    assert len(pieces.edges) > 15
    for mu in np.geomspace(1, 1e3, 60):
        e = mu * c.loss + c.r
        assert pieces(mu) == (first_stop(e.tolist(), 150).step if objective == "windowed" else np.argmin(e))


def test_a_missing_value_is_no_stop_and_undercuts_nothing():
    c = Curve(np.array([np.nan, 5, np.nan, 3, 4, 4]), np.array([0, 1, np.nan, 1, 1, 1.0]), np.zeros(6))
    assert windowed(c, 2)(1.0) == first_stop([None, 6, None, 4, 5, 5], 2).step == 3
    assert everywhere(c)(1.0) == 3


def test_the_mean_has_the_edges_of_all():
    found = mean([Pieces(np.array([1.0]), np.array([10.0, 20.0])), Pieces(np.array([1.0, 2.0]), np.array([0.0, 4, 8]))])
    assert found.edges.tolist() == [1, 2]
    assert found.values.tolist() == [5, 12, 14]
    assert [found(mu) for mu in (0.5, 1.5, 9)] == [5, 12, 14]


# -- the search


@given(st.floats(5, 2000), st.integers(40, 120))
@settings(max_examples=20, deadline=None)
def test_the_best_mu_is_found_where_it_is_known(best, peak):
    c = curve(best, peak)
    found = search([windowed(c, 10).of(c.psnr_db)])
    assert best / 1.25 <= found.mu <= best * 1.25  # within the margin of what is best
    assert found.best_mu == pytest.approx(best, rel=0.02)
    assert found.best_db == 30
    assert found.psnr_db <= 30
    assert found.width[0] <= best <= found.width[1]


def test_the_width_is_what_loses_less_than_a_tenth_of_a_decibel():
    c = curve(100, 100, width=50)
    found = search([windowed(c, 10).of(c.psnr_db)])
    # 0.1 dB is 15.8 steps of 100, and a piece is one step wide: mu from 84.5 to 115.5
    assert found.width == pytest.approx((84.5, 115.5))


def test_where_not_to_stop_at_all_is_as_good_the_width_has_no_end():
    rising = Pieces(np.array([2.0, 5.0]), np.array([20.0, 29.95, 30.0]))
    found = search([rising])
    assert found.width == (2.0, np.inf)
    assert found.psnr_db == 30
    row = calibrate.calibrate([Curve(np.array([2.0, 1, 0]), np.array([0.0, 1, 3]), np.arange(3.0))], "global", 0)
    assert row["within_0.1_db"] == [2.0, None]


def test_it_keeps_away_from_where_the_rule_does_not_stop():
    edges = np.geomspace(1, 100, 100)
    cliff = Pieces(edges, np.concatenate([30 - 1 / np.concatenate([[0.5], edges[:-1]]), [20.0]]))
    found = search([cliff])
    assert found.best_db == pytest.approx(30, abs=0.05)
    assert found.best_mu > 90
    assert found.mu == pytest.approx(100 / MARGIN, rel=0.01)  # none of its neighbours is beyond the edge
    assert found.psnr_db > 29.9


@given(points.filter(lambda p: len(p) > 12))
@settings(max_examples=50, deadline=None)
def test_no_mu_is_better_than_the_best_and_none_has_better_neighbours(points):
    pieces = windowed(optimisation(points), 3)
    assume(len(pieces.edges))
    found = search([pieces])
    assert found.best_db == pieces.values.max() == pieces(found.best_mu)

    def around(mu):
        return pieces(np.exp(np.linspace(np.log(mu / MARGIN), np.log(mu * MARGIN), 20_001))).mean()

    tried = np.geomspace(pieces.edges[0] / MARGIN, pieces.edges[-1] * MARGIN, 60)
    assert around(found.mu) > max(map(around, tried)) - 0.01


def test_several_pictures_share_one_mu():
    two = [curve(80, 100), curve(125, 100)]
    found = search([everywhere(c).of(c.psnr_db) for c in two])
    assert 80 <= found.mu <= 125
    assert 29 < found.psnr_db < 30


def test_where_every_mu_stops_alike_none_is_found():
    falling = Curve(np.arange(9.0)[::-1], np.arange(9.0)[::-1], np.arange(9.0))
    assert search([windowed(falling, 3).of(falling.psnr_db)]) is None
    row = calibrate.calibrate([falling], "windowed", 3)
    assert (row["mu"], row["psnr_db"], row["curve"], row["pictures"]) == (None, None, [], 1)


def test_what_is_printed_has_the_curve_around_the_chosen_mu():
    row = calibrate.calibrate([curve(80, 100), curve(125, 100)], "windowed", 10)
    mu, psnr = np.array(row.pop("curve")).T
    assert mu[0] == pytest.approx(row["mu"] / 30, rel=0.05)
    assert mu[-1] == pytest.approx(row["mu"] * 30, rel=0.05)
    assert psnr.max() <= row["best_psnr_db"] + 1e-3
    assert row["gap_db"] == pytest.approx(30 - row["psnr_db"], abs=1e-3)
    assert row["pictures"] == 2


# -- what it is done with


@pytest.mark.parametrize(
    ("text", "as_measured", "codec"),
    [
        ("cifs-jpeg", "cifs-jpeg[lam=0]", "jpeg"),
        ("cifs-jpeg[lam=1e6]", "cifs-jpeg[lam=0]", "jpeg"),
        ("cifs-jpeg[quality=95]", "cifs-jpeg[lam=0]", "jpeg"),
        ("cifs-jpeg[quality=90]", "cifs-jpeg[lam=0,quality=90]", "jpeg[quality=90]"),
        ("cifs-jpeg[every=5,on=average,quality=90]", "cifs-jpeg[lam=0,quality=90]", "jpeg[quality=90]"),
    ],
)
def test_the_sizes_are_measured_with_lam_0_at_every_step(text, as_measured, codec):
    assert measured(text) == (as_measured, codec)


def test_what_is_no_cifs_has_no_lam_to_find():
    with pytest.raises(
        UsageError, match=r"calibrate finds lam of a CIFS criterion, such as cifs-jpeg, got 'wmv\[window=7\]'"
    ):
        measured("wmv[window=7]")


@pytest.fixture
def config(pictures) -> Config:
    return Config(
        dataset=str(pictures("a")),
        criterion=("cifs-jpeg[lam=0]",),
        network="skip[channels=4,scales=2]",
        sigma=(15.0, 25.0),
        iterations=30,
        patience=8,
        device="cpu",
    )


def test_what_is_found_is_what_the_criterion_then_does(config, tmp_path):
    driver.run(config, tmp_path / "r", driver.plan(config, tmp_path / "r"), lambda event: None)
    results = Results(tmp_path / "r")
    found = calibrate.curves(results, results.run.record()["plan"], "cifs-jpeg[lam=0]")
    assert {sigma: len(curves) for sigma, curves in found.items()} == {15.0: 1, 25.0: 1}
    unit = results.run.units()[0]
    first = found[unit.spec().sigma][0]
    assert np.array_equal(first.loss, unit.trace()["loss"])
    assert first.r * 24 * 28 == pytest.approx(unit.criterion("cifs-jpeg[lam=0]")[0]["value"])

    pieces = windowed(first, config.patience)
    assert len(pieces.edges)
    middles = (pieces.edges[1:] + pieces.edges[:-1]) / 2
    rows = results.replay(criteria=[f"cifs-jpeg[lam={mu * 24 * 28}]" for mu in middles])
    stops = [(row["stop_step"], row["psnr_db"]) for row in rows if row["unit"] == unit.id]
    assert stops == [(pieces(mu), first.psnr_db[pieces(mu)]) for mu in middles]
