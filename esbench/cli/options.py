"""Options shared by several commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from esbench.images import MAX_PIXELS
from esbench.restoration.options import NETWORK

max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=MAX_PIXELS,
    metavar="N",
    help=f"Refuse larger pictures before decoding them. [{MAX_PIXELS}]",
)


def part_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the parts of an optimisation and their numbers."""
    own = "the loss's, task's or network's default"
    options = (
        click.option(
            "--network", help=f"The network that parametrises the picture. [by the loss or the task, or {NETWORK}]"
        ),
        click.option("--loss", help="The loss to minimise. [by the noise, or the task's default]"),
        click.option("--regulariser", help="A term added to the loss. [none]"),
        click.option("--input", help=f"The input of the network. [{own}]"),
        click.option("--input-scale", type=float, help="The upper bound of the uniform noise input. [0.1; draft: 1]"),
        click.option("--learning-rate", type=float, help=f"The learning rate of Adam. [{own}]"),
        click.option("--depth", type=int, help="Channels of the input. [the network's default]"),
        click.option("--perturbation", type=float, help=f"Noise added to the input at each step. [{own}]"),
    )
    for option in reversed(options):  # as decorators are applied
        command = option(command)
    return command
