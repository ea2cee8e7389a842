from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import esbench
from esbench import plain, seeds
from esbench.average import Average
from esbench.builtin.inputs.noise import UniformNoise
from esbench.builtin.losses.mse import mse
from esbench.builtin.networks.skip import skip
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build
from esbench.engine.loop import Fit, Trajectory
from esbench.engine.settings import Settings
from esbench.errors import DataError, Missing, UnitError, UsageError
from esbench.events import Event, Progress, UnitStarted
from esbench.observation import NoiseModel, Observation
from esbench.restoration.options import BY_LOSS, NETWORK, Options, Quality, in_time
from esbench.restoration.piece import Piece
from esbench.restoration.whole import Restoration, most

#: A network and a length that take a moment.
TINY = {"network": "skip[channels=4,scales=1]", "device": "cpu", "iterations": 4, "patience": 2}


def scene(h: int = 24, w: int = 28, channels: int = 3, sigma: float = 25) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth picture with an edge, (H, W, C) in [0, 1], and the same with noise."""
    y, x = np.mgrid[:h, :w] / 8
    clean = np.stack([0.4 + 0.2 * np.sin(x + c) * np.cos(y) + 0.2 * (x + y > 3) for c in range(channels)], -1)
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    return clean, (clean + sigma / 255 * noise).clip(0, 1)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(a, float) - b) ** 2)))


# -- what comes out


@pytest.mark.parametrize("shape", [(24, 28), (24, 28, 3), (3, 24, 28), (1, 1, 24, 28)], ids=str)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float64", "torch.float32", "torch.uint8"])
def test_a_picture_comes_back_as_the_kind_that_it_was(shape, kind):
    noisy = np.random.default_rng(0).random(shape)
    dtype = kind.removeprefix("torch.")
    noisy = (noisy * np.iinfo(dtype).max if dtype.startswith("u") else noisy).astype(dtype)
    noisy = torch.from_numpy(noisy) if kind.startswith("torch") else noisy
    before = noisy.clone() if kind.startswith("torch") else noisy.copy()
    denoised = esbench.denoise(noisy, **TINY)
    assert type(denoised.image) is type(noisy)
    assert denoised.image.dtype == noisy.dtype
    assert denoised.image.shape == noisy.shape
    assert bool((noisy == before).all())
    assert not bool((denoised.image == noisy).all())


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (8, 8), (5, 70), (33, 34)], ids=str)
def test_a_picture_may_be_smaller_than_the_network_needs(size):
    noisy = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    denoised = esbench.denoise(noisy, **TINY | {"network": "skip[channels=2]"})
    assert denoised.image.shape == noisy.shape
    assert np.isfinite(denoised.sigma_estimate)


def test_it_denoises_without_any_settings():
    clean, noisy = scene(sigma=50)
    denoised = esbench.denoise(noisy, network="skip[channels=8,scales=2]", device="cpu", patience=20)
    assert psnr(denoised.image, clean) > psnr(noisy, clean) + 6
    assert abs(denoised.sigma_estimate - 50) < 5
    residual = np.mean((denoised.image - noisy) ** 2)
    assert 0.8 < residual / np.mean((clean - noisy) ** 2) < 1.05
    assert denoised.criterion == "discrepancy[variance=sigma]"
    assert re.fullmatch(
        rf"stopped: discrepancy\[variance=sigma\] was lowest at step {denoised.stop_step} \(.*\), "
        "not undercut in 20 steps",
        denoised.reason,
    )
    assert denoised.steps_run == denoised.stop_step + 21 == len(denoised.values)
    assert min(denoised.values) == denoised.values[denoised.stop_step]


def test_the_same_seed_gives_the_same_picture_and_another_one_another():
    _, noisy = scene()
    torch.manual_seed(5)
    first = esbench.denoise(noisy, seed=1, **TINY).image
    state = torch.random.get_rng_state()
    assert np.array_equal(esbench.denoise(noisy, seed=1, **TINY).image, first)
    assert not np.array_equal(esbench.denoise(noisy, seed=2, **TINY).image, first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_is_delivered_is_the_average_at_the_best_step():
    _, noisy = scene()
    own = {"iterations": 50, "patience": 5, "precision": "float32"}
    denoised = esbench.denoise(noisy, "fixed[step=7]", **TINY | own)
    assert (denoised.stop_step, denoised.steps_run) == (7, 13)

    # the same optimisation by hand
    seed = seeds.derive(0, "denoise", 0, 0)
    torch.manual_seed(seeds.derive(seed, "network"))
    fit = Fit(Denoise(), Observation(noisy.astype(np.float32)), mse)
    f = skip(32, 3, channels=4, scales=1)
    steps = build.begin(Trajectory, fit, f, UniformNoise(), Settings(iterations=8), seeds.derive(seed, "input"))
    outputs = [block.outputs.tensor[0] for block in steps]
    weights = [0.99 ** (7 - t) for t in range(8)]
    average = sum(w * x for w, x in zip(weights, outputs, strict=True)) / sum(weights)
    assert np.abs(denoised.image - average.movedim(0, -1).numpy()).max() < 1e-6


def test_a_rule_that_never_fires_gives_the_lowest_so_far_and_says_so():
    _, noisy = scene()
    denoised = esbench.denoise(noisy, "loss", **TINY | {"iterations": 12, "patience": 50})
    assert denoised.stop_step == int(np.argmin(denoised.values))
    assert denoised.steps_run == 12
    assert denoised.reason.startswith(f"not stopped in 12 steps: loss was lowest at step {denoised.stop_step} (")
    assert denoised.reason.endswith("; more iterations may do better")
    (only,) = denoised.optimised
    assert not only.stopped


@pytest.mark.parametrize("iterations", [1, 5, 25])
@pytest.mark.parametrize("sigma", [5, 40])
def test_cut_short_it_is_still_better_than_the_noisy_picture(iterations, sigma):
    clean, noisy = scene(sigma=sigma)
    denoised = esbench.denoise(noisy, sigma=sigma, **TINY | {"iterations": iterations, "patience": 50})
    assert "of the residual, more than noise explains, was added back; more iterations" in denoised.reason
    assert psnr(denoised.image, clean) > psnr(noisy, clean)


def test_a_clean_picture_is_not_spoiled():
    clean = scene()[0].astype(np.float32)
    denoised = esbench.denoise(clean, sigma=0, **TINY)
    assert "and 100% of the residual" in denoised.reason
    assert np.abs(denoised.image - clean).max() < 1e-6


def test_a_criterion_without_a_value_gives_the_last_average():
    _, noisy = scene()
    denoised = esbench.denoise(noisy, "wmv", **TINY)
    assert denoised.reason.startswith("not stopped: wmv had no value in 4 steps: the last average was taken, and ")
    assert denoised.stop_step == 3
    assert np.isnan(denoised.values).all()


def test_a_level_that_is_known_is_used_in_the_place_of_the_estimate():
    _, noisy = scene()
    blind, known = (esbench.denoise(noisy, sigma=sigma, **TINY) for sigma in (None, 60))
    assert known.sigma_estimate == blind.sigma_estimate
    assert known.values != blind.values


def test_pixels_are_held_out_for_a_criterion_that_looks_at_them():
    _, noisy = scene()
    with_holdout = esbench.denoise(noisy, "holdout", **TINY)
    assert np.isfinite(with_holdout.values).all()
    assert esbench.denoise(noisy, "loss", **TINY).values[1:] != with_holdout.values[1:]


# -- the average


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_average_has_no_memory_of_where_it_began(numbers):
    average, decay = Average(0.9, unbiased=True), 0.9
    found = [average.update(torch.tensor(number).reshape(1, 1, 1, 1)).item() for number in numbers]
    for t, value in enumerate(found):
        b = sum((1 - decay) * decay ** (t - k) * numbers[k] for k in range(t + 1))
        assert abs(value - b / (1 - decay ** (t + 1))) < 1e-5


def test_an_output_that_is_not_finite_is_left_out_of_the_average():
    average = Average(0.9, unbiased=True)
    outputs = torch.tensor([float("nan"), 0.2, float("inf"), 0.4]).reshape(-1, 1, 1, 1, 1)
    found = [average.update(x).item() for x in outputs]
    assert np.isnan(found[0])
    assert found[1:3] == pytest.approx([0.2, 0.2])
    assert found[3] == pytest.approx((0.9 * 0.2 + 0.4) / 1.9)


# -- tiles and restarts


@pytest.fixture
def small_tiles(monkeypatch):
    """Pictures of more than 20 x 20 pixels are cut into tiles of 20 x 20 that overlap by 6."""
    module = __import__("sys").modules["esbench.restoration.whole"]
    for name, value in (("WHOLE", 400), ("SIDE", 20), ("OVERLAP", 6)):
        monkeypatch.setattr(module, name, value)
    return module


def test_a_large_picture_is_cut_and_each_tile_stops_by_itself(small_tiles):
    _, noisy = scene(30, 44)
    denoised = esbench.denoise(noisy, "fixed[step=1]", **TINY)
    boxes = [each.tile for each in denoised.optimised]
    assert boxes == [(top, left, 20, 20) for top in (0, 10) for left in (0, 12, 24)]
    assert denoised.reason == "6 of 6 optimisations were stopped by the rule"
    assert (denoised.stop_step, denoised.steps_run) == (1, 6 * 4)
    assert denoised.image.shape == noisy.shape


def test_tiles_that_give_back_what_they_get_leave_no_seam(small_tiles, monkeypatch):
    class Nothing(Piece):
        def picture(self):
            return self._whole.y

        def __init__(self, name, task, observation, options, seed, emit):
            super().__init__(name, task, observation, options, seed, emit)
            levels[seed] = observation.noise.sigma

    levels: dict[int, float] = {}
    monkeypatch.setattr(small_tiles, "Piece", Nothing)
    noisy = (255 * scene(43, 51)[1]).astype(np.uint8)
    denoised = esbench.denoise(noisy, "fixed[step=0]", **TINY)
    assert np.array_equal(denoised.image, noisy)
    assert len(levels) == 12  # each tile has its own seed
    assert {*levels.values()} == {denoised.sigma_estimate}  # and all of them the level of the whole picture


def test_at_a_seam_a_picture_is_no_rougher_than_elsewhere(small_tiles):
    _, x = np.mgrid[:20, :48] / 48
    noisy = (0.3 + 0.4 * x + 0.05 * np.random.default_rng(0).standard_normal(x.shape))[..., None].clip(0, 1)
    options = {"network": "skip[channels=4,scales=2]", "device": "cpu", "iterations": 30, "patience": 30}
    denoised = esbench.denoise(noisy, **options)
    starts = [each.tile[1] for each in denoised.optimised]
    assert len(starts) == 3
    steps = np.abs(np.diff(denoised.image[..., 0], axis=1)).mean(0)
    seams = {edge for start in starts for edge in (start - 1, start + 19) if 0 <= edge < 47}
    assert max(steps[list(seams)]) <= 1.5 * np.quantile(np.delete(steps, list(seams)), 0.9)


def test_best_is_the_mean_of_restarts_from_other_seeds():
    _, noisy = scene()
    best = esbench.denoise(noisy, "fixed[step=2]", quality="best", **TINY | {"iterations": 6})
    assert len(best.optimised) == 4
    options = Options(criterion="fixed[step=2]", **TINY | {"iterations": 6})
    pictures = []
    for restart in range(4):
        seed = seeds.derive(0, "denoise", 0, restart)
        observation = Observation(noisy.astype(np.float32), NoiseModel("gaussian", 25))
        one = Piece("a", Denoise(), observation, options, seed, lambda event: None)
        for _ in one:
            pass
        pictures.append(one.picture())
    assert np.abs(best.image - np.mean(pictures, axis=0)).max() < 1e-6
    assert np.abs(pictures[0] - pictures[1]).max() > 0.01
    assert best.steps_run == 4 * 5


def test_tiles_say_how_far_they_are_apart_where_they_overlap(small_tiles):
    _, noisy = scene(30, 44)
    assert esbench.denoise(noisy[:20, :20], **TINY).disagreement is None
    apart = esbench.denoise(noisy, **TINY)
    assert len(apart.optimised) == 6
    assert 0.1 < apart.disagreement < 100
    assert esbench.denoise(np.full((30, 44), 0.5), "fixed[step=0]", **TINY | {"patience": 0}).disagreement > 0


class Clock:
    """Stands for `time`: a second passes between two looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("esbench.restoration.whole.time", clock := Clock())
    return clock


def test_when_its_minutes_are_over_there_is_a_picture(clock):
    _, noisy = scene()
    denoised = esbench.denoise(noisy, "fixed[step=900]", minutes=1, **TINY | {"iterations": 1000})
    assert denoised.reason.startswith("time is up: not stopped in ")
    assert 3 < denoised.steps_run < 60
    assert np.abs(denoised.image - noisy).max() > 0


def test_time_that_is_left_is_spent_on_restarts_which_count_if_they_get_far_enough(clock):
    _, noisy = scene()
    denoised = esbench.denoise(noisy, "fixed[step=5]", minutes=1, **TINY | {"iterations": 8, "patience": 8})
    done = [each.steps_run for each in denoised.optimised]
    assert len(done) >= 2
    assert done[0] == 8
    assert all(4 <= n <= 8 for n in done)


def test_each_tile_gets_its_share_of_the_time(clock, small_tiles):
    _, noisy = scene(30, 44)
    denoised = esbench.denoise(noisy, "fixed[step=900]", minutes=2, **TINY | {"iterations": 1000})
    assert len(denoised.optimised) == 6
    done = [each.steps_run for each in denoised.optimised]
    assert max(done) <= 3 * min(done)


def test_a_time_decides_the_quality():
    asked = Options(minutes=5)

    def chosen(seconds: float, **given: Any) -> Options:
        return in_time(replace(asked, **given), [128 * 128], seconds, lambda options: 1e-3 / (128 * 128))

    assert [(o.minutes, o.quality) for o in map(chosen, (0.05, 0.3, 0.4, 5))] == [
        (None, "draft"),
        (None, "draft"),
        (None, None),  # 350 steps of 1 ms
        (None, None),
    ]
    assert chosen(0.05, network="decoder").quality is None


def test_a_task_that_fills_in_goes_on_until_its_time_is_up():
    asked = Options(task="inpaint", minutes=5)
    assert (asked.made_by, asked.steps(128 * 128), asked.window) == (NETWORK, 1500, 300)
    assert in_time(asked, [128 * 128], 0.01, lambda options: 1.0) == replace(asked, minutes=None)


def test_the_best_of_what_is_filled_in_has_more_steps_and_of_what_is_enlarged_more_restarts():
    for task, steps, restarts in (("inpaint", 3000, 2), ("superres", 1000, 4)):
        best = Options(task=task, quality="best")
        assert (best.steps(128 * 128), best.restarts(128 * 128)) == (steps, restarts)


def test_enlarging_takes_as_much_total_variation_per_pixel_for_every_size():
    asked = Options(task="superres[factor=2]")
    small, large = (asked.settings(side * side).regulariser for side in (64, 512))
    assert (small, large) == ("tv[weight=4.88e-07]", "tv[weight=7.63e-09]")
    assert replace(asked, regulariser="tv[weight=0]").settings(64 * 64).regulariser == "tv[weight=0]"
    assert not Options(task="inpaint").settings(64 * 64).regulariser


def test_a_task_without_noise_of_its_own_is_stopped_by_what_noise_it_has():
    assert Options(task="superres").stops_by == "discrepancy[variance=sigma]"
    assert Options(task="superres", sigma=10).stops_by == "discrepancy[variance=sigma]"
    assert Options(task="superres", sigma=10, criterion="emv").stops_by == "emv"


@pytest.mark.parametrize(
    ("seconds", "quality", "most"), [(0.2, "draft", 300), (0.25, "draft", 300), (0.26, "best", 645), (4.3, "best", 645)]
)
def test_a_short_time_makes_a_draft_and_a_longer_one_more_steps(seconds, quality, most):
    asked = Options(minutes=5, loss="r2r", level=25)  # 430 steps
    chosen = in_time(asked, [64 * 128, 64 * 128], seconds, lambda options: 1e-3 / (128 * 128))
    assert (chosen.quality, chosen.steps(64 * 128)) == (quality, most)


def test_a_large_picture_gets_more_steps_up_to_a_limit_and_fewer_optimisations():
    def planned(quality: str) -> list[tuple[int, int]]:
        options = Options(loss="r2r", level=25, quality=quality)
        return [(options.steps(side * side), options.restarts(side * side)) for side in (64, 128, 256, 512, 640)]

    assert planned("draft") == [(200, 1), (200, 1), (200, 1), (150, 1), (96, 1)]
    assert planned("fast") == [(430, 1), (430, 1), (860, 1), (720, 1), (461, 1)]
    assert planned("best") == [(430, 4), (430, 4), (860, 4), (1720, 2), (2150, 1)]


@pytest.mark.parametrize("minutes", [2, 4.5])
def test_a_loss_that_knows_the_noise_uses_the_time_to_its_end(clock, monkeypatch, minutes):
    own = Quality("skip[channels=4,scales=2]", iterations=20, side=math.inf, learning_rate=0.01, criterion="last")
    monkeypatch.setitem(BY_LOSS, "r2r", {"draft": replace(own, iterations=10), "fast": own, "best": own})
    denoised = esbench.denoise(scene(40, 48)[1], loss="r2r", minutes=minutes)
    assert 0.9 < clock.now / (60 * minutes) < 1.1
    assert all(each.planned and 12 <= each.steps_run <= 30 for each in denoised.optimised)
    assert denoised.reason.startswith(f"{len(denoised.optimised)} optimisations done, as planned; the first: all ")


def begun(noisy: Any, **given: Any) -> Restoration:
    return Restoration(noisy, Options(**given), emit=lambda event: None)


@pytest.mark.parametrize(
    ("given", "loss"),
    [
        ({}, "r2r"),
        ({"sigma": 20}, "r2r"),
        ({"quality": "draft"}, "r2r"),
        ({"quality": "best"}, "r2r"),
        ({"minutes": 1}, "r2r"),
        ({"iterations": 9}, "r2r"),
        ({"loss": "sure"}, "sure"),
        ({"loss": "mse"}, "mse"),
        ({"criterion": "emv"}, None),
        ({"patience": 50}, None),
        ({"network": "skip[channels=64]"}, None),
    ],
)
def test_white_noise_is_known_to_the_loss_unless_something_else_is_chosen(given, loss):
    _, noisy = scene(40, 48)
    at_work = begun(noisy, **given)
    assert at_work.options.loss == loss
    assert at_work.options.stops_by == (
        given.get("criterion") or ("last" if loss in ("r2r", "sure") else "discrepancy[variance=sigma]")
    )


def test_photons_are_thinned_with_the_gain_of_the_whole_picture():
    clean, _ = scene(60, 72)
    photons = np.random.default_rng(0).poisson(clean * 20) / 20
    assert begun(photons).options.loss == "thinning[gain=0.05]"
    assert begun(photons, sigma=30).options.loss is None


def test_impulses_are_filled_in_and_the_other_values_are_kept():
    clean = (255 * scene(40, 48)[0]).astype(np.uint8)
    rng = np.random.default_rng(0)
    hit = rng.random(clean.shape) < 0.2
    noisy = np.where(hit, np.uint8(255) * rng.integers(0, 2, clean.shape, np.uint8), clean)
    denoised = esbench.denoise(noisy, iterations=100, device="cpu")
    assert denoised.task.startswith("inpaint")
    assert denoised.criterion == "last"
    assert denoised.impulses == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(denoised.image[~hit], clean[~hit])
    assert psnr(denoised.image / 255, clean / 255) > psnr(noisy / 255, clean / 255) + 12


def test_impulses_and_other_noise_are_both_removed():
    _, noisy = scene(64, 72, sigma=20)
    at_work = begun(np.where(np.random.default_rng(0).random(noisy.shape) < 0.04, 0.0, noisy))
    assert (at_work.options.task, at_work.options.loss) == ("inpaint[keep=false]", None)
    assert at_work.options.stops_by.startswith("discrepancy")
    assert at_work.observation.noise.sigma == pytest.approx(20, rel=0.2)


@pytest.mark.parametrize("given", [{"sigma": 60}, {"criterion": "emv"}, {"loss": "mse"}])
def test_impulses_are_not_filled_in_if_something_else_is_chosen(given):
    clean, _ = scene(40, 48)
    noisy = np.where(np.random.default_rng(0).random(clean.shape) < 0.2, 0.0, clean)
    assert (begun(noisy).options.task, begun(noisy).options.loss) == ("inpaint", "masking")
    assert begun(noisy, **given).options.task == "denoise"


def test_the_more_noise_the_fewer_steps_of_a_loss_that_knows_it():
    clean, _ = scene(60, 72)
    at_work = [begun(clean + s / 255 * np.random.default_rng(0).standard_normal(clean.shape)) for s in (10, 25, 50)]
    many, some, few = (each.options.steps(60 * 72) for each in at_work)
    assert many > 1.5 * some > 2 * few


def test_a_plan_of_which_little_is_done_is_said_so():
    _, noisy = scene(40, 48)
    denoised = esbench.denoise(noisy, iterations=3)
    assert re.match(r"3 steps done of about \d{3}: more may do better, and", denoised.reason)
    assert [each.planned for each in denoised.optimised] == [False]


def test_noise_that_neighbours_share_is_split_with_what_they_share_of_it():
    clean, noisy = scene(64, 72)
    smooth = clean + sum(np.roll(noisy - clean, shift, 1) for shift in range(3)) / 3
    white, shared = begun(noisy), begun(smooth)
    assert (white.options.loss, white.observation.noise.correlation) == ("r2r", None)
    assert shared.options.loss == "r2r"
    correlation = shared.observation.noise.correlation
    middle = len(correlation) // 2
    assert np.diag(correlation[middle, middle + 1]).mean() == pytest.approx(2 / 3, abs=0.2)
    assert np.diag(correlation[middle + 1, middle]).mean() == pytest.approx(0, abs=0.2)
    # of the same level, it is stronger in coarse structure
    assert shared.options.coarse > 1.2
    level = begun(smooth, sigma=17).observation.noise
    assert (level.sigma, level.correlation is None) == (17, False)


def test_noise_that_grows_with_the_brightness_is_split_as_such_in_every_tile():
    clean, _ = scene(64, 72)
    speckled = clean * (1 + 0.2 * np.random.default_rng(0).standard_normal(clean.shape))
    at_work = begun(speckled.clip(0, 1))
    noise = at_work.observation.noise
    assert (at_work.options.loss, noise.kind) == ("r2r", "speckle")
    assert noise.typical == pytest.approx(np.sqrt(np.mean(clean**2)), rel=0.05)
    like = torch.zeros(1, 3, 64, 72)
    whole = at_work.observation.strength(like)
    part = at_work.observation.window(slice(0, 40), slice(8, 72)).strength(like[..., :40, :64])
    assert torch.equal(part[..., 4:-4, 4:-4], whole[..., 4:36, 12:68])
    assert whole.square().mean().sqrt().item() == pytest.approx(1, abs=0.1)


def test_a_small_picture_does_not_tell_its_noise():
    assert begun(scene(24, 24)[1]).options.loss is None


def test_a_restoration_resumes_from_its_state_to_the_bit(small_tiles):
    _, noisy = scene(20, 36)
    options = Options(**TINY | {"quality": "best"})
    whole, first, second = (Restoration(noisy, options, emit=lambda event: None) for _ in range(3))
    steps = sum(1 for _ in whole)
    for _ in itertools.islice(first, steps // 2):
        pass
    second.load_state_dict(plain.loads(b"".join(plain.dumps(first.state_dict()))))
    assert sum(1 for _ in second) == steps - steps // 2
    assert np.array_equal(second.result().image, whole.result().image)
    assert second.result().reason == whole.result().reason
    other = Restoration(noisy + 0.01, options, emit=lambda event: None)
    with pytest.raises(DataError, match="another picture"):
        other.load_state_dict(first.state_dict())


def test_the_work_there_is_at_most_is_known_before(small_tiles):
    assert most(Options(**TINY), 20, 20) == 400 * 4
    assert most(Options(**TINY | {"quality": "best"}), 20, 20) == 400 * 4 * 4
    assert most(Options(**TINY), 30, 44) == 6 * 400 * 4
    _, noisy = scene(30, 44)
    events: list[Event] = []
    assert len(list(Restoration(noisy, Options(**TINY | {"patience": 100}), name="n", emit=events.append))) == 6 * 4
    begun = [event for event in events if isinstance(event, UnitStarted)]
    assert [event.unit for event in begun] == [f"n, {i} of 6" for i in range(1, 7)]
    assert [event.later for event in events if isinstance(event, Progress)][-1] == 0
    assert max(event.later for event in events if isinstance(event, Progress)) == 5 * 4


# -- left early


def test_interrupted_it_gives_the_best_so_far():
    _, noisy = scene()
    at_work = Restoration(noisy, Options(criterion="loss", **TINY | {"iterations": 1000}))
    for _ in at_work:
        if at_work.piece.step == 5:
            break
    denoised = at_work.result(interrupted=True)
    assert denoised.steps_run == 5
    assert denoised.reason.startswith("interrupted: not stopped in 5 steps: loss was lowest at step ")
    assert not np.array_equal(denoised.image, noisy)


def test_interrupted_before_the_first_step_it_gives_the_picture_unchanged():
    noisy = (255 * scene()[1]).astype(np.uint8)
    denoised = Restoration(noisy, Options(**TINY)).result(interrupted=True)
    assert np.array_equal(denoised.image, noisy)
    assert (denoised.stop_step, denoised.steps_run, denoised.values) == (None, 0, [])
    assert denoised.reason == "interrupted before the first step: the picture is unchanged"


def test_interrupted_tiles_that_were_not_started_are_unchanged(small_tiles):
    noisy = (255 * scene(20, 70)[1]).astype(np.uint8)
    at_work = Restoration(noisy, Options(criterion="loss", **TINY))
    for _ in at_work:
        if at_work.number == 1:
            break
    denoised = at_work.result(interrupted=True)
    assert denoised.reason.startswith("interrupted in optimisation 2 of 5: 0 of 2 optimisations were stopped")
    end = denoised.optimised[1].tile[1] + 20
    assert np.array_equal(denoised.image[:, end:], noisy[:, end:])
    assert (denoised.image[:, :end] != noisy[:, :end]).mean() > 0.9
    for _ in at_work:  # it may also continue: each tile is added once
        pass


def test_an_optimisation_that_diverges_gives_the_best_so_far(monkeypatch):
    monkeypatch.setattr("esbench.engine.loop.FALL_DB", -100.0)  # every step is a fall
    _, noisy = scene()
    denoised = esbench.denoise(noisy, "loss", **TINY | {"iterations": 100, "patience": 50})
    assert re.match(r"given up: The optimisation diverged 11 times", denoised.reason)
    assert f"loss was lowest at step {denoised.stop_step}" in denoised.reason
    with pytest.raises(UnitError, match="diverged 11 times"):
        esbench.denoise(noisy, "wmv", **TINY | {"iterations": 100})


def test_a_gpu_that_is_too_small_is_reported_with_what_helps(monkeypatch):
    def full(self, n):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Trajectory, "_steps", full)
    with pytest.raises(UnitError, match=r"The GPU does not have enough memory for 28 x 24 pixels: use --device cpu, a"):
        esbench.denoise(scene()[1], **TINY)


# -- what cannot be


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"criterion": "discrepency"}, "No criterion 'discrepency'. Did you mean 'discrepancy'?"),
        ({"network": "skipp"}, "No network 'skipp'. Did you mean 'skip'?"),
        ({"device": "gpu"}, "device must be auto, cpu, cuda or cuda:N, got 'gpu'."),
        ({"quality": "better"}, "quality must be draft or fast or best, got 'better'."),
        ({"quality": "best", "minutes": 5}, "Give either quality or minutes, not both: the time decides the quality."),
        ({"minutes": 0}, "minutes must be more than 0, got 0."),
        ({"threads": 0}, "threads must be at least 1, got 0."),
        ({"threads": 10**5}, "threads must be at most "),
        ({"sigma": -1}, "sigma must be at least 0, got -1."),
        ({"sigma": "25"}, "sigma must be at least 0, got '25'."),
        ({"sigma": float("nan")}, "sigma must be at least 0, got nan."),
        ({"iterations": 0}, "iterations must be at least 1, got 0."),
        ({"patience": -1}, "patience must be at least 0, got -1."),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
def test_an_invalid_request_is_refused_in_a_sentence_before_any_work(options, problem):
    with pytest.raises(UsageError, match=re.escape(problem)):
        Options(**options)
    with pytest.raises(UsageError, match=re.escape(problem)):
        esbench.denoise(np.zeros((8, 8)), **options)


def test_a_criterion_that_needs_what_there_is_not_is_refused(plugin):
    plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='inner', summary='looks inside', target=lambda frame: 0.0, "
        "needs=('network',))]\n"
    )
    with pytest.raises(UsageError, match="'inner' needs the network, which is not available when restoring"):
        Options(criterion="inner")


@pytest.mark.parametrize("noisy", [np.zeros((4, 5), np.int64), np.zeros((4, 5, 4), np.uint8)])
def test_what_is_no_picture_is_refused(noisy):
    with pytest.raises(UsageError, match="noisy must be"):
        esbench.denoise(noisy, **TINY)


def test_a_file_that_is_not_there_is_reported():
    with pytest.raises(Missing, match=r"There is no file 'photo\.png'"):
        esbench.denoise("photo.png", **TINY)


def test_large_pictures_may_take_more_steps():
    assert [Options().steps(side**2) for side in (33, 128, 256, 512)] == [2400, 2400, 4800, 9600]
    assert Options(iterations=50).steps(512**2) == 50


# -- pictures that need little


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("shape", [(40, 48), (40, 48, 3)])
def test_a_picture_without_noise_is_returned_unchanged_at_once(level, shape):
    blank = np.full(shape, level, np.uint8)
    denoised = esbench.denoise(blank)
    assert np.array_equal(denoised.image, blank)
    assert (denoised.steps_run, denoised.stop_step) == (0, None)
    assert denoised.reason == "no noise was found: the picture is unchanged"
    noisy = scene(40, 48)[1].astype(np.float32)
    assert np.array_equal(esbench.denoise(noisy, sigma=0).image, noisy)


def test_what_was_chosen_is_done_without_noise_too():
    assert esbench.denoise(np.full((8, 9), 7, np.uint8), "fixed[step=2]", **TINY).steps_run > 0


def test_a_grey_picture_stored_in_colour_is_restored_as_grey():
    noisy = np.rint(255 * scene(40, 48)[1][..., :1]).clip(0, 255).astype(np.uint8)
    few = {"iterations": 4, "network": "skip[channels=4,scales=1]", "criterion": "last"}
    grey, colour = esbench.denoise(noisy, **few), esbench.denoise(noisy.repeat(3, 2), **few)
    assert np.array_equal(colour.image, grey.image.repeat(3, 2))


def test_noise_in_one_channel_is_left_to_discrepancy():
    clean, noisy = scene(64, 64, sigma=30)
    one = np.concatenate([clean[..., :2], noisy[..., 2:]], -1)
    assert esbench.denoise(one, iterations=2, device="cpu").criterion.startswith("discrepancy")
    assert esbench.denoise(noisy, iterations=2, device="cpu").criterion == "last"
