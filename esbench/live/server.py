"""The server of the live page: on this machine only, with the standard library only.

    GET  /                    the live page, or the final page once there is one
    GET  /api/state           the state of everything, JSON
    GET  /api/events?unit=ID  server-sent events: the state, then changes of it, and the curves of a unit as they grow
    GET  /api/picture?unit=ID the newest picture of a unit
    GET  /units/ID/images/F   a picture file of a unit
    POST /api/stop            end a restoration with the best output so far

Every request needs the token. The host name must be that of this machine, so that no page of another site can reach the
server under another name (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from esbench import disk
from esbench.engine import live
from esbench.errors import DataError, EsbenchError, Missing, Unavailable
from esbench.live.source import Source
from esbench.looks import PATHS, look
from esbench.templating import page

HOST = "127.0.0.1"

#: The host names that a request may use; any port, because a forwarded one (`ssh -L`) differs.
NAMES = ("127.0.0.1", "localhost")

#: Seconds between two checks of the files, and how many seconds pages have at the end to fetch the final page.
LOOK_EVERY, LAST = 0.5, 20.0

#: How many seconds event streams have to end.
CLOSING = 5.0

#: Seconds without an event after which an event stream sends a sign of life.
ALIVE = 15.0

#: The address of a picture file of a unit.
IMAGE = re.compile(r"/units/([^/]+)/images/([A-Za-z0-9_-]+\.png)")

#: Raised by a file that cannot be read.
UNREADABLE = (OSError, ValueError, RecursionError, EsbenchError)

POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Server:
    """Serves the live page within a `with` block.

    At the end of the block, open pages get the final page first, if there is one.

    Args:
        source: returns the source of the data, from the query that its links need.
        port: the port; 0 for a free one.

    Attributes:
        url: the address of the page.

    Raises:
        Unavailable: the port is in use.
    """

    def __init__(self, source: Callable[[str], Source], port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        self.source = source(f"?token={self.token}")
        self.closing = threading.Event()
        self.open = self.owed = 0  # event streams, and pages that still have to fetch the final one
        self.lock = threading.Lock()
        self._state: tuple[float, dict[str, Any]] = (-LOOK_EVERY, {})
        try:
            self._http = _Http((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise Unavailable(f"Port {port} cannot be used: {error}. Choose another --port.") from None
        self._http.app = self
        self.port = self._http.server_address[1]
        self.url = f"http://{HOST}:{self.port}/?token={self.token}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, args=(0.1,), name="esbench-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + LAST * (self.state(fresh=True)["status"] == "done")
        while (self.open or self.owed) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.closing.set()
        deadline = time.monotonic() + CLOSING
        while self.open and time.monotonic() < deadline:  # a thread that reads files must not outlive the interpreter
            time.sleep(0.05)
        self._http.shutdown()
        self._http.server_close()

    def state(self, fresh: bool = False) -> dict[str, Any]:
        """Return the state, read at most every LOOK_EVERY seconds."""
        with self.lock:
            if fresh or time.monotonic() - self._state[0] >= LOOK_EVERY:
                self._state = time.monotonic(), self.source.state()
            return self._state[1]


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    app: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a browser that closes a connection is not an error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "esbench", ""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, how: Callable[[str, dict[str, str]], None]) -> None:
        """Answer a request, or refuse it."""
        address = urlsplit(self.path)
        given = {key: values[-1] for key, values in parse_qs(address.query).items()}
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        token = given.get("token", "").encode("utf-8", "replace")
        self.close_connection = True
        if host in NAMES and address.path == "/favicon.ico":  # browsers request it by themselves
            self._send(b"", "image/x-icon")
        elif host not in NAMES or not hmac.compare_digest(token, self.server.app.token.encode()):
            self._send(b"403: open the address that esbench printed, with its token.\n", "text/plain", 403)
        else:
            try:
                how(unquote(address.path), given)
            except (Missing, DataError, FileNotFoundError) as error:
                self._send(f"404: {error}\n".encode("utf-8", "replace"), "text/plain", 404)

    def _get(self, path: str, given: dict[str, str]) -> None:
        app, unit = self.server.app, given.get("unit", "")
        if path == "/":
            self._page()
        elif path == "/api/state":
            self._send(json.dumps(app.state()).encode(), "application/json")
        elif path == "/api/events":
            self._events(unit)
        elif path == "/api/picture":
            picture = self._folder(unit) / live.PICTURE
            # it is removed when the unit is done, which the page may not know yet
            self._file(picture, "image/jpeg") if picture.exists() else self._send(b"", "image/jpeg", 204)
        elif found := IMAGE.fullmatch(path):
            self._file(self._folder(found[1]) / "images" / found[2], "image/png")
        else:
            raise Missing("There is no such page.")

    def _post(self, path: str, given: dict[str, str]) -> None:
        if path != "/api/stop" or not self.server.app.source.stop():
            raise Missing("There is nothing to stop.")
        self._send(b"{}", "application/json")

    def _page(self) -> None:
        app = self.server.app
        state = app.state()
        final = app.source.page() if state["status"] == "done" else None
        self._send((live_page(state) if final is None else final).encode("utf-8", "replace"), "text/html")
        if final is not None:
            with app.lock:
                app.owed = max(0, app.owed - 1)

    def _folder(self, unit: str) -> Path:
        folder = self.server.app.source.folder(unit)
        if folder is None:
            raise Missing("There is no such unit.")
        return folder

    def _file(self, path: Path, kind: str) -> None:
        disk.regular(path)
        self._send(path.read_bytes(), kind)

    def _send(self, content: bytes, kind: str, status: int = 200) -> None:
        self._head(kind, status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _head(self, kind: str, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
            "Content-Security-Policy": POLICY,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Connection": "close",
        }.items():
            self.send_header(name, value)

    def _events(self, unit: str) -> None:
        """Send events until the page is closed."""
        app = self.server.app
        follow = Follow(app.source, unit, self._folder(unit)) if unit else None
        self._head("text/event-stream")
        self.end_headers()
        with app.lock:
            app.open += 1
        state: dict[str, Any] = {}
        criteria, told = None, time.monotonic()
        owed = False
        try:
            while not (app.closing.is_set() or owed or self._closed()):
                events = [] if follow is None else [*follow.events()]
                if (now := app.state()) != state:
                    if now["criteria"] != criteria:
                        criteria = now["criteria"]
                        events.insert(0, ("looks", {text: _look(text) for text in criteria}))
                    events.append(("state", _news(now, state)))
                    state = now
                if not events and time.monotonic() - told >= ALIVE:
                    events = [("alive", None)]
                if state["status"] == "done":  # counted before the event is sent: the page may answer immediately
                    with app.lock:
                        app.owed += 1
                    owed = True
                for name, value in events:
                    self.wfile.write(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode())
                    told = time.monotonic()
                app.closing.wait(LOOK_EVERY * (not owed))
        except OSError:  # the page was closed
            with app.lock:
                app.owed -= owed
        finally:
            with app.lock:
                app.open -= 1

    def _closed(self) -> bool:
        """Whether the page has closed the connection."""
        ready, _, _ = select.select([self.connection], [], [], 0)
        return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)

    def log_message(self, *_: object) -> None:
        """Print nothing: the terminal shows the progress."""


class Follow:
    """Follows the files of a unit.

    Args:
        source: the source of the data.
        unit: the id of the unit.
        folder: the folder of the unit.
    """

    def __init__(self, source: Source, unit: str, folder: Path) -> None:
        self._source, self._unit, self._folder = source, unit, folder
        self._log: tuple[int, int] = (0, 0)  # the log and how much of it was sent
        self._state: tuple[int, int] = (0, 0)
        self._ended: object = None

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield what is new: the head and the lines of the log, the state, and the curves once the unit is done."""
        with contextlib.suppress(*UNREADABLE):
            yield from self._lines()
        path = self._folder / live.STATE
        with contextlib.suppress(*UNREADABLE):
            found = path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._state:
                self._state = found.st_ino, found.st_mtime_ns
                yield "now", json.loads(disk.text(path))
        ended = self._folder / "result.json"
        with contextlib.suppress(*UNREADABLE):
            edition = ended.stat().st_mtime_ns
            if edition != self._ended and (drawn := self._source.ended(self._unit)) is not None:
                self._ended = edition
                yield "ended", drawn

    def _lines(self) -> Iterator[tuple[str, Any]]:
        path = self._folder / live.LOG
        disk.regular(path)
        with open(path, "rb") as file:
            inode, done = self._log
            found = os.fstat(file.fileno())
            if found.st_ino != inode or found.st_size < done:  # another process started it again
                inode, done = found.st_ino, 0
            file.seek(done)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        self._log = inode, done + len(whole)
        if lines and not done:
            yield "head", lines.pop(0)
        if lines:
            yield "lines", lines


def live_page(state: dict[str, Any]) -> str:
    """Return the page of a running run or restoration."""
    return page(
        "live.html",
        ("zoom.js", "curves.js", "live.js"),
        title=state["name"],
        kind=state["kind"],
        stoppable=state["stoppable"],
        live=True,
    )


def _news(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return a state with only the units that are new or have changed since an earlier state, which may be empty."""
    known = {unit["unit"]: unit for unit in before.get("units", ())}
    return now | {"units": [unit for unit in now["units"] if unit != known.get(unit["unit"])]}


def _look(criterion: str) -> tuple[str, str]:
    """Return the colour and the path of the mark of a criterion."""
    colour, mark = look(criterion)
    return colour, PATHS[mark]
