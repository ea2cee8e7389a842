"""Reproduce the tables and figures of the CIFS paper."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esbench.bench.spec import unit_id
from esbench.cli.output import json_option, paragraphs, print_json, say
from esbench.cli.progress import display
from esbench.cli.run import default_name

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
class Made:
    """The result: a table, its numbers as records, and figures by file name."""

    name: str
    heading: str
    table: Table
    records: list[Row]
    figures: dict[str, Figure]
    notes: tuple[str, ...] = ()


@click.command("reproduce")
@click.argument("artefact", type=click.Choice(["fig1", "fig2", "table1", "fig3", "fig4"]))
@click.option("-d", "--dataset", help="Only this dataset, or another one. [those of the paper]")
@click.option("--images", type=int, metavar="N", help="The first N pictures of each dataset. [all]")
@click.option("--crop", type=int, metavar="N", help="The centre of each picture, N x N. [whole]")
@click.option("--sigma", type=float, multiple=True, help="Noise level; repeatable. [those of the paper]")
@click.option("--iterations", type=int, metavar="T", help="Steps of each optimisation. [20000]")
@click.option("--patience", type=int, metavar="S", help="Of the rule. [1000; a fifth of the steps if fewer]")
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
    help="The results of earlier passes: read, and extended.",
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
    take days on a GPU; the options make a smaller pass, which prints how much of the whole it covers. Finished results
    are kept in small files under --results, and the next pass continues from there.
    """
    from esbench.errors import UsageError
    from esbench.paper import artefacts
    from esbench.paper.passes import Passes

    asked, kept = artefacts.ARTEFACTS[artefact], Passes(results)
    needless = [name for name in ("iterations", "patience", "network", "device", "budget") if flags[name] is not None]
    if not asked.criteria and needless:
        raise UsageError(f"{artefact} optimises nothing: leave out --{needless[0]}.")
    configs = artefacts.configs(asked, dataset, flags)

    def tell(*lines: str) -> None:
        if not quiet:
            say(*lines, err=True)

    done: list[Asked] = []
    failed = 0
    made: Made | None = None
    if not asked.criteria:
        made = _sizes(configs[0], kept)
    else:
        units, failed = _pass(configs, kept, out, quiet, tell)
        done = [unit for unit in units if unit.done]
        for sentence in artefacts.partial(asked, configs, len(units), len(done)):
            tell(sentence)
        make = {"fig2": _lams, "table1": _psnr, "fig3": _gaps, "fig4": _stops}[artefact]
        made = make(done, kept) if done else None
    if as_json:
        print_json(made.records if made else [])
    if made:
        if not as_json:
            say(*paragraphs(made.heading, made.table.text()))
        paths = _write(made, out / artefact)
        if artefact == "fig4":
            paths += _sheets(done, out / artefact)
        tell("", *made.notes, *map(str, paths))
    ctx.exit(1 if failed else 0)


def _pass(
    configs: Sequence[Config], kept: Passes, out: Path, quiet: bool, tell: Callable[[str], None]
) -> tuple[list[Asked], int]:
    """Run the units without results, keep their results, and return all requested units and the number of failures."""
    from esbench.bench import driver, grid
    from esbench.bench.results import Results

    started, failed, asked = time.monotonic(), 0, []
    for config in configs:
        folder = out / default_name(config)
        specs = list(grid.units(config))
        units = _known(specs, config, folder, kept)
        done = {unit_id(unit.spec) for unit in units if unit.done}
        left = None if config.seconds is None else config.seconds - (time.monotonic() - started)
        if len(done) < len(units) and (left is None or left > 0):
            tell(f"run: {folder}")
            planned = driver.plan(config, folder)
            wanted = dataclasses.replace(
                planned,
                jobs=tuple(job for job in planned.jobs if unit_id(job.spec) not in done),
                left=tuple(job for job in planned.left if unit_id(job.spec) not in done),
            )
            try:
                if wanted.left:
                    within = config if left is None else dataclasses.replace(config, budget=f"{left:.1f}s")
                    with display(quiet) as listen:
                        driver.run(within, folder, wanted, listen)
            finally:  # also if the user interrupts
                if (folder / "run.toml").exists():
                    kept.take(Results(folder), wanted.units, wanted.criteria)
            for unit, criterion, reason in Results(folder).failures(units=wanted.units, criteria=wanted.criteria):
                say(f"{unit}: {criterion} failed: {reason}".replace("  ", " "), err=True)
                failed += 1
            units = _known(specs, config, folder, kept)
        asked += units
    return asked, failed


def _known(specs: Sequence[UnitSpec], config: Config, folder: Path, kept: Passes) -> list[Asked]:
    """Return units with the rows that are available."""
    return [Asked(spec, config, folder, kept.rows(spec, config.criterion, config.patience)) for spec in specs]


def _sizes(config: Config, kept: Passes) -> Made:
    from esbench.paper import artefacts, tables
    from esbench.paper import figures as drawings

    rows = list(artefacts.sizes(dataclasses.replace(config, device="cpu")))
    kept.sizes(rows)
    records, name = tables.sizes(rows), rows[0]["dataset"]
    rise, pictures = tables.rising(rows)
    return Made(
        f"fig1-{name}",
        f"{name}, {pictures} picture{'s' if pictures > 1 else ''}",
        tables.size_table(records),
        records,
        {f"fig1-{name}": drawings.sizes(records, name)},
        notes=(f"The size rises from each level to the next in {rise} of {pictures}.",),
    )


def _lams(units: Sequence[Asked], kept: Passes) -> Made:
    from esbench.paper import figures as drawings
    from esbench.paper import tables

    records = kept.lams(_rows(units))
    table, figure = tables.lams(records), drawings.lams(records)
    return Made("fig2", "mu = lam / (H W) by noise level", table, records, {"fig2": figure})


def _psnr(units: Sequence[Asked], kept: Passes) -> Made:
    from esbench.paper import figures as drawings
    from esbench.paper import tables

    records = tables.compared(kept.beside_fig2(_rows(units)))
    table, figure = tables.psnr(records), drawings.psnr(records)
    notes = tuple(tables.never_stopped(records))
    return Made("table1", "PSNR at the stop (dB)", table, records, {"table1": figure}, notes)


def _gaps(units: Sequence[Asked], kept: Passes) -> Made:
    from esbench.paper import figures as drawings
    from esbench.paper import tables

    records = tables.compared(kept.beside_fig2(_rows(units)))
    table, figure = tables.gaps(records), drawings.gaps(records)
    notes = tuple(tables.never_stopped(records))
    return Made("fig3", "gap to the peak (dB)", table, records, {"fig3": figure}, notes)


def _stops(units: Sequence[Asked], kept: Passes) -> Made:
    from esbench.paper import figures as drawings
    from esbench.paper import tables

    records = tables.stops(_rows(units))
    figures = {f"fig4-{unit.spec.image}": drawings.stops(_curve(unit, kept), unit.rows) for unit in units}
    return Made("fig4", "where each method stops", tables.stop_table(records), records, figures)


def _curve(unit: Asked, kept: Passes) -> dict[str, Any]:
    """Return the curves of a unit: all steps if its run is available, else those that were kept."""
    from esbench.bench.store import Run

    here = Run(unit.folder).unit(unit.rows[0]["unit"])
    if here.result() is None:
        return kept.curve(here.id)
    texts = [row["criterion"] for row in unit.rows]
    return here.trace() | {text: here.criterion(text, ["value"])[0]["value"] for text in texts}


def _sheets(units: Sequence[Asked], folder: Path) -> list[Path]:
    """Write the pictures of the units whose runs are available."""
    from esbench.bench.store import Run
    from esbench.report.sheet import contact_sheet

    paths = []
    for unit in units:
        here = Run(unit.folder).unit(unit.rows[0]["unit"])
        if here.result() is not None:
            paths.append(folder / f"fig4-{unit.spec.image}-pictures.png")
            contact_sheet(here, unit.rows, paths[-1])
    return paths


def _rows(units: Sequence[Asked]) -> list[Row]:
    return [row for unit in units for row in unit.rows]


def _write(made: Made, folder: Path) -> list[Path]:
    """Write a table and its figures in all formats, and return the paths."""
    from esbench import disk
    from esbench.paper.tables import numbers
    from esbench.report.figures import FORMATS, save

    texts = {"md": made.table.markdown(), "tex": made.table.latex(), "csv": numbers(made.records).csv()}
    with disk.writing(folder, "Choose another --out."):
        folder.mkdir(parents=True, exist_ok=True)
        for kind, text in texts.items():
            disk.write(folder / f"{made.name}.{kind}", f"{text.rstrip()}\n".encode())
        drawn = [(figure, folder / f"{name}.{kind}") for name, figure in made.figures.items() for kind in FORMATS]
        return [folder / f"{made.name}.{kind}" for kind in texts] + [save(figure, path) for figure, path in drawn]
