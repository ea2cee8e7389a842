"""A task, a loss, a network and a criterion with a probe, in one small file each, as in docs/extend.md."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import esbench
from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run
from esbench.bench.unit import run_unit
from esbench.cli import cli
from esbench.events import Event
from esbench.restoration.options import Options

#: A task whose observation is the picture at half its size.
TASK = """
import torch
from esbench.kinds import Task
from esbench.observation import Observation


class Halved(Task):
    def degrade(self, clean, rng, noise, companions):
        small = clean.reshape(clean.shape[0] // 2, 2, clean.shape[1] // 2, 2, -1).mean((1, 3))
        return Observation(noise(small))

    def shape(self, observation):
        h, w, c = observation.y.shape
        return 2 * h, 2 * w, c

    def forward(self, x, observation):
        return torch.nn.functional.avg_pool2d(x, 2)

    def score(self, x, clean, observation):
        from esbench.metrics import psnr
        return psnr(x.mean(2), clean.mean(2))

    def baseline(self, observation):
        return observation.y.repeat(2, 0).repeat(2, 1)
"""

#: A loss that goes far below zero, with a part, a draw and a memory.
LOSS = """
import torch
from esbench.kinds import Terms


def sunk(step, *, by: float = 3.0):
    drawn = torch.rand((), generator=step.generator)
    kept = step.memory.setdefault("first", drawn)
    return Terms(step.data - by + 0 * drawn + 0 * kept, {"drawn": drawn, "kept": kept})
"""

#: A network whose input is a quarter of the picture's size.
NETWORK = """
import torch
from torch import nn


class Coarse(nn.Module):
    def __init__(self, inputs, outputs, *, width: int = 6):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=4), nn.Conv2d(width, outputs, 3, padding=1), nn.Sigmoid(),
        )

    def input_size(self, h, w):
        self.size = h, w
        return -(-h // 4), -(-w // 4)

    def unfit(self, h, w):
        return "" if min(h, w) >= 8 else "needs both sides to be at least 8"

    def forward(self, z):
        h, w = self.size
        return self.body(z)[..., :h, :w]
"""

#: A criterion with a probe that does all that it must not do to the optimisation.
CRITERION = """
import torch


def probe(step):
    moved = step.f(step.z + 0.01 * torch.randn(step.z.shape, generator=step.generator))
    (moved - step.x).square().mean().backward()  # leaves gradients, and running statistics of the norms
    return {"spread": (moved - step.x).square().mean(), "drawn": torch.rand((), generator=step.generator)}


def spread(frame):
    return frame.probes["spread"]
"""

#: All of them are known in every process that loads the plugin: kinds without a hook are lists of records.
PLUGIN = """
import esbench
from esbench.builtin import losses, networks, tasks
from esbench.records import LossInfo, NetworkInfo, TaskInfo


def known(infos, info):
    if info.name not in {other.name for other in infos}:
        infos.append(info)


known(tasks.INFOS, TaskInfo(name="halved", summary="s", target="own_task:Halved", criterion="wmv[window=5]"))
known(losses.INFOS, LossInfo(name="sunk", summary="s", target="own_loss:sunk"))
known(networks.INFOS, NetworkInfo(name="coarse", summary="s", target="own_network:Coarse", depth=5, learning_rate=0.02))


@esbench.hookimpl
def esbench_criteria():
    target, probe = "own_criterion:spread", "own_criterion:probe"
    return [esbench.CriterionInfo(name="spread", summary="s", target=target, probe=probe, every=2)]
"""


@pytest.fixture
def extended(plugin) -> None:
    """Tasks, losses, networks and criteria have one more each."""
    from esbench.builtin import losses, networks, tasks

    before = [(infos, list(infos)) for infos in (tasks.INFOS, losses.INFOS, networks.INFOS)]
    site = Path(plugin(PLUGIN))
    for name, source in (("task", TASK), ("loss", LOSS), ("network", NETWORK), ("criterion", CRITERION)):
        (site / f"own_{name}.py").write_text(source)
    yield
    for infos, old in before:
        infos[:] = old


@pytest.fixture
def config(pictures, extended) -> Config:
    return Config(
        dataset=str(pictures("a", size=(24, 28))),
        criterion=("spread", "wmv[window=5]", "discrepancy[variance=0]", "holdout"),
        task="halved[holdout=0.05]",
        noise="none",
        loss="sunk",
        network="coarse",
        iterations=40,
        patience=6,
        device="cpu",
    )


def run(config: Config, out: Path, events: list[Event] | None = None) -> None:
    emit = (lambda event: None) if events is None else events.append
    assert driver.run(config, out, driver.plan(config, out), emit) == 0


def rows(out: Path) -> list[dict]:
    times = ("ms_per_step", "criterion_ms_per_step", "seconds")
    return [{key: value for key, value in row.items() if key not in times} for row in Results(out).table()]


def test_a_run_with_all_of_them_measures_every_criterion_in_its_domain(config, tmp_path):
    events: list[Event] = []
    run(config, tmp_path / "r", events)
    (unit,) = Run(tmp_path / "r").units()
    assert Results(tmp_path / "r").failures() == []
    spec, trace = unit.spec(), unit.trace()
    assert (spec.task, spec.loss, spec.network, spec.depth) == ("halved[holdout=0.05]", "sunk", "coarse", 5)
    assert (spec.learning_rate, spec.input) == (0.02, "noise")
    # what was minimised is far below zero, and nothing was taken for a divergence
    assert unit.result()["restored"] == []
    assert np.allclose(trace["total"], trace["loss"] - 3, atol=1e-6)
    assert trace["loss"].min() > 0
    assert len(set(trace["drawn"])) == 40
    assert len(set(trace["kept"])) == 1
    # the score is the task's own, on pictures of the unknown picture's size
    assert not np.allclose(trace["score_db"], trace["psnr_db"])
    assert esbench.measure("cifs-png[lam=0]", np.asarray(_image(unit.image_path("noisy")))) > 0
    assert _image(unit.image_path("noisy")).size == (14, 12)
    assert _image(unit.image_path("last")).size == (28, 24)
    spread = unit.criterion("spread")[0]
    assert np.isfinite(spread["value"][::2]).all()
    assert np.isnan(spread["value"][1::2]).all()
    assert len(set(spread["drawn"][::2])) == 20
    for text in ("discrepancy[variance=0]", "holdout"):
        assert np.isfinite(unit.criterion(text)[0]["value"]).all(), text


def test_a_probe_changes_no_other_numbers(config, tmp_path):
    run(config, tmp_path / "with")
    run(dataclasses.replace(config, criterion=config.criterion[1:]), tmp_path / "without")
    assert [row for row in rows(tmp_path / "with") if row["criterion"] != "spread"] == rows(tmp_path / "without")
    with_probe, without = (Run(tmp_path / name).units()[0].trace() for name in ("with", "without"))
    assert np.array_equal(with_probe["loss"], without["loss"])
    assert np.array_equal(with_probe["drawn"], without["drawn"])


def test_it_is_interrupted_and_resumes_to_the_bit(config, tmp_path):
    run(config, tmp_path / "whole")
    planned = driver.plan(config, tmp_path / "left")
    (tmp_path / "left").mkdir()
    Run(tmp_path / "left").begin(config, planned.units, {}, {})
    (job,) = planned.left
    asked = iter(range(1, 100))
    assert run_unit(job, lambda event: None, lambda: next(asked) >= 13).status == "paused"
    run(config, tmp_path / "left")
    assert rows(tmp_path / "left") == rows(tmp_path / "whole")
    whole, left = (Run(tmp_path / name).units()[0] for name in ("whole", "left"))
    assert left.result()["resumed"] == [13]
    for name in ("loss", "drawn", "kept", "score_db"):
        assert np.array_equal(whole.trace()[name], left.trace()[name]), name
    same = [np.nan_to_num(unit.criterion("spread")[0]["value"], nan=-1).tolist() for unit in (whole, left)]
    assert same[0] == same[1]


def test_its_run_is_replayed_and_reported(config, tmp_path):
    run(config, tmp_path / "r")
    replayed = Results(tmp_path / "r").replay(patience=2, criteria=["spread[every=4]"])
    assert [row["patience"] for row in replayed] == [2]
    assert cli.main(["report", str(tmp_path / "r"), "--out", str(tmp_path / "page")], standalone_mode=False) in (
        0,
        None,
    )
    (page,) = tmp_path.glob("page*/*.html") or tmp_path.glob("page*.html")
    assert "halved[holdout=0.05]" in page.read_text(encoding="utf-8")


def test_a_picture_is_restored_with_them_in_tiles_too(extended, monkeypatch):
    monkeypatch.setattr("esbench.restoration.whole.WHOLE", 30 * 30)
    monkeypatch.setattr("esbench.restoration.whole.SIDE", 24)
    monkeypatch.setattr("esbench.restoration.whole.OVERLAP", 8)
    y, x = np.mgrid[:20, :14] / 14
    low = np.stack([x, 1 - x, y], -1)
    options = {"loss": "sunk", "network": "coarse", "device": "cpu", "iterations": 60, "patience": 20}
    restored = esbench.restore(low.astype(np.float32), "halved", **options)
    assert restored.image.shape == (40, 28, 3)
    assert restored.image.dtype == np.float32
    assert restored.task == "halved"
    assert restored.criterion == "wmv[window=5]"
    assert restored.sigma_estimate is None
    assert len(restored.optimised) > 1
    assert all(max(each.tile[2:]) <= 24 for each in restored.optimised)
    assert np.abs(restored.image - low.repeat(2, 0).repeat(2, 1)).mean() < 0.25


def test_parts_that_do_not_fit_are_refused_in_a_sentence(config, tmp_path, pictures):
    with pytest.raises(esbench.EsbenchError, match="a: Network 'coarse' cannot make a picture of 6 x 6: it needs both"):
        driver.plan(dataclasses.replace(config, crop=6), tmp_path / "r")
    with pytest.raises(esbench.EsbenchError, match="The input 'guide' needs a task with a guide"):
        driver.plan(dataclasses.replace(config, input="guide"), tmp_path / "r")
    with pytest.raises(esbench.EsbenchError, match="The task 'halved' takes no mask"):
        esbench.restore(np.zeros((8, 8, 3)), "halved", mask=np.zeros((8, 8)))
    with pytest.raises(esbench.EsbenchError, match=r"No loss 'sunken'\. Did you mean 'sunk'\?"):
        Options(loss="sunken").settings(100)


@pytest.mark.parametrize("source", ["noise", "meshgrid", "observation", "masked"])
def test_every_input_gives_a_restoration(extended, source):
    restored = esbench.restore(
        np.full((8, 10, 3), 0.25, np.float32), "halved", input=source, network="coarse", iterations=4, device="cpu"
    )
    assert restored.image.shape == (16, 20, 3)


def _image(path):
    from PIL import Image

    return Image.open(path)
