"""Write what the live page shows of an optimisation while it runs: curves, state and small pictures.

    live.jsonl   the head (its unit, the observation), then the curves, and small pictures of log-spaced steps
    live.json    the state: the step, and the rule of each criterion
    live.jpg     the newest picture

A thread writes them, so that the optimisation does not wait. Their size is bounded, whatever the number of steps.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import disk, images
from esbench.errors import EsbenchError
from esbench.metrics import finite
from esbench.pictures import Bytes, Floats, Picture, Pictures
from esbench.thinning import thinned

if TYPE_CHECKING:
    from esbench.engine.session import Session

LOG, STATE, PICTURE = "live.jsonl", "live.json", "live.jpg"

BASE64 = re.compile(r"[A-Za-z0-9+/]+=*")

#: Seconds to the first write, and between two.
FIRST, EVERY = 0.25, 1.0

#: Held while the thread writes. Who lets a plugin change this process holds it meanwhile: a file that is opened while
#: the standard ones are closed gets the place of one of them.
WRITING = threading.Lock()

#: The thread rests at least this many times as long as a write took of a processor; not after the first write, which
#: imports what it needs.
REST = 200

#: A curve of more steps than twice this is the lowest and the highest value of this many stretches.
STRETCHES = 500

#: The longest side of the newest picture, and of a small one; how many small ones there are at most.
SIDE, SMALL, FILM = 512, 160, 60


class Live:
    """Writes what can be watched of a session, from entering to leaving a `with` block.

    A unit that ends before the first write leaves nothing. A full disk costs only what cannot be written.

    Args:
        folder: the folder of the files; its name is written into them.
        session: the optimisation.
        observation: (H, W, C) in [0, 1].
        picture: returns the picture to show, uint8 (H, W, C); None for the newest output.
    """

    def __init__(
        self, folder: Path, session: Session, observation: Floats, picture: Callable[[], Bytes] | None = None
    ) -> None:
        self.folder, self.session = folder, session
        self._observation = observation
        self._picture = self._newest if picture is None else picture
        self._iterations = session.trajectory.settings.iterations
        self._stretch = -(-self._iterations // STRETCHES) if self._iterations > 2 * STRETCHES else 1
        self._film = film_steps(self._iterations)
        self._written = 0  # steps in the log
        self._told = (0, False)  # the step and whether it was paused, as written last
        self._begun = self._paused = self._closing = False
        self._first_step, self._since = session.step, time.monotonic()  # for the speed
        self._error: BaseException | None = None
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="esbench-live", daemon=True)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Show the session as paused within a `with` block; the time is not counted."""
        began, self._paused = time.monotonic(), True
        self._wake.set()
        try:
            yield
        finally:
            self._since += time.monotonic() - began
            self._paused = False
            self._wake.set()

    def _work(self) -> None:
        rest, closing = FIRST, False
        try:
            while not closing:
                self._wake.wait(rest)
                self._wake.clear()
                closing, begun, started = self._closing, self._begun, time.thread_time()  # after this no step is missed
                if begun or not closing:
                    try:
                        with WRITING:
                            self._write()
                        self._error = None
                    except OSError:
                        pass
                    except Exception as error:  # a plugin may be changing this process: only the last one is a bug
                        self._error = error
                rest = max(EVERY, REST * (time.thread_time() - started) * begun)
        except BaseException as error:
            self._error = error

    def _write(self) -> None:
        news = step, _ = self._ready(), self._paused
        if not step or news == self._told:
            return
        if not self._begun:
            self._begin(step)
            self._begun = True
        shown, picture = len(self.session.trace.loss) - 1, self._picture()
        lines = []
        if (end := step - step % self._stretch) > self._written:
            lines.append({"from": self._written, **self._curves(self._written, end)})
            self._written = end
        if self._film and shown >= self._film[0]:
            self._film = [due for due in self._film if due > shown]
            small = images.encoded(picture, SMALL, "WEBP", fast=True, quality=70, method=2)
            lines.append({"picture": shown, "webp": _text(small)})
        if lines:
            with open(self.folder / LOG, "ab") as file:
                file.writelines(map(_line, lines))
        self._replace(PICTURE, images.encoded(picture, SIDE, "JPEG", fast=True, quality=85))
        self._replace(STATE, _line(self._state(step) | {"shown": shown}))
        self._told = news

    def _begin(self, step: int) -> None:
        """Begin the log; of a resumed session with all steps so far, and the pictures of an earlier one."""
        observation = Pictures(np.nan_to_num(self._observation)[None]).uint8[0]
        head = {
            "unit": self.folder.name,
            "name": self.session.name,
            "iterations": self._iterations,
            "stretch": self._stretch,
            "patience": {column.text: column.rule.patience for column in self.session.columns},
            "resumed": self.session.resumed,
            "observation": _text(images.encoded(observation, SIDE, "JPEG", fast=True)),
        }
        before, *lines = [*read(self.folder / LOG)] or [{}]
        of_this = before.get("unit") == head["unit"] and before.get("name") == head["name"]
        kept = [line for line in film(lines) if of_this and line["picture"] < step]
        if kept:
            self._film = [due for due in self._film if due > kept[-1]["picture"]]
        self._replace(LOG, b"".join(map(_line, [head, *kept])))

    def _replace(self, name: str, data: bytes) -> None:
        # whatever is in its place, even a pipe that is not read
        with disk.replacing(self.folder / name, sync=False) as part:
            part.write_bytes(data)

    def _ready(self) -> int:
        """Return how many steps are measured completely."""
        trace = self.session.trace
        lengths = [len(trace.loss), *(len(column.values) for column in self.session.columns if column.active)]
        return min(lengths)

    def _curves(self, start: int, end: int) -> dict[str, Any]:
        """Return all curves between two steps, thinned."""
        trace, columns = self.session.trace, self.session.columns
        scored = {"psnr": trace.psnr, "average_psnr": trace.average_psnr} if trace.reference is not None else {}
        return {
            **{name: thinned(values[start:end], self._stretch) for name, values in scored.items()},
            "values": {c.text: thinned(_padded(c.values, start, end), self._stretch) for c in columns},
        }

    def _state(self, step: int) -> dict[str, Any]:
        trace, seconds = self.session.trace, time.monotonic() - self._since
        return {
            "unit": self.folder.name,
            "name": self.session.name,
            "step": step,
            "iterations": self._iterations,
            "paused": self._paused,
            "time": time.time(),
            "steps_per_second": (step - self._first_step) / seconds if seconds > 0 else None,
            "psnr_db": finite(trace.psnr[step - 1]) if trace.psnr else None,
            "rules": {
                column.text: {
                    "best_step": column.rule.best_step,
                    "best_value": finite(column.rule.best_value),
                    "step": column.rule.step,
                    "stop_step": None if column.rule.stop is None else column.rule.stop.step,
                    "failed": column.failed,
                }
                for column in self.session.columns
            },
            "written": self._written,
            "tail": self._curves(self._written, step) if step > self._written else None,
        }

    def _newest(self) -> Bytes:
        """Return the newest output."""
        last = self.session.trace.newest
        # of a block only this picture is copied from a GPU
        pictures = Pictures(last.tensor[None] if isinstance(last, Picture) else np.nan_to_num(last)[None])
        newest: Bytes = pictures.uint8[0]
        return newest


def film_steps(iterations: int) -> list[int]:
    """Return the steps of the small pictures, log-spaced."""
    first = max(1.0, iterations / 2000)
    last = max(iterations - 1, first)
    steps = (first * (last / first) ** (i / (FILM - 2)) for i in range(FILM - 1))
    return sorted({0, *(min(round(step), iterations - 1) for step in steps)})


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in the lines of a log, as far as they are complete."""
    with contextlib.suppress(OSError, ValueError, RecursionError, EsbenchError):
        disk.regular(path)  # a FIFO has no end
        for line in path.read_bytes().splitlines():
            if isinstance(found := json.loads(line), dict):
                yield found


def film(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the small pictures of earlier outputs in the lines of a log: the step, `picture`, and a WebP in base64."""
    return [
        {key: line[key] for key in ("picture", "webp")}
        for line in lines
        if isinstance(line.get("picture"), int) and isinstance(webp := line.get("webp"), str) and BASE64.fullmatch(webp)
    ]


def _padded(values: Sequence[float], start: int, end: int) -> Sequence[float]:
    """Return the values between two steps; a criterion that failed has none from there on."""
    found = values[start:end]
    return [*found, *[math.nan] * (end - start - len(found))]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"
