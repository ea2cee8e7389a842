"""What several test modules need: distributions on disk, installed for one test."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser, Tab

# The tests' networks are tiny: a second thread only waits for the first. Before torch is imported, and for children.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test reaches the web: who tries finds a door that is shut. The servers of the tests are on 127.0.0.1.
os.environ.update({"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"})

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
    """Return a function that makes the process look again at what is installed, as it does after the test."""
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


class Server(ThreadingHTTPServer):
    """A web server on 127.0.0.1 that can be told how to fail.

    Attributes:
        files: what lies at a path.
        faults: how the next answers at a path go wrong: a status, "dropped", "truncated", "wrong" or "stalled".
        asked: the paths that were asked for.
        gate: where every answer begins.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str | int]] = {}
        self.asked: list[str] = []
        self.gate: Callable[[], object] = bool
        self.closing = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server
        server.asked.append(self.path)
        server.gate()
        fault = (server.faults.get(self.path) or [""]).pop(0)
        content = server.files.get(self.path)
        if isinstance(fault, int) or content is None:
            self.send_response(fault or 404)
            self.send_header("Content-Length", "0")
            if fault == 429:
                self.send_header("Retry-After", "3600")
            self.end_headers()
        elif fault != "dropped":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = len(content) // 2
            self.wfile.write(content[:half])
            if fault == "stalled":
                server.closing.wait()
            if fault not in ("truncated", "stalled"):
                self.wfile.write(bytes(len(content) - half) if fault == "wrong" else content[half:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server of one test."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Debian's Chromium; the test is skipped where it is not installed."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Tab]:
    """A tab of one test, which fails if a script of its pages raised an error."""
    tab = chromium.tab()
    yield tab
    tab.close()
    assert tab.errors == []
