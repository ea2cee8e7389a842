"""Watch a run in the browser, and pause, resume or stop it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from esbench.bench.control import ACTIONS, Action, ask
from esbench.cli.output import say
from esbench.errors import Missing, UsageError, did_you_mean

if TYPE_CHECKING:
    from esbench.live.server import Server
    from esbench.live.source import Source

#: Where runs without --out are stored.
RUNS = Path("esbench-runs")

port_option = click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="The port of the page. [a free one]"
)
watch_option = click.option("--watch", is_flag=True, help="Show the progress in the browser; the address is printed.")


@click.command("watch")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@port_option
def watch_command(run: Path | None, port: int) -> None:
    """Show a run in the browser while it is running: pictures, curves, stops, all units.

    The address is printed; the page is served to this machine only. It reads the files of the run, so it can be opened
    and closed at any time. Without RUN, it is the newest run under esbench-runs/. Ctrl-C ends the page, not the run.
    """
    from esbench.live.server import Server
    from esbench.live.source import WatchedRun

    folder = run if run is not None else newest()
    with Server(lambda query: WatchedRun(folder, query), port) as server:
        announce(server)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


@click.command("ctl")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("action", type=click.Choice(ACTIONS))
@click.argument("unit", required=False)
def ctl_command(run: Path, action: Action, unit: str | None) -> None:
    """Pause, resume or stop a run, or one of its units.

    A paused unit keeps its memory and waits for resume. A stopped unit is left at a checkpoint; the same command, or
    esbench resume, continues it later. UNIT is an id, or a part of an id that no other unit has.
    """
    from esbench import disk
    from esbench.bench.store import Run

    store = Run(run)
    store.config()  # raises if there is no run
    ids = [each.id for each in store.units()]
    found = [id for id in ids if unit is not None and (unit == id or unit in id)]
    found = [unit] if unit in found else found
    if unit is not None and len(found) != 1:
        hint = f"it is in {len(found)} ids" if found else did_you_mean(unit, ids) or "'esbench status' lists them"
        raise UsageError(f"No unit {unit!r} in {str(run)!r}: {hint.rstrip('.')}.")
    if not store.busy():
        raise UsageError(f"No process is running {str(run)!r}; 'esbench resume {run}' continues it.")
    with disk.writing(run):
        ask(run, action, found[0] if found else "")
    say(f"{found[0] if found else run}: {action}")


def newest() -> Path:
    """Return the newest run without --out.

    Raises:
        Missing: there is none.
    """
    runs = [path for path in RUNS.glob("*") if (path / "run.toml").is_file()]
    if not runs:
        raise Missing(f"There is no run under {str(RUNS)!r}: name the folder of one.")
    return max(runs, key=lambda path: (path / "run.json").stat().st_mtime if (path / "run.json").exists() else 0.0)


def announce(server: Server) -> None:
    """Print the address of the page."""
    say(f"watching at {server.url}", err=True)


@contextlib.contextmanager
def watched(source: Source | Path, port: int) -> Iterator[None]:
    """Serve the live page of the work in a `with` block."""
    from esbench.live.server import Server
    from esbench.live.source import WatchedRun

    with Server(lambda query: WatchedRun(source, query) if isinstance(source, Path) else source, port) as server:
        announce(server)
        yield
