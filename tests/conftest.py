"""What several test modules need: distributions on disk, installed for one test."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PLUGIN_DISTS = Path(__file__).parent / "plugin_dists"


@pytest.fixture(scope="session")
def plugin_dists() -> Path:
    """The folder of distributions; each of its folders on sys.path is one that is installed."""
    return PLUGIN_DISTS


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give install(*folders), which puts distributions of tests/plugin_dists on sys.path for the length of a test."""

    def install(*folders: str) -> None:
        for folder in folders:
            assert (PLUGIN_DISTS / folder).is_dir(), folder
            monkeypatch.syspath_prepend(str(PLUGIN_DISTS / folder))
        importlib.invalidate_caches()

    yield install
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(PLUGIN_DISTS) + os.sep):
            del sys.modules[name]
