"""What `esbench ctl` asks of a run at work: a small file in its folder that every unit looks at.

It applies to commands that were started before it was asked; a later command goes on.
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

#: Seconds between two looks at the file.
LOOK_EVERY = 0.5


def ask(run: Path, action: Action, unit: str = "") -> None:
    """Ask it of a unit, or of all units.

    Raises:
        OSError: the file cannot be written.
    """
    asked = _read(run) if unit else {}
    asked[unit] = (action, time.time())
    disk.write(run / FILE, json.dumps(asked).encode())


class Control:
    """What is asked of a unit, or of the run, at any time.

    Args:
        run: the folder.
        since: when the command was started, in seconds since the epoch.
        unit: its id; empty for the run.
    """

    def __init__(self, run: Path, since: float, unit: str = "") -> None:
        self._run, self._since, self._unit = run, since, unit
        self._looked = -LOOK_EVERY
        self._asked: Action = "resume"

    def __call__(self) -> Action:
        """Return what is asked: of the unit and of the run, what was asked later."""
        if time.monotonic() - self._looked >= LOOK_EVERY:
            self._looked, asked = time.monotonic(), _read(self._run)
            mine = [asked[who] for who in {"", self._unit} if who in asked and asked[who][1] >= self._since]
            self._asked = max(mine, key=lambda each: each[1])[0] if mine else "resume"
        return self._asked


def _read(run: Path) -> dict[str, tuple[Action, float]]:
    """Return what is asked of each unit, and when; nothing if the file cannot be read."""
    try:
        asked = json.loads(disk.text(run / FILE))
        return {unit: (action, float(when)) for unit, (action, when) in asked.items() if action in ACTIONS}
    except (OSError, ValueError, TypeError, AttributeError, EsbenchError):
        return {}
