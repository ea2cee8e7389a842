"""Print the output of commands: text and tables for users, JSON for programs. No other module prints."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from esbench.printable import UNSAFE, printable

if TYPE_CHECKING:
    from rich.console import Console

    from esbench.tables import Table

#: The key of the context under which standard output is kept for the JSON document.
DOCUMENT = "esbench.document"


def _reserve(ctx: click.Context, _: click.Parameter, as_json: bool) -> bool:
    """Keep standard output for the document: whatever else a command or a plugin prints goes to stderr."""
    if as_json:
        ctx.meta[DOCUMENT] = sys.stdout
        ctx.with_resource(contextlib.redirect_stdout(sys.stderr))
    return as_json


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_reserve, help="Print one JSON document and nothing else."
)


def say(*lines: str, err: bool = False) -> None:
    """Print lines for users; control characters and line breaks within a line are escaped.

    On a terminal, a sentence that is wider breaks between words. A line with more than one space in a row is laid out
    by hand, as the rows of tables and labelled commands are, and stays as it is.

    Args:
        lines: the lines.
        err: print to stderr; if it cannot be written (a full disk), work continues.
    """
    with contextlib.suppress(OSError) if err else contextlib.nullcontext():
        width = terminal_width(sys.stderr if err else sys.stdout)
        click.echo("\n".join(_broken(printable(line), width) for line in lines), err=err)


def say_indented(start: str, text: str) -> None:
    """Print the start of a line and a text; on a terminal, the further lines of the text stand below its first."""
    line, width = start + printable(text), terminal_width(sys.stdout)
    indent = " " * len(start)
    say(*(textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) if width else [line]))


def terminal_width(stream: TextIO | None) -> int | None:
    """Return the columns of the terminal that a stream writes to, or None if it is none."""
    return shutil.get_terminal_size().columns if stream is not None and stream.isatty() else None


def _broken(line: str, width: int | None) -> str:
    if width is None or len(line) <= width or "  " in line:
        return line
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)


def say_titled(title: str, table: Table) -> None:
    """Print a title and its table, with an empty line before each; on a terminal no wider than it."""
    say("", title, "", *shown(table).split("\n"))


def print_path(path: str | os.PathLike[str]) -> None:
    """Print a path: escaped on a terminal, as bytes otherwise."""
    if sys.stdout.isatty():
        say(os.fspath(path))
    else:
        click.echo(os.fsencode(path))


def print_json(value: Any) -> None:
    """Print a JSON document."""
    ctx = click.get_current_context(silent=True)
    stream: Any = sys.stdout if ctx is None else ctx.meta.get(DOCUMENT, sys.stdout)
    utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=not utf8)
    # outside of strings, the only unsafe characters are the line breaks of the layout
    click.echo(UNSAFE.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text), stream)


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns: numbers right-aligned, the last column unpadded."""
    from esbench.tables import Table

    say(*shown(Table(tuple(head), [tuple(row) for row in rows])).split("\n"))


def shown(table: Table) -> str:
    """Return a table as text: on a terminal no wider than it, else with a line for each row."""
    return table.text(terminal_width(sys.stdout))


class Auto(click.ParamType[Any]):
    """A number, or `auto`.

    Args:
        kind: the type of the number.
    """

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.kind, self.name = kind, f"{kind.name}|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or "auto"."""
        return value if value == "auto" else self.kind.convert(value, param, ctx)


AUTO_FLOAT, AUTO_INT = Auto(click.FLOAT), Auto(click.INT)


def console() -> Console:
    """Return the console for live bars: stderr, with plain text (no markup, no emoji codes)."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False)
