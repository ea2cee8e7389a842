"""Attacks of plugins: `python -m benchmarks.attack_plugins criteria|commands|imports --seed 0`.

criteria: each faulty criterion or codec of `benchmarks.faults` is measured beside sound criteria, some in each run, and
the run is compared with one without them: every other column, the trace and the pictures must be the same to the bit,
the failure must name its owner, and the exit code must say so. Another seed gives other steps and other combinations.
commands: a dataset, a degradation and a listener change the process of the command; the run must be the same as with
ones that change nothing.
imports: a plugin with a fault at import is installed, and six commands are called; what they say of other components
must be the same as without it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import faults
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run, Unit
from esbench.errors import EsbenchError
from esbench.images import write

SOUND = ("counts", "wmv[window=5]", "loss", "cifs-jpeg[on=average]")

#: A plugin without a fault, whose criterion has a memory.
COUNTS = """
import esbench

@esbench.hookimpl
def esbench_criteria():
    return [esbench.CriterionInfo(name="counts", summary="counts", target=Counts)]

class Counts:
    def __init__(self):
        self.n = 0

    def update(self, frame):
        self.n += 1
        return float(abs(self.n - 30)) + float(frame.tensor.mean())

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]
"""

#: Commands that must answer, whatever plugin is installed.
COMMANDS = (
    ["plugins", "--json"],
    ["list-criteria", "--json"],
    ["show", "wmv"],
    ["status", "r"],
    ["replay", "r", "--patience", "3", "--json"],
    ["measure", "-c", "cifs-png[lam=0]", "a.png", "--json"],
)

#: Columns of times.
CLOCK = ("ms", "ms_per_step", "criterion_ms_per_step", "seconds")


class Place:
    """A folder with a picture, and plugins that are installed for its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        write(folder / "a.png", np.random.default_rng(0).integers(0, 256, (24, 28, 3), np.uint8))
        faults.installed(self.site, "sound", COUNTS)

    def call(self, *words: str, limit: float = 600.0) -> subprocess.CompletedProcess[str]:
        """Call esbench as a user does."""
        path = os.pathsep.join([str(self.site), str(Path(faults.__file__).parents[1]), *sys.path])
        environ = os.environ | {"PYTHONPATH": path, "ESBENCH_CACHE": str(self.folder / "cache")}
        line = [sys.executable, "-P", "-m", "esbench", *words]
        return subprocess.run(
            line, cwd=self.folder, env=environ, capture_output=True, text=True, check=False, timeout=limit
        )

    def run(self, name: str, criteria: Iterable[str], **changes: Any) -> tuple[subprocess.CompletedProcess[str], Path]:
        """Run one small unit with some criteria, and return how it ended and its folder."""
        config = {
            "dataset": "a.png",
            "criterion": (*criteria, *SOUND),
            "network": "skip[channels=4,scales=2]",
            "iterations": 60,
            "patience": 8,
            "device": "cpu",
            "time_limit": 3.0,
            "checkpoint_every": 0.1,
        }
        file = self.folder / f"{name}.toml"
        file.write_text(Config(**config | changes).to_toml())
        return self.call("run", "--config", file.name, "--out", name, "-q", "--json"), self.folder / name


def numbers(out: Path) -> dict[str, Any]:
    """Return all numbers and pictures of the sound criteria of a run, without times."""
    (unit,) = Run(out).units()
    rows = [
        {k: v for k, v in row.items() if k not in CLOCK} for row in Results(out).table() if row["criterion"] in SOUND
    ]
    tables = {"trace": unit.trace(), **{text: unit.criterion(text)[0] for text in SOUND}}
    pictures = ["clean", "noisy", "peak", "last", *(f"stop-{text}" for text in SOUND)]
    return {
        "rows": [{k: v for k, v in row.items() if k not in CLOCK} for row in rows],
        "tables": {n: {k: v.tobytes() for k, v in t.items() if k not in CLOCK} for n, t in tables.items()},
        "pictures": {name: unit.image_path(name).read_bytes() for name in pictures},
    }


def same(out: Path, whole: dict[str, Any]) -> bool:
    """Whether a run has the same numbers and pictures; one that cannot be read has not."""
    try:
        return numbers(out) == whole
    except (EsbenchError, OSError, ValueError):
        return False


def as_expected(out: Path, expected: Mapping[str, tuple[str, str]]) -> dict[str, bool]:
    """Whether each faulty criterion of a run ended as expected."""
    failures = {criterion: why for _, criterion, why in Results(out).failures()}
    unit: Unit = Run(out).units()[0]
    entries = (unit.result() or {"criteria": {}})["criteria"]
    found = {}
    for text, (kind, why) in expected.items():
        said, entry = failures.get(text, ""), entries.get(text, {})
        if kind == "failed":
            found[text] = said.startswith(f"Criterion {text!r} of esbench-local 1.0") and why in said
        elif kind == "missing":
            found[text] = not said and (entry.get("missing"), entry.get("reason")) == (1, why)
        else:
            found[text] = not said and bool(entry)
    return found


def criteria(place: Place, seed: int, together: int, only: str) -> Counter[str]:
    """Measure faulty criteria beside sound ones."""
    rng, counts = random.Random(seed), Counter[str]()
    done, out = place.run("sound", ())
    assert done.returncode == 0, done.stderr
    whole = numbers(out)
    code, expected = faults.criteria((lambda: rng.randrange(1, 58)) if seed else (lambda: faults.STEP))
    faults.installed(place.site, "local", code)
    names = [name for name in expected if only in name]
    if seed:
        rng.shuffle(names)
    for i in range(0, len(names), together):
        group = {name: expected[name] for name in names[i : i + together]}
        done, out = place.run(f"r{i}", group)
        try:
            ended = as_expected(out, group)
        except EsbenchError as error:
            ended = dict.fromkeys(group, False)
            print(error)
        untouched = same(out, whole)
        code_ok = done.returncode == int(any(kind == "failed" for kind, _ in group.values()))
        counts["faults"] += len(group)
        counts["ended as expected, owner named"] += sum(ended.values())
        counts["in a run with the exit code that it must have"] += len(group) * code_ok
        counts["in a run with the other columns unchanged"] += len(group) * untouched
        if not (all(ended.values()) and untouched and code_ok):
            wrong = [name for name, good in ended.items() if not good]
            print(f"{[*group]}: {wrong} {untouched=} {done.returncode=}\n{done.stderr[-2000:]}", flush=True)
        elif i // together % 10 == 9:
            print(dict(counts), flush=True)
    return counts


def commands(place: Place, seed: int, together: int, only: str) -> Counter[str]:
    """Use a dataset, a degradation and a listener that change the process of the command."""
    counts, names = Counter[str](), [name for name in faults.HARM if only in name]
    used = {"dataset": "harmful", "noise": "harmful-noise"}
    if seed:
        random.Random(seed).shuffle(names)
    whole: dict[str, Any] = {}
    for i in range(-together, len(names), together):
        group = names[i : i + together] if i >= 0 else []
        faults.installed(place.site, "local", faults.harmful(group))
        done, out = place.run(f"c{i}", (), **used)
        whole = whole or numbers(out)
        counts["faults"] += len(group)
        counts["in a run with exit code 0"] += len(group) * (done.returncode == 0)
        counts["in a run with the columns unchanged"] += len(group) * same(out, whole)
        if done.returncode or not same(out, whole):
            print(f"{group}: {done.returncode=}\n{done.stderr[-2000:]}", flush=True)
    for name, why in faults.CONTRACTS.items():
        if only not in name:
            continue
        faults.installed(place.site, "local", faults.BREACHES)
        kind = "noise" if name.endswith("-noise") else "dataset"
        done, out = place.run(f"b-{name}", (), **{kind: name})
        counts["broken contracts"] += 1
        owner = f"{name!r} of esbench-local 1.0" in done.stderr
        counts["refused before the first step, owner named"] += (
            done.returncode == 3 and owner and why in done.stderr and not out.exists()
        )
    return counts


def imports(place: Place, seed: int, together: int, only: str) -> Counter[str]:
    """Install plugins with a fault at import, one at a time, and call commands."""
    counts = Counter[str]()
    assert place.run("r", ())[0].returncode == 0
    before = [place.call(*words) for words in COMMANDS]
    every = faults.IMPORTS | faults.DEADLY
    for name, (code, status, reason) in every.items():
        if only not in name:
            continue
        faults.installed(place.site, "local", code)
        shutil.rmtree(place.folder / "cache", ignore_errors=True)  # it remembers the version that ended a command
        first, *answers = [place.call(*words) for words in (COMMANDS[0], *COMMANDS)]
        counts["faults"] += 1
        counts["the first command ends with the plugin"] += name in faults.DEADLY
        counts["the first command answers"] += first.returncode == 0 and "esbench-local" in first.stdout
        good = [_same(a, b) for a, b in zip(answers, before, strict=True)]
        counts["the next six commands are the same as without it"] += all(good)
        row = next((r for r in _json(answers[0]) if r["distribution"] == "esbench-local"), {})
        counts["listed with its reason"] += row.get("status") == status and reason in row.get("reason", "")
        counts["tracebacks"] += any("Traceback" in a.stderr for a in (first, *answers))
        if not all(good) or row.get("status") != status or reason not in row.get("reason", ""):
            print(f"{name}: {good} {row}", flush=True)
    return counts


def _json(answer: subprocess.CompletedProcess[str]) -> Any:
    try:
        return json.loads(answer.stdout)
    except ValueError:
        return []


def _same(answer: subprocess.CompletedProcess[str], before: subprocess.CompletedProcess[str]) -> bool:
    """Whether a command says the same of everything but the faulty plugin."""

    def said(one: subprocess.CompletedProcess[str]) -> Any:
        rows = [row for row in _json(one) if row.get("distribution") != "esbench-local"]
        return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows] or one.stdout

    return answer.returncode == before.returncode and said(answer) == said(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    attacks = {"criteria": criteria, "commands": commands, "imports": imports}
    parser.add_argument("attack", choices=attacks)
    parser.add_argument("--seed", type=int, default=0, help="0: every fault at step 37, in the order of the list")
    parser.add_argument("--together", type=int, default=3, help="the faults of a run")
    parser.add_argument("--only", default="", help="only faults with this in their names")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(attacks[a.attack](Place(Path(folder)), a.seed, a.together, a.only), indent=1))


if __name__ == "__main__":
    main()
