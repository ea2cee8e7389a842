"""Validate the JSON files of a run, so that their readers need no checks.

A file may be truncated, empty, of another program, or malicious. A fault is reported as a clause of a sentence.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esbench import disk
from esbench.errors import DataError, Missing, UsageError
from esbench.params import split

#: Of run.json; raised when older versions can no longer read a run.
FORMAT = 1

#: The name of a unit and of its folder: never a path.
NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,255}")

#: The key of the checksum in a file.
CHECKSUM = "sha256"


class Damaged(DataError):
    """A file of a run exists but cannot be read; it can be made again."""


def json_bytes(value: Mapping[str, Any], checked: bool = True) -> bytes:
    """Return an object as the content of a JSON file, with the checksum of its values as the last key."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    if checked:
        plain[CHECKSUM] = _checksum(plain)
    return (json.dumps(plain, indent=1) + "\n").encode()


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def toml_bytes(text: str) -> bytes:
    """Return TOML as the content of a file, with its checksum as a comment in the last line."""
    return f"{text}# {CHECKSUM} {hashlib.sha256(text.encode()).hexdigest()}\n".encode()


def toml_fault(data: bytes) -> str:
    """Return what is wrong with the checksum of a TOML file, or an empty string; older files have none."""
    text, mark, said = data.rpartition(f"# {CHECKSUM} ".encode())
    if mark and said.decode(errors="replace") != hashlib.sha256(text).hexdigest() + "\n":
        return "its checksum does not match; if the change is yours, delete its last line"
    return ""


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, without its checksum; older files have none.

    Raises:
        DataError: the file is damaged, or does not contain an object.
        FileNotFoundError: it does not exist.
    """
    try:
        disk.regular(path)
        text = path.read_bytes().decode()
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be printed
    except Missing:
        raise FileNotFoundError(path) from None
    except DataError as error:
        raise Damaged(str(error)) from error
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{str(path)!r} cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise Damaged(f"{str(path)!r} cannot be read: it must contain an object, not a {type(value).__name__}.")
    if (said := value.pop(CHECKSUM, None)) is not None and said != _checksum(value):
        raise Damaged(f"{str(path)!r} cannot be read: its checksum does not match.")
    return value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def record_fault(record: dict[str, Any]) -> str:
    """Return what is wrong with the record of a run, or an empty string."""
    if record.get("format") is not FORMAT:
        return "it has no format"
    plan, commands, stamp = record.get("plan"), record.get("commands"), record.get("stamp")
    if not isinstance(plan, list) or not all(isinstance(id, str) and NAME.fullmatch(id) for id in plan):
        return "its plan must be a list of names of units"
    if not isinstance(commands, list) or not all(isinstance(command, dict) for command in commands):
        return "its commands must be a list of objects"
    if not isinstance(stamp, dict) or not isinstance(stamp.get("packages", {}), dict):
        return "its stamp must be an object"
    plugins = stamp.get("plugins", [])
    if not isinstance(plugins, list) or not all(isinstance(plugin, dict) for plugin in plugins):
        return "the plugins of its stamp must be a list of objects"
    return ""


def result_fault(result: dict[str, Any]) -> str:
    """Return what is wrong with the shape of a result, or an empty string."""
    complete, criteria = result.get("complete"), result.get("criteria")
    steps: Any = result.get("steps")
    if not isinstance(complete, bool):
        return "complete must be true or false"
    if not _is_count(steps) or steps == 0:
        return "steps must be a whole number from 1"
    for name in ("peak_db", "last_db", "average_peak_db"):
        if name not in result or (result[name] is not None and not _is_number(result[name])):
            return f"{name} must be a number or null"
    for name in ("score_peak_db", "score_last_db", "baseline_db"):  # where the task has them
        if result.get(name) is not None and not _is_number(result[name]):
            return f"{name} must be a number or null"
    if not (_is_count(result.get("peak_step")) if complete else result.get("peak_step", 0) is None):
        return "peak_step must be a whole number if it is complete, else null"
    if not _is_number(result.get("seconds")):
        return "seconds must be a number"
    if not isinstance(result.get("machine", {}), dict):
        return "machine must be an object"
    if not isinstance(criteria, dict):
        return "criteria must be an object"
    faults = (
        f"{fault} (in {text!r})" for text, entry in criteria.items() if (fault := _entry_fault(text, entry, steps))
    )
    return next(faults, "")


def _entry_fault(text: str, entry: Any, steps: int) -> str:
    """Return what is wrong with a result's entry of one criterion, or an empty string."""
    if not isinstance(entry, dict) or not isinstance(entry.get("failed"), str):
        return "failed must be a text"
    made = entry.get("made_by")
    known = ("distribution", "distribution_version")
    if not isinstance(made, dict) or not all(isinstance(made.get(name), str) for name in known):
        return "made_by must be an object with the distribution and its version"
    if not _is_count(made.get("version")) or not isinstance(entry.get("resolved"), dict):
        return "resolved must be an object, and version a whole number"
    if entry["failed"]:
        return ""
    try:
        split(text)
    except UsageError:
        return "it is not the name of a criterion"
    counts: dict[str, Any] = {name: entry.get(name) for name in ("patience", "stop_step")}
    measured = ("ssim", "psnr_db", "average_psnr_db", "score_db")
    numbers = {name: entry[name] for name in measured if entry.get(name) is not None}
    if "steps_run" in entry:  # older results do not have it; their stops are recomputed
        counts["steps_run"], numbers["criterion_ms_per_step"] = entry["steps_run"], entry.get("criterion_ms_per_step")
        if not isinstance(entry.get("fallback"), bool):
            return "fallback must be true or false"
        if not all(name in entry for name in ("psnr_db", "average_psnr_db")):
            return "psnr_db and average_psnr_db are missing"
    if "ssim" not in entry:
        return "ssim is missing"
    for name, value in counts.items():
        if not _is_count(value) or (name == "stop_step" and value >= steps):
            return f"{name} must be a whole number"
    for name, value in numbers.items():
        if not _is_number(value):
            return f"{name} must be a number"
    return ""


def baseline_fault(entry: dict[str, Any]) -> str:
    """Return what is wrong with the numbers of a baseline, or an empty string."""
    if not isinstance(entry.get("failed"), str) or not _is_count(entry.get("version")):
        return "failed must be a text, and version a whole number"
    if entry["failed"]:
        return ""
    if not isinstance(entry.get("resolved"), dict) or not _is_number(entry.get("seconds")):
        return "resolved must be an object, and seconds a number"
    for name in ("psnr_db", "ssim", "score_db"):
        if name not in entry or (entry[name] is not None and not _is_number(entry[name])):
            return f"{name} must be a number or null"
    return ""


def state_fault(state: dict[str, Any]) -> str:
    """Return what is wrong with the state of a running unit, or an empty string."""
    if not _is_count(state.get("step")) or not _is_count(state.get("iterations")):
        return "step and iterations must be whole numbers"
    if state.get("steps_per_second") is not None and not _is_number(state["steps_per_second"]):
        return "steps_per_second must be a number or null"
    return "" if isinstance(state.get("rules", {}), dict) else "rules must be an object"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
