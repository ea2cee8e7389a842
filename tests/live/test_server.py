"""The server of the page: who gets an answer, and which."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest

from esbench.bench.store import Run
from esbench.cli import cli
from esbench.errors import Unavailable
from esbench.live.server import Server
from esbench.live.source import WatchedRun


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one unit."""
    folder = tmp_path_factory.mktemp("done") / "RUN"
    small = "--crop 16 --network skip[channels=2,scales=1] --iterations 8 --patience 2 --device cpu"
    given = ["run", *small.split(), "-c", "loss", "-c", "wmv[window=3]", "--out", str(folder), "-q", "--json"]
    assert cli.main(given, standalone_mode=False) in (0, None)
    return folder


@pytest.fixture(scope="module")
def run(done: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with another unit in its plan."""
    folder = tmp_path_factory.mktemp("live") / "RUN"
    shutil.copytree(done, folder)
    run = Run(folder)
    run.begin(run.config(), ["samples-hopper-denoise-gaussian50-skip-s0-01234567"], {}, {})
    return folder


@pytest.fixture
def served(run: Path) -> Iterator[Server]:
    with Server(lambda query: WatchedRun(run, query)) as server:
        yield server


@pytest.fixture
def ask(served: Server) -> Callable[..., http.client.HTTPResponse]:
    """Give ask(path, method, host, token), which sends a request as it is, and returns the answer."""

    def ask(path: str, method: str = "GET", host: str = "", token: str | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        given = served.token if token is None else token
        address = f"{path}{'&' if '?' in path else '?'}token={given}" if given else path
        connection.putrequest(method, address, skip_host=True)
        if host != "none":
            connection.putheader("Host", host or f"127.0.0.1:{served.port}")
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        return connection.getresponse()

    return ask


PATHS = ["/", "/api/state", "/api/events", "/api/picture?unit=x", "/units/x/images/clean.png", "/other"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["", "wrong", "%C3%A9%00"])
def test_nothing_is_served_without_the_token(ask, path, token):
    answer = ask(path, token=token)
    assert answer.status == 403
    assert b"token" in answer.read()
    assert ask("/api/stop", "POST", token=token).status == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "none", "[::1]:80"])
def test_a_name_that_is_not_this_machines_gets_nothing_even_with_the_token(ask, host):
    assert ask("/api/state", host=host).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:9999"])
def test_a_port_that_was_forwarded_is_answered(ask, host):
    assert ask("/api/state", host=host).status == 200


def test_it_listens_on_this_machine_only(served):
    assert served._http.server_address[0] == "127.0.0.1"
    assert urlsplit(served.url).query == f"token={served.token}"
    with pytest.raises(Unavailable, match="Choose another --port"), Server(lambda query: None, served.port):
        pass


@pytest.mark.parametrize(
    "path",
    [
        "/units/{id}/images/../result.png",
        "/units/{id}/images/..%2F..%2F..%2F..%2Frun.toml",
        "/units/{id}/images/%2Fetc%2Fpasswd",
        "/units/..%2F{id}/images/clean.png",
        "/units/../units/{id}/images/clean.png",
        "/units/{id}/result.json",
        "/units/{id}/images/absent.png",
        "/units/absent/images/clean.png",
        "/api/picture?unit=..",
        "/api/events?unit=..",
        "/run.toml",
    ],
)
def test_no_path_leads_anywhere_else(ask, run, path):
    id = next(p.name for p in (run / "units").iterdir())
    assert ask(path.format(id=id)).status == 404


def test_the_pictures_of_a_unit_are_served_but_no_pipe_of_that_name(ask, run):
    folder = next((run / "units").iterdir())
    answer = ask(f"/units/{quote(folder.name)}/images/clean.png")
    assert answer.status == 200
    assert answer.read() == (folder / "images/clean.png").read_bytes()
    pipe = folder / "images/pipe.png"
    os.mkfifo(pipe)
    assert ask(f"/units/{quote(folder.name)}/images/pipe.png").status == 404
    pipe.unlink()


def test_a_run_cannot_be_stopped_from_the_page(ask):
    assert ask("/api/stop", "POST").status == 404
    assert ask("/api/stop").status == 404


def test_the_state_is_that_of_the_run(ask):
    state = json.load(ask("/api/state"))
    assert (state["kind"], state["name"], state["status"]) == ("run", "RUN", "idle")
    assert (state["done"], state["failed"], state["left"]) == (1, 0, 1)
    assert (state["criteria"], state["iterations"], state["patience"]) == (["loss", "wmv[window=3]"], 8, 2)
    done, missing = state["units"]
    assert (done["picture"], done["noise"], done["status"], done["step"]) == ("hopper", "gaussian 25", "done", 8)
    assert set(done["gaps"]) == {"loss", "wmv[window=3]"}
    assert all(gap >= 0 for gap in done["gaps"].values())
    assert {text: rule["step"] for text, rule in done["rules"].items()} == {"loss": 7, "wmv[window=3]": 7}
    assert done["psnr_db"] > 0
    assert (missing["rules"], missing["psnr_db"]) == ({}, None)
    assert (missing["picture"], missing["noise"], missing["status"]) == ("hopper", "gaussian 50", "missing")
    assert state["seconds_left"] is None


def test_the_page_allows_nothing_from_elsewhere(ask):
    answer = ask("/")
    text = answer.read().decode()
    assert "default-src 'none'" in text
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "https://" not in text
    assert "esbench watch" in text


def test_the_events_begin_with_all_there_is(ask, run):
    id = next(p.name for p in (run / "units").iterdir())
    lines = iter(ask(f"/api/events?unit={quote(id)}").readline, b"")
    found: dict[str, object] = {}
    while not {"looks", "ended", "state"} <= {*found}:
        name = next(lines).decode().strip().removeprefix("event: ")
        if name:
            found[name] = json.loads(next(lines).decode().removeprefix("data: "))
    assert set(found["looks"]) == {"loss", "wmv[window=3]"}
    assert [panel["name"] for panel in found["ended"]["panels"]] == ["PSNR (dB)", "loss", "wmv[window=3]"]
    assert found["state"]["done"] == 1


@pytest.fixture
def waiting(run: Path) -> Iterator[Path]:
    """The folder of the unit that has not begun, which is removed after the test."""
    (unit,) = [unit for unit in Run(run).units() if not unit.path.exists()]
    yield unit.path
    shutil.rmtree(unit.path, ignore_errors=True)


def test_later_events_have_only_the_units_that_changed(ask, waiting):
    stream = ask("/api/events")

    def statuses() -> list[tuple[str, str]]:
        while (line := stream.readline()) != b"event: state\n":
            assert line
        state = json.loads(stream.readline().removeprefix(b"data: "))
        return [(unit["noise"], unit["status"]) for unit in state["units"]]

    assert statuses() == [("gaussian 25", "done"), ("gaussian 50", "missing")]
    waiting.mkdir()
    (waiting / "spec.json").touch()
    assert statuses() == [("gaussian 50", "paused")]


def test_a_state_that_was_kept_is_read_again_when_its_folder_changes(run, waiting):
    watched = WatchedRun(run)

    def states() -> list[str]:
        if waiting.exists():
            os.utime(waiting, (1, 1))  # long ago, so that the state is kept
        return [watched.state()["units"][1]["status"] for _ in range(2)]

    assert states() == ["missing", "missing"]
    waiting.mkdir()
    (waiting / "error.txt").write_text("ValueError: no\n")
    assert states() == ["failed", "failed"]
    (waiting / "error.txt").rename(waiting / "spec.json")
    assert watched.state()["units"][1]["status"] == "paused"
    good = {"unit": waiting.name, "step": 3, "iterations": 8, "steps_per_second": 2, "rules": {"loss": {}}}
    bad = [{"step": -1}, {"iterations": 10**400}, {"steps_per_second": "fast"}, {"rules": 5}, {"rules": [[]]}]
    for change in ({}, *bad):
        (waiting / "live.json").write_text(json.dumps(good | change))
        assert watched.state()["units"][1]["step"] == (0 if change else 3)
    shutil.rmtree(waiting)
    assert states() == ["missing", "missing"]


def test_a_run_that_is_done_is_its_report(done):
    page = WatchedRun(done, "?token=x").page()
    assert "esbench report" in page
    assert '"query":"?token=x"' in page


def test_a_page_that_fetches_the_final_page_at_once_is_not_waited_for(done):
    with Server(lambda query: WatchedRun(done, query)) as server:
        address = f"http://127.0.0.1:{server.port}"
        with urlopen(f"{address}/api/events?token={server.token}") as events:
            while b'"status": "done"' not in (line := events.readline()):
                assert line
            with urlopen(f"{address}/?token={server.token}") as final:
                assert b"esbench report" in final.read()
            assert events.read() == b"\n"  # the stream ends by itself
        end = time.monotonic() + 10  # the page is counted when it is sent, just after it is received
        while server.open or server.owed:
            assert time.monotonic() < end
