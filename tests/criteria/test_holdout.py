from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esbench.bench import build as units
from esbench.bench import grid
from esbench.bench.config import Config
from esbench.bench.spec import UnitSpec, unit_id
from esbench.builtin.criteria.holdout import holdout, holdout_block
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build
from esbench.errors import ParamError
from esbench.frames import Frame
from esbench.observation import Observation, Problem
from esbench.pictures import Pictures
from esbench.registry import registry
from esbench.stopping.criterion import Criterion, lacking
from esbench.testing import check_criterion
from esbench.testing import criterion as kit

TASK = "denoise[holdout=0.02]"


def frame(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None) -> Frame:
    problem = Problem(noisy=Pictures(y[None])[0], holdout=mask)
    return Frame(Pictures(torch.from_numpy(x[None]).movedim(-1, 1)), problem=problem)


def held_out(h: int, w: int, share: float) -> np.ndarray:
    return Observation(np.zeros((h, w, 1), np.float32)).holding_out(share).holdout


def observed(y: torch.Tensor) -> Observation:
    return Observation(y[0].permute(1, 2, 0).numpy())


# -- the task


def test_without_it_the_task_is_what_it_was_to_the_bit():
    x, y = torch.rand(2, 1, 3, 9, 8)
    assert registry().get("task", "denoise[holdout=0]").text == registry().get("task", "denoise").text == "denoise"
    task, observation = build.task("denoise"), observed(y)
    assert observation.holding_out(task.holdout).holdout is None
    assert torch.equal(task.distance(x, observation), torch.mean((x - y) ** 2))


def test_the_loss_sees_nothing_of_what_is_held_out_and_all_of_the_rest():
    y = torch.rand(1, 3, 12, 10)
    observation = observed(y).holding_out(0.1)
    held = torch.from_numpy(observation.holdout)
    x = torch.rand(1, 3, 12, 10, requires_grad=True)
    loss = Denoise().distance(x, observation)
    loss.backward()
    assert loss.item() == pytest.approx(((x - y)[..., ~held] ** 2).mean().item(), rel=1e-5)
    assert (x.grad[..., held] == 0).all()
    assert (x.grad[..., ~held] != 0).all()


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.001, 0.5))
def test_a_share_of_the_pixels_is_held_out_the_same_ones_each_time(h, w, share):
    observation = Observation(np.zeros((h, w, 1), np.float32))
    mask = observation.holding_out(share).holdout
    assert mask.shape == (h, w)
    assert mask.sum() == max(1, round(share * h * w))
    assert np.array_equal(mask, observation.holding_out(share).holdout)


@given(st.integers(2, 12), st.integers(2, 12), st.sampled_from(["pixels", "values"]), st.integers(0, 5))
def test_only_what_is_known_is_held_out_and_the_loss_is_the_mean_of_the_rest(h, w, kind, seed):
    rng = np.random.default_rng(seed)
    known = rng.random((h, w) if kind == "pixels" else (h, w, 3)) < 0.5
    known[0, :2] = True  # one to hold out and one to keep
    x, y = rng.random((2, h, w, 3), np.float32)
    observation = Observation(y, known=known).holding_out(0.2)
    assert known.reshape(h, w, -1).any(2)[observation.holdout].all()
    counts = np.broadcast_to(known if known.ndim == 3 else known[..., None], x.shape) & ~observation.holdout[..., None]
    loss = Denoise().distance(torch.from_numpy(x).permute(2, 0, 1)[None], observation)
    if counts.any():
        assert loss.item() == pytest.approx(float(((x - y) ** 2)[counts].mean()), rel=1e-4)


@pytest.mark.parametrize("text", ["denoise[holdout=0.6]", "denoise[holdout=-0.1]", "denoise[hold=0.1]"])
def test_what_does_not_fit_is_refused(text):
    with pytest.raises(ParamError):
        registry().get("task", text)


# -- the criterion


def test_it_is_the_mean_squared_error_of_what_is_held_out():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 6, 7, 3), dtype=np.float32)
    mask = held_out(6, 7, 0.2)
    assert holdout(frame(x, y, mask)).value == pytest.approx(((x - y)[mask] ** 2).mean(), rel=1e-5)
    changed = np.where(mask[..., None], x, 1 - x)  # the others do not matter
    assert holdout(frame(changed, y, mask)).value == pytest.approx(holdout(frame(x, y, mask)).value)
    swapped = holdout(frame(x[..., ::-1].copy(), y[..., ::-1].copy(), mask)).value
    assert swapped == pytest.approx(holdout(frame(x, y, mask)).value, rel=1e-6)


def test_it_is_the_error_to_the_clean_picture_plus_the_noise_whatever_the_output_owes_to_the_other_pixels():
    rng = np.random.default_rng(0)
    clean = np.full((200, 200, 1), 0.5, np.float32)
    y = clean + np.float32(0.1) * rng.standard_normal(clean.shape, dtype=np.float32)
    mask = held_out(200, 200, 0.2)
    fitted = np.where(mask[..., None], clean + np.float32(0.05), y)  # all noise but that of what is held out
    assert holdout(frame(fitted, y, mask)).value == pytest.approx(0.05**2 + 0.1**2, rel=0.05)


@pytest.mark.parametrize("mask", [None, np.zeros((4, 4), bool)], ids=["no mask", "nothing in it"])
def test_where_nothing_is_held_out_there_is_a_reason(mask):
    y = np.zeros((4, 4, 3), np.float32)
    value = holdout(frame(y, y, mask))
    assert value.value is None
    assert "denoise[holdout=0.02]" in value.reason


def test_an_output_of_another_size_has_a_reason():
    y = np.zeros((4, 4, 3), np.float32)
    (value,) = holdout_block([frame(np.zeros((2, 2, 3), np.float32), y, held_out(4, 4, 0.1))])
    assert value.reason == "needs a noisy picture of the output's size"


def test_an_ordinary_task_is_refused_before_the_first_step():
    y = np.zeros((8, 8, 3), np.float32)
    component = registry().get("criterion", "holdout")
    with pytest.raises(ParamError, match=r"a task with holdout=0\.02 leaves 2 %"):
        Criterion(component, Problem(noisy=Pictures(y[None])[0]))
    assert lacking(component.info.needs, frame(y, y, None)) == "holdout"
    assert lacking(component.info.needs, frame(y, y, held_out(8, 8, 0.1))) == ""


def test_it_passes_the_conformance_kit(monkeypatch):
    monkeypatch.setattr(kit, "LARGEST", (200, 300))
    found = check_criterion("holdout")
    assert [str(finding) for finding in found if finding.status == "failed"] == []
    assert [finding.status for finding in found if finding.check == "direction"] == ["ok"]


# -- in a benchmark


def spec(**given) -> UnitSpec:
    config = Config(dataset="samples", crop=24, network="skip[channels=4,scales=2]", iterations=12, device="cpu")
    return next(iter(grid.units(config.__class__(**{**vars(config), **given}))))


def test_the_ids_of_ordinary_units_are_what_they_were():
    assert spec(task="denoise[holdout=0]") == spec()
    assert spec(task=TASK).task == TASK
    assert unit_id(spec(task=TASK)) != unit_id(spec())


def test_it_measures_an_optimisation_that_did_not_see_those_pixels():
    unit = spec(task=TASK)
    scene = units.scene(unit, "samples")
    problem, noisy = scene.problem, scene.observation.y
    assert problem.holdout.sum() == round(0.02 * 24 * 24)
    assert units.scene(spec(), "samples").problem.holdout is None
    criterion = Criterion(registry().get("criterion", "holdout"), problem)
    optimisation = scene.trajectory("cpu")
    seen = [(block, value) for block in optimisation for value in criterion.update_block(list(block.frames(problem)))]
    block, value = seen[-1]
    average = block.averages[0].float
    assert value.value == pytest.approx(((average - noisy)[problem.holdout] ** 2).mean(), rel=1e-4)
    assert block.average_losses[0] == pytest.approx(((average - noisy)[~problem.holdout] ** 2).mean(), rel=1e-4)
