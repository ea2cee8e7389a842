"""The plugins under plugins/, installed with pip into a folder of their own, without a network, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
NAMES = sorted(path.name for path in PLUGINS.iterdir() if (path / "pyproject.toml").is_file())


def python(*arguments: object, path: Path | None = None, here: Path | None = None) -> str:
    # one thread: the arrays are small, and two processes of many threads each stand in each other's way
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "" if path is None else str(path)}
    words = [sys.executable, *map(str, arguments)]
    done = subprocess.run(words, env=environ, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of each, because building leaves things behind, and `site`, where all are installed."""
    folder = tmp_path_factory.mktemp("plugins")
    left = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    for name in NAMES:
        shutil.copytree(PLUGINS / name, folder / name, ignore=left)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    python("-m", "pip", "install", *offline, "--target", folder / "site", *(folder / name for name in NAMES))
    return folder


def test_they_are_the_ones_that_the_documentation_names():
    assert NAMES == ["esbench-example", "esbench-lossless", "esbench-selfval", "esbench-spectral"]


def test_all_are_listed_side_by_side(copies):
    rows = json.loads(python("-m", "esbench", "plugins", "--json", path=copies / "site"))
    found = {row["distribution"]: row for row in rows if row["distribution"] in NAMES}
    assert {name: (row["status"], row["provides"]) for name, row in found.items()} == {
        "esbench-example": ("ok", {"criteria": ["example"]}),
        "esbench-lossless": ("ok", {"codecs": ["zlib", "bz2", "lzma"]}),
        "esbench-selfval": ("ok", {"criteria": ["selfval"]}),
        "esbench-spectral": ("ok", {"criteria": ["spectral"]}),
    }


def test_each_passes_its_own_tests(copies):
    tests = [copies / name / "tests" for name in NAMES]
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, path=copies / "site", here=copies)
    assert " passed" in said
    assert "failed" not in said


def test_the_code_of_their_pages_runs(copies):
    code = [
        block
        for name in NAMES
        for block in re.findall(r"^```python\n(.*?)^```$", (PLUGINS / name / "README.md").read_text(), re.M | re.S)
    ]
    assert len(code) == 2
    python("-c", "\n".join(code), path=copies / "site")


@pytest.mark.parametrize("name", NAMES)
def test_each_page_is_one_page(name):
    text = (PLUGINS / name / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert len(text.splitlines()) <= 60
