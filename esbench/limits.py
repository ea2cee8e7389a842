"""The processors and the memory that this process may use: those of the machine, as far as its container lets it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

#: Where Linux has the control groups (version 2), and the one of this process: containers and clusters limit by them.
GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

#: The memory of the machine.
MEMORY = Path("/proc/meminfo")


def processors() -> int:
    """Return how many processors this process may use, at least 1."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups():
        if match := re.match(r"(\d+) (\d+)", _text(group / "cpu.max")):  # microseconds of each period; or "max"
            n = min(n, int(match[1]) // int(match[2]))
    return max(1, n)


def memory() -> int:
    """Return how many more bytes of memory this process can have."""
    if match := re.search(r"MemAvailable: +(\d+) kB", _text(MEMORY)):
        free = 1024 * int(match[1])
    else:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    for group in _groups():
        most, used = _text(group / "memory.max").strip(), _text(group / "memory.current").strip()
        if most.isdigit() and used.isdigit():
            files = re.search(r"^inactive_file (\d+)", _text(group / "memory.stat"), re.MULTILINE)  # given up on demand
            free = min(free, int(most) - int(used) + (int(files[1]) if files else 0))
    return max(0, free)


def _groups() -> Iterator[Path]:
    """Yield the control group of this process and those around it."""
    own = re.search(r"^0::/(.*)$", _text(OWN), re.MULTILINE)
    group = GROUPS / (own[1] if own else "")
    while group != GROUPS:
        yield group
        group = group.parent
    yield GROUPS


def _text(path: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
