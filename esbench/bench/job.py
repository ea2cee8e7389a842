"""A unit to run, and which of its criteria are left to measure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from esbench.bench.spec import UnitSpec
from esbench.bench.store import Unit
from esbench.errors import DataError, EsbenchError, UsageError
from esbench.images import MAX_PIXELS
from esbench.registry import made_by, maker, registry


@dataclass(frozen=True)
class Job:
    """A unit to run, in plain values.

    Attributes:
        spec: the unit.
        run: the folder of the run.
        dataset: a name, or an absolute path.
        device: cpu, cuda or cuda:N.
        criteria: canonical texts; none if nothing is to be optimised.
        patience: the patience of the rule, for the stops whose pictures are kept.
        live: end as soon as all criteria have stopped.
        time_limit: seconds that a call of a third-party criterion may take.
        checkpoint_every: seconds between two checkpoints.
        disabled: the criteria that were disabled because they hang or end their process, and why.
        max_pixels: a larger picture of a folder or file is refused.
        retry: measure again what failed before.
        baselines: canonical texts.
        since: when the command was started, in seconds since the epoch; earlier requests of `esbench ctl` are ignored.
        threads: the number of threads on a CPU; None for that with which it was begun, else its share, else PyTorch's.
        share: its share of the threads if it runs in its own process, at the same time as others; None if it does not.
    """

    spec: UnitSpec
    run: str
    dataset: str
    device: str
    criteria: tuple[str, ...]
    patience: int
    live: bool = False
    time_limit: float = 120.0
    checkpoint_every: float = 60.0
    disabled: Mapping[str, str] = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS
    retry: bool = False
    baselines: tuple[str, ...] = ()
    since: float = 0.0
    threads: int | None = None
    share: int | None = None


def todo(job: Job, unit: Unit) -> tuple[str, ...]:
    """Return the criteria for which a unit must be run: none if it is done, or if it failed and `retry` is not set.

    Raises:
        UsageError: a criterion was measured by another version of its plugin.
        DataError: its result cannot be read.
    """
    result = result_of(job, unit)
    if result is None:
        return () if unit.error() and not job.retry else job.criteria
    done = result["criteria"]
    for text in job.criteria:
        was, now = done.get(text, {}).get("made_by"), made_by(text)
        if was is not None and was != now and not done[text]["failed"]:  # a failed one has no values to mix
            raise UsageError(
                f"{text!r} was measured by {maker(was)} in this run, and {maker(now)} is installed: choose "
                "another --out."
            )
    missing = tuple(
        text
        for text in job.criteria
        if text not in done or (done[text]["failed"] and (job.retry or done[text]["made_by"] != made_by(text)))
    )
    if not result["complete"] and (missing or not job.live):
        # it ended early, so nothing can be added to it: what other commands measured is measured again with the rest
        return tuple(dict.fromkeys([*job.criteria, *(text for text in done if _usable(text, done[text]))]))
    return missing


def lacking(job: Job, unit: Unit) -> tuple[str, ...]:
    """Return the baselines that a unit does not have: none if the unit itself failed, and `retry` is not set."""
    if unit.error() and not job.retry:
        return ()
    found = {text: unit.baseline(text) for text in job.baselines}
    return tuple(
        text
        for text, entry in found.items()
        if entry is None
        or entry["version"] != registry().get("baseline", text).info.version
        or (entry["failed"] and job.retry)
    )


def is_left(job: Job, unit: Unit) -> bool:
    """Whether there is anything to do for a unit."""
    return bool(todo(job, unit) or lacking(job, unit))


def _usable(text: str, entry: Mapping[str, Any]) -> bool:
    """Whether a criterion did not fail, and can be measured again unchanged."""
    with contextlib.suppress(EsbenchError):
        return not entry["failed"] and entry["made_by"] == made_by(text)
    return False


def result_of(job: Job, unit: Unit) -> dict[str, Any] | None:
    """Return the result of a unit; None if the unit must be run.

    Raises:
        DataError: it cannot be read, and `retry` is not set.
    """
    inspection = unit.inspect(whole=job.retry)
    if inspection.damage and not job.retry:
        raise DataError(inspection.damage)
    return inspection.result
