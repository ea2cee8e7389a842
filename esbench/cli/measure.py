"""Measure criteria on picture files."""

from __future__ import annotations

import math

import click

from esbench.cli.options import max_pixels_option
from esbench.cli.output import json_option, print_json, print_table


@click.command("measure")
@click.option("-c", "--criterion", "criteria", multiple=True, required=True, help="A criterion; repeatable.")
@click.argument("images", nargs=-1, required=True)
@max_pixels_option
@json_option
def measure_command(criteria: tuple[str, ...], images: tuple[str, ...], max_pixels: int, as_json: bool) -> None:
    """Print the values of criteria on picture files; lower is better.

    A criterion that needs a loss, or the outputs of many steps, has no value of one picture; the reason is printed.
    """
    from esbench import images as files
    from esbench.measuring import measured
    from esbench.registry import registry

    components = [registry().get("criterion", text) for text in criteria]
    rows = []
    for path in images:
        image = files.read(path, max_pixels)
        for component in components:
            value, ms = measured(component, image)
            row = {"image": path, "criterion": component.text, "value": value.value, "ms": round(ms, 3)}
            row |= {name: _plain(part) for name, part in value.parts.items()}
            rows.append(row | ({"reason": value.reason} if value.value is None else {}))
    if as_json:
        print_json(rows)
        return
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
