"""Recompute, compare and export the results of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from esbench import disk
from esbench.cli.output import json_option, print_json, say, say_titled

if TYPE_CHECKING:
    from esbench.bench.config import Config
    from esbench.bench.results import Results


@click.command("replay")
@click.argument("run", type=click.Path())
@click.option("-c", "--criterion", multiple=True, help="A criterion, with other parameters; repeatable. [all]")
@click.option("--patience", type=int, metavar="S", help="Stop after this many steps without a lower value. [the run's]")
@click.option(
    "--min-delta",
    type=float,
    default=0.0,
    show_default=True,
    help="A value must be lower by more than this to count as lower.",
)
@json_option
def replay_command(run: str, criterion: tuple[str, ...], patience: int | None, min_delta: float, as_json: bool) -> None:
    """Recompute the stops of a run from its traces, with another rule or another lam.

    Nothing is optimised: it takes seconds and needs neither torch nor a GPU. Measured criteria need only their name.
    CIFS can have another lam, as in -c 'cifs-jpeg[lam=1e6]', and a criterion without memory a coarser every.
    """
    from esbench.bench.results import Results
    from esbench.bench.summary import summary

    results = Results(run)
    rows = results.replay(patience=patience, min_delta=min_delta, criteria=criterion or None)
    for line in _left_out(results, rows):
        say(line, err=True)
    if as_json:
        print_json(rows)
        return
    for i, (heading, table) in enumerate(summary(rows)):
        if i == 0:
            say(f"patience {rows[0]['patience']}{f', min_delta {min_delta:g}' if min_delta else ''}")
        say_titled(heading, table)


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN [RUN]")
@click.option("-c", "--criterion", multiple=True, help="A criterion for both sides, or one for each; repeatable.")
@json_option
def compare_command(runs: tuple[str, ...], criterion: tuple[str, ...], as_json: bool) -> None:
    """Compare two runs, or two criteria of one run, pair by pair.

    A pair has the same picture, noise level and seed. Printed are the mean of the differences, second minus first,
    and its 95 % confidence interval: a bootstrap over pictures that keeps all seeds and levels of a picture together.
    Without -c, all criteria that both runs measured are compared.
    """
    from esbench.bench.results import Results
    from esbench.bench.summary import differences

    if len(runs) > 2:
        raise click.UsageError(f"Expected one or two runs, got {len(runs)}.")
    first, second = Results(runs[0]), Results(runs[1]) if len(runs) == 2 else None
    records = first.compare(second, criteria=criterion)
    differs = _differences(first.config, second.config) if second is not None else ""
    if as_json:
        if differs:
            say(f"The runs differ in {differs}.", err=True)
        print_json(records)
        return
    say(f"first:  {runs[0]}", f"second: {runs[-1]}")
    if differs:
        say(f"The runs differ in {differs}.")
    for heading, table in differences(records):
        say_titled(heading, table)
    for line in _unpaired(records):
        say("", line)


@click.command("export")
@click.argument("run", type=click.Path())
@click.option("--format", "kind", type=click.Choice(["csv", "json", "parquet"]), default="csv", help="[csv]")
@click.option("-o", "--output", type=click.Path(), help="A file; default: standard output.")
def export_command(run: str, kind: str, output: str | None) -> None:
    """Write the results table of a run: one row per finished unit and criterion."""
    from esbench.bench.results import Results

    results = Results(run)
    data = results.export(kind)
    for line in failed_lines(results.failures(), results):
        say(line, err=True)
    if output is None:
        click.echo(data, nl=False)
        return
    with disk.writing(output):
        disk.write(output, data)


def failed_lines(
    failures: Sequence[tuple[str, str, str]], results: Results, *, repeated_only: bool = False
) -> list[str]:
    """Return failures as lines, one for each criterion and reason, however many units it is about.

    Args:
        failures: unit, criterion (empty for the unit itself) and reason of each.
        results: the run.
        repeated_only: only what is about several units.
    """
    from esbench.report.failures import grouped

    done = results.done()
    lines = []
    for failure in grouped(failures, done):
        first, *others = failure.units
        if others and failure.criterion:
            lines.append(f"{failure.criterion} failed on {len(failure.units)} of {len(done)} units: {failure.reason}")
        elif others:
            lines.append(f"{len(failure.units)} units failed, the first is {first}: {failure.reason}")
        elif not repeated_only:
            lines.append(f"{first}: {failure.criterion and f'{failure.criterion} '}failed: {failure.reason}")
    return lines


def _left_out(results: Results, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences about missing rows: failures, and criteria with fewer rows than there are units."""
    failed = failed_lines(results.failures(), results)
    if not rows:
        return [*failed, f"No unit of {str(results.run.path)!r} is done yet."]
    done = len(results.done())
    texts = [row["criterion"] for row in rows]
    return failed + [
        f"{text}: {n} of {done} units; on the others it was not measured, failed, or has not decided yet (--live)."
        for text in dict.fromkeys(texts)
        if (n := texts.count(text)) < done
    ]


def _differences(first: Config, second: Config) -> str:
    """Return the settings in which two runs differ, among those that are fixed within a run."""
    from esbench.bench.config import FREE

    names = [field.name for field in dataclasses.fields(first) if field.name not in FREE]
    pairs = [(name, getattr(first, name), getattr(second, name)) for name in names]
    return ", ".join(f"{name} ({was}, {now})" for name, was, now in pairs if was != now)


def _unpaired(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return sentences about unpaired units, one per group of criteria with the same counts."""
    criteria: dict[tuple[int, int], dict[str, None]] = {}
    for r in records:
        texts = dict.fromkeys((r["first_criterion"], r["second_criterion"]))
        criteria.setdefault((r["first_unpaired"], r["second_unpaired"]), {}).update(texts)
    return [
        f"Not paired: {a} of the first, {b} of the second ({', '.join(texts)})."
        for (a, b), texts in criteria.items()
        if a or b
    ]
