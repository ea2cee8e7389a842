"""Convert jobs, events and outcomes to and from JSON, to send them between processes."""

from __future__ import annotations

import dataclasses
from typing import Any

from esbench import events
from esbench.bench.job import Job
from esbench.bench.spec import Outcome, UnitSpec
from esbench.events import Event


def job_to_json(job: Job) -> dict[str, Any]:
    """Return a job as plain values."""
    return dataclasses.asdict(job)


def job_from_json(value: dict[str, Any]) -> Job:
    """Return a job from the plain values of `job_to_json`."""
    texts = {name: tuple(value[name]) for name in ("criteria", "baselines")}
    return Job(**value | {"spec": UnitSpec(**value["spec"])} | texts)


def event_to_json(event: Event) -> dict[str, Any]:
    """Return an event as plain values."""
    return {"event": type(event).__name__} | dataclasses.asdict(event)


def event_from_json(value: dict[str, Any]) -> Event:
    """Return an event from the plain values of `event_to_json`."""
    kind = getattr(events, value["event"])
    event: Event = kind(**{key: item for key, item in value.items() if key != "event"})
    return event


def outcome_from_json(value: dict[str, Any]) -> Outcome:
    """Return an outcome from its plain values."""
    return Outcome(**value)
