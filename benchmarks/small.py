"""Table 1 of the CIFS paper at a size for small computers, with a frozen protocol: `python -m benchmarks.small run`.

Kodak24 and CBSD68, sigma 15, 25 and 50, the centre of 128 x 128 pixels, `skip[channels=64]`, 3000 steps in float32,
seed 0. Four of the eight passes are every second picture, 138 units; all eight are 92 pictures, 276 units. A unit takes
five to seven minutes of one core. Nothing was fitted on these pictures.

`run` makes the units that are not in `--results` yet, within `--minutes`, and records each as benchmarks/recordings.py
does; `--pass` takes some of the passes, so that several processes can work at the same time. Interrupted units go on
from their checkpoints under `--out`.

`table` prints the mean PSNR at the stops, its standard deviation and the gap of the means to that of the peaks, beside
those of the paper. benchmarks.which judges all criteria.

    python -m benchmarks.small run --minutes 120 --pass 4
    python -m benchmarks.small table
    python -m benchmarks.which --curves results/small --patience 500 --gap raw
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import recordings
from esbench.bench.grid import open_dataset
from esbench.bench.replay import stop_of
from esbench.paper.artefacts import TABLE1

RESULTS = Path("results/small")

DATASETS = ("kodak24", "cbsd68")
SIGMAS = ("15", "25", "50")

#: A pass has the pictures whose position by name, modulo 8, is this: first every second picture.
PASSES = (4, 0, 2, 6, 1, 3, 5, 7)

CRITERIA = (
    "cifs-jpeg[lam=0]",  # from which every lam follows
    "wmv",
    "wmv[pixels=4096]",
    "emv",
    "discrepancy",
    "discrepancy[on=output]",
    "csr-like",
    "brisque[every=5]",
    "loss",
)

PATIENCE = 500
PROTOCOL = (
    *("--crop", "128", "--network", "skip[channels=64]", "--iterations", "3000", "--patience", str(PATIENCE)),
    *("--precision", "float32"),
)


def wanting(dataset: str, which: int, results: Path) -> dict[str, list[str]]:
    """Return, for the pictures of a pass, the levels that are not recorded yet."""
    found = {}
    for name in open_dataset(dataset)[1].ids()[which :: len(PASSES)]:
        recorded = {sigma for sigma in SIGMAS if any(results.glob(f"{dataset}-{name}-denoise-gaussian{sigma}-*"))}
        if left := [sigma for sigma in SIGMAS if sigma not in recorded]:
            found[name] = left
    return found


def arguments(dataset: str, name: str, levels: list[str], out: Path, args: argparse.Namespace) -> list[str]:
    """Return the arguments of `esbench` for a picture at some levels."""
    if (out / "run.json").exists():
        return ["resume", str(out)]
    sigmas = [argument for sigma in levels for argument in ("--sigma", sigma)]
    criteria = [argument for text in CRITERIA for argument in ("-c", text)]
    how = ["--device", args.device, "--threads", str(args.threads), "--executor", "serial", "--out", str(out)]
    return ["run", "-d", dataset, "--image", name, *sigmas, *criteria, *PROTOCOL, *how]


def run(args: argparse.Namespace) -> None:
    end = time.monotonic() + 60 * args.minutes
    for which, dataset in itertools.product(args.passes, DATASETS):
        for name, levels in wanting(dataset, which, args.results).items():
            if (left := end - time.monotonic()) < 1:
                return
            out = args.out / f"{dataset}-{name}"
            words = [*arguments(dataset, name, levels, out, args), "--budget", f"{left:.0f}s"]
            code = subprocess.run([sys.executable, "-m", "esbench", *words]).returncode
            recordings.take(argparse.Namespace(run=out, results=args.results))
            if code not in (0, 1):
                sys.exit(code)


def table(args: argparse.Namespace) -> None:
    """Print the stops of the paper's criteria on what is recorded, in Markdown."""
    found = recordings.recordings(args.results)
    names = {"BRISQUE": "brisque[every=5]", "ES-WMV": "wmv", "CIFS": "cifs-jpeg"}
    print("| sigma | | " + " | ".join([*names, "No ES", "Peak"]) + " |\n" + "| --- " * (4 + len(names)) + "|")
    for sigma, units in found.items():
        columns: dict[str, list[float]] = {name: [] for name in [*names, "No ES", "Peak"]}
        for unit in units:
            psnr_db, values = unit.columns["psnr_db"], unit.values()
            for name, criterion in names.items():
                columns[name].append(psnr_db[stop_of(values[criterion], PATIENCE).step])
            columns["No ES"].append(psnr_db[-1])
            columns["Peak"].append(psnr_db.max())
        lines = {f"here, {len(units)} pictures": {k: (np.mean(v), np.std(v)) for k, v in columns.items()}}
        for dataset, name in (("cbsd68", "CBSD68"), ("kodak24", "Kodak24")):
            lines[f"paper, {name}"] = TABLE1[dataset, sigma]
        for label, row in lines.items():
            cells = [
                f"{row[k][0]:.2f} ± {row[k][1]:.2f} (-{row['Peak'][0] - row[k][0]:.2f})" for k in [*names, "No ES"]
            ]
            print(f"| {sigma:g} | {label} | {' | '.join(cells)} | {row['Peak'][0]:.2f} ± {row['Peak'][1]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--minutes", type=float, default=9, help="stop cleanly after this long [9]")
    parser.add_argument("--pass", dest="passes", type=int, choices=PASSES, nargs="+", default=PASSES, help="[all]")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=Path("esbench-runs/small"), help="of the runs [esbench-runs/small]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of a unit, on a CPU [1]")
    args = parser.parse_args()
    {"run": run, "table": table}[args.what](args)


if __name__ == "__main__":
    main()
