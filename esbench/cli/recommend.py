"""Recommend a criterion."""

from __future__ import annotations

import click

from esbench.cli.output import json_option, print_json, say
from esbench.errors import UsageError


@click.command("recommend")
@click.option("--task", default="denoise", help="The task: denoise, superres, inpaint, flash or jpeg. [denoise]")
@click.option("--network", help="The network that parametrises the picture. [any]")
@click.option("--sigma", type=float, help="The noise level on the 0-255 scale, if it is known.")
@click.option("--blind", is_flag=True, help="The noise level is not known. [the default]")
@json_option
def recommend_command(task: str, network: str | None, sigma: float | None, blind: bool, as_json: bool) -> None:
    """Print the criterion that stops a task best, and why.

    It comes from a table of measurements that is part of esbench; `denoise` and `restore` use the same table.
    """
    from esbench.recommendation import recommended

    if blind and sigma is not None:
        raise UsageError("--blind means that the noise level is not known, but --sigma gives it: choose one.")
    found = recommended(task, level_known=sigma is not None, noise=bool(sigma), network=network)
    if as_json:
        print_json({"task": task, "criterion": found.criterion, "why": found.why, "measured": found.measured})
        return
    say(found.criterion)
    say(found.why)
