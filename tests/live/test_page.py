"""The live page in a browser, with runs and restorations in other processes."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from browser import Tab

from esbench.live.server import Server
from esbench.live.source import WatchedRun
from esbench.process import environ, python

SMALL = ("--network", "skip[channels=2,scales=1]", "--device", "cpu")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give start(*arguments), which begins a command in a process of its own."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                python("esbench", *map(str, arguments)),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env=environ(),
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    """Return the address that a command prints."""
    for line in process.stderr:
        if found := re.match(r"watching at (http://127\.0\.0\.1:\d+/\?token=\S+)", line):
            return found[1]
    raise AssertionError(f"it ended with {process.wait()} and printed no address")


def step(tab: Tab) -> int:
    return int(tab.run("Number(document.querySelector('#h-unit').textContent.match(/step (\\d+)/)?.[1] ?? -1)"))


def test_a_run_is_watched_from_its_start_over_a_kill_to_its_report(tab, start, pictures, tmp_path):
    folder = tmp_path / "RUN"
    of = (
        "-d",
        pictures("a", "b", "c", size=(16, 16)),
        "--iterations",
        500,
        "--patience",
        40,
        "-c",
        "wmv",
        "-c",
        "loss",
    )
    run = ("run", *of, *SMALL, "--checkpoint-every", 0.2, "--out", folder, "-q")
    process = start(*run)
    while not (folder / "run.toml").exists():
        assert process.poll() is None, process.stderr.read()
    with Server(lambda query: WatchedRun(folder, query)) as server:
        tab.open(server.url)
        # it grows, and a stop is decided in sight
        tab.until("document.querySelectorAll('#curves polyline').length >= 3")
        tab.until("document.querySelector('#rules').textContent.includes('of 40 steps without a better value')")
        tab.until("document.querySelector('#rules').textContent.includes('stopped: 40 steps without')")
        assert tab.run("document.querySelectorAll('#curves .decided').length") >= 2  # on the PSNR and on its own strip
        tab.until("document.querySelector('#emerging .after').naturalWidth === 16")
        assert tab.run("document.querySelectorAll('#grid button').length") == 3

        # at once, so that units are left to be done after it
        process.send_signal(signal.SIGKILL)
        process.wait()
        tab.until("document.querySelector('#status').textContent.includes('no process is running it')")

        # the keys read the curves, go back through the outputs, and move between the units
        tab.click("#curves svg")
        tab.press("Home")
        assert tab.run("document.querySelector('#curves output').textContent").startswith("step 0: ")
        tab.press("ArrowRight", 3)
        assert tab.run("document.querySelector('#curves output').textContent").startswith("step 3: ")
        tab.run("document.querySelector('#film').focus()")
        tab.press("Home")
        tab.until("document.querySelector('#emerging .after').src.startsWith('data:image/webp')")
        tab.press("End")
        tab.run("document.querySelector('#grid button').focus()")
        tab.press("End")
        assert tab.run("document.activeElement.title").startswith("c, gaussian 25: ")

        before = tab.run("document.querySelectorAll('#grid [data-status=done]').length")
        assert tab.run("document.querySelectorAll('#curves polyline').length") >= 3

        process = start("resume", folder, "-q")
        tab.until(f"document.querySelectorAll('#grid [data-status=done]').length > {before}")
        # a unit that is done stays in reach
        tab.click("#grid [data-status=done]")
        tab.until("document.querySelector('#h-unit').textContent.endsWith(': done, 500 steps')")
        assert not tab.run("document.querySelector('#follow').checked")
        tab.until("document.querySelector('.kind')?.textContent === 'esbench report'")
        assert process.wait() == 0
        tab.until("document.querySelector('#unit').options.length === 3")
        with urlopen(tab.run("document.querySelector('#pictures a').href")) as full:
            assert full.read().startswith(b"\x89PNG")


def test_a_restoration_is_stopped_from_its_page_and_writes_what_was_shown(tab, start, pictures, tmp_path):
    noisy, out = pictures("a", size=(24, 24)) / "a.png", tmp_path / "out.png"
    process = start("denoise", noisy, "-o", out, *SMALL, "--iterations", 100_000, "--patience", 90_000, "--watch")
    tab.open(address(process))
    tab.until("document.querySelector('#rules').textContent.includes('of 90000 steps without a better value')")
    tab.until("document.querySelector('#emerging .after').naturalWidth === 24")
    assert not out.exists()
    tab.click("#stop")
    tab.until("document.querySelector('.kind')?.textContent === 'esbench denoise'")  # the report
    assert "did not stop by itself" in tab.run("document.querySelector('h1').textContent")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert out.exists()


def test_a_page_that_is_closed_holds_up_nothing(tab, start, pictures, tmp_path):
    noisy, out = pictures("a", size=(24, 24)) / "a.png", tmp_path / "out.png"
    process = start("denoise", noisy, "-o", out, *SMALL, "--iterations", 400, "--patience", 300, "--watch")
    tab.open(address(process))
    tab.until("document.querySelector('#curves polyline') !== null")
    tab.open("about:blank")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert out.exists()
