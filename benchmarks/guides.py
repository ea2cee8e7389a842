"""The pictures of the guides: `python -m benchmarks.guides [GUIDE...]`, all of them in some minutes on a CPU.

Each is one SVG in docs/images with its text as text; light or dark follows the page that shows it. The curves are those
of results/recordings, and of optimisations of the photograph in `samples` and of pictures of scikit-image, all in the
public domain or CC0, in crops of 64 or 96 pixels.
"""

from __future__ import annotations

import argparse
import base64
import io
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import esbench
from benchmarks.recordings import Recording
from benchmarks.showcase import SIDE, crop
from benchmarks.which import RECORDINGS, recorded
from esbench import images
from esbench.bench.build import scene
from esbench.bench.grid import open_dataset
from esbench.bench.store import Run
from esbench.builtin.degradations import additive, blind
from esbench.cli import cli
from esbench.looks import COLOURS, look
from esbench.metrics import psnr
from esbench.noise import estimate
from esbench.pictures import Bytes
from esbench.registry import own_network
from esbench.report.figures import element, psnr_range
from esbench.restoration.options import NETWORK, PATIENCE
from esbench.stopping.rule import first_stop

ROOT = Path(__file__).parents[1]

#: What makes an `<svg>` element a file: its size, a font, and the colours of a page, of which an image is told.
FILE = '<svg xmlns="http://www.w3.org/2000/svg" width="{:.0f}" height="{:.0f}" font-family="sans-serif" '
STYLE = "<style>svg{color:#24292f}@media(prefers-color-scheme:dark){svg{color:#dfe3e8}}</style>"

#: Pixels on the page for a pixel of a picture, and those between pictures and for a line of text.
SCALE, GAP, LINE = 2, 12, 17

#: Losses with their networks.
LOSSES = {"mse": "skip[channels=64]", "sure": "skip[channels=64]", "df-ste": "s2s"}

#: Pictures with their tasks, noise levels and steps.
RESTORED = (
    ("coffee", "inpaint[keep=false]", 10, 2500),
    ("cat", "superres[factor=2]", 10, 2500),
    ("hopper", "flash", 30, 600),
)

#: The patience in the figure of criteria. At 100 some of them stop at false minima at the start.
CHOSEN_AT = 300

#: The recording that explains how a unit is scored.
SCORED = "bsd400-10081-denoise-gaussian25-skip-s0-638862e5"


def file(svg: str, width: float, height: float) -> str:
    """Return an `<svg>` element as a file of a size in pixels."""
    head, _, rest = svg.removeprefix("<svg ").partition(">")
    return f"{FILE.format(width, height)}{head}>{STYLE}{rest}"


def drawn(figure: Figure, name: str, label: str) -> str:
    """Return a figure as a file; what is black in it has the colour of the page's text."""
    width, height = figure.get_size_inches() * 96
    return file(str(element(figure, name, label)), width, height)


def sheet(rows: Sequence[Sequence[tuple[str, str, Bytes]]], label: str) -> str:
    """Return pictures in rows, each with a title and a note under it, as a file."""
    side = SCALE * SIDE
    wide, high = side + GAP, side + 2 * LINE + GAP
    width, height = max(map(len, rows)) * wide - GAP, len(rows) * high - GAP
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" fill="currentColor">']
    for i, row in enumerate(rows):
        for j, (title, note, picture) in enumerate(row):
            x, y, data = j * wide, i * high, io.BytesIO()
            Image.fromarray(picture).save(data, "WEBP", quality=90, method=6)
            url = f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
            style = 'style="image-rendering:pixelated"'
            parts.append(f'<image x="{x}" y="{y}" width="{side}" height="{side}" {style} href="{url}"/>')
            parts.append(f'<text x="{x}" y="{y + side + LINE - 3}" font-size="13">{escape(title)}</text>')
            parts.append(
                f'<text x="{x}" y="{y + side + 2 * LINE - 4}" font-size="11.5" opacity=".85">{escape(note)}</text>'
            )
    return file("".join([*parts, "</svg>"]), width, height)


def figure(width: float = 6.6, height: float = 3.0, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """Return a figure and its axes, without the lines at the top and right."""
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(rows, columns, sharey=True)
    for each in np.atleast_1d(axes).flat:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(color="0.5", alpha=0.25, lw=0.6, axis="y")
    return made, axes


def hopper() -> Bytes:
    """Return the picture of `samples`."""
    dataset = open_dataset("samples")[1]
    return dataset.load(dataset.ids()[0])


def noisy(clean: Bytes, sigma: float = 25.0) -> Bytes:
    """Return a picture with Gaussian noise, in 8 bits."""
    seen = additive.gaussian(images.unit(clean), np.random.default_rng(0), sigma=sigma)
    return np.rint(255 * seen).astype(np.uint8)


def db(picture: Bytes, clean: Bytes) -> str:
    return f"{psnr(images.unit(picture), images.unit(clean)):.2f} dB"


def removed(before: Bytes, after: Bytes, times: int) -> Bytes:
    """Return what a restoration removed, amplified, around grey."""
    return (128 + times * (before.astype(int) - after)).clip(0, 255).astype(np.uint8)


def benchmark() -> str:
    """How a unit is scored: the PSNR over the steps with the peak, a stop, its gap, and the last step."""
    columns = Recording(RECORDINGS / f"{SCORED}.csv.gz")
    psnr_db, stop = columns.columns["psnr_db"], first_stop(columns.values()["wmv"], PATIENCE)
    peak, last, colour = int(psnr_db.argmax()), len(psnr_db) - 1, look("wmv").colour
    gap = psnr_db[peak] - psnr_db[stop.step]
    made, axes = figure()
    axes.plot(psnr_db, color="black", lw=1)
    axes.axhline(psnr_db[peak], color="0.5", lw=0.8, ls=":")
    axes.axvline(stop.step, color=colour, lw=1.2, ls="--")
    axes.plot(stop.step, psnr_db[stop.step], "o", color=colour)
    axes.plot([peak, last], psnr_db[[peak, last]], "ko")
    text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 10}
    axes.annotate(f"peak, step {peak}: {psnr_db[peak]:.2f} dB", (peak, psnr_db[peak]), (4, 8), **text)
    axes.annotate(f"last step: {psnr_db[last]:.2f} dB", (last, psnr_db[last]), (-2, -18), ha="right", **text)
    axes.annotate(
        f"stop of wmv, step {stop.step}: {psnr_db[stop.step]:.2f} dB,\ngap to the peak {gap:.2f} dB",
        (stop.step, psnr_db[stop.step]),
        (9, -112),
        color=colour,
        **text,
    )
    low, high = psnr_range(psnr_db)
    axes.set(xlim=(0, last), ylim=(low, high + 0.8), xlabel="step", ylabel="PSNR of the output (dB)")
    return drawn(
        made, "benchmark", "PSNR over the steps: it rises to its peak and falls; a stop, its gap, the last step"
    )


def results() -> str:
    """`Results.plot()` of a run of four pictures."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for name, clean in pieces().items():
            Image.fromarray(clean).save(pictures / f"{name}.png")
        options = "--network skip[channels=32] --iterations 900 --patience 150 --sigma 25 --device cpu -q --json"
        criteria = "-c cifs-jpeg -c wmv -c emv -c discrepancy -c loss"
        run(f"-d {pictures} --crop 64 {criteria} {options} --out {folder}/RUN")
        made, axes = figure(6.6, 2.6)
        esbench.Results(f"{folder}/RUN").plot(axes)
        return drawn(made, "results", "The gap of each criterion: a dot for each unit, the mean, and its interval")


def pieces() -> dict[str, Bytes]:
    """Return crops of SIDE x SIDE by name."""
    from skimage import data

    return {
        "astronaut": crop(data.astronaut(), 0, 65, 2),
        "cat": crop(data.chelsea(), 20, 75, 2),
        "coffee": crop(data.coffee(), 60, 90, 2),
        "hopper": hopper(),
    }


def run(options: str) -> None:
    """Call `esbench run`."""
    cli.main(["run", *options.split()], standalone_mode=False)


def networks() -> str:
    """One noisy picture as the networks restore it."""
    clean = hopper()
    seen = noisy(clean)
    tiles = [("noisy, sigma 25", db(seen, clean), seen)]
    for network in ("skip[channels=64]", "decoder", "s2s", "unet"):
        found = esbench.denoise(seen, network=network, device="cpu")
        step = found.stop_step if found.optimised[0].stopped else f"{found.steps_run}, not stopped"
        tiles.append((network, f"{db(found.image, clean)}, step {step}", found.image))
    return sheet([tiles[:3], tiles[3:]], "One noisy picture, and what each network makes of it")


def losses() -> str:
    """The PSNR over the steps of three losses."""
    made, (left, right) = figure(columns=2)
    with tempfile.TemporaryDirectory() as folder:
        for i, (loss, network) in enumerate(LOSSES.items()):
            chosen = f"--loss {loss} --network {network} -c loss"
            run(f"--crop 64 --sigma 25 {chosen} --iterations 800 --device cpu -q --json --out {folder}/{loss}")
            (unit,) = Run(f"{folder}/{loss}").units()
            trace = unit.trace(["psnr_db", "average_psnr_db"])
            for axes, name in ((left, "psnr_db"), (right, "average_psnr_db")):
                axes.plot(trace[name], color=COLOURS[i], lw=1.1, label=loss)
    left.set(ylabel="PSNR (dB)", xlabel="step", title="output", xlim=(0, 800), ylim=(18, None))
    right.set(xlabel="step", title="average", xlim=(0, 800))
    right.legend(frameon=False)
    return drawn(made, "losses", "PSNR over the steps: sure is highest, mse rises slowly, outputs of df-ste collapse")


def noise() -> str:
    """Kinds of noise, and what is estimated from each picture alone."""
    clean, tiles = images.unit(hopper()), []
    for degrade, level in (
        (additive.gaussian, {"sigma": 25.0}),
        (blind.poisson, {"rate": 25.0}),
        (blind.speckle, {"deviation": 0.3}),
        (blind.impulse, {"share": 0.1}),
    ):
        seen = degrade(clean, np.random.default_rng(0), **level)
        found, truth = estimate(seen), float(np.mean((seen - clean) ** 2))
        note = f"found: {found.kind}, {found.variance / truth:.2f} of the variance"
        ((name, value),) = level.items()
        tiles.append((f"{degrade.__name__}[{name}={value:g}]", note, np.rint(255 * seen).astype(np.uint8)))
    return sheet([tiles], "A photograph with four kinds of noise, and the estimate from each picture")


def compressed(clean: Bytes) -> tuple[Bytes, esbench.Restored]:
    """Return a picture as a JPEG of quality 10, and the same restored."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.jpg"
        Image.fromarray(clean).save(path, quality=10, subsampling="4:2:0")
        return images.read(path), esbench.restore(path, task="jpeg", device="cpu")


def jpeg() -> str:
    """A JPEG, what becomes of it, and the clean picture."""
    clean = pieces()["astronaut"]
    before, found = compressed(clean)
    after = found.image
    return sheet(
        [
            [
                ("JPEG, quality 10", db(before, clean), before),
                (f"restored, step {found.stop_step}", db(after, clean), after),
                ("clean", "which it never saw", clean),
            ]
        ],
        "A JPEG of quality 10, the same restored, and the clean picture",
    )


def jpeg_colours() -> str:
    """How often each value of Cb and Cr occurs: in the clean picture, in its JPEG, and restored."""
    clean = pieces()["coffee"]
    before, found = compressed(clean)
    made, panels = figure(6.6, 2.4, columns=2)
    for axes, channel, name in zip(panels, (1, 2), ("Cb", "Cr"), strict=True):
        for picture, label, style in (
            (clean, "clean", {"color": "black", "lw": 1.6}),
            (before, "JPEG, quality 10", {"color": COLOURS[1], "lw": 1.0}),
            (found.image, "restored", {"color": COLOURS[0], "lw": 1.6}),
        ):
            values = np.asarray(Image.fromarray(picture).convert("YCbCr"))[..., channel]
            counts, edges = np.histogram(values, bins=np.arange(0, 257, 2))
            axes.step(edges[:-1], 100 * counts / values.size, where="post", label=label, **style)
        seen = np.asarray(Image.fromarray(clean).convert("YCbCr"))[..., channel]
        axes.set(title=name, xlabel="value", xlim=(seen.min() - 4, seen.max() + 4))
    panels[0].set(ylabel="share of the pixels (%)")
    panels[1].legend(frameon=False)
    label = "Histograms of Cb and Cr: that of the JPEG has spikes, the restored one is like that of the clean picture"
    return drawn(made, "jpeg-colours", label)


def denoise() -> str:
    """A noisy picture, what `denoise` makes of it, and what it removed."""
    clean = pieces()["cat"]
    before = noisy(clean)
    found = esbench.denoise(before, device="cpu")
    return sheet(
        [
            [
                ("noisy, sigma 25", db(before, clean), before),
                (f"denoised, step {found.stop_step}", db(found.image, clean), found.image),
                ("removed, three times", "noise, and hardly an edge", removed(before, found.image, 3)),
            ]
        ],
        "A noisy photograph of a cat, the same denoised, and the noise that was removed",
    )


def restore() -> str:
    """Three tasks with noise: the observation, the result, the best output of an optimisation, and its last one."""
    rows = []
    for name, task, sigma, steps in RESTORED:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            Image.fromarray(pieces()[name]).save(path)
            network = own_network(task, None) or NETWORK
            options = f"--task {task} --noise gaussian --sigma {sigma} --network {network} --iterations {steps}"
            run(f"-d {path} {options} -c last --device cpu -q --json --out {folder}/RUN")
            (unit,) = Run(f"{folder}/RUN").units()
            found, at = scene(unit.spec(), str(path)), (unit.result() or {})["peak_step"]
            best, last = (np.asarray(Image.open(unit.path / f"images/{which}.png")) for which in ("peak", "last"))
        seen, mask = found.observation, {} if found.observation.known is None else {"mask": ~found.observation.known}
        guide = {"guide": seen.extra["guide"]} if "guide" in seen.extra else {}
        given = np.rint(255 * seen.y).astype(np.uint8)
        result = esbench.restore(given, task, sigma=sigma, device="cpu", **mask, **guide)
        clean = pieces()[name]
        shown = np.asarray(Image.fromarray(given).resize((SIDE, SIDE), Image.Resampling.NEAREST))
        rows.append(
            [
                (f"{task.partition('[')[0]}, sigma {sigma}", db(shown, clean), shown),
                (f"restored, step {result.stop_step}", db(result.image, clean), result.image),
                (f"best output, step {at}", db(best, clean), best),
                (f"output of step {steps - 1}", db(last, clean), last),
            ]
        )
    return sheet(rows, "Each task: the observation, the result of restore, the best output, and one that learned noise")


def which_criterion() -> str:
    """The gap of each criterion to both peaks: a dot for each recorded optimisation, and the mean."""
    found = [Recording(path) for path in sorted(RECORDINGS.glob("*-denoise-gaussian*.csv.gz"))]
    rows = [
        row for row in recorded(found, CHOSEN_AT) if row["criterion"] not in ("loss", "discrepancy[variance=sigma]")
    ]
    by = {name: [row for row in rows if row["criterion"] == name] for name in {row["criterion"] for row in rows}}
    order = sorted(by, key=lambda name: -np.mean([row["average_gap_db"] for row in by[name]]))
    made, panels = figure(6.6, 2.3, columns=2)
    for axes, gap, title in zip(
        panels, ("average_gap_db", "gap_db"), ("averaged output", "output itself"), strict=True
    ):
        axes.grid(visible=False)
        axes.grid(color="0.5", alpha=0.25, lw=0.6, axis="x")
        for y, name in enumerate(order):
            (colour, mark), gaps = look(name), [row[gap] for row in by[name]]
            aside = 0.4 * (np.arange(len(gaps)) * 0.618 % 1 - 0.5)
            axes.plot(gaps, y + aside, "o", ms=4, alpha=0.7, mew=0, color=colour, clip_on=False)
            axes.plot(np.mean(gaps), y, mark, ms=9, mfc="none", mew=1.8, color=colour, clip_on=False)
        axes.set_title(title, fontsize=11)
        axes.set(xlim=(0, None), ylim=(-0.6, len(order) - 0.4), xlabel="gap to its peak (dB)")
    panels[0].set_yticks(range(len(order)), order)
    label = "Gaps in dB: discrepancy loses next to nothing of the averaged output, cifs-jpeg least of the output itself"
    return drawn(made, "which", label)


def clusters() -> str:
    """One folder, who writes into it and who reads it."""
    boxes = [
        (0, 10, 200, "one machine", "--executor dask[workers=2]"),
        (0, 80, 200, "a job array", "--shard 1/8 … 8/8"),
        (0, 150, 200, "a Dask cluster", "--executor dask[address=…]"),
        (270, 80, 130, "RUN", "a folder, a unit each"),
        (470, 10, 160, "esbench status RUN", "done, running, failed"),
        (470, 80, 160, "esbench watch RUN", "the live page"),
        (470, 150, 160, "esbench report RUN", "tables, figures, a page"),
    ]
    parts = [
        '<svg viewBox="-1 0 634 212" role="img" aria-label="Three ways to write one run folder, and what reads it"'
    ]
    parts.append(' fill="none" stroke="currentColor"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" ')
    parts.append('markerWidth="7" markerHeight="7" orient="auto"><path d="M1 1 7 4 1 7"/></marker></defs>')
    for x, y, width, title, note in boxes:
        stroke = ' stroke="#01989E" stroke-width="2"' if title == "RUN" else ""
        parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="50" rx="6"{stroke}/>')
        parts.append(
            f'<g fill="currentColor" stroke="none" text-anchor="middle"><text x="{x + width / 2}" y="{y + 21}" '
        )
        parts.append(f'font-size="14">{title}</text><text x="{x + width / 2}" y="{y + 39}" font-size="12" ')
        parts.append(f'opacity=".8">{note}</text></g>')
    for y in (35, 105, 175):
        parts.append(f'<path d="M200 {y}C235 {y} 235 105 268 105" marker-end="url(#tip)"/>')
        parts.append(f'<path d="M400 105C435 105 435 {y} 468 {y}" marker-end="url(#tip)"/>')
    return file("".join([*parts, "</svg>"]), 634, 212)


MADE = (which_criterion, benchmark, clusters, noise, denoise, restore, jpeg, jpeg_colours, losses, networks, results)
GUIDES: dict[str, Callable[[], str]] = {made.__name__.replace("_", "-"): made for made in MADE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("guides", nargs="*", metavar="GUIDE", help=f"{', '.join(GUIDES)} [all]")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    args = parser.parse_args()
    for name in args.guides or GUIDES:
        path = args.out / f"{name}.svg"
        path.write_text(GUIDES[name](), encoding="utf-8")
        print(path, path.stat().st_size, flush=True)


if __name__ == "__main__":
    main()
