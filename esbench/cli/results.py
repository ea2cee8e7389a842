"""What a run found."""

from __future__ import annotations

import sys

import click

from esbench.cli.output import print_json


@click.command("export")
@click.argument("run", type=click.Path())
@click.option("--format", "kind", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True)
@click.option("-o", "--output", type=click.Path(), help="A file; default: standard output.")
def export_command(run: str, kind: str, output: str | None) -> None:
    """Write the results table of a run: one row for each unit that is done and each criterion."""
    import csv
    import io
    import json

    from esbench.bench.results import COLUMNS, TYPES, Results
    from esbench.errors import Unavailable

    rows = Results(run).table()
    if kind == "json" and output is None:
        print_json(rows)
        return
    if kind == "json":
        data = json.dumps(rows, indent=1, allow_nan=False).encode()
    elif kind == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode()
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        schema = pa.schema([(name, kinds[kind]) for name, kind in TYPES.items()])  # a column may have no value at all
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
        data = buffer.getvalue()
    if output is None:
        sys.stdout.buffer.write(data)
        return
    try:
        with open(output, "wb") as file:
            file.write(data)
    except OSError as error:
        raise Unavailable(f"{output!r} cannot be written: {error.strerror}.") from error
