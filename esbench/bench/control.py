"""Requests of `esbench ctl` to a run: a small file in its folder that every unit checks.

A request applies to commands that were started before it; later commands ignore it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from esbench import disk
from esbench.errors import EsbenchError

Action: TypeAlias = Literal["pause", "resume", "stop"]

ACTIONS: tuple[Action, ...] = get_args(Action)

FILE = "control.json"

#: Seconds between two checks of the file.
LOOK_EVERY = 0.5

#: Seconds by which the clock of another machine may be ahead; a later request is no request.
SKEW = 3600.0


def ask(run: Path, action: Action, unit: str = "") -> None:
    """Write a request to a unit, or to all units.

    Raises:
        OSError: the file cannot be written.
    """
    asked = _read(run) if unit else {}
    asked[unit] = (action, time.time())
    disk.write(run / FILE, json.dumps(asked).encode())


class Control:
    """The current request to a unit, or to the run.

    Args:
        run: the folder of the run.
        since: when the command was started, in seconds since the epoch.
        unit: the id of the unit; empty for the run.
    """

    def __init__(self, run: Path, since: float, unit: str = "") -> None:
        self._run, self._since, self._unit = run, since, unit
        self._looked = -LOOK_EVERY
        self._asked: Action = "resume"

    def __call__(self) -> Action:
        """Return the later of the requests to the unit and to the run."""
        if time.monotonic() - self._looked >= LOOK_EVERY:
            self._looked, asked = time.monotonic(), _read(self._run)
            until = time.time() + SKEW
            mine = [asked[who] for who in {"", self._unit} if who in asked and self._since <= asked[who][1] <= until]
            self._asked = max(mine, key=lambda each: each[1])[0] if mine else "resume"
        return self._asked


def _read(run: Path) -> dict[str, tuple[Action, float]]:
    """Return the request to each unit and its time; nothing if the file cannot be read."""
    try:
        asked = json.loads(disk.text(run / FILE))
        return {unit: (action, float(when)) for unit, (action, when) in asked.items() if action in ACTIONS}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, EsbenchError):
        return {}
