"""Print the environment, for bug reports."""

from __future__ import annotations

import click

from esbench.cli.output import json_option, print_json, say
from esbench.errors import described


@click.command("env")
@json_option
def env_command(as_json: bool) -> None:
    """Print versions, device and plugins."""
    from esbench.bench.grid import device_kind
    from esbench.bench.stamp import machine, stamp

    try:
        here = machine(device_kind("auto"))
    except Exception as error:  # PyTorch cannot be imported, which this report is about
        here = {"torch": f"cannot be used: {described(error)}"}
    facts = stamp() | {"machine": here}
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            say(f"{key}:")
            for name, fact in value.items():
                say(f"  {name:24} {fact}")
        elif isinstance(value, list):
            say(f"{key}: {'none' if not value else ''}")
            for plugin in value:
                say(f"  {plugin['name']:24} {plugin['distribution']} {plugin['version']} ({plugin['status']})")
        else:
            say(f"{key}: {value}")
