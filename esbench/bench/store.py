"""The folder of a run. Nothing else knows the names of its files.

    RUN/
      run.toml                  the configuration; `esbench run --config RUN/run.toml` repeats it
      run.json                  format, what made it, the plan, one entry for each command
      units/<id>/
        spec.json               all that the optimisation depends on
        trace.parquet           step, loss, psnr_db, average_loss, average_psnr_db, seconds
        criteria/<name>-<hash>.parquet    step, value, ms, and what the value was made of
        images/*.png            clean, noisy, peak, last, and stop-<criterion>
        result.json             written last and renamed into place: the unit is done
        checkpoint.pt           only while it is not done: where to go on
        error.txt               the traceback of the last failure
        lock                    held by the process that is at work on it

Every file is written beside its place and renamed into it, so what is there is whole. Every file of a unit says
whose it is, and is refused in another's folder; the id of a unit is the hash of its spec.json. Files from before this
rule say nothing and are believed. Reading a run runs no code that lies in it: JSON, Parquet, PNG and `plain` are data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from esbench import disk, plain
from esbench.bench import config as configuration
from esbench.bench.config import Config
from esbench.bench.files import TEXT, WHOSE, folder, no_folder, read_table, signed, write_table
from esbench.bench.shapes import FORMAT, Damaged, read_json, record_fault, result_fault
from esbench.bench.spec import UnitSpec, unit_id
from esbench.errors import Busy, ConfigError, DataError, EsbenchError, Missing, Unavailable, UsageError
from esbench.params import split

#: How often, and how many seconds apart, a unit that another process holds is tried.
LOCK_TRIES, LOCK_PAUSE = 20, 0.25


class Run:
    """A run on the disk.

    Args:
        path: its folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def grown(self, config: Config) -> Config:
        """Return a configuration together with the one of this folder, where there is a run in it.

        Raises:
            ConfigError: the folder holds a run with another configuration.
            DataError: its configuration cannot be read, and nobody said to try again what failed.
            UsageError: there is something else in its place.
            Unavailable: it cannot be looked at.
        """
        with _writing(self.path):
            if (self.path / "run.toml").exists():
                try:
                    before = self.config()
                except DataError:
                    if config.retry_failed:
                        return config
                    raise
                return config.grown(before)
            # left by a command that was killed before its first unit
            ours = re.compile(r"lock(-\d+-of-\d+)?|run\.lock|run\.json|\..*" + "|units|report" * config.retry_failed)
            if self.path.exists() and not all(ours.fullmatch(p.name) for p in self.path.iterdir()):
                raise UsageError(f"{str(self.path)!r} is there already and holds no run: choose another --out.")
        return config

    def begin(self, config: Config, plan: list[str], stamp: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
        """Write down what a command is about to do, or check that it goes with what the folder holds.

        Raises:
            ConfigError: the folder holds a run with another configuration.
            DataError: what it has written down cannot be read, and nobody said to try again what failed.
            Unavailable: the folder cannot be written.
        """
        with _writing(self.path), _held(self.path / "run.lock"):  # shards begin at the same time
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
            disk.write(self.path / "run.json", _json(record))
            if retry:
                no_folder(self.path / "run.toml")
            disk.write(self.path / "run.toml", config.to_toml().encode())

    @contextlib.contextmanager
    def lock(self, shard: tuple[int, int] = (1, 1)) -> Iterator[None]:
        """Hold the folder for one driver, or for one driver of each shard.

        Raises:
            Unavailable: another has it, or it cannot be written.
        """
        i, n = shard
        with contextlib.ExitStack() as stack:
            with _writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
            try:
                with _writing(self.path):
                    stack.enter_context(_held(self.path / "lock", shared=n > 1, wait=False))
                    if n > 1:
                        stack.enter_context(_held(self.path / f"lock-{i}-of-{n}", wait=False))
            except BlockingIOError:
                raise Unavailable(
                    f"Another esbench is at work on {str(self.path)!r}: wait for it, or choose another --out."
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
            raise Missing(f"{str(self.path)!r} holds no run of esbench (there is no run.toml in it).")
        try:
            return configuration.read(path, whole=True)
        except ConfigError as error:
            raise Damaged(f"{error} 'esbench run' with its options and --retry-failed writes it anew.") from error

    def record(self) -> dict[str, Any]:
        """Return what `begin` wrote down.

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

    def unit(self, id: str) -> Unit:
        """Return a unit, there or not."""
        return Unit(self.path / "units" / id)

    def units(self) -> list[Unit]:
        """Return the units of the plan, in its order."""
        return [self.unit(id) for id in self.record()["plan"]]


@dataclasses.dataclass(frozen=True)
class Look:
    """What a unit left.

    Attributes:
        result: of one that is finished.
        spec: what that is made of.
        damage: why what it left cannot be read; the other two are then None.
    """

    result: dict[str, Any] | None = None
    spec: UnitSpec | None = None
    damage: str = ""


class Unit:
    """A unit on the disk."""

    def __init__(self, path: Path) -> None:
        self.path, self.id = path, path.name

    def spec(self) -> UnitSpec:
        """Return what the unit is made of.

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
        self._mine(path, id)
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
        self._mine(path, result.pop("unit", None))
        if fault := result_fault(result):
            raise DataError(f"{str(path)!r} cannot be read: {fault}.")
        return result

    def look(self, whole: bool = False) -> Look:
        """Return what the unit left.

        Args:
            whole: also read the tables of one that is finished to their last value, and not their ends alone.
        """
        try:
            result = self.result()
            if result is None:
                return Look()
            look = Look(result, self.spec())
            tables = [c for c, entry in result["criteria"].items() if not entry["failed"]]
            for path in (self.path / "trace.parquet", *map(self.criterion_path, tables)):
                self._ends(path)
            if whole:
                for columns in (self.trace(), *(self.criterion(text)[0] for text in tables)):
                    if any(len(column) != result["steps"] for column in columns.values()):
                        return Look(damage=f"{str(self.path)!r} cannot be read: a table has not a row for each step.")
        except DataError as error:
            return Look(damage=str(error))
        except (OSError, ValueError, EsbenchError) as error:
            return Look(damage=f"{str(self.path)!r} cannot be read: {error}.")
        return look

    def _ends(self, path: Path) -> None:
        """Look at the two ends of a table: whether it is all there, and whose it is.

        Raises:
            DataError: it is cut off, or another unit's.
            OSError: it is not there.
        """
        with open(path, "rb") as file:
            begins = file.read(4)
            file.seek(0, os.SEEK_END)
            size = file.tell()
            file.seek(max(0, size - 8))
            ends = file.read(8)
            length = int.from_bytes(ends[:4], "little")
            if (begins, ends[4:]) != (b"PAR1", b"PAR1") or length > size - 12:
                raise DataError(f"{str(path)!r} cannot be read: it is cut off.")
            file.seek(size - 8 - length)
            foot = file.read(length)
        if (found := WHOSE.search(foot)) is not None:
            self._mine(path, found[1].decode(errors="replace"))

    def _mine(self, path: Path, id: object) -> None:
        """Check whose a file says that it is; one from before files said it is believed.

        Raises:
            DataError: another unit's.
        """
        if id is not None and id != self.id:
            raise DataError(f"{str(path)!r} cannot be read: it is of another unit, {str(id)[:200]!r}.")

    def edition(self) -> tuple[int, int] | None:
        """Return what differs from one result of the unit to the next, or None while there is none."""
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
        except (OSError, EsbenchError) as error:
            text = f"{str(path)!r} cannot be read: {error}."
        return text or "It failed, and error.txt does not say why."

    def trace(self, columns: list[str] | None = None) -> dict[str, Any]:
        """Return columns of the trace as NumPy arrays."""
        return self._table(self.path / "trace.parquet", columns)[0]

    def criterion(self, text: str, columns: list[str] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return columns of a criterion's values as NumPy arrays (missing values are NaN), and what made them."""
        path = self.criterion_path(text)
        values, made_by = self._table(path, columns)
        if (other := made_by.get("criterion", text)) != text:
            raise DataError(f"{str(path)!r} cannot be read: it is of another criterion, {other!r}.")
        return values, made_by

    def _table(self, path: Path, columns: list[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
        values, made_by, id = read_table(path, columns)
        self._mine(path, id)
        return values, made_by

    def criterion_path(self, text: str) -> Path:
        """Return where the values of a criterion are kept."""
        return self.path / "criteria" / f"{slug(text)}.parquet"

    def image_path(self, name: str) -> Path:
        """Return where a picture is kept: clean, noisy, peak, last, or stop-<criterion>."""
        return self.path / "images" / f"{slug(name)}.png"

    def image(self, name: str) -> Path | None:
        """Return where a picture lies, or None if it is not there.

        Raises:
            DataError: it is another unit's.
        """
        path = self.image_path(name)
        try:
            with open(path, "rb") as file:
                head = file.read(4096)
        except OSError:
            return None
        if (found := TEXT.search(head)) is not None:
            self._mine(path, found[1].decode(errors="replace"))
        return path

    def begin(self, spec: UnitSpec) -> None:
        """Make the folder; whoever calls it holds the unit."""
        for part in self.path.rglob(".*.*"):  # of a process that was killed while it wrote
            if not part.is_dir():
                part.unlink(missing_ok=True)
        for path in self.path.rglob("*.*"):  # our own folders have no dot in their names
            no_folder(path)
        folder(self.path / "criteria")
        folder(self.path / "images")
        disk.write(self.path / "spec.json", _json(dataclasses.asdict(spec)))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the unit for one process.

        Raises:
            Busy: another is at work on it.
        """
        folder(self.path)
        no_folder(self.path / "lock")
        with contextlib.ExitStack() as stack:
            for attempt in range(LOCK_TRIES):  # one that was killed may take a moment to go
                try:
                    stack.enter_context(_held(self.path / "lock", wait=False))
                    break
                except BlockingIOError:
                    if attempt == LOCK_TRIES - 1:
                        raise Busy("Another process is at work on this unit.") from None
                    time.sleep(LOCK_PAUSE)
            yield

    def busy(self) -> bool:
        """Whether a process is at work on the unit."""
        try:
            with _held(self.path / "lock", shared=True, wait=False, mode="r"):
                return False
        except BlockingIOError:
            return True
        except OSError:  # no lock: nobody ever was
            return False

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write where to go on.

        Raises:
            OSError: there is no room for it.
        """
        with disk.replacing(self.path / "checkpoint.pt") as part, open(part, "wb") as file:
            file.writelines(plain.dumps({"unit": self.id, "state": state}))
        (self.path / "error.txt").unlink(missing_ok=True)  # it came further than where it failed

    def checkpoint(self) -> dict[str, Any] | None:
        """Return where to go on, or None where nothing was kept.

        Raises:
            DataError: it cannot be read, or is that of another unit.
        """
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        disk.regular(path)
        try:
            found = plain.loads(path.read_bytes())
            id, state = found["unit"], found["state"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{str(path)!r} cannot be read: {error}.") from error
        self._mine(path, id)
        if not isinstance(state, dict):
            raise DataError(f"{str(path)!r} cannot be read: it is not a state.")
        return state

    def drop_checkpoint(self) -> None:
        """Remove what only an unfinished unit needs."""
        (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def write_trace(self, columns: Mapping[str, Any]) -> None:
        """Write the trace."""
        write_table(self.path / "trace.parquet", columns, {}, self.id)

    def write_criterion(self, text: str, columns: Mapping[str, Any], made_by: Mapping[str, Any]) -> None:
        """Write the values of a criterion."""
        write_table(self.criterion_path(text), columns, made_by, self.id)

    def write_image(self, name: str, image: Any) -> None:
        """Write a picture, uint8 (H, W, C)."""
        from esbench import images

        with disk.replacing(self.image_path(name), suffix=".png") as part:
            images.write(part, image)
            part.write_bytes(signed(part.read_bytes(), self.id))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the result: from now on the unit is done."""
        disk.write(self.path / "result.json", _json({"unit": self.id, **result}))

    def write_error(self, text: str) -> None:
        """Write down why the unit failed."""
        folder(self.path)
        disk.write(self.path / "error.txt", text.encode(errors="backslashreplace"))


def status(unit: Unit) -> dict[str, Any]:
    """Return how far a unit is: done, failed, running, paused or missing, with the reason of what failed."""
    found: dict[str, Any] = {"unit": unit.id, "status": "missing", "reason": "", "criteria": {}}
    look = unit.look()
    if look.damage:
        return found | {"status": "failed", "reason": look.damage}
    if look.result is not None:
        criteria = {text: entry["failed"] for text, entry in look.result["criteria"].items()}
        return found | {"status": "done", "criteria": criteria}
    if not unit.path.exists():
        return found
    if unit.busy():
        return found | {"status": "running"}
    if error := unit.error():
        return found | {"status": "failed", "reason": error.strip().splitlines()[-1]}
    return found | {"status": "paused" if (unit.path / "spec.json").exists() else "missing"}


def slug(text: str) -> str:
    """Return a file name for a canonical text: the bare name, or name and hash where it has parameters."""
    name, given = split(text)
    name = re.sub(r"[^a-z0-9-]", "_", name)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}" if given else name


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=False, allow_nan=False) + "\n").encode()


@contextlib.contextmanager
def _held(path: Path, *, shared: bool = False, wait: bool = True, mode: str = "a") -> Iterator[None]:
    """Hold a lock file, released even where the process is killed.

    Raises:
        BlockingIOError: another process holds it, and we are not to wait.
        DataError: there is something else in its place.
    """
    if path.exists():
        disk.regular(path)
    with open(path, mode) as file:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        yield


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:  # a lock, which is no trouble of the disk's
        raise
    except OSError as error:
        raise Unavailable(
            f"{str(path)!r} cannot be written: {error.strerror or error}. Choose another --out."
        ) from error
