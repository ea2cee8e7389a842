"""lam of a CIFS criterion, found on clean pictures: the paper's search, on the traces of an ordinary run.

The optimisations are a run of the criterion with lam=0, whose traces hold the loss L and the size of each output. For
any mu = lam / (H W) they give E = mu H W * loss + R again, so that all of them are tried without another optimisation.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esbench import params
from esbench.bench.results import Results
from esbench.rule import first_stop

#: The values of mu that are tried: a twentieth apart.
GRID = tuple(float(mu) for mu in 1.05 ** np.arange(0, 220))

#: How many neighbours on each side a value of mu is judged together with: those within a factor of about 1.2.
MARGIN = 4


@dataclass(frozen=True)
class Curve:
    """One optimisation as the search sees it."""

    pixels: int
    loss: Any
    size: Any
    psnr_db: Any

    def stopped_db(self, mu: float, patience: int) -> float:
        """Return the PSNR of the output at the stop of CIFS with lam = mu H W."""
        e = mu * self.pixels * self.loss + self.size**2 / self.pixels
        return float(self.psnr_db[first_stop(e.tolist(), patience).step])


@dataclass(frozen=True)
class Best:
    """What a search found at one noise level.

    Attributes:
        mu: the best lam / (H W), with a margin: the middle of those that are best.
        psnr_db: the mean PSNR that it stops at.
        peak_db: the mean of the peaks.
        width: the range of mu that loses less than 0.1 dB of it.
        pictures: how many there were.
    """

    mu: float
    psnr_db: float
    peak_db: float
    width: tuple[float, float]
    pictures: int


def search(curves: Sequence[Curve], patience: int) -> Best:
    """Return the mu with the highest mean PSNR at the stop, by the same rule as in a benchmark.

    A little above the best mu the curve never turns up and the rule runs to the last step. The mu will be used on
    pictures that it was not found on, so each is judged by the mean over its neighbours, and keeps away from that edge.
    """
    means = [statistics.mean(c.stopped_db(mu, patience) for c in curves) for mu in GRID]
    with_margin = [statistics.mean(means[max(0, i - MARGIN) : i + MARGIN + 1]) for i in range(len(GRID))]
    # sums of the same numbers in another order differ in the last digit
    best = [i for i, mean in enumerate(with_margin) if mean > max(with_margin) - 1e-9]
    chosen = best[len(best) // 2]
    wide = [mu for mu, mean in zip(GRID, means, strict=True) if mean >= max(means) - 0.1]
    peak = statistics.mean(float(c.psnr_db.max()) for c in curves)
    return Best(GRID[chosen], means[chosen], peak, (wide[0], wide[-1]), len(curves))


def curves(results: Results, units: Iterable[str], criterion: str) -> dict[float, list[Curve]]:
    """Return optimisations of a run by noise level; they must have measured the criterion, with any lam."""
    found: dict[float, list[Curve]] = {}
    for unit in map(results.run.unit, units):
        result = unit.result()
        if result is None or not result["complete"] or criterion not in result["criteria"]:
            continue
        spec, trace = unit.spec(), unit.trace(["loss", "psnr_db"])
        size = unit.criterion(criterion, ["bytes"])[0]["bytes"]
        found.setdefault(spec.sigma or 0.0, []).append(Curve(_pixels(unit), trace["loss"], size, trace["psnr_db"]))
    return found


def without_lam(text: str) -> str:
    """Return a CIFS criterion as it is measured for a search: `cifs-jpeg[quality=90]` with lam=0."""
    name, given = params.split(text)
    options = {key: value for key, value in given.items() if key not in ("lam", "every", "on")} | {"lam": "0"}
    return f"{name}[{','.join(f'{key}={value}' for key, value in options.items())}]"


def _pixels(unit: Any) -> int:
    from PIL import Image

    with Image.open(unit.image_path("clean")) as picture:
        return picture.width * picture.height
