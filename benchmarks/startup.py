"""Time the start of the command line with many plugins installed: `python -m benchmarks.startup`."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import esbench": ["-c", "import esbench"],
    "esbench --help": ["-m", "esbench", "--help"],
    "esbench list-criteria": ["-m", "esbench", "list-criteria"],
    "esbench list-criteria --json": ["-m", "esbench", "list-criteria", "--json"],
    "esbench plugins": ["-m", "esbench", "plugins"],
}

MODULE = """
from esbench import CriterionInfo, hookimpl

@hookimpl
def esbench_criteria():
    return [CriterionInfo(name="bench{i}", summary="a criterion", target="bench_plugin_{i}:value")]

def value(frame, *, strength: float = 1.0) -> float:
    return strength * float(frame.float.mean())
"""


def install(folder: Path, n: int) -> None:
    """Write n distributions with one criterion each; adding the folder to the path installs them."""
    for i in range(n):
        (folder / f"bench_plugin_{i}.py").write_text(MODULE.replace("{i}", str(i)))
        info = folder / f"bench_plugin_{i}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bench-plugin-{i}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[esbench]\nbench{i} = bench_plugin_{i}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugins", type=int, default=20)
    parser.add_argument("--runs", type=int, default=11)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), arguments.plugins)
        environ = os.environ | {"PYTHONPATH": folder}
        print(f"{arguments.plugins} plugins, {arguments.runs} runs each, seconds")
        print(f"{'command':32} {'median':>7} {'min':>7} {'max':>7}")
        for name, command in COMMANDS.items():
            seconds = []
            for _ in range(arguments.runs + 1):
                started = time.perf_counter()
                subprocess.run([sys.executable, *command], env=environ, check=True, stdout=subprocess.DEVNULL)
                seconds.append(time.perf_counter() - started)
            seconds = seconds[1:]  # the first run writes the bytecode
            print(f"{name:32} {statistics.median(seconds):7.3f} {min(seconds):7.3f} {max(seconds):7.3f}")


if __name__ == "__main__":
    main()
