"""A unit as plain values, its id, and its outcome: what is sent between processes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal

from esbench import params
from esbench.engine.settings import Settings
from esbench.params import plain

#: Fields that were added later: left out of the id if they have these values, so that older units keep their ids.
LATER = {"loss": "mse", "input": "noise", "regulariser": ""}


@dataclass(frozen=True, kw_only=True)
class UnitSpec(Settings):
    """One optimisation as plain values: its settings, and everything else that its trajectory depends on.

    `pixels` is the SHA-256 of the clean pixels after cropping, `device` the kind of device, `engine` a number that
    increases when the loop's numbers change. The fields have the names that they have in spec.json, in the hash of the
    id and in the results table, so they cannot be renamed.
    """

    dataset: str
    image: str
    pixels: str
    crop: int | None
    noise: str
    sigma: float | None
    seed: int
    device: str
    engine: int


def unit_id(spec: UnitSpec) -> str:
    """Return the name of a unit: readable, and unique by a hash of its fields."""
    values = {key: value for key, value in vars(spec).items() if LATER.get(key) != value}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    noise = params.split(spec.noise)[0] + ("" if spec.sigma is None else plain(spec.sigma))
    parts = (
        spec.dataset,
        spec.image,
        params.split(spec.task)[0],
        noise,
        params.split(spec.network)[0],
        f"s{spec.seed}",
    )
    readable = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in parts)
    return f"{readable[:246]}-{digest}"  # a file name has at most 255 bytes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one unit."""

    unit: str
    status: Literal["done", "failed", "paused"]
    seconds: float
    reason: str = ""
