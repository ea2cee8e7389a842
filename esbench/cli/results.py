"""What a run found."""

from __future__ import annotations

import sys

import click


@click.command("export")
@click.argument("run", type=click.Path())
@click.option("--format", "kind", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True)
@click.option("-o", "--output", type=click.Path(), help="A file; default: standard output.")
def export_command(run: str, kind: str, output: str | None) -> None:
    """Write the results table of a run: one row for each unit that is done and each criterion."""
    from esbench.bench.results import Results
    from esbench.errors import Unavailable

    data = Results(run).export(kind)
    if output is None:
        sys.stdout.buffer.write(data)
        return
    try:
        with open(output, "wb") as file:
            file.write(data)
    except OSError as error:
        raise Unavailable(f"{output!r} cannot be written: {error.strerror}.") from error
