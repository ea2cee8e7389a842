"""Rank criteria over many runs and users."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from esbench import disk
from esbench.cli.output import json_option, print_json, say, say_titled
from esbench.errors import UsageError


@click.command("leaderboard")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--out", type=click.Path(path_type=Path), default="leaderboard", show_default=True, metavar="DIR",
    help="The folder of the page and its rows.",
)  # fmt: skip
@json_option
def leaderboard_command(sources: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Rank criteria by their gap, over the results of many runs and users, as a static page.

    RUN is the folder of a run, or a file of 'esbench export' (.csv, .json or .parquet), which is small enough to share.
    Rows are checked: only rows of the same protocol and versions are compared, and the id of each unit must match its
    settings. The page is one HTML file; the rows behind it are written beside it.
    """
    from esbench.bench.exported import read
    from esbench.bench.levels import of_kind
    from esbench.bench.results import Results
    from esbench.bench.standings import boards, gathered, table
    from esbench.report.leaderboard import leaderboard, selections

    tables = ((str(path), Results(path).table() if path.is_dir() else read(path)) for path in sources)
    given = [(name, of_kind(rows, "criterion")) for name, rows in tables]
    rows, said = gathered(given)
    if not rows:
        raise UsageError(
            f"Nothing can be ranked: no row of {', '.join(name for name, _ in given)} has a gap. A gap needs a unit "
            "that is done and was not ended early (--live)."
        )
    found, more = boards(rows)
    said += more
    for line in said:
        say(line, err=True)
    chosen = [(board, selections(board)) for board in found]
    with disk.writing(out, "Choose another --out."):
        out.mkdir(parents=True, exist_ok=True)
        page, _ = leaderboard(chosen, rows, [(name, len(mine)) for name, mine in given], said, out)
    if as_json:
        print_json(
            [
                {"board": board.title, "dataset": dataset, "noise": noise} | dataclasses.asdict(entry)
                for board, parts in chosen
                for dataset, noise, entries in parts
                for entry in entries
            ]
        )
        return
    for board, ((_, _, entries), *_) in chosen:
        say_titled(board.title, table(entries))
    say("", f"page: {page}", err=True)
