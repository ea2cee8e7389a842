"""Print the state of a run."""

from __future__ import annotations

from typing import Any

import click

from esbench.cli.output import json_option, print_json, print_table, say


@click.command("status")
@click.argument("run", type=click.Path())
@json_option
def status_command(run: str, as_json: bool) -> None:
    """Print how many units of a run are done, failed, running, paused and missing, and list those not done.

    A unit is running while a process works on it, paused if it was left at a checkpoint or interrupted, and missing
    if it was never started. With --json: one record per unit.
    """
    from esbench.bench.store import Run
    from esbench.bench.store import status as of

    folder = Run(run)
    folder.config()  # raises if there is no run
    records = [of(unit) for unit in folder.units()]
    if as_json:
        print_json(records)
        return
    states = ("done", "failed", "running", "paused", "missing")
    counts = {state: sum(r["status"] == state for r in records) for state in states}
    say(f"{run}: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n))
    rows: list[tuple[Any, ...]] = [(r["unit"], r["status"], r["reason"]) for r in records if r["status"] != "done"]
    partly = [
        (r["unit"], "done, but", "; ".join(f"{c}: {why.rstrip('.')}" for c, why in r["criteria"].items() if why))
        for r in records
    ]
    rows += [row for row in partly if row[2]]
    if rows:
        say()
        print_table(("unit", "status", "reason"), rows)
