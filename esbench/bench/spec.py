"""A unit in plain values, and what became of it: what crosses a process boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class UnitSpec:
    """One optimisation, in plain values: all that its trajectory depends on, and nothing else.

    `pixels` is the SHA-256 of the clean pixels after cropping, `device` the kind of device, `engine` a number that is
    raised by hand when the loop's numbers change.
    """

    dataset: str
    image: str
    pixels: str
    crop: int | None
    task: str
    noise: str
    sigma: float | None
    network: str
    seed: int
    iterations: int
    input_scale: float
    learning_rate: float
    perturbation: float
    depth: int
    precision: str
    device: str
    engine: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one unit."""

    unit: str
    status: Literal["done", "failed", "paused"]
    seconds: float
    reason: str = ""
