"""Write the report of a run."""

from __future__ import annotations

from pathlib import Path

import click

from esbench import disk
from esbench.cli.output import print_path


@click.command("report")
@click.argument("run", type=click.Path())
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder of the report. [RUN/report]")
def report_command(run: str, out: Path | None) -> None:
    """Write the report of a run: one HTML file that opens offline, figures and tables.

    The figures are SVG, PDF and PNG, the tables Markdown, LaTeX and CSV. The paths are printed, the page first. The
    report of an unfinished run covers the units done so far.
    """
    from esbench.bench.results import Results
    from esbench.report.files import report

    results, folder = Results(run), out if out is not None else Path(run) / "report"
    with disk.writing(folder, "Choose another --out."):
        folder.mkdir(parents=True, exist_ok=True)
        paths = report(results, folder)
    for path in paths:
        print_path(path)
