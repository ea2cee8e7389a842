from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.builtin.criteria.interval import interval, recompute
from esbench.engine import build
from esbench.errors import ParamError
from esbench.frames import Frame
from esbench.observation import Observation
from esbench.pictures import Pictures
from esbench.restoration.options import Options


def clean() -> np.ndarray:
    y, x = np.mgrid[:32, :48] / 7
    return np.stack([0.5 + 0.3 * np.sin(x + c) * np.cos(y) for c in range(3)], -1).astype(np.float32)


def observed(**options) -> tuple[object, Observation]:
    task = build.task("jpeg[quality=30]")
    return task, task.degrade(clean(), np.random.default_rng(0), lambda picture: picture, None)


def value(x: np.ndarray, c: float = 0.015):
    task, observation = observed()
    frame = Frame(Pictures(torch.from_numpy(x[None]).movedim(-1, 1)), problem=build.problem("jpeg", task, observation))
    return interval(frame, c=c)


def test_the_clean_picture_contradicts_nothing_and_a_flat_one_much():
    clean_share, flat = value(clean()).parts["outside"], value(np.full((32, 48, 3), 0.5, np.float32)).parts["outside"]
    # 8 bits before the compression move a few coefficients over an edge
    assert clean_share < 0.05 < 0.5 < flat


def test_the_share_is_that_of_the_coefficients_counted_one_by_one():
    task, observation = observed()
    x = clean() + 0.05 * np.random.default_rng(1).standard_normal((32, 48, 3)).astype(np.float32)
    tensor = torch.from_numpy(x.clip(0, 1)).movedim(-1, 0)[None]
    to_ycc, intervals = task._fitted(tensor, observation)
    planes = torch.einsum("ij,jhw->ihw", to_ycc, tensor[0])
    found, n = 0, 0
    for plane, each in zip(planes, intervals, strict=True):
        for c, low, high in zip(
            *(t.flatten().tolist() for t in (each.analysed(plane), each.low, each.high)), strict=True
        ):
            if not low <= 0 <= high:
                found, n = found + (c < low or c > high), n + 1
    assert value(x.clip(0, 1)).parts["outside"] == pytest.approx(found / n, abs=2 / n)
    assert value(x.clip(0, 1), c=0.4).value == pytest.approx(abs(found / n - 0.4), abs=2 / n)


def test_it_has_no_value_while_little_is_learned():
    """The share of the first outputs may rise: the first of them is no stop."""
    flat = value(np.full((32, 48, 3), 0.5, np.float32), c=0.25)
    assert flat.value is None
    assert re.fullmatch(r"\d\d% of the ranges are violated, little is learned yet", flat.reason)
    again = recompute({"outside": np.array([flat.parts["outside"], 0.5, 0.2])}, c=0.25)
    assert np.array_equal(again, [np.nan, 0.25, 0.25 - 0.2], equal_nan=True)


def test_jpeg_stops_by_it_and_another_share_needs_no_new_optimisation(pictures, tmp_path):
    assert Options(task="jpeg").stops_by == "interval"
    config = Config(
        dataset=str(pictures("a")),
        task="jpeg",
        noise="none",
        criterion=("interval",),
        network="skip[channels=8,scales=2]",
        iterations=40,
        patience=5,
        device="cpu",
    )
    assert driver.run(config, tmp_path / "r", driver.plan(config, tmp_path / "r"), lambda event: None) == 0
    results = Results(tmp_path / "r")
    shares = results.run.units()[0].criterion("interval")[0]["outside"]
    c = float(np.median(shares))
    (row,) = results.replay(criteria=[f"interval[c={c}]"])
    assert row["stop_step"] == int(np.argmin(np.abs(shares - c))) or not row["fallback"]
    with pytest.raises(ParamError, match="interval needs a task with known ranges, such as jpeg, got denoise"):
        driver.plan(dataclasses.replace(config, task="denoise", noise="gaussian"), tmp_path / "s")
