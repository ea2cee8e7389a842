"""What several test modules need: distributions on disk, installed for one test."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The tests' networks are tiny: a second thread only waits for the first. Before torch is imported, and for children.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.fixture
def fresh_registry() -> Iterator[Callable[[], None]]:
    """Give a function after which the process looks anew at what is installed; so it does after the test."""
    from esbench import registry

    def forget() -> None:
        registry._registry.cache_clear()
        registry.made_by.cache_clear()

    yield forget
    forget()


@pytest.fixture
def plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_registry: Callable[[], None]
) -> Iterator[Callable[..., Path]]:
    """Give plugin(code, version="1.0"), which installs a distribution `esbench-local` of one module for one test."""
    site = tmp_path / "site"

    def forget_module() -> None:
        sys.modules.pop("esbench_local", None)
        importlib.invalidate_caches()
        fresh_registry()

    def install(code: str, version: str = "1.0") -> Path:
        shutil.rmtree(site, ignore_errors=True)
        info = site / f"esbench_local-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: esbench-local\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[esbench]\nlocal = esbench_local\n")
        (site / "esbench_local.py").write_text(code)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(str(site))
        forget_module()
        return site

    yield install
    forget_module()


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Give pictures(*names, size=(24, 28)): a folder of small pictures with a slope, an edge and a texture."""
    import numpy as np
    from PIL import Image

    def pictures(*names: str, size: tuple[int, int] = (24, 28), folder: str = "pictures", grey: bool = False) -> Path:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        y, x = np.mgrid[: size[0], : size[1]] / 8
        for i, name in enumerate(names):
            channels = [0.5 + 0.2 * np.sin(x + i + c) * np.cos(y) + 0.2 * (x + y > 3 + c) for c in range(3)]
            image = np.rint(255 * np.stack(channels, -1)).astype(np.uint8)
            Image.fromarray(image[..., 0] if grey else image).save(where / f"{name}.png")
        return where

    return pictures
