"""The data of the live page for a run on the disk."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from esbench.bench.results import Results
from esbench.bench.store import Unit, status
from esbench.report import embed, html

#: Nanoseconds without a change after which the state of a unit is kept.
SETTLED = 2_000_000_000


class Source(Protocol):
    """The data of a live page."""

    def state(self) -> dict[str, Any]:
        """Return the state of everything, as `/api/state` shows it."""
        ...

    def folder(self, unit: str) -> Path | None:
        """Return the folder with the live files of a unit; None if there is no such unit."""
        ...

    def ended(self, unit: str) -> dict[str, Any] | None:
        """Return the curves of a unit that is done; None while it is not."""
        ...

    def page(self) -> str | None:
        """Return the final page; None while there is none."""
        ...

    def stop(self) -> bool:
        """End the work with the best output so far, and return whether that is possible."""
        ...


class WatchedRun:
    """A run on the disk, whether a process is running it or not.

    Args:
        folder: the folder of the run.
        query: appended to the links of the final page to the pictures of the run.
    """

    def __init__(self, folder: Path, query: str = "") -> None:
        self._results, self._query = Results(folder), query
        self._plan: tuple[object, list[Unit]] = (None, [])
        self._known: dict[str, tuple[int | None, dict[str, Any]]] = {}
        self._page: tuple[object, str] | None = None

    def state(self) -> dict[str, Any]:
        """Return the state of the run and of its units."""
        run = self._results.run
        units = self._units()
        at_work = run.busy() or any(u["status"] == "running" for u in units)
        counts = {name: sum(u["status"] == name for u in units) for name in ("done", "failed", "paused", "running")}
        left = [u for u in units if u["status"] not in ("done", "failed")]
        steps = sum(u["iterations"] - u["step"] for u in left)
        speed = sum(u["steps_per_second"] or 0.0 for u in left if u["status"] == "running")
        gaps = [gap for u in units for gap in u["gaps"].values() if gap is not None]
        config = self._results.config
        return {
            "kind": "run",
            "name": run.path.resolve().name,
            "status": "done" if units and not left and not at_work else "running" if at_work else "idle",
            "units": units,
            **counts,
            "left": len(left),
            "iterations": config.iterations,
            "patience": config.patience,
            "criteria": list(dict.fromkeys(text for u in units for text in (*u["gaps"], *u["criteria"]))),
            "gap_scale_db": max(float(np.quantile(gaps, 0.95)), 0.1) if gaps else 1.0,
            "steps_per_second": speed or None,
            "seconds_left": steps / speed if speed else None,
            "stoppable": False,
        }

    def folder(self, unit: str) -> Path | None:
        """Return the folder of a unit of the plan."""
        run = self._results.run
        return run.unit(unit).path if unit in run.record()["plan"] else None

    def ended(self, unit: str) -> dict[str, Any] | None:
        """Return the curves of a unit that is done."""
        rows = self._results.table(units=[unit])
        return embed.curves(self._results.run.unit(unit), rows) if rows else None

    def page(self) -> str | None:
        """Return the report, once all units are done or have failed."""
        run = self._results.run
        if self.state()["status"] != "done":
            return None
        edition = [unit.edition() for unit in run.units()]
        if self._page is None or self._page[0] != edition:
            # links of the page are relative to the root of the server
            self._page = edition, html.page(self._results, self._results.table(), run.path, self._query)
        return self._page[1]

    def stop(self) -> bool:
        """Do nothing: `esbench ctl` stops a run."""
        return False

    def _units(self) -> list[dict[str, Any]]:
        """Return the states of all units; those of running units and of changed folders are read, the others kept."""
        run = self._results.run
        edition = (run.path / "run.json").stat().st_mtime_ns
        if edition != self._plan[0]:
            self._plan = edition, run.units()
        changed, now = _changed(run.path / "units"), time.time_ns()
        states = []
        for unit in self._plan[1]:
            at = changed.get(unit.id)
            before, state = self._known.get(unit.id, (None, None))
            if state is None or at != before or state["status"] == "running":
                state = self._named(unit) | ({} if at is None else self._read(unit))
                # a later change within the same tick of the clock would not be seen
                if at is None or now - at > SETTLED:
                    self._known[unit.id] = at, state
            states.append(state)
        return states

    def _named(self, unit: Unit) -> dict[str, Any]:
        """Return the state of a unit that has no folder yet."""
        picture, noise, seed = _named(unit.id)
        return {
            "unit": unit.id,
            "picture": picture,
            "noise": noise,
            "seed": seed,
            "status": "missing",
            "reason": "",
            "step": 0,
            "iterations": self._results.config.iterations,
            "steps_per_second": None,
            "psnr_db": None,
            "rules": {},
            "gaps": {},
            "criteria": [],
            "failures": {},
        }

    def _read(self, unit: Unit) -> dict[str, Any]:
        """Return what the folder of a unit tells about its state."""
        found = status(unit)
        record: dict[str, Any] = {
            "status": found["status"],
            "reason": found["reason"] if found["status"] == "failed" else "",
            "failures": {text: why for text, why in found["criteria"].items() if why},
        }
        if found["status"] == "done":
            rows = self._results.table(units=[unit.id])
            record |= {"gaps": {row["criterion"]: row["gap_db"] for row in rows}}
            record |= {"step": self._results.config.iterations, "criteria": [*record["gaps"]]}
            record |= {
                "psnr_db": rows[0]["last_db"] if rows else None,
                "rules": {r["criterion"]: _rule(r) for r in rows},
            }
        elif state := unit.state():
            record |= {"step": state["step"], "iterations": state["iterations"]}
            record |= {"steps_per_second": state.get("steps_per_second"), "criteria": [*state.get("rules", {})]}
            record |= {"psnr_db": state.get("psnr_db"), "rules": state.get("rules", {})}
        return record


def _rule(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the rule was of a criterion when its unit ended, with the keys of `live.json`."""
    stop = None if row["fallback"] else row["stop_step"]
    return {"best_step": stop, "best_value": None, "step": row["steps_run"] - 1, "stop_step": stop, "failed": ""}


def _changed(folder: Path) -> dict[str, int]:
    """Return when something was last written, renamed or removed in each folder of a folder, in nanoseconds."""
    times = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # there is none before the first unit begins
        for entry in entries:
            with contextlib.suppress(OSError):  # it was removed meanwhile
                times[entry.name] = entry.stat().st_mtime_ns
    return times


def _named(id: str) -> tuple[str, str, str]:
    """Return the picture, the noise and the seed in the id of a unit, which is known before the unit is started."""
    parts = id.split("-")
    if len(parts) != 7:
        return id, "", ""
    _, picture, _, noise, _, seed, _ = parts
    return picture, re.sub(r"(?<=[a-z])(?=[\d.]+$)", " ", noise), seed.removeprefix("s")
