"""Whole curves of optimisations as small files: what a study of criteria and of lambda is made from.

    python -m benchmarks.recordings take RUN [--results results/recordings]
    python -m benchmarks.recordings study [--results results/recordings] [--patience 500]

`take` writes a file for each finished unit of a run: the loss, the PSNR of outputs and averages, and the columns of
every criterion at every step, with six digits. The run that is in results/recordings was made with

    esbench run -d bsd400 --image ... --crop 128 --network 'skip[channels=64]' --iterations 3000 --patience 500 \
        --sigma 25 -c 'cifs-jpeg[lam=0]' -c wmv -c emv -c discrepancy -c loss

on 16 pictures, every 25th of bsd400 from the 7th by name. `study` prints where CIFS stops for each mu = lam / (H W):
the range of mu that stops within 0.35 dB of the peak, the mu above which it never stops, and the bytes per pixel of the
noisy picture, which are known without the clean one.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np

from esbench.bench.results import Results
from esbench.disk import write
from esbench.paper.calibrate import Curve, windowed

#: How far from the peak a stop still counts as near it, in dB.
NEAR = 0.35


def take(args: argparse.Namespace) -> None:
    results = Results(args.run)
    args.results.mkdir(parents=True, exist_ok=True)
    for unit in results.run.units():
        result = unit.result()
        if result is None or not result["complete"]:
            continue
        trace = unit.trace(["loss", "psnr_db", "average_psnr_db"])
        columns = dict(trace)
        for text, entry in result["criteria"].items():
            # the value of `loss` is a column already, and that of cifs[lam=0] follows from its bytes
            known = {"loss": ("value",), "cifs-jpeg[lam=0]": ("value",)}.get(text, ())
            if not entry["failed"]:
                table, _ = unit.criterion(text)
                columns |= {f"{text}:{name}": table[name] for name in table if name not in ("step", "ms", *known)}
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{value:.6g}" for value in row] for row in zip(*columns.values(), strict=True))
        spec = json.dumps(vars(unit.spec()), sort_keys=True)
        data = f"# {spec}\n{text.getvalue()}".encode()
        write(args.results / f"{unit.id}.csv.gz", gzip.compress(data, mtime=0))  # the same numbers are the same file
        print(unit.id)


def read(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the spec of a recorded unit and its columns."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        spec = json.loads(file.readline().removeprefix("# "))
        head, *rows = csv.reader(file)
    return spec, dict(zip(head, np.array(rows, float).T, strict=True))


def study(args: argparse.Namespace) -> None:
    print("| picture | sigma | peak | at | mu within 0.35 dB | never from mu | bytes a pixel at the peak, last |")
    print("|---|---|---|---|---|---|---|")
    for path in sorted(args.results.glob("*.csv.gz"), key=lambda p: (read(p)[0]["sigma"], p.name)):
        spec, columns = read(path)
        size = columns["cifs-jpeg[lam=0]:bytes"] / spec["crop"] ** 2
        psnr = columns["psnr_db"]
        stops = windowed(Curve(columns["loss"], size**2, psnr), args.patience)
        edges = np.concatenate([[0.0], stops.edges, [np.inf]])
        near = psnr[stops.values] >= psnr.max() - NEAR
        low = edges[:-1][near].min() if near.any() else np.nan
        high = edges[1:][near].max() if near.any() else np.nan
        never = edges[:-1][stops.values == len(psnr) - 1]
        peak = int(psnr.argmax())
        print(
            f"| {spec['image']} | {spec['sigma']:g} | {psnr.max():.2f} | {peak} | {low:.1f} to {high:.1f} "
            f"| {never.min() if len(never) else np.inf:.1f} | {size[peak]:.3f}, {size[-1]:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("take", take), ("study", study)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--results", type=Path, default=Path("results/recordings"))
        if name == "take":
            command.add_argument("run", type=Path)
        else:
            command.add_argument("--patience", type=int, default=500)
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
