"""Two sets of rows side by side: differences within pairs, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from esbench.bench.rows import Row
from esbench.errors import UsageError

if TYPE_CHECKING:
    from esbench.bench.results import Results

Pair: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]

Measure: TypeAlias = Literal["psnr_db", "gap_db", "average_psnr_db", "stop_step", "score_db", "score_gap_db"]

#: measure -> 1 where more of it is better, -1 where less is, 0 where neither is.
MEASURES: dict[Measure, int] = {
    "psnr_db": 1,
    "gap_db": -1,
    "average_psnr_db": 1,
    "stop_step": 0,
}

#: The same of tasks with a score of their own.
SCORES: dict[Measure, int] = {"score_db": 1, "score_gap_db": -1}

#: Of the bootstrap: how often the pictures are drawn anew, and in how many goes, so that memory stays small.
RESAMPLES, GOES = 10_000, 10


def compare(first: Results, second: Results | None, criteria: Sequence[str]) -> list[dict[str, Any]]:
    """Return the records of `Results.compare`.

    Raises:
        UsageError: nothing can be paired.
    """
    other = first if second is None else second
    where = {"first_run": str(first.run.path), "second_run": str(other.run.path)}
    records = []
    for rows, others in _sides(first, second, criteria):
        if second is None:
            records += _records(_by_unit(rows), _by_unit(others))
        else:
            records += _records(_by_picture(first, rows), _by_picture(second, others))
    if not records:
        raise UsageError(
            f"Nothing of {where['first_run']!r} and {where['second_run']!r} can be paired: a pair has the same data "
            "set, picture (to the pixel), task, noise, level and seed, and is done on both sides."
        )
    return [where | record for record in records]


def _sides(first: Results, second: Results | None, criteria: Sequence[str]) -> list[tuple[list[Row], list[Row]]]:
    """Return which rows are compared with which; on each side they have one criterion.

    Raises:
        UsageError: the criteria do not say it.
    """
    if second is None and len(criteria) != 2:
        raise UsageError(
            f"One run is compared with itself by two criteria, as in -c wmv -c cifs-jpeg; got {len(criteria)}."
        )
    if len(criteria) > 2:
        raise UsageError(
            f"Two runs are compared by one criterion for both, or one for each; got {len(criteria)}. Without any, all "
            "that both measured are compared."
        )
    if criteria:
        return [(first.replay(criteria=criteria[:1]), (second or first).replay(criteria=criteria[-1:]))]
    assert second is not None
    mine, theirs = _by_criterion(first.table()), _by_criterion(second.table())
    if common := [text for text in mine if text in theirs]:
        return [(mine[text], theirs[text]) for text in common]
    if len(mine) == len(theirs) == 1:
        return list(zip(mine.values(), theirs.values(), strict=True))
    raise UsageError(
        f"The runs have no criterion in common: {str(first.run.path)!r} has {', '.join(mine) or 'none'}, "
        f"{str(second.run.path)!r} has {', '.join(theirs) or 'none'}. Say which of each, as in -c A -c B."
    )


def _by_criterion(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["criterion"], []).append(row)
    return groups


def _by_unit(rows: Iterable[Row]) -> dict[Hashable, Row]:
    return {row["unit"]: row for row in rows}


def _by_picture(results: Results, rows: Iterable[Row]) -> dict[Hashable, Row]:
    """Return rows by what makes a pair across runs: all that the noisy picture depends on, and the task."""
    return {(*_paired_by(row), results.run.unit(row["unit"]).spec().pixels): row for row in rows}


def _paired_by(row: Row) -> tuple[Hashable, ...]:
    return row["dataset"], row["image"], row["task"], row["noise"], row["sigma"], row["seed"]


def _records(first: dict[Hashable, Row], second: dict[Hashable, Row]) -> list[dict[str, Any]]:
    """Return the records of two criteria: over all pairs and, where these have several noise levels, over each."""
    pairs = [(row, second[key]) for key, row in first.items() if key in second]
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
    groups: list[tuple[float | None, list[Pair]]] = [*levels.items()]
    if len(groups) > 1:
        groups.insert(0, (None, [*pairs]))
    return [said | {"sigma": sigma} | difference(group, measure) for sigma, group in groups for measure in measures]


def difference(pairs: Iterable[Pair], measure: Measure) -> dict[str, Any]:
    """Return the means of a measure, their difference with its interval, and how often the second is the better one.

    Args:
        pairs: rows of the results table; those where a side has no number are left out.
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
    """Return where the mean of changes lies with 95 % confidence: percentiles of a bootstrap over pictures.

    All changes of a picture are drawn together, since they are not independent. The draws are the same in every call.
    One picture says nothing of others: None.
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
