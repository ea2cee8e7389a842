from __future__ import annotations

import io
import math
import pickle
import random
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import esbench
from esbench.builtin.criteria import cifs
from esbench.errors import NameUnknown, ParamError, UsageError
from esbench.frames import Frame
from esbench.noise import estimate
from esbench.observation import Problem
from esbench.pictures import Pictures
from esbench.registry import registry
from esbench.stopper import Best, Stopper
from esbench.stopping.criterion import Criterion
from esbench.stopping.rule import first_stop

CLEAN = np.linspace(0.2, 0.7, 12 * 14 * 3, dtype=np.float32).reshape(12, 14, 3)
NOISY = np.clip(CLEAN + 0.1 * np.random.default_rng(0).standard_normal(CLEAN.shape), 0, 1).astype(np.float32)


def outputs(steps: int = 60) -> list[np.ndarray]:
    """Give what a Deep Image Prior gives: first something flat, then the picture, then its noise. 8-bit values."""
    found = []
    for t in range(steps):
        picture, noise = 1 - math.exp(-t / 5), 1 - math.exp(-((t / 40) ** 3))
        x = 0.5 + picture * (CLEAN - 0.5) + noise * (NOISY - CLEAN)
        found.append(np.rint(x * 255).astype(np.uint8))
    return found


def loss_of(x: np.ndarray) -> float:
    return float(((x / 255 - NOISY) ** 2).mean())


#: What a criterion is asked for in most tests: a lam at which the curve has its minimum in the middle.
CIFS = "cifs-png[lam=1e5]"


def run(stopper: Stopper, of: list, losses: list[float]) -> Stopper:
    """Feed a stopper until it says that it has enough."""
    for x, loss in zip(of, losses, strict=True):
        if stopper.update(x, loss=loss):
            break
    return stopper


def curve(text: str, of: list[np.ndarray], **known) -> list[float | None]:
    """Return what a criterion makes of each output, without a stopper."""
    problem = Problem(**known)
    criterion = Criterion(registry().get("criterion", text), problem)
    found = []
    for t, x in enumerate(of):
        value = criterion.update(Frame(Pictures(x[None]), step=t, loss=loss_of(x), problem=problem))
        found.append(None if value is None else value.value)
    return found


# -- the decision


@pytest.mark.parametrize(
    "text", [CIFS, "wmv[window=5]", "emv[burn_in=3]", "loss", "fixed[step=20]", "cifs-png[lam=1e5,every=3]"]
)
@pytest.mark.parametrize("patience", [0, 5, 12])
def test_it_stops_where_the_rule_stops_on_the_recorded_curve(text, patience):
    of = outputs()
    stopper = run(Stopper(text, patience=patience), of, list(map(loss_of, of)))
    recorded = first_stop(curve(text, of), patience)
    if recorded.fallback:
        assert stopper.stop is None
    else:
        assert stopper.stop == recorded
        assert stopper.best == Best(recorded.step, recorded.value, stopper.best.output)
        assert np.array_equal(stopper.best.output, of[recorded.step])


def test_it_is_certain_as_soon_as_the_patience_is_over_and_nothing_changes_any_more():
    stopper = Stopper("fixed[step=3]", patience=2)
    black = np.zeros((2, 2, 3), np.uint8)
    assert [stopper.update(black) for _ in range(6)] == [False] * 5 + [True]
    assert stopper.stop == esbench.Stop(step=3, value=0.0, decided_at=5)
    best = stopper.best
    assert stopper.update("no picture at all") is True
    assert stopper.best is best


@given(
    st.lists(st.integers(0, 4) | st.just(math.nan), min_size=1, max_size=30), st.integers(0, 6), st.sampled_from([0, 1])
)
@settings(deadline=None)
def test_ties_missing_values_and_min_delta_are_the_rules(values, patience, min_delta):
    stopper = Stopper("loss", patience=patience, min_delta=min_delta)
    run(stopper, [np.zeros((1, 1, 3), np.uint8)] * len(values), values)
    recorded = first_stop(values, patience, min_delta)
    assert stopper.stop == (None if recorded.fallback else recorded)


LAYOUTS = {
    "HWC": lambda x: x,
    "CHW": lambda x: x.transpose(2, 0, 1),
    "1CHW": lambda x: x.transpose(2, 0, 1)[None],
}
KINDS = {
    "uint8": lambda x: x,
    "float32": lambda x: x.astype(np.float32) / np.float32(255),
    "float64": lambda x: x / 255,
}


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [CIFS, "wmv[window=5]"])
def test_every_kind_of_picture_gives_the_same_decision_and_is_kept_as_it_came(library, layout, kind, text):
    def handed(x: np.ndarray):
        array = np.ascontiguousarray(LAYOUTS[layout](KINDS[kind](x)))
        return array if library == "numpy" else torch.from_numpy(array).requires_grad_(kind != "uint8")

    of = outputs()
    losses = [loss_of(x) for x in of]
    expected = run(Stopper(text, patience=12), of, losses)
    stopper = run(Stopper(text, patience=12), list(map(handed, of)), losses)
    assert stopper.stop is not None
    assert stopper.stop.step == expected.stop.step
    assert stopper.stop.decided_at == expected.stop.decided_at
    assert stopper.stop.value == pytest.approx(expected.stop.value, rel=1e-5)
    kept, came = stopper.best.output, handed(of[expected.stop.step])
    assert type(kept) is type(came)
    assert (kept.dtype, kept.shape) == (came.dtype, came.shape)
    assert bool((kept == came).all())
    assert not getattr(kept, "requires_grad", False)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("layout", ["HW", "HW1", "1HW", "11HW"])
def test_every_kind_of_grey_picture_gives_the_same_decision(library, layout):
    shape = {"HW": (12, 14), "HW1": (12, 14, 1), "1HW": (1, 12, 14), "11HW": (1, 1, 12, 14)}[layout]
    of = [x[..., 0] for x in outputs()]
    losses = [((x / 255 - NOISY[..., 0]) ** 2).mean() for x in of]
    expected = run(Stopper("cifs-png[lam=1e4]", patience=12), of, losses)
    handed = [x.reshape(shape) if library == "numpy" else torch.from_numpy(x.reshape(shape)) for x in of]
    stopper = run(Stopper("cifs-png[lam=1e4]", patience=12), handed, losses)
    assert stopper.stop == expected.stop is not None
    assert tuple(stopper.best.output.shape) == shape


@pytest.mark.filterwarnings("error")
def test_a_loss_that_is_a_tensor_will_do():
    stopper = Stopper("loss", patience=0)
    assert stopper.update(torch.zeros(3, 4, 4), loss=torch.tensor(0.25, requires_grad=True))
    assert stopper.best.value == 0.25


def test_the_best_output_is_a_copy():
    x = np.zeros((4, 4, 3), np.float32)
    t = torch.zeros(3, 4, 4)
    for own in (x, t):
        stopper = Stopper("loss", patience=5)
        stopper.update(own, loss=1.0)
        own += 0.5
        assert float(stopper.best.output.max()) == 0


def test_one_picture_is_kept_and_no_more():
    stopper = Stopper("loss", patience=100)
    alive = []
    for step in range(20):
        x = np.full((8, 8, 3), step, np.uint8)
        stopper.update(x, loss=-step)
        alive.append(weakref.ref(stopper.best.output))
        del x
    assert [ref() is not None for ref in alive] == [False] * 19 + [True]


def test_an_output_with_nan_is_never_the_best():
    good, bad = np.full((4, 4, 3), 0.5, np.float32), np.full((4, 4, 3), np.nan, np.float32)
    stopper = Stopper("loss", patience=3)
    for x, loss in [(bad, 0.0), (good, 2.0), (bad, 1.0), (bad, math.nan)]:
        assert not stopper.update(x, loss=loss)
    assert (stopper.best.step, stopper.best.value) == (1, 2.0)
    assert stopper.update(good, loss=3.0)
    assert np.array_equal(stopper.best.output, good)


def test_a_criterion_on_the_average_sees_the_exponential_average_and_its_own_loss():
    of = [KINDS["float32"](x) for x in outputs(20)]
    stopper = Stopper("loss[on=average]", observation=NOISY, patience=100)
    average, values = None, []
    again = Stopper("loss[on=average]", observation=NOISY, patience=100)
    buffer = torch.empty(of[0].shape)  # a user may write every output into the same memory
    for x in of:
        again.update(buffer.copy_(torch.from_numpy(x)), loss=123.0)
        average = x if average is None else np.float32(0.99) * average + np.float32(0.01) * x
        values.append(float(((average - NOISY) ** 2).mean()))
        stopper.update(x, loss=123.0)
    assert stopper.best.step == int(np.argmin(values))
    assert stopper.best.value == pytest.approx(min(values), rel=1e-5)
    assert again.values == pytest.approx(values, rel=1e-5)
    assert np.array_equal(stopper.best.output, of[stopper.best.step])


# -- what it says


def test_the_reason_is_a_sentence_at_every_moment():
    black = np.zeros((2, 2, 3), np.uint8)
    stopper = Stopper("wmv[window=3]", patience=2)
    assert stopper.reason == "not stopped: wmv[window=3] had no value in 0 steps"
    stopper.update(black)
    stopper.update(black)
    assert stopper.reason == "not stopped: wmv[window=3] had no value in 2 steps"
    stopper.update(black)
    assert stopper.reason == "not stopped in 3 steps: wmv[window=3] was lowest at step 2 (0)"
    stopper.update(black)
    assert stopper.update(black)
    assert stopper.reason == "stopped: wmv[window=3] was lowest at step 2 (0), not undercut in 2 steps"


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: Stopper("cifs-jpg"), NameUnknown, "No criterion 'cifs-jpg'. Did you mean 'cifs-jpeg'?"),
        (lambda: Stopper("wmv[window=0]"), ParamError, "window must be"),
        (lambda: Stopper("wmv", patience=-1), UsageError, "patience must be at least 0, got -1."),
        (lambda: Stopper("wmv", min_delta=math.nan), UsageError, "min_delta must be at least 0, got nan."),
        (lambda: Stopper("wmv", observation=NOISY * 255), UsageError, "observation must be uint8 or float in [0, 1]"),
        (lambda: Stopper("wmv").update(np.zeros((4, 4, 7))), UsageError, "output must be (H, W)"),
        (
            lambda: Stopper(CIFS).update(outputs(1)[0]),
            UsageError,
            "cifs-png[lam=100000] needs the loss: update(output, loss=...).",
        ),
        (
            lambda: Stopper("loss[on=average]").update(outputs(1)[0], loss=1.0),
            UsageError,
            "loss[on=average] needs the observation: Stopper(..., observation=...).",
        ),
        (
            lambda: Stopper("wmv", observation=NOISY).update(np.zeros((12, 15, 3))),
            UsageError,
            "Every output must have the size of the first picture, (12, 14), got (12, 15).",
        ),
    ],
)
def test_an_invalid_request_is_refused_in_a_sentence(make, error, sentence):
    with pytest.raises(error) as said:
        make()
    assert str(said.value).startswith(sentence)
    assert "\n" not in str(said.value)


def test_a_change_of_size_is_refused_and_forgotten():
    stopper = Stopper("wmv[window=2]", patience=1)
    black = np.zeros((4, 4, 3), np.uint8)
    stopper.update(black)
    with pytest.raises(UsageError, match=r"\(4, 4\), got \(8, 8\)"):
        stopper.update(np.zeros((8, 8, 3), np.uint8))
    stopper.update(black)
    assert stopper.best.step == 1


# -- lam


def test_lam_auto_is_decided_by_the_noise_level_that_is_known_or_estimated(monkeypatch):
    rows = {"jpeg": {"10": 100.0, "25": 40.0, "50": 8.0}}
    monkeypatch.setattr(cifs, "table", lambda: {"mu": rows, "texture": {}, "grey": {}})

    noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((40, 50, 3), dtype=np.float32)

    def lam(**known) -> float:
        return Stopper("cifs-jpeg", observation=noisy, **known).criterion.resolved["lam"]

    assert lam(sigma=25.0) == pytest.approx(40 * 2000)
    assert lam(sigma=50.0) == pytest.approx(8 * 2000)
    assert lam() == pytest.approx(cifs.mu("jpeg", "jpeg", estimate(noisy).sigma) * 2000)
    assert 36 * 2000 < lam() < 46 * 2000


def test_lam_auto_grows_with_the_number_of_pixels():
    def lam(h: int, w: int) -> float:
        return Stopper("cifs-jpeg", observation=np.zeros((h, w, 3), np.uint8), sigma=25.0).criterion.resolved["lam"]

    assert lam(20, 30) == pytest.approx(6 * lam(10, 10))


def test_lam_auto_without_an_observation_is_refused_immediately():
    with pytest.raises(
        UsageError, match=r"cifs-jpeg needs the observation: Stopper\(\.\.\., observation=\.\.\.\), or a"
    ):
        Stopper()
    Stopper("cifs-jpeg[lam=0]")


# -- saving


@pytest.mark.parametrize("through", ["nothing", "pickle", "torch.save"])
@pytest.mark.parametrize("text", [CIFS, "wmv[window=5]", "emv[burn_in=3]", "loss[on=average]"])
@pytest.mark.parametrize("at", [1, 4, 20, 38])
def test_a_saved_state_continues_to_the_same_end(through, text, at):
    def make() -> Stopper:
        return Stopper(text, observation=NOISY, patience=12)

    of = outputs()
    losses = [loss_of(x) for x in of]
    whole = run(make(), of, losses)
    first = run(make(), of[:at], losses[:at])
    state = first.state_dict()
    if through == "pickle":
        state = pickle.loads(pickle.dumps(state))
    elif through == "torch.save":
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=False)
    second = make()
    second.load_state_dict(state)
    run(first, of[at:], losses[at:])  # continuing here must not change the saved state
    run(second, of[at:], losses[at:])
    for stopper in (first, second):
        assert stopper.stop == whole.stop
        assert (stopper.best.step, stopper.best.value) == (whole.best.step, whole.best.value)
        assert np.array_equal(stopper.best.output, whole.best.output)
        assert stopper.reason == whole.reason


def test_a_state_after_the_stop_is_the_stop():
    of = outputs()
    stopper = run(Stopper(CIFS, patience=12), of, [loss_of(x) for x in of])
    again = Stopper(CIFS, patience=12)
    again.load_state_dict(pickle.loads(pickle.dumps(stopper.state_dict())))
    assert again.stop == stopper.stop is not None
    assert again.update(of[0], loss=0.0)


def test_the_state_of_another_criterion_or_of_something_else_is_refused():
    for state in ({}, None, {"criterion": "emv"}):
        with pytest.raises(UsageError, match=r"The state must be what state_dict\(\) of a stopper has returned\."):
            Stopper("emv").load_state_dict(state)
    with pytest.raises(UsageError, match=r"The state is that of 'wmv', this stopper has 'emv'\."):
        Stopper("emv").load_state_dict(Stopper("wmv").state_dict())


# -- third-party criteria, and what an integrator may get wrong

WRITER = """
import esbench

@esbench.hookimpl
def esbench_criteria():
    return [esbench.CriterionInfo(name=f"writes-{on}", summary="s", target=writes, measures=on) for on in VIEWS] + [
        esbench.CriterionInfo(name="reads", summary="s", target=lambda frame: float(frame.tensor.zero_().sum()))
    ]

VIEWS = ("output", "average")

def writes(frame):
    for tensor in (frame.tensor, frame.problem.noisy.tensor):
        tensor.zero_()
    if frame.average is not None:
        frame.average.tensor.zero_()
    return float(abs(frame.step - 3))
"""


@pytest.mark.parametrize("criterion", ["writes-output", "writes-average"])
@pytest.mark.parametrize("kind", ["torch", "numpy", "grey", "uint8"])
def test_a_third_party_criterion_never_gets_the_users_own_memory(plugin, criterion, kind):
    plugin(WRITER)
    rng = np.random.default_rng(0)
    picture = rng.random((1, 1, 9, 8) if kind == "grey" else (8, 9, 3)).astype(np.float32) * 0.8 + 0.1
    if kind == "torch":
        picture = torch.from_numpy(picture).permute(2, 0, 1)
    elif kind == "uint8":
        picture = (picture * 255).astype(np.uint8)
    before = picture.clone() if kind == "torch" else picture.copy()
    stopper = Stopper(criterion, observation=picture, patience=2)
    for _ in range(6):
        stopper.update(picture, loss=0.1)
        esbench.measure("reads", picture)
    assert bool((picture == before).all())
    assert bool((stopper.best.output == before).all())
    assert stopper.best.step == 3
    assert float(stopper.problem.noisy.float.min()) > 0


def test_a_criterion_that_seeds_the_global_generators_leaves_them_to_the_users_loop(plugin):
    plugin("""
import random, numpy, torch
from esbench import CriterionInfo, hookimpl


def seeds(frame):
    random.seed(0), numpy.random.seed(0), torch.manual_seed(0)
    return 1.0


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="seeds", summary="x", target=seeds)]
""")

    def drawn() -> tuple[float, float, float]:
        return random.random(), np.random.random(), float(torch.rand(1))

    stopper, states = Stopper("seeds"), (random.getstate(), np.random.get_state(), torch.get_rng_state())
    wanted = drawn()
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])
    stopper.update(np.zeros((4, 4)))
    assert drawn() == wanted


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sigma": -1}, "sigma must be at least 0, got -1."),
        ({"sigma": float("nan")}, "sigma must be at least 0, got nan."),
        ({"patience": float("nan")}, "patience must be a whole number, got nan."),
        ({"patience": 1.5}, "patience must be a whole number, got 1.5."),
        ({"patience": True}, "patience must be a whole number, got True."),
        ({"patience": -1}, "patience must be at least 0, got -1."),
        ({"min_delta": float("nan")}, "min_delta must be at least 0, got nan."),
        ({"min_delta": "small"}, "min_delta must be a number, got 'small'."),
        ({"sigma": np.ones(2)}, "sigma must be a number, got array([1., 1.])."),
        ({"task": "denois"}, "No task 'denois'. Did you mean 'denoise'?"),
        ({"task": None}, "A component is written name[key=value,key=value], got None."),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(UsageError) as error:
        Stopper("loss", **options)
    assert str(error.value).startswith(sentence)


def test_an_output_on_another_scale_is_refused_and_nan_is_a_missing_value():
    stopper = Stopper("loss", patience=2)
    with pytest.raises(UsageError, match=r"output must be uint8 or float in \[0, 1\], got floats from 0 to 255"):
        stopper.update(np.linspace(0, 255, 48).reshape(4, 4, 3), loss=0.1)
    for loss in ("low", np.ones(2), 10**400, torch.ones((), device="meta")):
        with pytest.raises(UsageError, match="loss must be a number, got "):
            stopper.update(np.zeros((4, 4, 3)), loss=loss)
    assert not stopper.update(np.full((4, 4, 3), np.nan), loss=0.1)
    assert stopper.best.step is None


def test_the_outputs_may_have_another_size_than_the_observation_if_the_task_says_so():
    low = np.full((6, 5, 3), 0.5, np.float32)
    stopper = Stopper("discrepancy[variance=0]", observation=low, sigma=0, patience=3, task="superres[factor=2]")
    for _ in range(3):
        stopper.update(np.full((12, 10, 3), 0.5, np.float32), loss=0.0)
    assert stopper.best.value == pytest.approx(0, abs=1e-9)
    with pytest.raises(UsageError, match="Every output must have the size"):
        stopper.update(low, loss=0.0)


# -- what a notebook shows


def test_a_stopper_says_briefly_where_it_is_and_shows_its_best_output():
    stopper = Stopper("fixed[step=3]", patience=2)
    assert repr(stopper.best) == "Best(none yet)"
    assert "<img" not in stopper._repr_html_()
    picture = np.full((4, 6, 3), 128, np.uint8)
    while not stopper.update(picture):
        pass
    assert repr(stopper) == f"Stopper('fixed[step=3]', patience=2: {stopper.reason})"
    assert repr(stopper.best) == "Best(step=3, value=0, output=4 x 6 x 3 uint8)"
    for html in (stopper._repr_html_(), stopper.best._repr_html_()):
        assert 'src="data:image/png;base64,' in html
    assert stopper.reason in stopper._repr_html_()


def test_an_output_on_another_scale_is_shown_without_a_picture():
    best = Best(1, 2.0, np.full((4, 6, 3), 1e6))
    assert repr(best) == "Best(step=1, value=2, output=4 x 6 x 3 float64)"
    assert "<img" not in best._repr_html_()


def test_the_plot_has_the_values_the_best_step_the_patience_and_the_stop():
    from matplotlib.figure import Figure

    stopper = Stopper("loss", patience=3)
    curve = [9.0, 5.0, math.nan, 3.0, 4.0, 4.0, 4.0]
    for value in curve[:5]:
        stopper.update(np.zeros((1, 1, 3), np.uint8), loss=value)
    assert stopper.values == pytest.approx(curve[:5], nan_ok=True)
    again = Stopper("loss", patience=3)
    again.load_state_dict(stopper.state_dict())
    for each in (stopper, again):
        for value in curve[5:]:
            each.update(np.zeros((1, 1, 3), np.uint8), loss=value)
    assert again.values == pytest.approx(stopper.values, nan_ok=True)
    axes = stopper.plot(Figure().subplots())
    line, best, stop = axes.lines
    assert line.get_xydata().tolist() == [[0, 9], [1, 5], [3, 3], [4, 4], [5, 4], [6, 4]]
    assert best.get_xydata().tolist() == [[3, 3]]
    assert list(stop.get_xdata()) == [3, 3]
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == (3, 3)


def test_a_path_is_accepted_where_a_picture_is(pictures):
    path = pictures("a") / "a.png"
    pixels = esbench.images.read(path)
    assert esbench.measure("cifs-jpeg[lam=0]", path) == esbench.measure("cifs-jpeg[lam=0]", pixels)
    assert (
        Stopper("discrepancy", observation=str(path)).problem.sigma
        == Stopper("discrepancy", observation=pixels).problem.sigma
    )
