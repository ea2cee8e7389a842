"""Options shared by commands that read picture files."""

from __future__ import annotations

import click

from esbench.images import MAX_PIXELS

max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=MAX_PIXELS,
    metavar="N",
    help=f"Refuse a picture of more pixels, before it is decoded. [{MAX_PIXELS}]",
)
