"""Optimisations of a restoration that run at once, in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from esbench import device as devices
from esbench import limits, plain
from esbench.errors import ParamError, Unavailable
from esbench.events import Event, Notice, Progress, UnitFinished, UnitStarted
from esbench.restoration import whole
from esbench.restoration.aside import Aside
from esbench.restoration.options import Options
from esbench.restoration.whole import Restoration

#: Three tiles of a picture of 20 x 44, optimised twice.
OPTIONS = Options(
    network="skip[channels=4,scales=1]",
    device="cpu",
    iterations=200,
    patience=50,
    criterion="loss",
    sigma=25,
    quality="best",
)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Small tiles, for which processes are worth it, and one thread, so that all sums are rounded in the same way."""
    with pytest.MonkeyPatch.context() as patch, devices.threads(1):
        for name, value in {"WHOLE": 24 * 24, "SIDE": 20, "OVERLAP": 4, "SEVERAL": 0.0}.items():
            patch.setattr(whole, name, value)
        yield


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    y, x = np.mgrid[:20, :44] / 8
    clean = np.stack([0.4 + 0.2 * np.sin(x + c) * np.cos(y) for c in range(3)], -1)
    return (clean + 25 / 255 * np.random.default_rng(0).standard_normal(clean.shape)).clip(0, 1)


def begun(noisy: np.ndarray, processors: int = 2, emit: Callable[[Event], None] = lambda event: None) -> Restoration:
    return Restoration(noisy, replace(OPTIONS, quality=None), name="n", emit=emit, processors=processors)


def kill(aside: Aside, number: int) -> None:
    os.kill(aside._busy[number]._process.pid, signal.SIGKILL)


def to_the_end(aside: Aside) -> None:
    while aside.running:
        aside.wait()


@pytest.fixture(scope="module")
def in_turn(noisy) -> Restoration:
    at_work = begun(noisy, 1)
    for _ in at_work:
        pass
    return at_work


def test_at_once_they_give_the_same_bits_as_one_after_another_also_if_a_process_is_killed(noisy, in_turn):
    events: list[Event] = []
    at_work, killed = begun(noisy, emit=events.append), False
    for _ in at_work:
        if not killed and any(isinstance(event, UnitStarted) for event in events):
            kill(at_work._aside, 0)
            killed = True
    found, wanted = at_work.result(), in_turn.result()
    assert np.array_equal(found.image, wanted.image)
    assert (found.reason, found.steps_run, found.disagreement) == (wanted.reason, wanted.steps_run, wanted.disagreement)
    assert [each.tile for each in found.optimised] == [each.tile for each in wanted.optimised]
    notices = [event.text for event in events if isinstance(event, Notice) and event.text.startswith(("2 ", "n, 1"))]
    assert notices == [
        "2 optimisations at once, with 1 thread each",
        "n, 1 of 3: its process ended with SIGKILL, and it begins again",
    ]
    assert {e.unit for e in events if isinstance(e, UnitStarted)} == {"n, 1 of 3", "n, 2 of 3", "n, 3 of 3"}
    assert sorted(e.unit for e in events if isinstance(e, UnitFinished)) == ["n, 1 of 3", "n, 2 of 3", "n, 3 of 3"]
    assert max(event.later for event in events if isinstance(event, Progress)) == 100  # one tile for two processes


def test_left_early_they_give_the_best_so_far_and_their_state_continues_one_after_another(noisy, in_turn):
    at_work = begun(noisy)
    for _ in at_work:
        if at_work.number == 1:
            state = plain.loads(b"".join(plain.dumps(at_work.state_dict())))
            break
    left = at_work.result(interrupted=True)
    assert left.reason.startswith(f"interrupted in optimisation {len(left.optimised)} of 3: 0 of {len(left.optimised)}")
    assert 200 < left.steps_run <= 600
    assert at_work._aside is None

    later = begun(noisy, 1)
    later.load_state_dict(state)
    for _ in later:
        pass
    assert np.array_equal(later.result().image, in_turn.result().image)
    assert later.result().steps_run == 600


def test_what_fails_there_is_raised_here_and_a_process_that_ends_twice_is_too(noisy):
    at_work = begun(noisy, 1)
    unknown = replace(at_work._part(at_work._tiles[0]), noise=replace(at_work.observation.noise, level=None))
    aside = Aside(1)
    try:
        aside.begin(replace(at_work._assignment(0), options=Options(loss="sure"), observation=unknown))
        with pytest.raises(ParamError, match=r"The loss 'sure' needs"):
            to_the_end(aside)
        aside.begin(at_work._assignment(1))
        kill(aside, 1)
        while aside.wait() is None:
            pass
        kill(aside, 1)
        with pytest.raises(Unavailable, match=r"^n, 2 of 3: its process ended with SIGKILL again, as happens if there"):
            to_the_end(aside)
    finally:
        aside.close()


@pytest.mark.parametrize(
    ("processors", "given", "wanted"),
    [
        (1, {}, None),
        (2, {}, (2, 1)),
        (4, {}, (4, 1)),
        (16, {}, (6, 2)),  # two restarts of three tiles
        (16, {"quality": None}, (3, 5)),
        (2, {"minutes": 1.0, "quality": None}, None),
    ],
)
def test_as_many_run_at_once_as_processors_allow(noisy, monkeypatch, processors, given, wanted):
    monkeypatch.setattr(whole.Options, "restarts", lambda self, pixels: 2 if self.quality == "best" else 1)
    options = replace(OPTIONS, **given)
    assert Restoration(noisy, options, emit=lambda event: None, processors=processors)._at_once() == wanted


def test_fewer_run_at_once_if_memory_is_short_or_there_is_little_to_do(noisy, monkeypatch):
    at_work = begun(noisy, 4)
    assert at_work._at_once() == (3, 1)
    monkeypatch.setattr(limits, "memory", lambda: 2 * whole.OWN + 3 * 400 * whole.EACH)
    assert at_work._at_once() == (2, 1)
    monkeypatch.setattr(limits, "memory", lambda: whole.OWN)
    assert at_work._at_once() is None
    monkeypatch.undo()
    monkeypatch.setattr(whole, "SEVERAL", 1 + at_work.work)
    assert begun(noisy, 4)._at_once() is None
