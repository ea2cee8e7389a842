"""What commands print: text and tables for people, JSON for programs. The one place that prints."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from esbench.printable import UNSAFE, printable

if TYPE_CHECKING:
    from rich.console import Console

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def say(*lines: str, err: bool = False) -> None:
    """Print lines for people: what would control their terminal, or begin a line of its own, is shown as text.

    Args:
        lines: the lines.
        err: to stderr; that it cannot be written (a full disk) is no reason to stop working.
    """
    with contextlib.suppress(OSError) if err else contextlib.nullcontext():
        click.echo("\n".join(map(printable, lines)), err=err)


def paragraphs(*texts: str) -> list[str]:
    """Return the lines of texts that have several, such as a table, with an empty line before each text."""
    return [line for text in texts for line in ("", *text.split("\n"))]


def print_path(path: str | os.PathLike[str]) -> None:
    """Print a path: as it is where a program reads it, as text on a terminal."""
    if sys.stdout.isatty():
        say(os.fspath(path))
    else:
        click.echo(os.fsencode(path))


def print_json(value: Any) -> None:
    """Print a JSON document."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=not utf8)
    # outside of strings there are none but the new lines of the layout
    click.echo(UNSAFE.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text))


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns; numbers to the right, the last column as it is."""
    from esbench.tables import Table

    say(*Table(tuple(head), [tuple(row) for row in rows]).text().split("\n"))


class Auto(click.ParamType[Any]):
    """A number, or `auto`.

    Args:
        kind: of the number.
    """

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.kind, self.name = kind, f"{kind.name}|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or the word."""
        return value if value == "auto" else self.kind.convert(value, param, ctx)


AUTO_FLOAT, AUTO_INT = Auto(click.FLOAT), Auto(click.INT)


def console() -> Console:
    """Return what live bars are drawn on: stderr, with text as it is (no markup, no emoji codes)."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False)
