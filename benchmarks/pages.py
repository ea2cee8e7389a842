"""Add the leaderboard of `results/` to the documentation's site. A hook of MkDocs."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from esbench.cli import cli

ROWS = ("results/rows.csv", "results/bsd400.csv")


def on_files(files: Files, config: Any) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            cli.main(["leaderboard", *ROWS, "--out", folder, "--json"], standalone_mode=False)
        for path in Path(folder).iterdir():
            files.append(File.generated(config, f"leaderboard/{path.name}", content=path.read_bytes()))
    return files
