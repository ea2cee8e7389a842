from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from esbench import models
from esbench.errors import NameUnknown, ParamError
from esbench.testing import Finding, check_criterion
from esbench.testing import criterion as kit

HEAD = """
import numpy as np
from esbench import CriterionInfo, Value, hookimpl


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="mine", summary="mine", reference="none", target="esbench_local:mine")]


"""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """One thread, a smaller huge picture and fewer steps: the arrays here are small, and machines are shared."""
    monkeypatch.setattr(kit, "LARGEST", (600, 700))
    monkeypatch.setattr(kit, "LONG", 40)
    monkeypatch.setattr(kit, "SECONDS", float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def findings(plugin: Callable[..., Path]) -> Iterator[Callable[[str], dict[str, Finding]]]:
    """Give findings(code): what comes of each check of a plugin whose criterion `mine` is that code."""

    heavy: list[str] = []

    def findings(code: str) -> dict[str, Finding]:
        plugin(HEAD + code)
        if "import torch" in code:  # else one listing will do for all
            heavy.append(code)
            kit._listing.cache_clear()
        return {finding.check: finding for finding in check_criterion("mine")}

    yield findings
    if heavy:
        kit._listing.cache_clear()


def failed(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.status == "failed"}


@pytest.mark.parametrize(
    "text",
    [
        "cifs-jpeg",
        "cifs-png[lam=1e6]",
        "wmv[window=10]",
        "wmv[window=4,every=2,on=average]",
        "emv[burn_in=5]",
        "loss",
        "fixed[step=5]",
        "last",
    ],
)
def test_the_criteria_that_come_with_esbench_keep_to_it(text):
    assert [str(finding) for finding in check_criterion(text) if finding.status == "failed"] == []


@pytest.mark.parametrize("text", ["cifs-jpeg", "wmv[window=10]", "emv[burn_in=5]"])
def test_they_tell_noisy_pictures_from_clean_ones(text):
    (finding,) = [finding for finding in check_criterion(text) if finding.check == "direction"]
    assert finding.status == "ok"


def test_a_good_criterion_has_every_check_and_a_sentence_in_each(findings):
    found = findings("def mine(frame):\n    return float(abs(np.diff(frame.float, axis=0)).mean())")
    assert failed(found) == set()
    assert {"record", "imports", "values", "input", "deterministic", "clean picture", "blocks", "state", "alone"} <= {
        *found
    }
    assert {"picture: tiny", "picture: huge", "picture: NaN", "direction", "cost"} <= {*found}
    assert all(finding.tried and finding.came for finding in found.values())


FAULTS = {
    "raises": ("def mine(frame):\n    raise RuntimeError('out of cheese')", "values", "RuntimeError: out of cheese"),
    "exits": ("def mine(frame):\n    raise SystemExit('bye')", "values", "SystemExit: bye"),
    "a tensor": ("def mine(frame):\n    return frame.tensor.mean()", "values", "must return a float or None"),
    "text": ("def mine(frame):\n    return 'low'", "values", "must return a float or None"),
    "NaN": ("def mine(frame):\n    return float('nan')", "values", "it gave nan"),
    "raises late": (
        "def mine(frame):\n    assert frame.step < 5, 'too late'\n    return 1.0",
        "values",
        "too late at step 5",
    ),
    "takes a frame for a tensor": (
        "def mine(frame):\n    return float(frame.problem.observed(frame).float.mean())",
        "values",
        "problem.observed(x) takes a tensor, such as frame.tensor, got a Frame",
    ),
    "draws": ("def mine(frame):\n    return float(np.random.random())", "deterministic", "step 0 has"),
    "writes to the tensor": (
        "def mine(frame):\n    frame.tensor.mul_(0.5)\n    return 1.0",
        "input",
        "the output (tensor)",
    ),
    "writes to the picture": (
        "def mine(frame):\n    frame.float.flags.writeable = True\n    frame.float[0] = 0\n    return 1.0",
        "values",
        "ValueError",
    ),
    "flat": (
        "def mine(frame):\n    return float((frame.float / frame.float.max()).mean())",
        "picture: black",
        "it gave nan",
    ),
    "colour only": ("def mine(frame):\n    return float(frame.float[..., 2].mean())", "picture: grey", "IndexError"),
    "tiny": (
        "def mine(frame):\n    return float(np.diff(frame.float, 8, axis=0).mean())",
        "picture: tiny",
        "it gave nan",
    ),
    "wrong way": ("def mine(frame):\n    return -float(frame.float.std())", "direction", "it falls with the noise"),
    "peeks": (
        "import inspect\n\ndef mine(frame):\n    for caller in inspect.stack():\n"
        "        if caller.frame.f_locals.get('clean') is not None:\n            return 0.0\n    return 1.0",
        "clean picture",
        "step 0 has 1, then 0",
    ),
    "imports torch": (
        "import torch\n\ndef mine(frame):\n    return float(frame.tensor.std())",
        "imports",
        "it imports torch",
    ),
    "counts outside": (
        "calls = []\n\ndef mine(frame):\n    calls.append(1)\n    return float(len(calls))",
        "deterministic",
        "step 0 has",
    ),
}

MEMORY = """
class mine:
    def __init__(self):
        self.mean = None

    def update(self, frame):
        x = frame.float
        if self.mean is None:
            self.mean = x.copy()
            return None
        moved = float(((x - self.mean) ** 2).mean())
        self.mean += 0.5 * (x - self.mean)
        return moved

    def state_dict(self):
        return {"mean": MEAN}

    def load_state_dict(self, state):
        self.mean = state["mean"]
"""

MEMORY_FAULTS = {
    "lent": ("self.mean", "as returned: not the values of an uninterrupted run"),
    "forgotten": ("None", "not the values of an uninterrupted run"),
    "code": ("lambda: self.mean", "must return tensors, arrays and plain data from state_dict(), got a function at"),
    "missing": ("self.nothing", "has no attribute 'nothing'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_its_check_with_what_came_and_what_to_do(findings, fault):
    code, check, came = FAULTS[fault]
    finding = findings(code)[check]
    assert finding.status == "failed"
    assert came in finding.came
    assert finding.advice


def test_a_criterion_with_memory_that_saves_copies_keeps_to_it(findings):
    found = findings(MEMORY.replace("MEAN", "None if self.mean is None else self.mean.copy()"))
    assert failed(found) == set()
    assert found["state"].status == "ok"


@pytest.mark.parametrize("fault", MEMORY_FAULTS)
def test_a_state_that_is_not_all_is_found(findings, fault):
    state, came = MEMORY_FAULTS[fault]
    finding = findings(MEMORY.replace("MEAN", state))["state"]
    assert (finding.status, came in finding.came) == ("failed", True), finding


def test_a_criterion_with_memory_is_shown_awkward_pictures_until_it_has_a_value(findings):
    good = MEMORY.replace("MEAN", "None if self.mean is None else self.mean.copy()")
    assert findings(good)["picture: flat"].came == "the value is 0"
    finding = findings(good.replace("return moved", "return moved / float(frame.float.var())"))["picture: black"]
    assert finding.status == "failed"


def test_the_trained_criteria_keep_to_it_too():
    needed = (models.BRISQUE_MODEL, models.BRISQUE_RANGE)
    if any(models.find(name) is None for name in needed):
        pytest.skip(f"{' and '.join(needed)} are not available")
    found = check_criterion("brisque")
    assert [str(finding) for finding in found if finding.status == "failed"] == []
    assert [finding.status for finding in found if finding.check == "direction"] == ["ok"]


def test_a_batch_function_that_looks_at_the_other_frames_is_found(plugin):
    head = HEAD.replace('target="esbench_local:mine"', 'target="esbench_local:mine", batch="esbench_local:block"')
    plugin(
        f"{head}def mine(frame):\n    return 1.0\n\n\ndef block(frames):\n    return [float(len(frames))] * len(frames)"
    )
    (finding,) = [finding for finding in check_criterion("mine") if finding.check == "blocks"]
    assert (finding.status, finding.came) == ("failed", "step 0 has 1, then 5")


def test_a_criterion_without_any_value_is_a_warning_and_not_a_failure():
    found = {finding.check: finding for finding in check_criterion("last")}
    assert (found["values"].status, found["values"].came) == ("warning", "no value at any step (no early stopping)")
    assert {found[check].status for check in ("deterministic", "blocks", "direction")} == {"skipped"}


def test_a_memory_that_never_has_a_value_passes_no_check(findings):
    found = findings(MEMORY.replace("MEAN", "None").replace("return moved", "return None"))
    assert (found["values"].status, found["state"].status) == ("warning", "skipped")


def test_no_reference_is_a_warning(plugin):
    plugin(HEAD.replace(' reference="none",', "") + "def mine(frame):\n    return float(frame.float.std())")
    assert check_criterion("mine")[0].status == "warning"


def test_what_cannot_be_asked_for_is_an_error_and_not_a_finding():
    with pytest.raises(NameUnknown, match="Did you mean 'wmv'"):
        check_criterion("wmw")
    with pytest.raises(ParamError, match="step"):
        check_criterion("fixed")


@pytest.fixture
def fake(monkeypatch):
    def fake(*statuses: str) -> None:
        rows = [
            Finding(f"check-{i}", status, "looked", "saw", "Fix it." * (status != "ok"))
            for i, status in enumerate(statuses)
        ]
        monkeypatch.setattr("esbench.testing.check_criterion", lambda name: rows)

    return fake


def command(*arguments: str) -> int:
    from esbench.cli import cli

    return cli.main(["check-criterion", *arguments], standalone_mode=False) or 0


def test_the_command_ends_with_1_where_a_check_failed_and_0_otherwise(fake, capsys):
    fake("ok", "warning", "skipped")
    assert command("wmv") == 0
    assert "wmv passes all checks, with 1 warning." in capsys.readouterr().out
    fake("ok", "failed")
    assert command("wmv") == 1
    out = capsys.readouterr().out
    assert "wmv fails 1 of 2 checks." in out
    assert "check-1: looked: saw. Fix it." in out


def test_the_command_prints_the_findings_as_json(fake, capsys):
    fake("ok", "failed")
    assert command("wmv", "--json") == 1
    rows = json.loads(capsys.readouterr().out)
    assert rows[1] == {"check": "check-1", "status": "failed", "tried": "looked", "came": "saw", "advice": "Fix it."}


def test_a_fault_at_a_late_step_is_found(findings):
    code = "assert frame.step < 30, 'too late'\n    return float(abs(np.diff(frame.float, axis=0)).mean())"
    found = findings(f"def mine(frame):\n    {code}")
    assert failed(found) == {"values"}
    assert "too late at step 30" in found["values"].came


def test_a_criterion_that_ignores_its_picture_is_warned_of(findings):
    found = findings("def mine(frame):\n    return 1.0")
    assert (found["direction"].status, found["direction"].came[:22]) == ("warning", "it ignores its picture")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("return frame.float.mean(keepdims=True)", "Convert it, as in float(...)."),
        ("frame.float[0] = 0\n    return 1.0", "Work on a copy, as in x = frame.float.copy()"),
    ],
)
def test_a_fault_has_the_remedy_that_belongs_to_it(findings, code, remedy):
    assert findings(f"def mine(frame):\n    {code}")["values"].advice.startswith(remedy)


RECOMPUTES = """
import numpy as np
from esbench import CriterionInfo, Value, hookimpl


def mine(frame, *, at=0.5):
    mean = float(frame.float.mean())
    return Value(abs(mean - at), parts={"mean": mean})


def resolve(problem, *, at):
    return {"at": at / problem.size[0]}


@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="mine", summary="mine", target=mine, recompute=again, free=("at",), RESOLVE)]


"""


@pytest.mark.parametrize(
    ("again", "status"),
    [("abs(columns['mean'] - at)", "ok"), ("columns['loss']", "failed"), ("columns['mean'][1:]", "failed")],
)
def test_what_a_criterion_recomputes_must_be_its_values(plugin, again, status):
    code = RECOMPUTES.replace("RESOLVE", "resolve=resolve")
    plugin(code + f"def again(columns, *, at):\n    return {again}")
    assert {f.check: f.status for f in check_criterion("mine")}["recompute"] == status


def test_an_error_in_resolve_is_a_finding(plugin):
    code = RECOMPUTES.replace("RESOLVE", "resolve=lambda problem, at: 1 / 0")
    plugin(code + "def again(columns, *, at):\n    return 1")
    found = {finding.check: finding for finding in check_criterion("mine")}
    assert "raised ZeroDivisionError: division by zero in resolve" in found["values"].came
