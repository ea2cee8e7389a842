"""The folder of a run. Only this module knows the names of its files.

    RUN/
      run.toml                  the configuration; `esbench run --config RUN/run.toml` repeats it
      run.json                  format, versions, the plan, one entry per command
      control.json              the last requests of `esbench ctl`
      units/<id>/
        spec.json               everything that the optimisation depends on
        trace.parquet           step, loss, psnr_db, average_loss, average_psnr_db, seconds
        criteria/<name>-<hash>.parquet    step, value, ms, and the parts of the value
        baselines/<name>-<hash>.json      the numbers of a baseline
        images/*.png            clean, noisy, peak, last, stop-<criterion> and baseline-<baseline>
        result.json             written last and renamed into place: the unit is done
        checkpoint.pt           only while it is not done: the state to resume from
        live.jsonl              for `esbench watch`: curves and small pictures, in order of time
        live.json, live.jpg     only while it is not done: the step, the rules and the newest picture
        error.txt               the traceback of the last failure
        lock                    held by the process that runs the unit

Every file is written under a temporary name and renamed, so it is always complete. Every file of a unit contains the
unit's id, and is rejected in another unit's folder; the id of a unit is the hash of its spec.json. Every other file has
a checksum. Older files without an id or a checksum are accepted. Reading a run never executes code from it: JSON,
Parquet, PNG and `plain` are data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from esbench import disk, plain
from esbench.bench import config as configuration
from esbench.bench.config import Config
from esbench.bench.files import (
    ID_IN_TABLE,
    folder,
    no_folder,
    png_fault,
    read_table,
    signature,
    signed,
    write_table,
)
from esbench.bench.shapes import (
    FORMAT,
    Damaged,
    baseline_fault,
    json_bytes,
    read_json,
    record_fault,
    result_fault,
    state_fault,
    toml_bytes,
    toml_fault,
)
from esbench.bench.spec import UnitSpec, unit_id
from esbench.engine import live
from esbench.errors import Busy, ConfigError, DataError, EsbenchError, Missing, Unavailable, UsageError
from esbench.params import split

#: How often to try to lock a run or a unit that another process holds, LOCK_PAUSE seconds apart: a process that checks
#: whether it is held holds it for a moment, and a killed process may take a moment to exit.
RUN_TRIES, LOCK_TRIES, LOCK_PAUSE = 3, 20, 0.25

#: What to do if the folder of a run cannot be written.
REMEDY = "Choose another --out."

#: What to do about a damaged file that is only shown.
REMOVE = "Remove it, or run 'esbench run' with --retry-failed."

#: The unit id at the beginning of the log of the live page, and of the traceback of a failure.
ID_IN_LOG, ID_IN_ERROR = re.compile(rb'{"unit":"([A-Za-z0-9_.-]+)"'), re.compile(r"unit ([A-Za-z0-9_.-]+)\n")


class Run:
    """A run on the disk.

    Args:
        path: its folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def grown(self, config: Config) -> Config:
        """Return the union of a configuration with that of this folder, if it holds a run.

        Raises:
            ConfigError: the folder holds a run with another configuration.
            DataError: its configuration cannot be read, and retry_failed is not set.
            UsageError: the folder holds something else.
            Unavailable: it cannot be accessed.
        """
        with disk.writing(self.path, REMEDY):
            if (self.path / "run.toml").exists():
                try:
                    before = self.config()
                except DataError:
                    if config.retry_failed:
                        return config
                    raise
                return config.grown(before)
            # files left by a command that was killed before its first unit
            ours = re.compile(r"lock(-\d+-of-\d+)?|run\.lock|run\.json|\..*" + "|units|report" * config.retry_failed)
            if self.path.exists() and not all(ours.fullmatch(p.name) for p in self.path.iterdir()):
                raise UsageError(f"{str(self.path)!r} already exists and is not a run: choose another --out.")
        return config

    def begin(self, config: Config, plan: list[str], stamp: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
        """Write the plan of a command, after checking that it is compatible with the folder.

        Raises:
            ConfigError: the folder holds a run with another configuration.
            DataError: its record cannot be read, and retry_failed is not set.
            Unavailable: the folder cannot be written.
        """
        with disk.writing(self.path, REMEDY), _held(self.path / "run.lock"):  # shards start at the same time
            retry = config.retry_failed
            begun = (self.path / "run.toml").exists() or (self.path / "units").exists()
            config = self.grown(config)
            record: dict[str, Any] = {"format": FORMAT, "stamp": stamp, "plan": [], "commands": []}
            if begun:
                try:
                    record = self.record()
                except (Damaged, Missing):
                    if not retry:
                        raise
                    no_folder(self.path / "run.json")
                    record["plan"] = sorted(path.parent.name for path in self.path.glob("units/*/spec.json"))
            record["plan"] = list(dict.fromkeys([*record["plan"], *plan]))
            record["commands"].append(dict(entry))
            disk.write(self.path / "run.json", json_bytes(record))
            if retry:
                no_folder(self.path / "run.toml")
            disk.write(self.path / "run.toml", toml_bytes(config.to_toml()))

    @contextlib.contextmanager
    def lock(self, shard: tuple[int, int] = (1, 1)) -> Iterator[None]:
        """Lock the folder for one driver, or for one driver per shard.

        Raises:
            Unavailable: another driver holds it, or it cannot be written.
        """
        i, n = shard
        with contextlib.ExitStack() as stack:
            with disk.writing(self.path, REMEDY):
                self.path.mkdir(parents=True, exist_ok=True)
            try:
                with disk.writing(self.path, REMEDY):
                    stack.enter_context(_held(self.path / "lock", shared=n > 1, tries=RUN_TRIES))
                    if n > 1:
                        stack.enter_context(_held(self.path / f"lock-{i}-of-{n}", tries=RUN_TRIES))
            except BlockingIOError:
                raise Unavailable(
                    f"Another esbench is using {str(self.path)!r}: wait for it, or choose another --out."
                ) from None
            yield

    def config(self) -> Config:
        """Return the configuration.

        Raises:
            Missing: the folder holds no run.
            DataError: it cannot be read.
        """
        path = self.path / "run.toml"
        if not path.exists():
            raise Missing(f"{str(self.path)!r} is not a run of esbench (it has no run.toml).")
        disk.regular(path)
        try:
            if fault := toml_fault(path.read_bytes()):
                raise ConfigError(f"{str(path)!r} cannot be read: {fault}.")
            return configuration.read(path, whole=True)
        except ConfigError as error:
            raise Damaged(f"{error} 'esbench run' with its options and --retry-failed writes it again.") from error

    def record(self) -> dict[str, Any]:
        """Return the record that `begin` wrote.

        Raises:
            Damaged: it cannot be read.
            DataError: it was written by another version.
        """
        path = self.path / "run.json"
        try:
            record = read_json(path)
        except FileNotFoundError:
            raise Missing(f"There is no {str(path)!r}.") from None
        format = record.get("format")
        if isinstance(format, int) and format != FORMAT:
            raise DataError(f"{str(path)!r} has format {format}, this esbench reads format {FORMAT}.")
        if fault := record_fault(record):
            raise Damaged(f"{str(path)!r} cannot be read: {fault}.")
        return record

    def busy(self) -> bool:
        """Whether a driver holds the folder."""
        # drivers of shards share it
        return _is_held(self.path / "lock", shared=False)

    def unit(self, id: str) -> Unit:
        """Return a unit, whether it exists or not."""
        return Unit(self.path / "units" / id)

    def units(self) -> list[Unit]:
        """Return the units of the plan, in its order."""
        return [self.unit(id) for id in self.record()["plan"]]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The state of a unit on the disk.

    Attributes:
        result: if it is finished.
        spec: if it is finished.
        damage: why its files cannot be read; the other two are then None.
    """

    result: dict[str, Any] | None = None
    spec: UnitSpec | None = None
    damage: str = ""


class Unit:
    """A unit on the disk."""

    def __init__(self, path: Path) -> None:
        self.path, self.id = path, path.name

    def spec(self) -> UnitSpec:
        """Return the specification of the unit.

        Raises:
            DataError: it cannot be read, or is that of another unit.
        """
        path = self.path / "spec.json"
        try:
            spec = UnitSpec(**read_json(path))
            id = unit_id(spec)
        except DataError:
            raise
        except (OSError, ValueError, TypeError, AttributeError, EsbenchError) as error:
            raise DataError(f"{str(path)!r} cannot be read: {error}.") from error
        self._check_id(path, id)
        return spec

    def result(self) -> dict[str, Any] | None:
        """Return the result, or None while the unit is not done.

        Raises:
            DataError: it cannot be read, or is that of another unit.
        """
        path = self.path / "result.json"
        try:
            result = read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        self._check_id(path, result.pop("unit", None))
        if fault := result_fault(result):
            raise DataError(f"{str(path)!r} cannot be read: {fault}.")
        return result

    def inspect(self, whole: bool = False) -> Inspection:
        """Return the state of the unit.

        Args:
            whole: read every value of the tables of a finished unit, instead of only their ends.
        """
        try:
            result = self.result()
            if result is None:
                return Inspection()
            found = Inspection(result, self.spec())
            tables = [c for c, entry in result["criteria"].items() if not entry["failed"]]
            for path in (self.path / "trace.parquet", *map(self.criterion_path, tables)):
                self._ends(path)
            self._check_shown(tables, whole)
            if whole:
                for columns in (self.trace(), *(self.criterion(text)[0] for text in tables)):
                    if any(len(column) != result["steps"] for column in columns.values()):
                        return Inspection(
                            damage=f"{str(self.path)!r} cannot be read: a table does not have one row per step."
                        )
        except DataError as error:
            return Inspection(damage=str(error))
        except (OSError, ValueError, EsbenchError) as error:
            return Inspection(damage=f"{str(self.path)!r} cannot be read: {error}.")
        return found

    def _ends(self, path: Path) -> None:
        """Check the two ends of a table: whether it is complete, and which unit it belongs to.

        Raises:
            DataError: it is truncated, or another unit's.
            OSError: it does not exist.
        """
        disk.regular(path)
        file = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            begins, ends = os.pread(file, 4, 0), os.pread(file, 8, max(0, size - 8))
            length = int.from_bytes(ends[:4], "little")
            if (begins, ends[4:]) != (b"PAR1", b"PAR1") or length > size - 12:
                raise DataError(f"{str(path)!r} cannot be read: it is truncated.")
            foot = os.pread(file, length, size - 8 - length)
        finally:
            os.close(file)
        if (found := ID_IN_TABLE.search(foot)) is not None:
            self._check_id(path, found[1].decode(errors="replace"))

    def _check_id(self, path: str | Path, id: object, remedy: str = "") -> None:
        """Check the unit id in a file; older files have none and are accepted.

        Args:
            path: the path of the file.
            id: the unit id in the file.
            remedy: a sentence on what to do.

        Raises:
            DataError: the file belongs to another unit.
        """
        if id is not None and id != self.id:
            sentence = f"{str(path)!r} cannot be read: it belongs to another unit, {str(id)[:200]!r}."
            raise DataError(f"{sentence} {remedy}".rstrip())

    def edition(self) -> tuple[int, int] | None:
        """Return a value that changes with each new result of the unit, or None while there is none."""
        try:
            found = (self.path / "result.json").stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def error(self) -> str:
        """Return the traceback of the last failure, or an empty string."""
        path = self.path / "error.txt"
        if (self.path / "result.json").exists() or not path.exists():
            return ""
        try:
            disk.regular(path)
            text = path.read_bytes().decode(errors="replace").strip()
            if found := ID_IN_ERROR.match(text):
                self._check_id(path, found[1], "--retry-failed runs this one.")
                text = text[found.end() :]
        except OSError as error:
            text = f"{str(path)!r} cannot be read: {error}."
        except EsbenchError as error:
            text = str(error)
        return text or "It failed, and error.txt is empty."

    def trace(self, columns: list[str] | None = None) -> dict[str, Any]:
        """Return columns of the trace as NumPy arrays."""
        return self._table(self.path / "trace.parquet", columns)[0]

    def criterion(self, text: str, columns: list[str] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return columns of a criterion's values as NumPy arrays (missing values are NaN), and their origin."""
        path = self.criterion_path(text)
        values, made_by = self._table(path, columns)
        if (other := made_by.get("criterion", text)) != text:
            raise DataError(f"{str(path)!r} cannot be read: it belongs to another criterion, {other!r}.")
        return values, made_by

    def _table(self, path: Path, columns: list[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
        values, made_by, id = read_table(path, columns)
        self._check_id(path, id)
        return values, made_by

    def criterion_path(self, text: str) -> Path:
        """Return the path of a criterion's values."""
        return self.path / "criteria" / f"{slug(text)}.parquet"

    def baseline_path(self, text: str) -> Path:
        """Return the path of a baseline's numbers."""
        return self.path / "baselines" / f"{slug(text)}.json"

    def baseline(self, text: str) -> dict[str, Any] | None:
        """Return the numbers of a baseline; None if there are none that can be read: computing them again is cheap."""
        try:
            return self._baseline(self.baseline_path(text))[1]
        except (FileNotFoundError, NotADirectoryError, DataError):
            return None

    def baselines(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of all baselines that were computed, by their canonical texts.

        One whose file cannot be read has failed, under the name of the file.
        """
        found = {}
        for path in sorted(self.path.glob("baselines/*.json")):
            try:
                text, entry = self._baseline(path)
                found[text] = entry
            except FileNotFoundError:
                continue
            except DataError as error:
                found[path.stem] = {"failed": f"{error} 'esbench run' with this baseline computes it again."}
        return found

    def _baseline(self, path: Path) -> tuple[str, dict[str, Any]]:
        """Return the canonical text of a baseline and its numbers.

        Raises:
            DataError: the file or the picture is damaged, or is that of another baseline or unit.
            FileNotFoundError: there is no such file.
        """
        entry = read_json(path)
        self._check_id(path, entry.pop("unit", ""))
        text = str(entry.get("baseline"))
        if self.baseline_path(text) != path:
            raise DataError(f"{str(path)!r} cannot be read: it belongs to another baseline, {text[:200]!r}.")
        if fault := baseline_fault(entry):
            raise Damaged(f"{str(path)!r} cannot be read: {fault}.")
        self._check_head(f"baseline-{text}")
        return text, entry

    def image_path(self, name: str) -> Path:
        """Return the path of a picture: clean, noisy, peak, last, stop-<criterion> or baseline-<baseline>."""
        return self.path / "images" / f"{slug(name)}.png"

    def image(self, name: str) -> Path | None:
        """Return the path of a picture, or None if it does not exist.

        Raises:
            DataError: it is damaged, or it is another picture or another unit's.
        """
        path = self.image_path(name)
        try:
            disk.regular(path)
            data = path.read_bytes()
        except (OSError, Missing):
            return None
        self._check_picture(path, path.stem, data)
        if fault := png_fault(data):
            raise DataError(f"{str(path)!r} cannot be read: {fault}. {REMOVE}")
        return path

    def _check_picture(self, path: str | Path, stem: str, begins: bytes) -> None:
        """Check the unit id and the name in the first bytes of a picture, whose file name has that stem.

        Raises:
            DataError: it is another picture, or another unit's.
        """
        id, name = signature(begins)
        self._check_id(path, id, REMOVE)
        if name not in (None, stem):
            raise DataError(f"{str(path)!r} cannot be read: it is the picture {name[:200]!r}. {REMOVE}")

    def _check_head(self, name: str) -> None:
        """Check the unit id and the name in the first bytes of a picture, if it exists.

        Raises:
            DataError: it is another picture, or another unit's.
        """
        path = f"{self.path}/images/{(stem := slug(name))}.png"
        if begins := _begins(path):
            self._check_picture(path, stem, begins)

    def _check_shown(self, criteria: Iterable[str], whole: bool) -> None:
        """Check the files that are only shown: the pictures, and the log of the live page. Each may be missing.

        Args:
            criteria: the criteria that did not fail.
            whole: check all bytes of the pictures, instead of only the first.

        Raises:
            DataError: one is another unit's, or is damaged.
        """
        for name in ("clean", "noisy", "peak", "last", *(f"stop-{text}" for text in criteria)):
            self.image(name) if whole else self._check_head(name)
        self._check_log()

    def _check_log(self) -> None:
        """Check the unit id in the log of the live page, if it exists.

        Raises:
            DataError: it is another unit's.
        """
        path = f"{self.path}/{live.LOG}"
        if (found := ID_IN_LOG.match(_begins(path))) is not None:
            self._check_id(path, found[1].decode(), REMOVE)

    def film(self) -> list[dict[str, Any]]:
        """Return the small pictures that are kept of earlier outputs: the step, `picture`, and a WebP in base64."""
        return live.film(live.read(self.path / live.LOG))

    def begin(self, spec: UnitSpec) -> None:
        """Make the folder; the caller must hold the lock."""
        for part in self.path.rglob(".*.*"):  # left by a process that was killed while writing
            if not part.is_dir():
                part.unlink(missing_ok=True)
        for path in self.path.rglob("*.*"):  # our own folders have no dot in their names
            no_folder(path)
        try:
            self._check_log()
        except DataError:
            (self.path / live.LOG).unlink()
        folder(self.path / "criteria")
        folder(self.path / "images")
        disk.write(self.path / "spec.json", json_bytes(dataclasses.asdict(spec), checked=False))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the unit for one process.

        Raises:
            Busy: another process holds it.
        """
        folder(self.path)
        no_folder(self.path / "lock")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_held(self.path / "lock", tries=LOCK_TRIES))
            except BlockingIOError:
                raise Busy("Another process is running this unit.") from None
            yield

    def busy(self) -> bool:
        """Whether a process is running the unit."""
        return _is_held(self.path / "lock")

    def state(self) -> dict[str, Any]:
        """Return the state that a running unit writes for `esbench watch`; empty if none can be read."""
        try:
            state = read_json(self.path / live.STATE)
        except (OSError, DataError):
            return {}
        return state if state.get("unit") == self.id and not state_fault(state) else {}

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the state to resume from.

        Raises:
            OSError: it cannot be written, such as on a full disk.
        """
        with disk.replacing(self.path / "checkpoint.pt") as part, open(part, "wb") as file:
            file.writelines(plain.dumps({"unit": self.id, "state": state}))
        (self.path / "error.txt").unlink(missing_ok=True)  # it is past the step at which it failed

    def checkpoint(self, device: Any = "cpu") -> dict[str, Any] | None:
        """Return the state to resume from, or None if there is none.

        Args:
            device: the device of the tensors that were on a GPU.

        Raises:
            DataError: it cannot be read, or is that of another unit.
        """
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        disk.regular(path)
        try:
            found = plain.loads(path.read_bytes(), device)
            id, state = found["unit"], found["state"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{str(path)!r} cannot be read: {error}.") from error
        self._check_id(path, id)
        if not isinstance(state, dict):
            raise DataError(f"{str(path)!r} cannot be read: it is not a state.")
        return state

    def drop_checkpoint(self) -> None:
        """Remove what only an unfinished unit needs."""
        for name in ("checkpoint.pt", live.STATE, live.PICTURE):
            (self.path / name).unlink(missing_ok=True)

    def write_trace(self, columns: Mapping[str, Any]) -> None:
        """Write the trace."""
        write_table(self.path / "trace.parquet", columns, {}, self.id)

    def write_criterion(self, text: str, columns: Mapping[str, Any], made_by: Mapping[str, Any]) -> None:
        """Write the values of a criterion."""
        write_table(self.criterion_path(text), columns, made_by, self.id)

    def write_baseline(self, text: str, entry: Mapping[str, Any]) -> None:
        """Write the numbers of a baseline."""
        folder(self.path / "baselines")
        disk.write(self.baseline_path(text), json_bytes({"unit": self.id, "baseline": text, **entry}))

    def write_image(self, name: str, image: Any) -> None:
        """Write a picture, uint8 (H, W, C)."""
        from esbench import images

        with disk.replacing(self.image_path(name), suffix=".png") as part:
            images.write(part, image)
            part.write_bytes(signed(part.read_bytes(), self.id, slug(name)))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the result: from then on the unit is done."""
        disk.write(self.path / "result.json", json_bytes({"unit": self.id, **result}))

    def write_error(self, text: str) -> None:
        """Write why the unit failed."""
        folder(self.path)
        disk.write(self.path / "error.txt", f"unit {self.id}\n{text}".encode(errors="backslashreplace"))


def status(unit: Unit) -> dict[str, Any]:
    """Return the status of a unit: done, failed, running, paused or missing, with the reason of a failure."""
    found: dict[str, Any] = {"unit": unit.id, "status": "missing", "reason": "", "criteria": {}}
    inspection = unit.inspect()
    if inspection.damage:
        return found | {"status": "failed", "reason": inspection.damage}
    if inspection.result is not None:
        entries = inspection.result["criteria"] | unit.baselines()
        criteria = {text: entry["failed"] for text, entry in entries.items()}
        return found | {"status": "done", "criteria": criteria}
    if not unit.path.exists():
        return found
    state = unit.state()
    at = f"at step {state['step']} of {state['iterations']}" if state else ""
    if unit.busy():
        paused = state.get("paused")
        return found | {
            "status": "paused" if paused else "running",
            "reason": f"{at}, by esbench ctl" if paused else at,
        }
    if error := unit.error():
        return found | {"status": "failed", "reason": error.strip().splitlines()[-1]}
    if not (unit.path / "spec.json").exists():
        return found
    return found | {"status": "paused", "reason": at or _kept(unit)}


def _kept(unit: Unit) -> str:
    """Return the step of a unit's checkpoint, or an empty text."""
    try:
        state = unit.checkpoint()
        return f"at step {int(state['session']['trajectory']['t'])}" if state else ""
    except (DataError, LookupError, TypeError, ValueError):  # it is reported when the unit is run
        return ""


def _begins(path: str) -> bytes:
    """Return the first bytes of a file; none if it cannot be read. Without objects, for thousands of files."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
    except OSError:
        return b""
    try:
        return os.pread(file, 1024, 0)
    except OSError:  # a pipe, a folder
        return b""
    finally:
        os.close(file)


def slug(text: str) -> str:
    """Return a file name for a canonical text: the bare name, or name and hash if it has parameters."""
    name, given = split(text)
    name = re.sub(r"[^a-z0-9-]", "_", name)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}" if given else name


@contextlib.contextmanager
def _held(path: Path, *, shared: bool = False, tries: int | None = None, mode: str = "a") -> Iterator[None]:
    """Hold a lock file; it is released even if the process is killed.

    Args:
        path: the file.
        shared: others may hold it at the same time, if they share it.
        tries: how often to try; None to wait for it.
        mode: the mode in which it is opened.

    Raises:
        BlockingIOError: another process holds it and does not release it in this time.
        DataError: its path is not a regular file.
    """
    if path.exists():
        disk.regular(path)
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if tries is None else fcntl.LOCK_NB)
    with open(path, mode) as file:
        while True:
            try:
                fcntl.flock(file, how)
                break
            except BlockingIOError:
                assert tries is not None
                tries -= 1
                if not tries:
                    raise
                time.sleep(LOCK_PAUSE)
        yield


def _is_held(path: Path, shared: bool = True) -> bool:
    """Whether a process holds a lock file."""
    try:
        with _held(path, shared=shared, tries=1, mode="r"):
            return False
    except BlockingIOError:
        return True
    except OSError:  # no such file: it was never held
        return False
