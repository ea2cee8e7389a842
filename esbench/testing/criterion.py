"""check_criterion: check the contract that makes a criterion comparable with others."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import itertools
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import numpy as np

from esbench import plain
from esbench.errors import EsbenchError, PluginError
from esbench.frames import Block, Frame, Value
from esbench.observation import Problem
from esbench.pictures import Floats
from esbench.records import CriterionInfo
from esbench.registry import Component, load, registry
from esbench.stopping.criterion import NOT_FINITE, Criterion
from esbench.testing import scenes

#: Steps are shown to a criterion until it has returned this many values.
VALUES = 8

#: The maximum number of steps: a criterion without memory has no reason to wait.
STEPS, STEPS_WITH_MEMORY = 24, 400

#: A fault may show late: the number of steps to try, and the maximum number of seconds.
LONG, SECONDS = 300, 5.0

#: What to do about a message that contains a text.
REMEDIES = {
    "must return a float": "Convert it, as in float(...).",
    "read-only": "Work on a copy, as in x = frame.float.copy(): all criteria see the same pictures.",
}

#: The allowed relative difference of two values: a float32 sum depends on its order, which depends on the alignment of
#: the array in memory.
ROUNDING = 1e-5

#: Packages that must not be imported before a criterion is used, because listing would take seconds.
HEAVY = ("torch", "torchvision", "tensorflow", "jax", "scipy", "sklearn", "skimage", "cv2", "matplotlib", "pandas")

#: Criteria to compare the cost of a frame with.
BESIDE = ("cifs-jpeg[lam=0]", "wmv[window=2]")

#: Height and width of the largest picture; half of it for a criterion with memory, which may keep many of them.
LARGEST = (1536, 2048)

Verdict = Literal["ok", "failed", "skipped", "warning"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        status: ok, failed, skipped if it does not apply, or warning if the author should look at it.
        tried: the action.
        came: its result.
        advice: how to fix it, if it is not ok.
    """

    check: str
    status: Verdict
    tried: str
    came: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.check} {self.status}: {self.tried}: {self.came}. {self.advice}".rstrip()


def check_criterion(criterion: str | Component) -> list[Finding]:
    """Run all checks on one criterion and return their findings.

    Args:
        criterion: `name` or `name[key=value]` of an installed criterion, or its component.

    Raises:
        UsageError: there is no such criterion, or its parameters are invalid.
        Unavailable: it cannot be used.

    Examples:
        >>> {finding.status for finding in check_criterion("loss")} <= {"ok", "skipped"}
        True
    """
    component = registry().get("criterion", criterion) if isinstance(criterion, str) else criterion
    with contextlib.suppress(PluginError):  # a finding; invalid parameters are an error of the caller
        Criterion(component, scenes.problem())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(_findings(component))


def _findings(component: Component) -> Iterator[Finding]:
    yield _record(component)
    yield _imports(component)
    first = _attempt(lambda: _run(component))
    yield _values(component, first)
    if isinstance(first, Showing):
        yield _input(first)
        yield _repeated(component, first)
        yield _clean(component, first)
        yield _blocks(component, first)
        yield _state(component, first)
        yield _recomputed(component, first)
    yield from _awkward(component, first)
    yield _alone(component)
    if isinstance(first, Showing):
        yield _direction(component, first)
        yield _cost(component, first)


# -- the optimisation --------------------------------------------------------------------------------------------------


@dataclass
class Showing:
    """A criterion's values on the optimisation, the seconds and the loss of each step, and the views it wrote to."""

    values: list[Value | None]
    seconds: list[float]
    losses: list[float | None]
    written: str = ""

    @property
    def numbers(self) -> list[float | None]:
        """The values as numbers."""
        return [None if value is None else value.value for value in self.values]

    @property
    def has_values(self) -> bool:
        """Whether there is any value."""
        return any(number is not None for number in self.numbers)


def _run(
    component: Component, steps: int | None = None, length: int = 1, clean: Any = None, size: scenes.Size | None = None
) -> Showing:
    """Measure the optimisation with a new object of the criterion; `clean` is in memory, but must not be used."""
    size = size or _size(component)
    criterion = Criterion(component, problem := scenes.problem(size))
    run = Showing([], [], [])
    for block in scenes.optimisation(steps or _steps(component), length, size):
        frames = list(block.frames(problem))
        before = _copies(block, problem)
        started = time.perf_counter()
        run.values += criterion.update_block(frames)
        run.seconds += [(time.perf_counter() - started) / len(frames)] * len(frames)
        run.losses += [frame.loss for frame in (criterion.seen(frame) for frame in frames)]
        changed = [name for name, copy in _copies(block, problem).items() if not _same(copy, before[name])]
        run.written = run.written or ", ".join(changed)
        if steps is None and sum(number is not None for number in run.numbers) >= VALUES:
            break
    return run


def _size(component: Component) -> scenes.Size:
    return scenes.SMALL if isinstance(component.target, type) else scenes.SIZE


def _steps(component: Component) -> int:
    return STEPS_WITH_MEMORY if isinstance(component.target, type) else STEPS


def _copies(block: Block, problem: Problem) -> dict[str, Any]:
    """Return copies of every view that a criterion could write to; tensors first, as the others are made from them."""
    assert problem.noisy is not None
    shown: dict[str, Any] = {
        "the output": block.outputs,
        "its average": block.averages,
        "the observation": problem.noisy,
    }
    return {
        f"{name} ({view})": (picture.tensor.clone() if view == "tensor" else getattr(picture, view).copy())
        for name, picture in shown.items()
        for view in ("tensor", "float", "uint8")
    }


def _same(a: Any, b: Any) -> bool:
    return bool((a == b).all())


def _attempt(function: Callable[[], Any]) -> Any:
    """Return the result of a function, or the message of its exception; a criterion could even call sys.exit."""
    try:
        return function()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = str(error) if isinstance(error, EsbenchError) else f"{type(error).__name__}: {error}"
        return " ".join(text.split()).rstrip(".")


# -- checks ------------------------------------------------------------------------------------------------------------


def _record(component: Component) -> Finding:
    record, info = component.record, component.info
    tried = "looked for name, summary, reference and version"
    whole = f"{info.name} (version {info.version}) of {record.owner}"
    if not info.reference:
        advice = "Give in reference= the paper, equation or address that it follows; 'esbench show' prints it."
        return Finding("record", "warning", tried, f"{whole} has no reference", advice)
    if not isinstance(info.version, int) or info.version < 1 or not record.distribution_version:
        return Finding(
            "record", "failed", tried, whole, "Set version= to a whole number from 1; it is recorded with values."
        )
    return Finding("record", "ok", tried, whole)


def _imports(component: Component) -> Finding:
    tried = "listed the criteria in a new process with only this plugin"
    if not _is_installed(component):
        return Finding("imports", "skipped", tried, "it is not from an installed distribution")
    answer = _attempt(lambda: _listing(component.record.distribution))
    if isinstance(answer, str):
        return Finding("imports", "failed", tried, answer, "See 'esbench plugins --traceback'.")
    heavy, ms = answer
    if heavy:
        advice = 'Move the code into a separate module and name it in target="package.module:thing".'
        return Finding("imports", "failed", tried, f"it imports {', '.join(heavy)} ({ms:.0f} ms)", advice)
    return Finding("imports", "ok", tried, f"nothing heavy is imported; {ms:.0f} ms")


def _is_installed(component: Component) -> bool:
    try:
        importlib.metadata.version(component.record.distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def _listing(distribution: str) -> tuple[tuple[str, ...], float]:
    """Return the heavy modules that a new process imports to list the criteria, and the milliseconds of the listing."""
    code = (
        "import json, sys, time; started = time.perf_counter(); import esbench.registry as r; r.registry();"
        f"print(json.dumps([[m for m in {HEAVY} if m in sys.modules], 1000 * (time.perf_counter() - started)]))"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "ESBENCH_PLUGINS": distribution}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    heavy, ms = json.loads(done.stdout.splitlines()[-1])
    return tuple(heavy), ms


def _values(component: Component, run: Showing | str) -> Finding:
    tried = f"measured an optimisation of up to {_steps(component)} steps"
    if isinstance(run, str):
        return Finding("values", "failed", tried, run, _remedy(run))
    if nan := _not_finite(run.values):
        advice = "Return Value(None, reason=...) if there is no number."
        return Finding("values", "failed", tried, f"{nan} at step {run.values.index(nan)}", advice)
    if not run.has_values:
        reason = next((value.reason for value in run.values if value is not None and value.reason), "no reason given")
        advice = "The numbers cannot be checked; use parameters that need fewer steps."
        return Finding("values", "warning", tried, f"no value at any step ({reason})", advice)
    steps = _attempt(lambda: _long(component))
    if isinstance(steps, str):
        return Finding("values", "failed", f"measured an optimisation of up to {LONG} steps", steps, _remedy(steps))
    step = _first_value(run)
    came = f"the first value is {run.numbers[step]:.6g}, at step {step}; {steps} steps without a fault"
    return Finding("values", "ok", tried, came)


def _long(component: Component) -> int:
    """Measure many steps of an optimisation and return how many there was time for."""
    criterion, started = Criterion(component, problem := scenes.problem(_size(component))), time.monotonic()
    for done, block in enumerate(scenes.optimisation(LONG, size=_size(component)), 1):
        criterion.update_block(list(block.frames(problem)))
        if time.monotonic() - started > SECONDS:
            return done
    return LONG


def _remedy(message: str) -> str:
    """Return what to do about a message."""
    known = (remedy for text, remedy in REMEDIES.items() if text in message)
    return next(known, "It must return a number, None or a Value at each step.")


def _first_value(run: Showing) -> int:
    """Return the step of the first value; the steps before have none."""
    return next(i for i, number in enumerate(run.numbers) if number is not None)


def _not_finite(values: Sequence[Value | None]) -> Value | None:
    """Return the first value that was NaN or infinite before esbench made it missing."""
    return next((v for v in values if v is not None and v.reason.startswith(f"{NOT_FINITE} ")), None)


def _input(run: Showing) -> Finding:
    tried = "compared each output, its average and the observation before and after"
    if run.written:
        advice = "Work on a copy: all criteria get the same pictures."
        return Finding("input", "failed", tried, f"it writes to {run.written}", advice)
    return Finding("input", "ok", tried, "it does not change them")


def _repeated(component: Component, first: Showing) -> Finding:
    tried = "measured the same optimisation twice"
    advice = "Seed its random numbers, or keep no state outside of the object."
    return _compare("deterministic", tried, first.numbers, _attempt(lambda: _again(component, first)), advice)


def _clean(component: Component, first: Showing) -> Finding:
    tried = "measured the same outputs and observation with another clean picture in memory"
    other = scenes.photograph(turned=True)
    again = _attempt(lambda: _again(component, first, clean=other))
    return _compare("clean picture", tried, first.numbers, again, "A criterion must not look for the clean picture.")


def _blocks(component: Component, first: Showing) -> Finding:
    tried = "measured the steps one by one and in blocks of five"
    advice = "Its batch function must return what the function returns for each frame."
    again = _attempt(lambda: _again(component, first, length=5))
    return _compare("blocks", tried, first.numbers, again, advice)


def _again(component: Component, first: Showing, length: int = 1, clean: Any = None) -> list[float | None]:
    return _run(component, len(first.values), length, clean).numbers


def _compare(
    check: str,
    tried: str,
    wanted: list[float | None],
    got: list[float | None] | str,
    advice: str,
) -> Finding:
    if isinstance(got, str):
        return Finding(check, "failed", tried, got, advice)
    if wanted.count(None) == got.count(None) == len(wanted):
        return Finding(check, "skipped", tried, "it has no values")
    for step, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if not _equal(a, b):
            return Finding(check, "failed", tried, f"step {step} has {_text(a)}, then {_text(b)}", advice)
    return Finding(check, "ok", tried, f"the same values on {len(wanted)} steps")


def _equal(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=ROUNDING, abs_tol=0.0)


def _text(number: float | None) -> str:
    return "no value" if number is None else f"{number:.9g}"


def _state(component: Component, first: Showing) -> Finding:
    size = _size(component)
    criterion = Criterion(component, problem := scenes.problem(size))
    n = len(first.values)
    splits = sorted({1, n // 2, n - 2} & set(range(1, n)))
    tried = f"saved the state before steps {', '.join(map(str, splits))} and continued from it in a new object"
    if not criterion.has_memory:
        return Finding("state", "skipped", "looked for a memory", "it has none")
    if not first.has_values:
        return Finding("state", "skipped", tried, "it has no values")
    advice = (
        "state_dict() must return copies of all that update() needs, as tensors, arrays and plain data, and "
        "load_state_dict() must restore them."
    )

    def saved() -> dict[int, tuple[dict[str, Any], bytes]]:
        """Return the state at each split, as returned while the object continues, and as a checkpoint stores it."""
        states = {}
        for block in scenes.optimisation(n, size=size):
            if block.first in splits:
                state = criterion.state_dict()
                states[block.first] = (state, b"".join(plain.dumps(state)))
            criterion.update_block(list(block.frames(problem)))
        return states

    states = _attempt(saved)
    if isinstance(states, str):
        return Finding("state", "failed", tried, states, advice)
    for split, (state, kept) in states.items():
        for how, given in (("as returned", state), ("through a checkpoint", plain.loads(kept))):
            rest = _attempt(functools.partial(_from_state, component, given, split, n))
            came = _compare("state", tried, first.numbers[split:], rest, advice)
            if came.status == "failed":
                where = came.came if isinstance(rest, str) else f"not the values of an uninterrupted run ({came.came})"
                return Finding("state", "failed", tried, f"saved before step {split}, {how}: {where}", advice)
    return Finding("state", "ok", tried, "the values of an uninterrupted run, also through a checkpoint")


def _from_state(component: Component, state: dict[str, Any], split: int, steps: int) -> list[float | None]:
    size = _size(component)
    criterion = Criterion(component, problem := scenes.problem(size))
    criterion.load_state_dict(state)
    values: list[Value | None] = []
    for block in scenes.optimisation(steps, size=size):
        if block.first >= split:
            values += criterion.update_block(list(block.frames(problem)))
    return [None if value is None else value.value for value in values]


def _recomputed(component: Component, first: Showing) -> Finding:
    tried = "recomputed the values from the recorded columns"
    info = component.info
    assert isinstance(info, CriterionInfo)
    if info.recompute is None:
        return Finding("recompute", "skipped", "looked for recompute", "it has none")
    h, w = _size(component)
    names = sorted({name for value in first.values if value is not None for name in value.parts})
    parts = [{} if value is None else value.parts for value in first.values]
    columns: dict[str, Any] = {name: np.array([part.get(name, math.nan) for part in parts]) for name in names}
    columns |= {"loss": np.array(first.losses), "pixels": h * w}
    given, recompute = Criterion(component, scenes.problem((h, w))).resolved, load(component.record, info.recompute)
    values = _attempt(lambda: list(map(float, recompute(columns, **given))))
    advice = "recompute must return the values of all steps from their parts, the loss and pixels."
    if isinstance(values, str):
        return Finding("recompute", "failed", tried, values, advice)
    if len(values) != len(parts):
        return Finding("recompute", "failed", tried, f"{len(values)} values for {len(parts)} steps", advice)
    again = [None if number is None else values[step] for step, number in enumerate(first.numbers)]
    return _compare("recompute", tried, first.numbers, again, advice)


def _awkward(component: Component, first: Showing | str) -> Iterator[Finding]:
    memory = isinstance(component.target, type)
    h, w = LARGEST
    # as many outputs as it needs for a value, except of the largest picture, to limit memory
    enough = _first_value(first) + 1 if isinstance(first, Showing) and first.has_values else 1
    for name, picture in scenes.awkward(_size(component), (h // 2, w // 2) if memory else LARGEST):
        steps = enough if memory and not name.startswith("huge") else 1
        tried = f"measured {'an output' if steps == 1 else f'{steps} outputs'}, {name}"
        values = _attempt(functools.partial(_shown, component, picture, steps))
        yield _judged(f"picture: {name.partition(' ')[0]}", tried, values, silent=memory)


def _alone(component: Component) -> Finding:
    tried = "measured a single picture, without a loss and an observation"
    frame = Frame(scenes.frame(scenes.photograph())._pictures)
    values = _attempt(lambda: [Criterion(component, Problem()).update(frame)])
    assert isinstance(component.info, CriterionInfo)
    return _judged("alone", tried, values, silent=bool(component.info.needs) or isinstance(component.target, type))


def _shown(component: Component, picture: Floats, steps: int) -> list[Value | None]:
    frames = [scenes.frame(picture, step) for step in range(steps)]
    criterion = Criterion(component, frames[0].problem)
    return [criterion.update(frame) for frame in frames]


def _judged(check: str, tried: str, values: list[Value | None] | str, silent: bool) -> Finding:
    """Return whether values are numbers, or None with a reason, which is optional if `silent`."""
    advice = "Return Value(None, reason=...) if there is no number."
    if isinstance(values, str):
        return Finding(check, "failed", tried, values, advice)
    if nan := _not_finite(values):
        return Finding(check, "failed", tried, nan.reason, advice)
    last = values[-1]
    if last is not None and last.value is not None:
        return Finding(check, "ok", tried, f"the value is {last.value:.6g}")
    if last is not None and last.reason:
        return Finding(check, "ok", tried, f"no value: {last.reason}")
    if silent:
        return Finding(check, "ok", tried, "no value yet")
    return Finding(check, "warning", tried, "no value and no reason", advice)


def _direction(component: Component, run: Showing) -> Finding:
    levels = (5.0, 25.0, 60.0)
    tried = f"measured clean pictures with noise of {', '.join(f'{level:g}' for level in levels)}, at one loss"
    if not run.has_values:
        return Finding("direction", "skipped", tried, "it has no values")
    memory = isinstance(component.target, type)
    steps = len(run.values) if memory else 1
    pictures = [scenes.photograph(_size(component), turned=turned) for turned in (False, True)]
    curves = _attempt(lambda: [[_level(component, level, steps, x) for level in levels] for x in pictures])
    if isinstance(curves, str):
        return Finding("direction", "failed", tried, curves, "It must return a number, None or a Value.")
    pairs = [(a, b) for curve in curves for a, b in itertools.pairwise(curve) if None not in (a, b)]
    came = "; ".join(
        " < ".join(map(_short, curve)) if _rises(curve) else ", ".join(map(_short, curve)) for curve in curves
    )
    assert isinstance(component.info, CriterionInfo)
    if pairs and len({number for curve in curves for number in curve}) == 1 and not component.info.needs:
        advice = "A criterion that does not look at its picture cannot stop by it."
        return Finding("direction", "warning", tried, f"it ignores its picture ({came})", advice)
    if not pairs or all(a == b for a, b in pairs):
        return Finding("direction", "skipped", tried, f"its values do not depend on them ({came})")
    if all(a < b for a, b in pairs):
        return Finding("direction", "ok", tried, f"it rises with the noise ({came})")
    if all(a > b for a, b in pairs) and not memory:
        advice = "Lower is better: change its sign."
        if component.info.codec:
            advice = "The files of this codec become smaller with noise: it does not suit CIFS."
        return Finding("direction", "failed", tried, f"it falls with the noise ({came})", advice)
    advice = "Lower is better: check whether this is intended."
    return Finding("direction", "warning", tried, f"not in the order of the noise ({came})", advice)


def _level(component: Component, level: float, steps: int, picture: Floats) -> float | None:
    """Return the mean value on outputs with fresh noise of a level."""
    criterion: Criterion | None = None
    numbers = []
    for frame in scenes.unrest(level, steps, picture):
        criterion = criterion or Criterion(component, frame.problem)
        value = criterion.update(frame)
        if value is not None and value.value is not None:
            numbers.append(value.value)
    return sum(numbers) / len(numbers) if numbers else None


def _rises(curve: Sequence[float | None]) -> bool:
    return None not in curve and all(a < b for a, b in itertools.pairwise(curve))  # type: ignore[operator]


def _short(number: float | None) -> str:
    return "none" if number is None else f"{number:.4g}"


def _cost(component: Component, run: Showing) -> Finding:
    h, w = _size(component)
    tried = f"timed each value, on {h} x {w} pixels"
    beside = ", ".join(f"{text} {ms:.2f}" for text, ms in _beside((h, w)))
    return Finding("cost", "ok", tried, f"{_ms(run):.2f} ms; for comparison {beside}")


@functools.cache
def _beside(size: scenes.Size) -> list[tuple[str, float]]:
    """Return the milliseconds of some built-in criteria on the same pictures."""
    runs = [(text, _run(registry().get("criterion", text), steps=12, size=size)) for text in BESIDE]
    return [(text, _ms(run)) for text, run in runs]


def _ms(run: Showing) -> float:
    """Return the median milliseconds of the steps with a value, or of all steps if there is none."""
    with_value = [s for s, number in zip(run.seconds, run.numbers, strict=True) if number is not None]
    return 1000 * median(with_value or run.seconds)
