"""Run and resume the benchmark."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esbench import params
from esbench.bench import config as configuration
from esbench.bench.config import Config
from esbench.bench.driver import duration
from esbench.bench.spec import unit_id
from esbench.cli.output import AUTO_FLOAT, AUTO_INT, json_option, print_json, say, say_titled
from esbench.cli.progress import display
from esbench.cli.results import failed_lines
from esbench.cli.watch import RUNS, port_option, watch_option, watched
from esbench.device import PRECISIONS
from esbench.errors import UsageError
from esbench.events import Event, RunStarted
from esbench.images import MAX_PIXELS

if TYPE_CHECKING:
    from esbench.bench.driver import Plan


@click.command("run")
@click.option("-c", "--criterion", multiple=True, help="A criterion, repeatable; 'all' for every one. [cifs-jpeg, wmv]")
@click.option("--baseline", multiple=True, help="A denoiser that needs no stopping, in the same table; repeatable.")
@click.option("-d", "--dataset", help="A dataset by name, or any folder or picture file. [samples]")
@click.option("--images", type=int, metavar="N", help="Only the first N pictures by name.")
@click.option("--image", multiple=True, metavar="NAME", help="Only this picture; repeatable.")
@click.option("--max-pixels", type=int, metavar="N", help=f"Refuse a larger picture of a folder. [{MAX_PIXELS}]")
@click.option("--crop", type=int, metavar="N", help="The centre of each picture, N x N.")
@click.option("--noise", help="The degradation. [gaussian]")
@click.option("--sigma", type=float, multiple=True, help="Noise level on the 0-255 scale; repeatable. [25]")
@click.option("--task", help="The inverse problem. [denoise]")
@click.option("--loss", help="The loss to minimise. [the task's default: mse]")
@click.option("--regulariser", help="A term added to the loss. [none]")
@click.option("--network", help="The network that parametrises the picture. [skip]")
@click.option("--input", help="The input of the network. [the loss's, task's or network's default: noise]")
@click.option("--input-scale", type=float, help="The upper bound of the uniform noise input. [0.1]")
@click.option(
    "--learning-rate", type=AUTO_FLOAT, help="Adam's learning rate. [auto: the loss's, task's or network's, 0.01]"
)
@click.option("--depth", type=AUTO_INT, help="Channels of the input. [auto: the network's default, 32]")
@click.option("--perturbation", type=AUTO_FLOAT, help="Noise added to the input at each step. [auto: 1/30]")
@click.option("--iterations", type=int, metavar="T", help="Steps of each optimisation. [20000]")
@click.option("--patience", type=int, metavar="S", help="Stop after this many steps without a lower value. [1000]")
@click.option("--seed", type=int, multiple=True, help="One optimisation per seed; repeatable. [0]")
@click.option("--device", help="auto, cpu, cuda or cuda:N. [auto]")
@click.option("--threads", type=int, metavar="N", help="CPU threads of each unit. [one per core, or a share]")
@click.option("--precision", type=click.Choice(PRECISIONS), help="Precision of the network. [auto]")
@click.option("--executor", help="Where units run. [auto]")
@click.option("--shard", metavar="I/N", help="Only the I-th of N parts of the units, for job arrays.")
@click.option("--budget", metavar="TIME", help="Stop cleanly after this long, as in 90s, 9m or 1h30m.")
@click.option("--retry-failed", is_flag=True, default=None, help="Retry what failed before.")
@click.option("--time-limit", type=float, metavar="SECONDS", help="Limit of one call of a plugin's criterion. [120]")
@click.option("--checkpoint-every", type=float, metavar="SECONDS", help="Time between checkpoints of a unit. [60]")
@click.option("--live", is_flag=True, default=None, help="End a unit as soon as all its criteria have stopped.")
@click.option("--out", type=click.Path(path_type=Path), metavar="RUN", help="The folder of the run.")
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Options from a TOML file.")
@click.option(
    "--preset",
    type=click.Choice(configuration.PRESETS),
    metavar="NAME",
    help="paper: as published; quick: a first look; dip-*: as in the notebooks of Deep Image Prior (Tab lists them).",
)
@watch_option
@port_option
@click.option("--dry-run", is_flag=True, help="Show the plan and the estimated time, and exit.")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Also show what auto resolved to, and plugins not in use.")
@click.pass_context
def run_command(
    ctx: click.Context,
    /,
    out: Path | None,
    file: Path | None,
    preset: str | None,
    watch: bool,
    port: int,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **flags: Any,
) -> None:
    """Compare criteria on the same optimisations.

    Run DIP once per unit (picture x noise level x seed) and measure all criteria on it. The same command on the same
    --out resumes the run: finished work is not repeated. Criteria, pictures, noise levels and seeds can be added later.
    """
    from esbench.bench import driver
    from esbench.cache import planning

    given = {key: value for key, value in flags.items() if value not in (None, ())}
    config = configuration.resolve(given, preset, file)
    folder = out if out is not None else RUNS / default_name(config)

    def tell(*lines: str) -> None:
        if not quiet:
            say(*lines, err=True)

    with planning(dry_run):
        planned = driver.plan(config, folder)
    if out is None:
        tell(f"run: {folder}")
    if preset is not None:
        tell(f"preset {preset}: {configuration.preset_summary(preset)}")
    for name, why in planned.left_out.items():
        tell(f"'all' leaves out {name}: {why}")
    for sentence in planned.beyond:
        tell(sentence)
    _warn_of_plugins(verbose)
    if dry_run:
        _show_plan(planned, config, as_json)
        return
    ctx.exit(_work(planned, config, folder, port if watch else None, as_json=as_json, quiet=quiet, verbose=verbose))


@click.command("resume")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--executor", help="Where units run. [as before]")
@click.option("--budget", metavar="TIME", help="Stop cleanly after this long, as in 90s, 9m or 1h30m.")
@click.option("--retry-failed", is_flag=True, default=None, help="Retry what failed before.")
@watch_option
@port_option
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Also show what auto resolved to.")
@click.pass_context
def resume_command(
    ctx: click.Context,
    /,
    run: Path,
    watch: bool,
    port: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **flags: Any,
) -> None:
    """Continue a run with its own configuration, including what was added later.

    This is the same as repeating `esbench run` with all of its options: finished work is not repeated.
    """
    from esbench.bench import driver
    from esbench.bench.store import Run

    given = {key: value for key, value in flags.items() if value is not None}
    config = Run(run).config()
    if "executor" not in given and "address" in params.split(config.executor)[1]:
        # the folder may come from someone else, and a scheduler can run any code in its clients
        raise UsageError(
            f"{str(run)!r} was run on a cluster, {config.executor!r}: repeat --executor to connect to it, or give "
            "--executor auto to run on this machine."
        )
    config = dataclasses.replace(config, **given)
    planned = driver.plan(config, run)
    ctx.exit(_work(planned, config, run, port if watch else None, as_json=as_json, quiet=quiet, verbose=verbose))


def _work(
    planned: Plan, config: Config, folder: Path, port: int | None, *, as_json: bool, quiet: bool, verbose: bool
) -> int:
    """Run the unfinished units of a plan, print the results, and return the exit code.

    Args:
        planned: the plan.
        config: the configuration.
        folder: the folder of the run.
        port: the port of its live page; None for no page.
        as_json: print the rows as JSON.
        quiet: print no progress.
        verbose: print details.
    """

    def tell(*lines: str) -> None:
        if not quiet:
            say(*lines, err=True)

    with contextlib.ExitStack() as page:

        def begun() -> None:
            if port is not None:
                page.enter_context(watched(folder, port))

        failed = run_left(config, folder, planned, quiet, verbose, begun)
        failed += _show(folder, planned, as_json, tell)
    return 1 if failed else 0


def run_left(
    config: Config,
    folder: Path,
    planned: Plan,
    quiet: bool,
    verbose: bool = False,
    begun: Callable[[], None] | None = None,
) -> int:
    """Run the unfinished units of a plan, show progress on stderr, and return how many units failed.

    Args:
        config: the configuration.
        folder: the folder of the run.
        planned: the plan.
        quiet: print no progress.
        verbose: print details.
        begun: called once the folder contains the run.
    """
    from esbench.bench import driver

    if not planned.left:
        return 0
    with display(quiet, verbose) as listen:

        def told(event: Event) -> None:
            if begun is not None and isinstance(event, RunStarted):
                begun()
            listen(event)

        return driver.run(config, folder, planned, told)


def default_name(config: Config) -> str:
    """Return the folder of a configuration; it does not depend on settings that may be extended later."""
    fixed = "".join(
        line for line in config.to_toml().splitlines(keepends=True) if line.split(" ")[0] not in configuration.FREE
    )
    return f"{Path(config.dataset).stem}-{hashlib.sha256(fixed.encode()).hexdigest()[:6]}"


def _warn_of_plugins(verbose: bool) -> None:
    from esbench.registry import registry

    for plugin in registry().host.plugins:
        if plugin.status == "broken" or (verbose and plugin.status != "ok"):
            say(
                f"Plugin {plugin.name!r} ({plugin.owner}) is {plugin.status}: {plugin.reason}. "
                "The other plugins are in use.",
                err=True,
            )


def _show_plan(planned: Plan, config: Config, as_json: bool) -> None:
    from esbench.bench import driver

    left = {unit_id(job.spec) for job in planned.left}
    seconds = driver.estimate(planned.left)
    if as_json:
        print_json(
            {
                "units": [{"unit": unit, "done": unit not in left} for unit in planned.units],
                "criteria": list(planned.criteria),
                "baselines": list(planned.baselines),
                "seconds": round(seconds),
            }
        )
        return
    for unit in planned.units:
        say(f"{unit}{'' if unit in left else '  (done)'}")
    units = f"{len(planned.units)} unit{'s' if len(planned.units) > 1 else ''}"
    say(
        f"{units}, {len(left)} left, {config.iterations} steps each, criteria "
        f"{', '.join(planned.criteria)}: about {duration(seconds)}, plus the time of the criteria."
    )


def _show(folder: Path, planned: Plan, as_json: bool, tell: Any) -> int:
    """Print the requested rows, and return how many units and columns failed that were not reported before."""
    from esbench.bench.results import Results
    from esbench.bench.summary import summary

    results = Results(folder)
    asked = (*planned.criteria, *planned.baselines)
    rows = results.table(units=planned.units, criteria=planned.criteria, baselines=planned.baselines)
    reported = {unit_id(job.spec) for job in planned.left}  # by the events of the run
    everything = results.failures(units=planned.units, criteria=asked)
    failures = [failure for failure in everything if failure[1] or failure[0] not in reported]
    once = [failure for failure in everything if failure not in failures]
    for line in [*failed_lines(failures, results), *failed_lines(once, results, repeated_only=True)]:
        say(line, err=True)
    if any(unit not in reported for unit, _, _ in failures):
        say("Units that failed before are skipped; retry them with --retry-failed.", err=True)
    if as_json:
        print_json(rows)
    else:
        for heading, table in summary(rows, everything):
            say_titled(heading, table)
        if rows:
            _draw(folder, results, rows, tell)
    run = shlex.quote(str(folder))
    if {*planned.units} - {*results.done()} - {unit for unit, criterion, _ in everything if not criterion}:
        tell(f"resume:   esbench resume {run}")
    tell(f"report:   esbench report {run}", f"watch:    esbench watch {run}")
    return len(failures)


def _draw(folder: Path, results: Any, rows: list[Any], tell: Any) -> None:
    """Draw the pictures and the curves of the first unit."""
    from esbench.bench.levels import of_kind
    from esbench.errors import DataError
    from esbench.report.figures import curves, save
    from esbench.report.sheet import contact_sheet

    mine = [row for row in rows if row["unit"] == rows[0]["unit"]]
    unit, report = results.run.unit(rows[0]["unit"]), folder / "report"
    try:
        report.mkdir(exist_ok=True)
        contact_sheet(unit, mine, report / "pictures.png")
        save(curves(unit, of_kind(mine, "criterion")), report / "curves.png")
    except (OSError, DataError) as error:  # the table is complete; a full disk costs only the pictures
        say(f"The pictures cannot be written: {error}", err=True)
        return
    tell("", f"pictures: {report / 'pictures.png'}", f"curves:   {report / 'curves.png'}")
