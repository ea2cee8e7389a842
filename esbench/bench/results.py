"""The results of a run, computed from its traces. This module works without torch, which a laptop may not have."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from esbench.bench.replay import Wanted, found, stop_of, wanted
from esbench.bench.rows import COLUMNS, Row
from esbench.bench.spec import UnitSpec
from esbench.bench.store import Inspection, Run, Unit
from esbench.errors import DataError, Unavailable, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Rule:
    """The parameters of the stopping rule that a row was computed with."""

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.patience < 0:
            raise UsageError(f"patience must be at least 0, got {self.patience}.")
        if not 0 <= self.min_delta < math.inf:
            raise UsageError(f"min_delta must be a number at least 0, got {self.min_delta}.")


class Done(NamedTuple):
    """A unit that is done, with its result and its spec."""

    unit: Unit
    result: dict[str, Any]
    spec: UnitSpec

    @property
    def measured(self) -> dict[str, dict[str, Any]]:
        """The criteria that did not fail, by canonical text."""
        return {text: entry for text, entry in self.result["criteria"].items() if not entry["failed"]}


class Results:
    """The results of a run.

    Args:
        run: the folder of the run.

    Example:
        ```python
        results = esbench.Results("RUN")
        for row in results.table():
            print(row["criterion"], row["stop_step"], row["gap_db"])
        ```

    Raises:
        Missing: the folder holds no run.
    """

    def __init__(self, run: str | os.PathLike[str]) -> None:
        self.run = Run(run)
        self.config = self.run.config()
        self._seen: dict[str, tuple[object, Inspection]] = {}

    def __repr__(self) -> str:
        return f"Results({str(self.run.path)!r})"

    def _repr_html_(self) -> str:
        """Return the tables that `esbench run` prints, for a notebook."""
        from esbench.bench.summary import notebook

        return notebook(str(self.run.path), self.table(), self.failures())

    def table(
        self,
        *,
        units: Iterable[str] | None = None,
        criteria: Sequence[str] | None = None,
        baselines: Sequence[str] | None = None,
    ) -> list[Row]:
        """Return one row per finished unit and criterion, then one per baseline.

        Args:
            units: the ids of the units; None for all.
            criteria: canonical texts of the criteria; None for all that were measured.
            baselines: canonical texts of the baselines; None for all that were computed.
        """
        asked = None if criteria is None else [Wanted(text) for text in criteria]
        return list(self._rows(self._done(units), asked, Rule(self.config.patience), baselines))

    def replay(
        self, *, patience: int | None = None, min_delta: float = 0.0, criteria: Sequence[str] | None = None
    ) -> list[Row]:
        """Return the rows that `table` would have with another rule, or with other parameters of the criteria.

        Nothing is optimised again: the stops are recomputed from the traces. This is possible for every criterion that
        was measured, for CIFS with another numeric `lam`, and for a criterion without memory with a coarser `every`.
        `ssim` is None if no criterion stopped at that step when the unit was run. If a unit ended early (`--live`), a
        stop that was not decided by then has no row. Baselines do not stop and are left out.

        Args:
            patience: S of the rule; None for the one of the run.
            min_delta: the amount by which a value must be lower than the best so far to replace it.
            criteria: the criteria with their new parameters; None for all that were measured.

        Example:
            ```python
            results = esbench.Results("RUN")
            rows = results.replay(patience=3, criteria=["cifs-jpeg[lam=1e6]"])
            ```

        Raises:
            UsageError: a criterion cannot be computed from what was measured, or a number is out of range.
        """
        rule = Rule(self.config.patience if patience is None else patience, float(min_delta))
        done = list(self._done(None))
        measured = list(dict.fromkeys(text for one in done for text in one.measured))
        asked = None if criteria is None else self._asked(dict.fromkeys(criteria), measured)
        rows = list(self._rows(done, asked, rule, ()))
        decided = {row["criterion"] for row in rows}
        undecided = [text for text in (measured if asked is None else [c.text for c in asked]) if text not in decided]
        if measured and undecided and not (rows and asked is None):
            raise UsageError(
                f"No unit of {str(self.run.path)!r} is long enough to decide {undecided[0]!r} with patience "
                f"{rule.patience}: all of them ended early (--live)."
            )
        return rows

    def compare(self, other: Results | None = None, *, criteria: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Compare these results with others, in pairs of units of the same picture, noise level and seed.

        Each record is about one measure (`psnr_db`, `gap_db`, `average_psnr_db` or `stop_step`) of a pair of criteria:
        the mean of the differences, second minus first, and its 95 % confidence interval. The interval comes from a
        bootstrap over pictures: all seeds and noise levels of a picture are drawn together, since they are not
        independent. `docs/results.md` explains every key.

        Args:
            other: the second run; None to compare two criteria of this one.
            criteria: one for both sides, or one for each, as in `replay`; empty for all that both runs measured, or
                for the only criterion of each run.

        Example:
            ```python
            results = esbench.Results("RUN")
            for record in results.compare(criteria=["loss", "cifs-jpeg"]):
                print(record["measure"], record["difference"], record["low"], record["high"])
            ```

        Raises:
            UsageError: there are no pairs.
        """
        from esbench.bench import compare

        compare.check(criteria, runs=1 if other is None else 2)
        second = self if other is None else other
        sides = [
            compare.Side(str(side.run.path), side.replay(criteria=asked) if asked else side.table(baselines=()))
            for side, asked in ((self, criteria[:1]), (second, criteria[-1:]))
        ]
        return compare.compare(*sides, by_unit=other is None)

    def export(self, kind: str) -> bytes:
        """Return the table as a file: `csv`, `json` or `parquet`."""
        from esbench.bench.exported import written

        return written(self.table(), kind)

    def failures(
        self, *, units: Iterable[str] | None = None, criteria: Sequence[str] | None = None
    ) -> list[tuple[str, str, str]]:
        """Return the unit, criterion (empty for the unit itself) and reason of each failure or damaged file.

        Args:
            units: the ids of the units; None for all.
            criteria: canonical texts of criteria and baselines; None for all.
        """
        found = self.run.units() if units is None else [self.run.unit(id) for id in units]
        failed = []
        for unit in found:
            inspection = self._inspected(unit)
            if inspection.damage:
                failed.append((unit.id, "", inspection.damage))
                continue
            if inspection.result is None:
                if error := unit.error():
                    failed.append((unit.id, "", error.strip().splitlines()[-1]))
                continue
            for text, entry in (inspection.result["criteria"] | unit.baselines()).items():
                if entry["failed"] and (criteria is None or text in criteria):
                    failed.append((unit.id, text, entry["failed"]))
        return failed

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a data frame.

        Raises:
            Unavailable: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise Unavailable("A data frame needs pandas, which is not installed: pip install pandas.") from error

        return pd.DataFrame(self.table(), columns=list(COLUMNS))

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the gap of each criterion: a dot for each unit, the mean, and its 95 % interval over pictures.

        Args:
            axes: the axes to draw on; None for a new figure, which needs matplotlib's pyplot.

        Raises:
            UsageError: no unit has a gap.
        """
        from esbench import notebook
        from esbench.bench.compare import interval

        rows = [row for row in self.table() if row["gap_db"] is not None]
        if not rows:
            raise UsageError(
                f"No unit of {str(self.run.path)!r} has a gap yet: none is done, or they ended early (--live)."
            )
        strips = []
        for text in dict.fromkeys(row["criterion"] for row in rows):
            mine = [row for row in rows if row["criterion"] == text]
            gaps = [row["gap_db"] or 0.0 for row in mine]
            strips.append((text, gaps, *interval(np.array(gaps), [(row["dataset"], row["image"]) for row in mine])))
        return notebook.strips(strips, "gap to the peak (dB)", axes)

    def done(self) -> dict[str, dict[str, Any]]:
        """Return the result of each unit that is done, by its id."""
        return {one.unit.id: one.result for one in self._done(None)}

    def _done(self, units: Iterable[str] | None) -> Iterator[Done]:
        for unit in self.run.units() if units is None else map(self.run.unit, units):
            inspection = self._inspected(unit)
            if inspection.result is not None and inspection.spec is not None:
                yield Done(unit, inspection.result, inspection.spec)

    def _inspected(self, unit: Unit) -> Inspection:
        """Return the files of a unit; they are read again only if its result has changed."""
        edition = unit.edition()
        before, inspection = self._seen.get(unit.id, (None, Inspection()))
        if edition is None or edition != before:
            inspection = unit.inspect()
            if inspection.result is not None:
                self._seen[unit.id] = edition, inspection
        return inspection

    def _asked(self, texts: Iterable[str], measured: Sequence[str]) -> list[Wanted]:
        """Return the criteria that the user named; those that were measured need not be installed.

        Raises:
            UsageError: one cannot be computed from what was measured.
        """
        asked = [Wanted(text) if text in measured else wanted(text) for text in texts]
        for criterion in asked:
            if measured and criterion.source(measured) is None:
                raise UsageError(
                    f"{criterion.text!r} was not measured in {str(self.run.path)!r} and cannot be computed: "
                    "without another optimisation, only parameters that a criterion lists as free, such as the lam of "
                    f"CIFS (to a number), and every (to a multiple) can change. Measured: {', '.join(measured)}."
                )
        return asked

    def _rows(
        self, done: Iterable[Done], asked: Sequence[Wanted] | None, rule: Rule, baselines: Sequence[str] | None
    ) -> Iterator[Row]:
        for one in done:
            for criterion, stop in _stops(one, asked, rule):
                yield _row(one, criterion, rule, stop)
            computed = one.unit.baselines() if baselines is None or baselines else {}
            for text in computed if baselines is None else baselines:
                if text in computed and not computed[text]["failed"]:
                    yield _baseline_row(one, text, computed[text])


def _stops(done: Done, asked: Sequence[Wanted] | None, rule: Rule) -> Iterator[tuple[Wanted, dict[str, Any]]]:
    """Yield the criteria that are decided in a unit, each with the values of a row that describe its stop."""
    measured = done.measured
    trace = functools.cache(lambda *names: done.unit.trace(list(names)))  # each column is read once
    for criterion in map(Wanted, measured) if asked is None else asked:
        if (source := criterion.source(measured)) is None:
            continue
        stop = _stop(done, criterion, source, rule, trace)
        if done.result["complete"] or not stop["fallback"]:  # else the unit ended before the stop was decided
            yield criterion, stop


def _stop(
    done: Done, criterion: Wanted, source: str, rule: Rule, trace: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Return the values of a row for the stop and the maker of the criterion, from the result or the traces."""
    unit, entry = done.unit, done.measured[source]
    if source == criterion.text and "steps_run" in entry and rule == Rule(entry["patience"]):
        return entry
    curve, psnr = criterion.column(unit, source, trace), trace("psnr_db", "average_psnr_db")
    if len(curve) != len(psnr["psnr_db"]):
        raise DataError(f"{str(unit.path)!r} cannot be read: {source!r} and the trace have different lengths.")
    stop = stop_of(curve, rule.patience, rule.min_delta)
    score = trace("score_db")["score_db"] if "score_peak_db" in done.result else ()
    ms = criterion.ms(unit, source, entry)
    return found(stop, psnr["psnr_db"], psnr["average_psnr_db"], ms, score) | {"made_by": entry["made_by"]}


def _row(done: Done, criterion: Wanted, rule: Rule, stop: dict[str, Any]) -> Row:
    unit, result, spec = done
    ssim = {entry["stop_step"]: entry["ssim"] for entry in done.measured.values()}
    # if the task defines no score, the score is the PSNR
    score = stop.get("score_db", stop["psnr_db"])
    per_step = 1000 * result["seconds"] / result["steps"]
    score_peak, score_last = (result.get(f"score_{name}", result[name]) for name in ("peak_db", "last_db"))
    return Row(
        dataset=spec.dataset,
        image=spec.image,
        task=spec.task,
        noise=spec.noise,
        sigma=spec.sigma,
        seed=spec.seed,
        network=spec.network,
        iterations=spec.iterations,
        criterion=criterion.text,
        patience=rule.patience,
        min_delta=rule.min_delta,
        stop_step=stop["stop_step"],
        fallback=stop["fallback"],
        steps_run=stop["steps_run"],
        psnr_db=stop["psnr_db"],
        ssim=ssim.get(stop["stop_step"]),
        peak_step=result["peak_step"],
        peak_db=result["peak_db"],
        gap_db=_gap(result["peak_db"], stop["psnr_db"]),
        last_db=result["last_db"],
        average_psnr_db=stop["average_psnr_db"],
        average_peak_db=result["average_peak_db"],
        average_gap_db=_gap(result["average_peak_db"], stop["average_psnr_db"]),
        ms_per_step=per_step,
        criterion_ms_per_step=stop["criterion_ms_per_step"],
        loss=spec.loss,
        input=spec.input,
        score_db=score,
        score_peak_db=score_peak,
        score_gap_db=_gap(score_peak, score),
        score_last_db=score_last,
        baseline_db=result.get("baseline_db"),
        unit=unit.id,
        pixels=spec.pixels,
        crop=spec.crop,
        regulariser=spec.regulariser,
        input_scale=spec.input_scale,
        learning_rate=spec.learning_rate,
        perturbation=spec.perturbation,
        depth=spec.depth,
        precision=spec.precision,
        device=spec.device,
        engine=spec.engine,
        distribution=stop["made_by"]["distribution"],
        distribution_version=stop["made_by"]["distribution_version"],
        version=stop["made_by"]["version"],
        kind="criterion",
        seconds=stop["steps_run"] * (per_step + stop["criterion_ms_per_step"]) / 1000,
    )


def _baseline_row(done: Done, text: str, entry: Mapping[str, Any]) -> Row:
    """Return the row of a baseline: the settings of the unit, the numbers of the baseline, and None for the stop."""
    unit, result, spec = done
    found = {name: entry[name] for name in ("psnr_db", "ssim", "score_db", "seconds", "version")}
    owner = {"criterion": text, "kind": "baseline", "distribution": "esbench", "distribution_version": ""}
    where = {"unit": unit.id, "baseline_db": result.get("baseline_db")}
    return cast("Row", dict.fromkeys(COLUMNS) | dataclasses.asdict(spec) | found | owner | where)


def _gap(peak: float | None, value: float | None) -> float | None:
    return None if peak is None or value is None else peak - value
