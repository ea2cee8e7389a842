"""Compare two sets of rows: differences within pairs, and their confidence intervals."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from esbench.bench.rows import Row
from esbench.errors import UsageError

Pair: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]

Measure: TypeAlias = Literal["psnr_db", "gap_db", "average_psnr_db", "stop_step", "score_db", "score_gap_db"]

#: measure -> 1 if more is better, -1 if less is better, 0 if neither is.
MEASURES: dict[Measure, int] = {
    "psnr_db": 1,
    "gap_db": -1,
    "average_psnr_db": 1,
    "stop_step": 0,
}

#: The same of tasks with a score of their own.
SCORES: dict[Measure, int] = {"score_db": 1, "score_gap_db": -1}

#: The bootstrap: how often the pictures are redrawn, and in how many batches, to save memory.
RESAMPLES, GOES = 10_000, 10


class Side(NamedTuple):
    """One side of a comparison.

    Attributes:
        run: the folder of the run.
        rows: rows of its results table.
    """

    run: str
    rows: Sequence[Row]


def check(criteria: Sequence[str], runs: int) -> None:
    """Check that the criteria of a comparison determine its sides.

    Args:
        criteria: one for both sides, or one for each, or none.
        runs: 1 to compare within a run, 2 to compare two.

    Raises:
        UsageError: there are too many or too few.
    """
    if runs == 1 and len(criteria) != 2:
        raise UsageError(
            f"Comparing within one run needs two criteria, as in -c wmv -c cifs-jpeg; got {len(criteria)}."
        )
    if len(criteria) > 2:
        raise UsageError(
            f"Comparing two runs takes one criterion for both, or one for each; got {len(criteria)}. Without any, all "
            "that both measured are compared."
        )


def compare(first: Side, second: Side, *, by_unit: bool = False) -> list[dict[str, Any]]:
    """Return the records of `Results.compare`.

    Args:
        first: one side.
        second: the other; the criteria that both have are compared, or else the only one of each.
        by_unit: whether a pair is a unit, within one run, instead of a picture with its noise and its seed.

    Raises:
        UsageError: nothing can be paired.
    """
    key = _unit if by_unit else _picture
    where = {"first_run": first.run, "second_run": second.run}
    records = []
    for mine, theirs in _same_criterion(first, second):
        records += _records({key(row): row for row in mine}, {key(row): row for row in theirs})
    if not records:
        raise UsageError(
            f"{first.run!r} and {second.run!r} have no pairs: a pair has the same dataset, picture (to the pixel), "
            "task, noise, level and seed, and is done on both sides."
        )
    return [where | record for record in records]


def _same_criterion(first: Side, second: Side) -> list[tuple[list[Row], list[Row]]]:
    """Return the rows to compare, as pairs of sides; each side has one criterion.

    Raises:
        UsageError: the sides have no criterion in common, and more than one each.
    """
    mine, theirs = _by_criterion(first.rows), _by_criterion(second.rows)
    if common := [text for text in mine if text in theirs]:
        return [(mine[text], theirs[text]) for text in common]
    if not mine or not theirs:
        return []
    if len(mine) == len(theirs) == 1:
        return list(zip(mine.values(), theirs.values(), strict=True))
    raise UsageError(
        f"The runs have no criterion in common: {first.run!r} has {', '.join(mine)}, {second.run!r} has "
        f"{', '.join(theirs)}. Choose one of each, as in -c A -c B."
    )


def _by_criterion(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["criterion"], []).append(row)
    return groups


def _unit(row: Row) -> Hashable:
    return row["unit"]


def _picture(row: Row) -> Hashable:
    """Return the key of a pair across runs: all that the noisy picture depends on, and the task."""
    return row["dataset"], row["image"], row["pixels"], row["task"], row["noise"], row["sigma"], row["seed"]


def _records(first: dict[Hashable, Row], second: dict[Hashable, Row]) -> list[dict[str, Any]]:
    """Return the records of two criteria: over all pairs and, if there are several noise levels, per level."""
    pairs: list[Pair] = [(row, second[key]) for key, row in first.items() if key in second]
    if not pairs:
        return []
    levels: dict[float | None, list[Pair]] = {}
    for pair in pairs:
        levels.setdefault(pair[0]["sigma"], []).append(pair)
    row, partner = pairs[0]
    said = {
        "first_criterion": row["criterion"],
        "second_criterion": partner["criterion"],
        "first_unpaired": len(first) - len(pairs),
        "second_unpaired": len(second) - len(pairs),
        "dataset": row["dataset"],
        "noise": row["noise"],
    }
    scored = any(row["score_db"] != row["psnr_db"] for pair in pairs for row in pair)
    measures = [*MEASURES, *(SCORES if scored else ())]
    groups: list[tuple[float | None, list[Pair]]] = [*([(None, pairs)] if len(levels) > 1 else []), *levels.items()]
    return [said | {"sigma": sigma} | difference(group, measure) for sigma, group in groups for measure in measures]


def difference(pairs: Iterable[Pair], measure: Measure) -> dict[str, Any]:
    """Return the means of a measure, their difference with its interval, and how often the second is better.

    Args:
        pairs: rows of the results table; pairs without a number on either side are left out.
        measure: a key of MEASURES or SCORES.
    """
    known = [pair for pair in pairs if None not in (pair[0][measure], pair[1][measure])]
    images = [(row["dataset"], row["image"]) for row, _ in known]
    first, second = (np.array([pair[side][measure] for pair in known], float) for side in (0, 1))
    sign = (MEASURES | SCORES)[measure]
    better = sign * (second - first)
    low, high = interval(second - first, images)
    return {
        "measure": measure,
        "pairs": len(known),
        "images": len({*images}),
        "levels": len({row["sigma"] for row, _ in known}),
        "first_mean": float(first.mean()) if known else None,
        "second_mean": float(second.mean()) if known else None,
        "difference": float((second - first).mean()) if known else None,
        "low": low,
        "high": high,
        "wins": int((better > 0).sum()) if sign else None,
        "losses": int((better < 0).sum()) if sign else None,
        "ties": int((second == first).sum()),
    }


def interval(changes: npt.NDArray[np.float64], images: Sequence[Hashable]) -> tuple[float | None, float | None]:
    """Return the 95 % confidence interval of the mean of changes: percentiles of a bootstrap over pictures.

    All changes of a picture are drawn together, since they are not independent. The draws are the same in every call.
    One picture gives no interval: None.
    """
    number = {image: i for i, image in enumerate(dict.fromkeys(images))}
    n = len(number)
    if n < 2:
        return None, None
    of = [number[image] for image in images]
    sums, counts = np.bincount(of, changes), np.bincount(of)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(GOES):
        drawn = rng.integers(n, size=(RESAMPLES // GOES, n))
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)
