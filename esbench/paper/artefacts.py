"""The tables and figures of the CIFS paper: the runs that they need, and the paper's numbers.

Takagi, Ishizaki and Maeda, "JPEG information regularized deep image prior for denoising", ICIP 2023 (arXiv 2310.00894).
Table 1 is printed in the paper. The numbers of the figures were measured on their pixels: where the same number is in
table 1, the two differ by 0.02 dB at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from esbench.bench import build, grid
from esbench.bench import config as configuration
from esbench.bench.config import Config
from esbench.errors import UsageError
from esbench.pictures import Bytes, Pictures
from esbench.registry import registry

#: The criteria of table 1 and figures 3 and 4. OpenCV clips BRISQUE to [0, 100]; its NIQE is LIVE's in Python.
METHODS = {"BRISQUE": "brisque[clamp=true]", "NIQE": "niqe-live", "ES-WMV": "wmv", "CIFS": "cifs-jpeg"}

#: CIFS with the lam of figure 2, in addition to the one from our own table.
CIFS_OF_FIG2 = "CIFS, lam of fig. 2"

#: The criterion that a search for lam measures.
SIZE = "cifs-jpeg[lam=0]"

LEVELS = tuple(float(sigma) for sigma in range(5, 80, 5))

#: Figure 1: sigma -> JPEG size in 1000 bytes of one picture of CBSD68, cut to multiples of 32 pixels.
FIG1_PICTURE, FIG1_PIXELS = "101087", 320 * 480
FIG1_KILOBYTES = dict(
    zip(
        (0.0, *LEVELS),
        (56.4, 71.9, 89.5, 102.3, 112.3, 120.6, 127.7, 134.5, 140.0, 145.5, 150.0, 154.5, 158.5, 162.3, 165.6, 168.8),
        strict=True,
    )
)

#: Figure 2: sigma -> lam. It is our mu = lam / (H W), for R = (L / (H W))^2 in bytes per pixel: with it, and with no
#: other unit, E has the values that figure 4 shows (0.97 at the stop and 0.89 at the end of its first picture).
FIG2_MU = dict(
    zip(
        LEVELS,
        (853.0, 223.0, 120.0, 80.0, 66.9, 62.3, 56.4, 45.9, 42.4, 35.7, 33.3, 32.9, 29.1, 29.5, 24.7),
        strict=True,
    )
)

#: Table 1: dataset and sigma -> mean and standard deviation of the PSNR (dB).
TABLE1: dict[tuple[str, float], dict[str, tuple[float, float]]] = {
    (dataset, sigma): dict(zip((*METHODS, "No ES", "Peak"), values, strict=True))
    for dataset, sigma, *values in (
        (
            *("cbsd68", 15.0),
            *((27.750, 2.108), (27.484, 4.172), (28.640, 3.877), (29.223, 2.618), (26.464, 0.535), (30.463, 2.066)),
        ),
        (
            *("cbsd68", 25.0),
            *((24.754, 2.740), (26.642, 2.759), (26.375, 3.577), (27.338, 2.634), (21.740, 0.410), (27.767, 2.206)),
        ),
        (
            *("cbsd68", 50.0),
            *((21.078, 2.183), (23.782, 2.369), (23.289, 2.826), (23.803, 2.321), (15.843, 0.416), (24.388, 2.241)),
        ),
        (
            *("kodak24", 15.0),
            *((29.685, 2.211), (29.247, 3.768), (29.779, 3.905), (31.263, 1.771), (28.567, 0.533), (31.585, 1.730)),
        ),
        (
            *("kodak24", 25.0),
            *((26.341, 4.906), (27.498, 3.490), (27.686, 3.272), (28.804, 1.947), (24.188, 1.651), (29.040, 1.853)),
        ),
        (
            *("kodak24", 50.0),
            *((22.759, 3.426), (25.224, 1.807), (24.640, 2.322), (25.197, 1.759), (17.385, 0.328), (25.668, 1.844)),
        ),
    )
}

#: Figure 3, on CBSD68: method -> gap to the peak (dB) at each of LEVELS.
FIG3_GAP_DB = {
    "BRISQUE": (4.60, 2.54, 2.71, 3.04, 3.01, 2.86, 3.10, 3.12, 3.32, 3.31, 3.69, 3.64, 4.13, 4.19, 4.42),
    "NIQE": (8.68, 4.57, 2.97, 1.65, 1.13, 0.93, 0.89, 0.81, 0.60, 0.60, 0.49, 0.54, 0.73, 0.57, 0.54),
    "ES-WMV": (2.58, 2.03, 1.82, 1.38, 1.39, 1.10, 1.11, 1.01, 1.14, 1.10, 1.11, 1.04, 1.00, 0.92, 0.93),
    "CIFS": (0.59, 2.15, 1.24, 0.37, 0.43, 0.69, 0.63, 0.50, 0.38, 0.57, 0.63, 0.64, 0.71, 0.68, 0.73),
    "No ES": (0.98, 2.59, 3.99, 4.98, 6.02, 6.69, 7.28, 7.74, 8.19, 8.53, 8.83, 9.08, 9.28, 9.40, 9.50),
}

#: Figure 4, sigma 25 on CBSD68: picture -> stop step of each method, measured to about 30 steps.
FIG4_STOPS = {
    "101085": {"BRISQUE": 6860, "NIQE": 2930, "ES-WMV": 620, "CIFS": 3610},
    "291000": {"BRISQUE": 3060, "NIQE": 1010, "ES-WMV": 460, "CIFS": 18350},
    "182053": {"BRISQUE": 20000, "NIQE": 1460, "ES-WMV": 930, "CIFS": 11300},
}


@dataclass(frozen=True)
class Artefact:
    """One table or figure.

    Attributes:
        shows: a description.
        pictures: dataset -> how many of its pictures it uses.
        sigma: its noise levels.
        criteria: the criteria; empty if no optimisation is needed.
        image: its pictures by name; empty for all of the dataset.
    """

    shows: str
    pictures: dict[str, int]
    sigma: tuple[float, ...]
    criteria: tuple[str, ...] = tuple(METHODS.values())
    image: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """The number of units in the paper's setting."""
        return sum(self.pictures.values()) * len(self.sigma)


ARTEFACTS = {
    "fig1": Artefact(
        "JPEG size of a picture against the noise in it",
        {"cbsd68": 68},
        (0.0, *LEVELS),
        criteria=(),
    ),
    "fig2": Artefact(
        "lam, found on 400 clean pictures, against the noise level",
        {"bsd400": 400},
        LEVELS,
        criteria=(SIZE,),
    ),
    "table1": Artefact(
        "PSNR at the stop of each criterion, of the last step and of the peak",
        {"cbsd68": 68, "kodak24": 24},
        (15.0, 25.0, 50.0),
    ),
    "fig3": Artefact("gap to the peak of each criterion against the noise level", {"cbsd68": 68}, LEVELS),
    "fig4": Artefact(
        "curves, stops and pictures of three optimisations",
        {"cbsd68": 3},
        (25.0,),
        image=tuple(FIG4_STOPS),
    ),
}


def configs(artefact: Artefact, dataset: str | None, flags: dict[str, Any]) -> list[Config]:
    """Return the runs of an artefact: a configuration per dataset, in the paper's setting.

    With fewer steps than in the paper, the default patience is a fifth of them, at most 1000.

    Args:
        artefact: the table or figure.
        dataset: one of the paper's datasets, or another one; None for all of the paper's.
        flags: the settings that a partial pass changes, as keys of a configuration.
    """
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    if "iterations" in given and "patience" not in given:
        given["patience"] = min(configuration.Config.patience, max(1, given["iterations"] // 5))
    return [
        configuration.resolve(
            {"dataset": name, "sigma": artefact.sigma, "criterion": artefact.criteria or (SIZE,)}
            | given
            | _pictures(artefact, name, given.get("images")),
            preset="paper",
        )
        for name in ([dataset] if dataset else artefact.pictures)
    ]


def _pictures(artefact: Artefact, dataset: str, images: int | None) -> dict[str, Any]:
    if not artefact.image:
        return {}
    if dataset in artefact.pictures:
        return {"image": artefact.image[:images], "images": None}
    return {"images": images or len(artefact.image)}  # of another dataset, the first ones


def partial(artefact: Artefact, runs: list[Config], asked: int, done: int) -> list[str]:
    """Return sentences about how much of the paper's units a pass covers, and how its setting differs."""
    first, whole = runs[0], Config()
    names = " and ".join(artefact.pictures)
    inside = all(run.dataset in artefact.pictures for run in runs)
    here = f"{done} of {artefact.units}" if inside else f"{done}, and none of the {artefact.units},"
    sentences = [f"{here} units of the whole ({names}, sigma {_levels(artefact.sigma)}); this pass covers {asked}."]
    less = []
    if first.iterations != whole.iterations:
        less.append(f"{first.iterations} of {whole.iterations} steps")
    if first.patience != whole.patience:
        less.append(f"patience {first.patience} instead of {whole.patience}")
    if first.crop is not None:
        less.append(f"{first.crop} x {first.crop} pixels of each picture")
    if first.network != whole.network:
        less.append(f"network {first.network} instead of {whole.network}")
    if less:
        sentences.append(f"Each has {', '.join(less)}: not comparable with the paper's numbers.")
    return sentences


def _levels(sigma: tuple[float, ...]) -> str:
    *first, last = (f"{s:g}" for s in sigma)
    return ", ".join([*first, last] if len(first) < 4 else [*first[:2], "...", last])


def sizes(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the JPEG size of every noisy picture of a configuration; pictures are cut to multiples of 32 pixels.

    Raises:
        UsageError: a picture is smaller than that.
    """
    codec = registry().get("codec", "jpeg")
    for spec in grid.units(config):
        noisy = cut(Pictures(build.scene(spec, config.dataset).observation.y[None]).uint8[0])
        if not noisy.size:
            raise UsageError(f"Figure 1 needs pictures of at least 32 x 32 pixels; {spec.image!r} is smaller.")
        yield {
            "dataset": spec.dataset,
            "image": spec.image,
            "crop": spec.crop,
            "sigma": spec.sigma,
            "pixels": noisy.shape[0] * noisy.shape[1],
            "bytes": len(codec.target(noisy, **codec.values)),
        }


def cut(picture: Bytes) -> Bytes:
    """Return the centre of a picture, both sides a multiple of 32, as in the Deep Image Prior code."""
    h, w = picture.shape[:2]
    top, left = h % 32 // 2, w % 32 // 2
    return picture[top : top + h - h % 32, left : left + w - w % 32]
