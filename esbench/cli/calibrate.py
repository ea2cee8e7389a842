"""The search for lam."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from esbench.cli.output import json_option, print_json, print_table


@click.command("calibrate")
@click.option("-c", "--criterion", multiple=True, default=["cifs-jpeg"], show_default=True, help="A CIFS; repeatable.")
@click.option("-d", "--dataset", default="bsd400", show_default=True, help="Clean pictures that nothing is tested on.")
@click.option("--images", type=int, default=20, show_default=True, metavar="N", help="The first N of them.")
@click.option("--crop", type=int, metavar="N", help="The centre of each picture, N x N.")
@click.option(
    "--sigma",
    type=float,
    multiple=True,
    default=[5, 15, 25, 50, 75],
    show_default=True,
    help="Noise level; repeatable.",
)
@click.option("--network", help="What parametrises the picture. [skip]")
@click.option("--iterations", type=int, metavar="T", help="Steps of each optimisation. [20000]")
@click.option("--patience", type=int, metavar="S", help="Steps that must not undercut a stop. [1000]")
@click.option("--device", help="auto, cpu, cuda or cuda:N. [auto]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="esbench-runs/calibration",
    show_default=True,
    help="The folder of the run.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the table as JSON, with its origin."
)
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def calibrate_command(
    criterion: tuple[str, ...], out: Path, output: Path | None, as_json: bool, quiet: bool, **flags: Any
) -> None:
    """Find lam for CIFS on clean pictures, by noise level.

    The optimisations are an ordinary run, which goes on where it was; the search over its traces takes seconds. What is
    found is mu = lam / (H W), which does not depend on the size of the pictures: it maximises the mean PSNR at the
    stop, by the same rule as in a benchmark.
    """
    from esbench.bench import calibrate, config, driver, stamp
    from esbench.bench.results import Results
    from esbench.cli.progress import display
    from esbench.registry import registry

    texts = {registry().get("criterion", calibrate.without_lam(text)).text: text for text in criterion}
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    settings = config.resolve(given | {"criterion": tuple(texts)})
    planned = driver.plan(settings, out)
    if planned.left:
        with display(quiet) as listen:
            driver.run(settings, out, planned, listen)

    results = Results(out)
    rows: list[dict[str, Any]] = []
    table: dict[str, dict[str, float]] = {}
    for measured in texts:
        # the key under which a criterion looks its mu up: codec and codec's parameters
        codec = measured.removeprefix("cifs-").replace("lam=0,", "").replace("[lam=0]", "")
        for sigma, found in sorted(calibrate.curves(results, planned.units, measured).items()):
            best = calibrate.search(found, settings.patience)
            table.setdefault(codec, {})[f"{sigma:g}"] = round(best.mu, 3)
            rows.append(
                {
                    "codec": codec,
                    "sigma": sigma,
                    "mu": round(best.mu, 3),
                    "within_0.1_db": [round(mu, 3) for mu in best.width],
                    "psnr_db": round(best.psnr_db, 3),
                    "gap_db": round(best.peak_db - best.psnr_db, 3),
                    "pictures": best.pictures,
                }
            )
    if output is not None:
        origin = {
            "command": stamp.command(),
            "esbench": stamp.stamp(),
            "run": json.loads(json.dumps(vars(settings))),
            "search": "mean PSNR at the stop of the windowed rule, mu on a grid of 1.05, averaged over four neighbours",
            "found": rows,
        }
        output.write_text(json.dumps({"origin": origin, "mu": table}, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json(rows)
        return
    head = ("codec", "sigma", "mu = lam / (H W)", "within 0.1 dB", "PSNR at stop (dB)", "gap to peak (dB)", "pictures")
    cells = [
        (
            r["codec"],
            r["sigma"],
            r["mu"],
            "{} to {}".format(*r["within_0.1_db"]),
            r["psnr_db"],
            r["gap_db"],
            r["pictures"],
        )
        for r in rows
    ]
    print_table(head, cells)
