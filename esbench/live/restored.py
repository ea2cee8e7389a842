"""The data of the live page for pictures that this process restores."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esbench.engine import live
from esbench.events import Event, Progress


class WatchedRestoration:
    """Pictures that are restored one after another.

    Args:
        names: the names of the pictures.
        criterion: the criterion that stops them.
        patience: the patience of the rule.
        folder: a temporary folder for the files of the page.
    """

    def __init__(self, names: Sequence[str], criterion: str, patience: int, folder: Path) -> None:
        self._criterion, self._patience, self._folder = criterion, patience, folder
        self._units = [_unit(i, name) for i, name in enumerate(names)]
        self._at = -1
        self._later, self._began, self._speed = 0, 0.0, 0.0
        self._page: str | None = None
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether to deliver the current picture as it is."""
        return self._stopping.is_set()

    def begin(self, i: int) -> Path:
        """Begin with a picture, and return the folder for its files."""
        self._stopping.clear()
        self._units[i]["status"], self._at = "running", i
        folder = self._folder / str(i)
        folder.mkdir()
        return folder

    def told(self, event: Event) -> None:
        """Take an event of the current picture."""
        if isinstance(event, Progress):
            unit, now = self._units[self._at], time.monotonic()
            if event.step <= unit["step"] or not self._began:
                self._began = now
            elif now > self._began:
                unit["steps_per_second"] = event.step / (now - self._began)
            unit |= {"step": event.step, "iterations": event.iterations}
            self._later = event.later

    def end(self, i: int, failed: str = "") -> None:
        """Note that a picture is done or has failed."""
        self._units[i] |= {"status": "failed" if failed else "done", "reason": failed, "steps_per_second": None}

    def deliver(self, page: str) -> None:
        """Set the final page, once all pictures are done."""
        self._page = page

    def state(self) -> dict[str, Any]:
        """Return the state of all pictures."""
        counts = {name: sum(u["status"] == name for u in self._units) for name in ("done", "failed", "running")}
        at = self._units[max(self._at, 0)]
        speed, steps = at["steps_per_second"], at["iterations"] - at["step"] + self._later
        return {
            "kind": "restoration",
            "name": at["picture"] if len(self._units) == 1 else f"{len(self._units)} pictures",
            "status": "running" if self._page is None else "done",
            "units": [unit | {"rules": self._rules(unit["unit"])} for unit in self._units],
            **counts,
            "paused": 0,
            "left": len(self._units) - counts["done"] - counts["failed"],
            "iterations": at["iterations"],
            "patience": self._patience,
            "criteria": [self._criterion],
            "gap_scale_db": 1.0,
            "steps_per_second": speed,
            "seconds_left": steps / speed if speed else None,
            "stoppable": True,
        }

    def _rules(self, unit: str) -> Any:
        """Return where the rule is, as last written; empty before that."""
        with contextlib.suppress(OSError, ValueError, LookupError):  # none yet, or about to be replaced
            return json.loads((self._folder / unit / live.STATE).read_text(encoding="utf-8"))["rules"]
        return {}

    def folder(self, unit: str) -> Path | None:
        """Return the folder of a picture."""
        return self._folder / unit if any(unit == each["unit"] for each in self._units) else None

    def ended(self, unit: str) -> dict[str, Any] | None:
        """Return nothing: of a picture that is done only its last state remains."""
        return None

    def page(self) -> str | None:
        """Return the report about the pictures, once all are done."""
        return self._page

    def stop(self) -> bool:
        """End the current picture with the best output so far."""
        self._stopping.set()
        return True


def _unit(i: int, name: str) -> dict[str, Any]:
    return {
        "unit": str(i),
        "picture": Path(name).name,
        "noise": "",
        "seed": "",
        "status": "missing",
        "reason": "",
        "step": 0,
        "iterations": 0,
        "steps_per_second": None,
        "psnr_db": None,
        "gaps": {},
        "criteria": [],
        "failures": {},
    }
