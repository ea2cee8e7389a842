"""Data sets: where they are, and whether they are whole."""

from __future__ import annotations

import click

from esbench.cli.output import json_option, print_json, print_table


@click.group("data")
def data_command() -> None:
    """Data sets: where they are, and whether they are whole.

    They are looked for under the folder in ESBENCH_DATA, then in the cache.
    """


@data_command.command("list")
@json_option
def list_data(as_json: bool) -> None:
    """List the data sets, and where they are."""
    from esbench.errors import DataError
    from esbench.registry import load, registry
    from esbench.types import DatasetInfo

    rows = []
    for record in registry().records["dataset"]:
        assert isinstance(record.info, DatasetInfo)
        try:
            found = load(record, record.info.target)()
            where = str(
                getattr(found, "path", "comes with esbench" if record.distribution == "esbench" else "its plugin")
            )
        except DataError:
            where = None
        rows.append(
            {
                "name": record.info.name,
                "images": record.info.images,
                "where": where,
                "licence": record.info.licence,
                "summary": record.info.summary,
            }
        )
    if as_json:
        print_json(rows)
        return
    lines = [(r["name"], r["images"], r["where"] or "not here", r["licence"]) for r in rows]
    print_table(("data set", "images", "where", "terms"), lines)


@data_command.command("path")
@click.argument("name")
def path_data(name: str) -> None:
    """Print the folder of a data set."""
    found = _named(name)
    click.echo(found)


@data_command.command("verify")
@click.argument("name")
@json_option
@click.pass_context
def verify_data(ctx: click.Context, name: str, as_json: bool) -> None:
    """Compare the pictures of a data set with the ones that were published; exit code 1 where one differs."""
    from esbench.datasets.named import verify

    _named(name)
    rows = list(verify(name))
    wrong = [(file, state) for file, state in rows if state not in ("ok", "same pixels")]
    if as_json:
        print_json([{"file": file, "state": state} for file, state in rows])
    else:
        for file, state in wrong:
            click.echo(f"{file}: {state}")
        click.echo(f"{len(rows) - len(wrong)} of {len(rows)} pictures of {name} are as published.")
    ctx.exit(1 if wrong else 0)


def _named(name: str) -> str:
    from esbench.datasets.named import checksums, named
    from esbench.errors import NameUnknown

    if name not in checksums():
        raise NameUnknown("public data set", name, checksums(), f"There are {', '.join(checksums())}.")
    return str(named(name).path)
