from __future__ import annotations

import os
from pathlib import Path

import pytest

from esbench import limits


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Give system(name=text): the files of a machine with 8 processors and 16 GB, and a group `a/b` of a container."""
    groups = tmp_path / "cgroup"
    (groups / "a" / "b").mkdir(parents=True)
    (tmp_path / "own").write_text("3:cpu:/old\n0::/a/b\n")
    (tmp_path / "meminfo").write_text("MemTotal:       32000000 kB\nMemAvailable:   16000000 kB\n")
    monkeypatch.setattr(limits, "GROUPS", groups)
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    monkeypatch.setattr(limits, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    def system(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (groups / name).write_text(text + "\n")
        return groups

    return system


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"a/b/cpu.max": "max 100000"}, 8),
        ({"a/b/cpu.max": "250000 100000"}, 2),
        ({"a/b/cpu.max": "50000 100000"}, 1),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ({"a/b/cpu.max": "6400000 100000"}, 8),
    ],
)
def test_a_container_has_as_many_processors_as_its_quota(system, files, expected):
    system(files)
    assert limits.processors() == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16_384_000_000),
        ({"a/b/memory.max": "max", "a/b/memory.current": "100"}, 16_384_000_000),
        ({"a/memory.max": "5000", "a/memory.current": "3000"}, 2000),
        (
            {"memory.max": "5000", "memory.current": "4000", "memory.stat": "anon 7\nactive_file 9\ninactive_file 500"},
            1500,
        ),
        ({"memory.max": "5000", "memory.current": "6000"}, 0),
    ],
)
def test_a_container_has_as_much_memory_as_its_limit_leaves(system, files, expected):
    system(files)
    assert limits.memory() == expected


def test_without_control_groups_there_are_the_limits_of_the_machine(system, tmp_path):
    (tmp_path / "own").unlink()
    (tmp_path / "meminfo").unlink()
    assert limits.processors() == 8
    assert limits.memory() > 0
