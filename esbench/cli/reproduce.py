"""Reproduce the tables and figures of the CIFS paper."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esbench.bench.spec import unit_id
from esbench.cli.output import json_option, print_json, say, say_titled
from esbench.cli.run import default_name, run_left

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from esbench.bench.config import Config
    from esbench.bench.spec import UnitSpec
    from esbench.paper.passes import Passes
    from esbench.tables import Table

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Asked:
    """A unit of a pass: its configuration, the folder of its run, and its rows at the end."""

    spec: UnitSpec
    config: Config
    folder: Path
    rows: list[Row]

    @property
    def done(self) -> bool:
        """Whether all of its criteria have a row."""
        return len(self.rows) == len(self.config.criterion)


@dataclasses.dataclass(frozen=True)
class Reproduced:
    """The result: a table, its numbers as records, figures by file name, and the units whose pictures are shown."""

    name: str
    heading: str
    table: Table
    records: list[Row]
    figures: dict[str, Figure]
    notes: tuple[str, ...] = ()
    sheets: Sequence[Asked] = ()


@click.command("reproduce")
@click.argument("artefact", type=click.Choice(["fig1", "fig2", "table1", "fig3", "fig4"]))
@click.option("-d", "--dataset", help="Only this dataset, or another one. [those of the paper]")
@click.option("--images", type=int, metavar="N", help="Only the first N pictures of each dataset. [all]")
@click.option("--crop", type=int, metavar="N", help="The centre of each picture, N x N. [whole]")
@click.option("--sigma", type=float, multiple=True, help="Noise level; repeatable. [those of the paper]")
@click.option("--iterations", type=int, metavar="T", help="Steps of each optimisation. [20000]")
@click.option(
    "--patience", type=int, metavar="S", help="The patience of the rule. [1000, at most a fifth of the steps]"
)
@click.option("--network", help="The network that parametrises the picture. [skip]")
@click.option("--device", help="auto, cpu, cuda or cuda:N. [auto]")
@click.option("--budget", metavar="TIME", help="Stop cleanly after this long, as in 90s, 9m or 1h30m.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="esbench-runs/paper",
    show_default=True,
    help="The folder of the runs, and of the tables and figures.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default="results",
    show_default=True,
    metavar="DIR",
    help="The results of earlier passes, read and extended.",
)
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.pass_context
def reproduce_command(
    ctx: click.Context,
    /,
    artefact: str,
    dataset: str | None,
    out: Path,
    results: Path,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Make a table or a figure of the CIFS paper, our numbers beside the paper's.

    fig1 needs no optimisation and takes less than a minute. The others are ordinary runs in the paper's setting and
    take days on a GPU; the options make a smaller pass, which prints how much of the whole it covers. Finished
    results are kept in small files under --results, and the next pass continues from there.
    """
    from esbench.paper import artefacts
    from esbench.paper.passes import Passes

    asked, kept = artefacts.ARTEFACTS[artefact], Passes(results)
    if not asked.criteria:
        _check_needless(artefact, flags)
    configs = artefacts.configs(asked, dataset, flags)

    def tell(*lines: str) -> None:
        if not quiet:
            say(*lines, err=True)

    made: Reproduced | None
    if asked.criteria:
        units, failed = _pass(configs, kept, out, quiet, tell)
        done = [unit for unit in units if unit.done]
        tell(*artefacts.partial(asked, configs, len(units), len(done)))
        made = MAKERS[artefact](done, kept) if done else None
    else:
        made, failed = _sizes(configs[0], kept), 0
    if as_json:
        print_json(made.records if made else [])
    elif made:
        say_titled(made.heading, made.table)
    if made:
        tell("", *made.notes, *map(str, _write(made, out / artefact)))
    ctx.exit(1 if failed else 0)


def _check_needless(artefact: str, flags: Mapping[str, Any]) -> None:
    """Reject options that only affect optimisations."""
    from esbench.errors import UsageError

    for name in ("iterations", "patience", "network", "device", "budget"):
        if flags[name] is not None:
            raise UsageError(f"{artefact} needs no optimisation: omit --{name}.")


def _pass(
    configs: Sequence[Config], kept: Passes, out: Path, quiet: bool, tell: Callable[[str], None]
) -> tuple[list[Asked], int]:
    """Run the units without results within the budget, and return all requested units and the number of failures."""
    from esbench.bench import driver, grid

    started, failed, asked = time.monotonic(), 0, []
    for config in configs:
        folder = out / default_name(config)
        specs = list(grid.units(driver.settled(config, folder)))
        units = _known(specs, config, folder, kept)
        left = math.inf if config.seconds is None else config.seconds - (time.monotonic() - started)
        if left > 0 and not all(unit.done for unit in units):
            tell(f"run: {folder}")
            within = config if math.isinf(left) else dataclasses.replace(config, budget=f"{left:.1f}s")
            failed += _add(within, folder, {unit_id(unit.spec) for unit in units if unit.done}, kept, quiet)
            units = _known(specs, config, folder, kept)
        asked += units
    return asked, failed


def _add(config: Config, folder: Path, done: set[str], kept: Passes, quiet: bool) -> int:
    """Run the units of a configuration that are not done, keep their results, and return the number of failures."""
    from esbench.bench import driver
    from esbench.bench.results import Results

    planned = driver.plan(config, folder).without(done)
    try:
        run_left(config, folder, planned, quiet)
    finally:  # also if the user interrupts
        if (folder / "run.toml").exists():
            kept.take(Results(folder), planned.units, planned.criteria)
    failures = Results(folder).failures(units=planned.units, criteria=planned.criteria)
    for unit, criterion, reason in failures:
        say(f"{unit}: {criterion} failed: {reason}".replace("  ", " "), err=True)
    return len(failures)


def _known(specs: Sequence[UnitSpec], config: Config, folder: Path, kept: Passes) -> list[Asked]:
    """Return units with the rows that are available."""
    return [Asked(spec, config, folder, kept.rows(spec, config.criterion, config.patience)) for spec in specs]


def _sizes(config: Config, kept: Passes) -> Reproduced:
    from esbench.paper import artefacts, tables
    from esbench.paper import figures as drawings

    rows = list(artefacts.sizes(dataclasses.replace(config, device="cpu")))
    kept.sizes(rows)
    records, name = tables.sizes(rows), rows[0]["dataset"]
    rise, pictures = tables.rising(rows)
    return Reproduced(
        f"fig1-{name}",
        f"{name}, {pictures} picture{'s' if pictures > 1 else ''}",
        tables.size_table(records),
        records,
        {f"fig1-{name}": drawings.sizes(records, name)},
        notes=(f"The size rises from each level to the next in {rise} of {pictures}.",),
    )


def _lams(units: Sequence[Asked], kept: Passes) -> Reproduced:
    from esbench.paper import figures as drawings
    from esbench.paper import tables

    records = kept.lams(_rows(units))
    table, figure = tables.lams(records), drawings.lams(records)
    return Reproduced("fig2", "mu = lam / (H W) by noise level", table, records, {"fig2": figure})


def _psnr(units: Sequence[Asked], kept: Passes) -> Reproduced:
    from esbench.paper import figures as drawings
    from esbench.paper import tables

    records = tables.compared(kept.beside_fig2(_rows(units)))
    table, figure = tables.psnr(records), drawings.psnr(records)
    notes = tuple(tables.never_stopped(records))
    return Reproduced("table1", "PSNR at the stop (dB)", table, records, {"table1": figure}, notes)


def _gaps(units: Sequence[Asked], kept: Passes) -> Reproduced:
    from esbench.paper import figures as drawings
    from esbench.paper import tables

    records = tables.compared(kept.beside_fig2(_rows(units)))
    table, figure = tables.gaps(records), drawings.gaps(records)
    notes = tuple(tables.never_stopped(records))
    return Reproduced("fig3", "gap to the peak (dB)", table, records, {"fig3": figure}, notes)


def _stops(units: Sequence[Asked], kept: Passes) -> Reproduced:
    from esbench.paper import figures as drawings
    from esbench.paper import tables

    records = tables.stops(_rows(units))
    figures = {f"fig4-{unit.spec.image}": drawings.stops(_curve(unit, kept), unit.rows) for unit in units}
    return Reproduced("fig4", "where each method stops", tables.stop_table(records), records, figures, sheets=units)


#: artefact -> the function that makes it from the finished units.
MAKERS = {"fig2": _lams, "table1": _psnr, "fig3": _gaps, "fig4": _stops}


def _curve(unit: Asked, kept: Passes) -> dict[str, Any]:
    """Return the curves of a unit: of all steps if its run is available, else of the kept ones."""
    from esbench.bench.store import Run

    here = Run(unit.folder).unit(unit.rows[0]["unit"])
    if here.result() is None:
        return kept.curve(here.id)
    texts = [row["criterion"] for row in unit.rows]
    return here.trace() | {text: here.criterion(text, ["value"])[0]["value"] for text in texts}


def _rows(units: Sequence[Asked]) -> list[Row]:
    return [row for unit in units for row in unit.rows]


def _write(made: Reproduced, folder: Path) -> list[Path]:
    """Write a table and its figures in all formats, and the pictures of units; return the paths."""
    from esbench import disk
    from esbench.paper.tables import numbers
    from esbench.report.figures import FORMATS, save

    texts = {"md": made.table.markdown(), "tex": made.table.latex(), "csv": numbers(made.records).csv()}
    with disk.writing(folder, "Choose another --out."):
        folder.mkdir(parents=True, exist_ok=True)
        for kind, text in texts.items():
            disk.write(folder / f"{made.name}.{kind}", f"{text.rstrip()}\n".encode())
        drawn = [(figure, folder / f"{name}.{kind}") for name, figure in made.figures.items() for kind in FORMATS]
        paths = [folder / f"{made.name}.{kind}" for kind in texts] + [save(figure, path) for figure, path in drawn]
        return paths + [path for unit in made.sheets for path in _sheet(unit, folder)]


def _sheet(unit: Asked, folder: Path) -> list[Path]:
    """Write the pictures of a unit, if its run is available, and return the path."""
    from esbench.bench.store import Run
    from esbench.report.sheet import contact_sheet

    here = Run(unit.folder).unit(unit.rows[0]["unit"])
    if here.result() is None:
        return []
    path = folder / f"fig4-{unit.spec.image}-pictures.png"
    contact_sheet(here, unit.rows, path)
    return [path]
