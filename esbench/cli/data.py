"""List, fetch and verify datasets."""

from __future__ import annotations

from pathlib import Path

import click

from esbench.cli.output import json_option, print_json, print_path, print_table, say


@click.group("data")
def data_command() -> None:
    """List, fetch and verify datasets.

    A dataset is looked up in the folder ESBENCH_DATA, then in the cache, and fetched into the cache on first use.
    """


@data_command.command("list")
@json_option
def list_data(as_json: bool) -> None:
    """List the datasets, their locations and sizes."""
    from esbench.cache import cache, planning
    from esbench.errors import DataError
    from esbench.records import DatasetInfo
    from esbench.registry import load, registry

    rows, lines = [], []
    for record in registry().records["dataset"]:
        assert isinstance(record.info, DatasetInfo)
        info, own = record.info, record.distribution == "esbench"
        try:
            with planning():
                found = load(record, info.target)()
            path = getattr(found, "path", None)
            where = str(path or ("comes with esbench" if own else "its plugin"))
            owner = "" if path is None or not own else "cache: " if cache() in path.parents else "ESBENCH_DATA: "
            lines.append((info.name, info.images, info.megabytes, f"{owner}{where}", info.licence))
        except DataError:
            where = None
            lines.append((info.name, info.images, info.megabytes, "not available", info.licence))
        rows.append(
            {
                "name": info.name,
                "images": info.images,
                "megabytes": info.megabytes,
                "where": where,
                "licence": info.licence,
                "summary": info.summary,
            }
        )
    if as_json:
        print_json(rows)
        return
    print_table(("dataset", "images", "MB", "where", "terms"), lines)


@data_command.command("fetch")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
def fetch_data(names: tuple[str, ...], as_json: bool) -> None:
    """Fetch public datasets into the cache; all if none is named.

    Complete files are not fetched again, so the same command resumes after an interruption. A dataset under
    ESBENCH_DATA is not changed.
    """
    from esbench.builtin.datasets.named import find
    from esbench.builtin.datasets.remote import fetch, remotes
    from esbench.cache import cache

    chosen = [_known(name) for name in names] or list(remotes())
    rows = []
    for name in chosen:
        found, place = find(name), cache("data", name)
        if found is not None and found.path != place:
            place, fetched = found.path, 0
        else:
            fetched = fetch(remotes()[name], place)
        rows.append({"name": name, "fetched": fetched, "where": str(place)})
        if not as_json:
            say(f"{name}: {place}{'' if fetched else ' (already available)'}")
    if as_json:
        print_json(rows)


@data_command.command("path")
@click.argument("name")
def path_data(name: str) -> None:
    """Print the folder of a dataset."""
    print_path(_folder(name))


@data_command.command("verify")
@click.argument("name")
@json_option
@click.pass_context
def verify_data(ctx: click.Context, name: str, as_json: bool) -> None:
    """Compare the pictures of a dataset with the published ones; exit code 1 if one differs."""
    from esbench.builtin.datasets.named import verify

    rows = list(verify(name, _folder(name)))
    wrong = [(file, state) for file, state in rows if state not in ("ok", "same pixels")]
    if as_json:
        print_json([{"file": file, "state": state} for file, state in rows])
    else:
        for file, state in wrong:
            say(f"{file}: {state}")
        say(f"{len(rows) - len(wrong)} of {len(rows)} pictures of {name} are as published.")
    ctx.exit(1 if wrong else 0)


def _known(name: str) -> str:
    """Return the name of a public dataset."""
    from esbench.builtin.datasets.remote import remotes
    from esbench.errors import NameUnknown

    if name not in remotes():
        raise NameUnknown("public dataset", name, remotes(), f"Available: {', '.join(remotes())}.")
    return name


def _folder(name: str) -> Path:
    """Return the folder of a public dataset, complete or not; nothing is fetched."""
    from esbench.builtin.datasets.named import absent, find

    found = find(_known(name))
    if found is None:
        raise absent(name)
    return found.path
