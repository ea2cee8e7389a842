"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def print_json(value: Any) -> None:
    """Print a JSON document."""
    click.echo(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns; numbers to the right, the last column as it is."""
    from esbench.report.tables import Table

    click.echo(Table(tuple(head), [tuple(row) for row in rows]).text())


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
