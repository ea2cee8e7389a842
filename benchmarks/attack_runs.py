"""Attacks on run folders and processes: `python -m benchmarks.attack_runs corruptions|kills`.

Every file of a run is cut, emptied, swapped with another unit's, replaced by JSON of another shape or by a folder, and
`status`, `export`, `replay`, `report` and `run`, then `run --retry-failed`, must report it in a sentence and end with
the table of an undisturbed run. The processes of a run are killed, which must not change its table.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from benchmarks import faults
from esbench.bench import driver
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.store import Run, status
from esbench.cli import cli
from esbench.errors import EsbenchError
from esbench.images import write

JSON = ("[]", "null", "{}", '"x"', "5", "NaN", "1e999", "[" * 9999, '{"a":' * 9999, "{", '{"plan": ["../.."]}')

#: What reads a run; the report, which takes seconds, only where a picture is damaged.
COMMANDS = (["status"], ["export", "--format", "csv"], ["replay", "--patience", "1"], ["report"])

#: A plugin that tells which processes have loaded it.
STEPS = """
import esbench, os, pathlib
pathlib.Path(__file__).with_name(f"pid-{os.getpid()}").touch()

@esbench.hookimpl
def esbench_criteria():
    return [esbench.CriterionInfo(name="steps", summary="counts", target=steps)]

def steps(frame):
    return float(abs(frame.step - 20))
"""


def config(place: Path) -> Config:
    (place / "pictures").mkdir()
    for i, name in enumerate("ab"):
        image = np.random.default_rng(i).integers(0, 256, (24, 28, 3), np.uint8)
        write(place / "pictures" / f"{name}.png", image)
    return Config(
        dataset=str(place / "pictures"),
        criterion=("emv", "loss"),
        baseline=("tv",),
        network="skip[channels=4,scales=2]",
        iterations=8,
        patience=3,
        device="cpu",
    )


def table(out: Path) -> list[dict]:
    """Return the rows of a run, as measured and as replayed, without times."""
    rows = [*Results(out).table(), *Results(out).replay(patience=1)]
    return [{k: v for k, v in row.items() if k != "seconds" and not k.endswith("ms_per_step")} for row in rows]


def run(asked: Config, out: Path) -> None:
    driver.run(asked, out, driver.plan(asked, out), lambda event: None)


def corruptions_of(whole: Path, seed: int) -> Iterator[tuple[str, Path, Callable[[Path], object]]]:
    """Yield the kind of damage, the file, and a function that damages it in a copy of a run, for every file."""
    units = sorted((whole / "units").iterdir())
    for file in sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file() and "lock" not in p.name):
        data = (whole / file).read_bytes()
        for share in (0.0, 0.1, 0.5, 0.9, 0.99):
            yield "cut", file, functools.partial(Path.write_bytes, data=data[: int(share * len(data))])
        rng = random.Random(f"{seed} {file}")
        for _ in range(4):
            spoiled = bytearray(data)
            spoiled[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield "bit", file, functools.partial(Path.write_bytes, data=bytes(spoiled))
        yield "gone", file, Path.unlink
        yield "folder", file, _folder
        if file.parts[0] == "units":
            other = next(unit for unit in units if unit.name != file.parts[1]) / Path(*file.parts[2:])
            yield "swapped", file, functools.partial(shutil.copy, other)
            if file.parent.name in ("images", "criteria"):
                other = min(p for p in (whole / file).parent.iterdir() if p.name != file.name)
                yield "swapped", file, functools.partial(shutil.copy, other)
        if file.suffix == ".json":
            for text in JSON:
                yield "json", file, functools.partial(Path.write_text, data=text)


def _folder(path: Path) -> None:
    path.unlink()
    (path / "x").mkdir(parents=True)


def corruptions(arguments: argparse.Namespace) -> None:
    """Damage one file at a time and count the outcomes."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        place = Path(folder)
        asked = config(place)
        run(asked, place / "whole")
        good = table(place / "whole")
        sys.stdout, screen = nowhere, sys.stdout
        sys.stderr = nowhere
        cases = [c for c in corruptions_of(place / "whole", arguments.seed) if arguments.only in ("", c[0])]
        for i, (kind, file, spoil) in enumerate(cases[:: arguments.every]):
            out = place / f"r{i}"
            shutil.copytree(place / "whole", out)
            spoil(out / file)
            said, traceback = [], False
            for command in COMMANDS if file.suffix == ".png" else COMMANDS[:-1]:
                try:
                    cli.main([command[0], str(out), *command[1:]], standalone_mode=False)
                except EsbenchError as error:
                    said.append(str(error))
                except Exception as error:
                    traceback = True
                    print(f"{kind} {file}: {command[0]}: {type(error).__name__}: {error}", file=screen, flush=True)
            try:
                for found in map(status, Run(out).units()):
                    said += filter(None, (found["reason"], *found["criteria"].values()))
                changed = table(out) != good
            except Exception:  # the commands above have said why
                changed = True
            try:
                run(Config(**vars(asked) | {"retry_failed": True}), out)
                healed = table(out) == good
            except Exception as error:
                healed = False
                print(f"{kind} {file}: retry: {type(error).__name__}: {error}", file=screen)
            counts[kind]["cases"] += 1
            counts[kind]["told"] += bool(said)
            # what is only shown may be lost, or truncated; a silent swap or a silently changed table is a bug
            silent = not said and (kind == "swapped" or (changed and kind != "gone"))
            counts[kind]["accepted in silence"] += silent
            if silent:
                print(f"{kind} {file}: accepted in silence", file=screen, flush=True)
            counts[kind]["tracebacks"] += traceback
            counts[kind]["healed"] += healed
            shutil.rmtree(out)
            if i % 20 == 19:  # it takes long, and may be ended
                _tell(counts, screen)
        sys.stdout, sys.stderr = screen, sys.__stderr__
    _tell(counts, sys.stdout)


def _tell(counts: dict[str, collections.Counter[str]], screen: TextIO) -> None:
    heads = ("cases", "told", "accepted in silence", "tracebacks", "healed")
    lines = {"": dict(zip(heads, heads, strict=True)), **counts, "all": sum(counts.values(), collections.Counter())}
    for kind, line in lines.items():
        print(f"{kind:10}" + "".join(f"{line[head]:>21}" for head in heads), file=screen, flush=True)


def kills(arguments: argparse.Namespace) -> None:
    """Kill the process that measures a plugin's criterion at random moments, and compare the tables."""
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        site = faults.installed(place / "site", "steps", STEPS)
        asked = config(place)
        file = place / "config.toml"
        same = {"criterion": ("steps", "emv"), "iterations": 120, "checkpoint_every": 0.1}
        same["executor"] = arguments.executor
        file.write_text(Config(**vars(asked) | same).to_toml())
        command = [sys.executable, "-P", "-m", "esbench", "run", "--config", str(file), "-q", "--out"]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}  # the same esbench as here
        counts: collections.Counter[str] = collections.Counter()
        tables = []
        for i in range(arguments.kills + 1):
            for old in site.glob("pid-*"):
                old.unlink()
            out = place / f"r{i}"
            process = subprocess.Popen([*command, str(out)], env=environ, stdout=subprocess.DEVNULL)
            if i:  # the first one is not killed
                while process.poll() is None and len(list(site.glob("pid-*"))) < 2:
                    time.sleep(0.02)
                time.sleep(random.uniform(0, 1.5))
                for path in site.glob("pid-*"):
                    pid = int(path.name.removeprefix("pid-"))
                    if pid != process.pid and process.poll() is None:
                        try:
                            os.kill(pid, 9)
                            counts["killed"] += 1
                        except ProcessLookupError:
                            pass
            counts[f"exit code {process.wait()}"] += 1
            sys.path.insert(0, str(site))
            rows = [row for row in table(out) if row["criterion"] == "emv"]
            tables.append(rows)
            counts["the same table"] += rows == tables[0]
            print(f"{i} of {arguments.kills}: {dict(counts)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attack", choices=("corruptions", "kills"))
    parser.add_argument("--every", type=int, default=1, help="only every n-th corruption")
    parser.add_argument("--only", default="", help="only one kind of corruption: cut, bit, gone, folder, swapped, json")
    parser.add_argument("--kills", type=int, default=20, help="the number of runs in which a process is killed")
    parser.add_argument("--executor", default="serial", help="of the killed runs: serial or dask[workers=2]")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    {"corruptions": corruptions, "kills": kills}[arguments.attack](arguments)


if __name__ == "__main__":
    main()
