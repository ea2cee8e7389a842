"""Write a plugin from a template."""

from __future__ import annotations

from pathlib import Path

import click

from esbench.cli.output import say
from esbench.errors import UsageError
from esbench.registry import registry
from esbench.templates import KINDS, write


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), default="criterion", show_default=True, help="What it adds.")
def new_plugin_command(name: str, kind: str) -> None:
    """Write a plugin `esbench-NAME` into the current folder; it installs and passes its tests unchanged."""
    taken = {r.info.name for r in registry().records[kind.partition("-")[0]]}
    if name.removeprefix("esbench-") in taken:
        raise UsageError(f"A {KINDS[kind].what} {name!r} already exists: choose another name.")
    folder, check = write(name, kind, Path.cwd())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        say(f"  {path.relative_to(folder.parent)}")
    say("", "Next:", f"  pip install -e {folder.name}", f"  {check}", f"  python -m pytest {folder.name}")
