"""Calibrate the lam of CIFS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esbench import disk
from esbench.cli.output import json_option, print_json, print_table, say

if TYPE_CHECKING:
    from esbench.bench.config import Config
    from esbench.bench.results import Results

#: key of a row -> heading, in the order of the printed columns.
HEAD = {
    "codec": "codec",
    "sigma": "sigma",
    "mu": "mu = lam / (H W)",
    "psnr_db": "PSNR at stop (dB)",
    "gap_db": "gap to peak (dB)",
    "best_mu": "best mu",
    "best_psnr_db": "its PSNR (dB)",
    "within_0.1_db": "within 0.1 dB of it",
    "pictures": "pictures",
}

#: objective -> the step whose PSNR it maximises.
WHERE = {"windowed": "at the stop of the benchmark's rule", "global": "at the step with the smallest E of all"}


@click.command("calibrate")
@click.option(
    "-c", "--criterion", multiple=True, default=["cifs-jpeg"], help="A CIFS criterion; repeatable. [cifs-jpeg]"
)
@click.option("-d", "--dataset", default="bsd400", show_default=True, help="Clean pictures, not used for testing.")
@click.option("--images", type=int, default=20, show_default=True, metavar="N", help="Only the first N pictures.")
@click.option("--crop", type=int, metavar="N", help="The centre of each picture, N x N.")
@click.option(
    "--sigma",
    type=float,
    multiple=True,
    default=[5, 15, 25, 50, 75],
    show_default=True,
    help="Noise level; repeatable.",
)
@click.option("--network", help="The network that parametrises the picture. [skip]")
@click.option("--iterations", type=int, metavar="T", help="Steps of each optimisation. [20000]")
@click.option("--patience", type=int, metavar="S", help="Stop after this many steps without a lower value. [1000]")
@click.option("--device", help="auto, cpu, cuda or cuda:N. [auto]")
@click.option("--budget", metavar="TIME", help="Stop cleanly after this long, as in 90s, 9m or 1h30m.")
@click.option(
    "--objective",
    type=click.Choice(list(WHERE)),
    default="windowed",
    show_default=True,
    help="The PSNR at the stop of the benchmark's rule, or at the smallest E of all steps, as in the paper.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="esbench-runs/calibration",
    show_default=True,
    help="The folder of the run.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the table as JSON, with its origin."
)
@click.option(
    "--figure", type=click.Path(path_type=Path), metavar="FILE", help="Draw the PSNR against mu: .svg, .pdf or .png."
)
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.pass_context
def calibrate_command(
    ctx: click.Context,
    /,
    criterion: tuple[str, ...],
    objective: Any,
    out: Path,
    output: Path | None,
    figure: Path | None,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Find lam for CIFS on clean pictures, per noise level.

    The optimisations are an ordinary run, which can be resumed; the search over its traces takes seconds. The result
    is mu = lam / (H W), which does not depend on the size of the pictures: the one with the highest mean PSNR at the
    stop, with a margin to values at which the rule does not stop. After --budget, it uses the pictures done so far.
    """
    from esbench.bench import config, driver
    from esbench.bench.results import Results
    from esbench.cli.run import run_left
    from esbench.paper import calibrate

    codecs = dict(map(calibrate.measured, criterion))
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    settings = config.resolve(given | {"criterion": tuple(codecs)})
    _check_patience(settings, objective)
    _check_suffix(figure)
    planned = driver.plan(settings, out)
    failed = run_left(settings, out, planned, quiet)
    rows = _search(Results(out), planned.units, codecs, objective, settings.patience)
    if output is not None:
        with disk.writing(output):
            disk.write(output, f"{json.dumps(_table(rows, settings, objective), indent=1)}\n".encode())
    if figure is not None and rows:
        _draw(rows, figure)
    _print(rows, as_json)
    ctx.exit(1 if failed else 0)


def _search(
    results: Results, units: Sequence[str], codecs: Mapping[str, str], objective: Any, patience: int
) -> list[dict[str, Any]]:
    """Return the result of the search, a row for each codec and noise level.

    Args:
        results: the results of the run.
        units: the units whose traces are searched.
        codecs: the measured criteria, and the codec of each.
        objective: a key of WHERE.
        patience: the patience of the rule.
    """
    from esbench.paper import calibrate

    return [
        {"codec": codec, "sigma": sigma, "objective": objective} | calibrate.calibrate(found, objective, patience)
        for text, codec in codecs.items()
        for sigma, found in sorted(calibrate.curves(results, units, text).items())
    ]


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    for row in rows:
        if row["mu"] is None:
            text = "no lam can be found, because every lam stops at the same step"
            say(f"cifs-{row['codec']}, sigma {row['sigma']:g}: {text}", err=True)
    if as_json:
        print_json(rows)
    else:
        print_table(tuple(HEAD.values()), [tuple(_cell(row[key]) for key in HEAD) for row in rows])


def _cell(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    low, high = value
    return f"{low:g} or more" if high is None else f"{low:g} to {high:g}"


def _table(rows: list[dict[str, Any]], settings: Config, objective: str) -> dict[str, Any]:
    """Return the table that `lam=auto` uses, with its origin."""
    from esbench.bench import stamp
    from esbench.paper import calibrate

    mu: dict[str, dict[str, float]] = {}
    for row in [row for row in rows if row["mu"] is not None]:
        mu.setdefault(row["codec"], {})[f"{row['sigma']:g}"] = row["mu"]
    return {
        "origin": {
            "command": stamp.command(),
            "esbench": stamp.stamp(),
            "run": json.loads(json.dumps(vars(settings))),
            "search": f"mean PSNR {WHERE[objective]}, every mu, averaged over those within a factor {calibrate.MARGIN}",
            "found": rows,
        },
        "mu": mu,
    }


def _check_patience(settings: Config, objective: str) -> None:
    from esbench.errors import UsageError

    if objective == "windowed" and settings.patience >= settings.iterations:
        raise UsageError(
            f"patience must be less than the {settings.iterations} iterations for the rule to stop at all, got "
            f"{settings.patience}."
        )


def _check_suffix(figure: Path | None) -> None:
    from esbench.errors import UsageError
    from esbench.report.figures import FORMATS

    if figure is not None and figure.suffix[1:] not in FORMATS:
        raise UsageError(f"--figure must end in {', '.join(f'.{kind}' for kind in FORMATS)}, got {str(figure)!r}.")


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    from esbench.paper.figures import calibration
    from esbench.report.figures import save

    with disk.writing(path):
        save(calibration(rows), path)
