"""The failures of a run, by criterion and reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esbench.registry import maker

Done = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Failure:
    """The failures with one reason.

    Attributes:
        criterion: or baseline; empty if whole units failed.
        maker: the distribution of the criterion; empty for a baseline.
        reason: the reason.
        units: the ids of the units.
    """

    criterion: str
    maker: str
    reason: str
    units: tuple[str, ...]


def grouped(failed: Sequence[tuple[str, str, str]], done: Done) -> list[Failure]:
    """Return failures by criterion and reason: whole units first, then the most frequent.

    Args:
        failed: the unit, criterion and reason of each failure.
        done: the results of the finished units, by id.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for unit, criterion, reason in failed:
        groups.setdefault((criterion, reason), []).append(unit)
    failures = []
    for (criterion, reason), ids in groups.items():
        made = done[ids[0]]["criteria"].get(criterion) if criterion else None  # baselines are ours
        failures.append(Failure(criterion, maker(made["made_by"]) if made else "", reason, tuple(ids)))
    return sorted(failures, key=lambda failure: (failure.criterion != "", -len(failure.units)))


def alarm(failed: Sequence[tuple[str, str, str]], done: Done, planned: int) -> str:
    """Summarise the failures in a sentence: `2 plugins failed on 54 of 324 columns.`; empty if nothing did.

    A column is one criterion on one finished unit.
    """
    owners = {done[unit]["criteria"][text]["made_by"]["distribution"] for unit, text, _ in failed if text}
    texts = {text for _, text, _ in failed if text}
    said = []
    if whole := sum(not text for _, text, _ in failed):
        said.append(f"{whole} of {_count(planned, 'unit')} failed")
    if texts:
        who = _count(len(texts), "criterion", "criteria") if "esbench" in owners else _count(len(owners), "plugin")
        columns = _count(sum(len(result["criteria"]) for result in done.values()), "column")
        said.append(f"{who} failed on {sum(bool(text) for _, text, _ in failed)} of {columns}")
    return f"{'; '.join(said)}." if said else ""


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or f'{one}s'}"
