"""Measure criteria on picture files."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from esbench.cli.options import max_pixels_option
from esbench.cli.output import json_option, print_json, print_table, say
from esbench.errors import DataError, EsbenchError, PluginError


@click.command("measure")
@click.option("-c", "--criterion", "criteria", multiple=True, required=True, help="A criterion; repeatable.")
@click.argument("images", nargs=-1, required=True)
@max_pixels_option
@json_option
@click.pass_context
def measure_command(
    ctx: click.Context, /, criteria: tuple[str, ...], images: tuple[str, ...], max_pixels: int, as_json: bool
) -> None:
    """Print the values of criteria on picture files; lower is better.

    A criterion that needs a loss, or the outputs of many steps, has no value for one picture; the reason is printed.
    If a picture cannot be read or a plugin fails, only its values are missing.
    """
    from esbench import images as files
    from esbench.measuring import measured
    from esbench.registry import registry, untouched
    from esbench.stopping.column import is_third_party

    components = [registry().get("criterion", text) for text in criteria]
    rows: list[dict[str, Any]] = []
    measurements = 0
    failures: list[EsbenchError] = []

    def failed(error: EsbenchError) -> dict[str, Any]:
        failures.append(error)
        say(f"esbench: {error}", err=True)
        return {"value": None, "ms": 0.0, "reason": str(error)}

    for path in images:
        try:
            image = files.read(path, max_pixels)
        except DataError as error:
            what = failed(error)
            rows += [{"image": path, "criterion": component.text} | what for component in components]
            continue
        for component in components:
            try:
                third_party = is_third_party(component.record)
                own = untouched()() if third_party else contextlib.nullcontext()  # the next picture has a relative path
                with contextlib.redirect_stdout(sys.stderr), own:  # what a plugin prints
                    value, ms = measured(component, image)
                measurements += 1
                row: dict[str, Any] = {"value": value.value, "ms": round(ms, 3)}
                row |= {name: _plain(part) for name, part in value.parts.items()}
                row |= {"reason": value.reason} if value.value is None else {}
            except PluginError as error:
                row = failed(error)
            rows.append({"image": path, "criterion": component.text} | row)
    if as_json:
        print_json(rows)
    elif measurements:
        _show(rows)
    ctx.exit(0 if not failures else 1 if measurements else failures[0].exit_code)


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [
        (r["image"], r["criterion"], r["value"] if r["value"] is not None else f"none: {r['reason']}", f"{r['ms']:.1f}")
        for r in rows
    ]
    print_table(("image", "criterion", "value", "ms"), cells)


def _plain(part: float) -> float | None:
    """Return a part as a JSON value: an int if it is whole, None if it is infinite or NaN."""
    if not math.isfinite(part):
        return None
    return int(part) if part == int(part) else float(part)
