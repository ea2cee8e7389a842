"""Expand a configuration into units."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from esbench import images, params
from esbench.bench.config import Config
from esbench.bench.spec import UnitSpec
from esbench.device import named, precise
from esbench.engine import build
from esbench.engine.settings import given
from esbench.errors import NameUnknown, UsageError, shown
from esbench.params import plain
from esbench.pictures import Bytes, Floats
from esbench.records import Accompanied, Dataset, DegradationInfo
from esbench.registry import Component, calling, registry, wrong

#: Increase it when the numbers of an optimisation change, so that old and new units have different ids.
ENGINE = 2

#: A dataset of a plugin has fewer pictures than this; without a limit, names that never end would never be read.
MOST = 1_000_001


def units(config: Config, beyond: list[str] | None = None) -> Iterator[UnitSpec]:
    """Yield the units of a configuration: pictures x noise levels x seeds, pictures first.

    Args:
        config: the configuration.
        beyond: a list that gets sentences about what was requested but is not in the dataset.

    Raises:
        EsbenchError: something named in it does not exist or is not available.
    """
    name, dataset = open_dataset(config.dataset, config.max_pixels)
    device = device_kind(config.device)
    precision = precise(config.precision, device)
    settings = build.settings(
        config.task, config.network, iterations=config.iterations, precision=precision, **given(config)
    )
    levels = [degradation(config.noise, sigma) for sigma in config.sigma]
    noises = dict.fromkeys((component_noise(c, config.noise), level(c)) for c in levels)
    names, smaller = chosen(config, dataset), []
    for image in names:
        clean = picture(dataset, image, config.crop)
        pixels = digest(clean)
        if config.crop is not None and min(clean.shape[:2]) < config.crop:
            smaller.append(f"{image} gives {clean.shape[1]} x {clean.shape[0]}")
        for noise, sigma in noises:
            for seed in dict.fromkeys(config.seed):
                yield UnitSpec(
                    dataset=name,
                    image=image,
                    pixels=pixels,
                    crop=config.crop,
                    noise=noise,
                    sigma=sigma,
                    seed=seed,
                    device=device,
                    engine=ENGINE,
                    **vars(settings),
                )
    if beyond is not None and config.images is not None and len(names) < config.images:
        has = f"{len(names)} picture{'s' if len(names) > 1 else ''}"
        beyond.append(f"Dataset {config.dataset!r} has {has}, not {config.images}: all are used.")
    if beyond is not None and smaller:
        more = f", and {len(smaller) - 1} more" if len(smaller) > 1 else ""
        beyond.append(f"Smaller than --crop {config.crop}: {smaller[0]}{more}.")


def open_dataset(text: str, max_pixels: int = images.MAX_PIXELS) -> tuple[str, Dataset]:
    """Return the name and the pictures of a dataset: an installed one, or any folder or file.

    Args:
        text: a name, or a path.
        max_pixels: a larger picture of a folder or file is refused.

    Raises:
        NameUnknown: it is neither.
        Missing: it is known, but not available.
    """
    try:
        component = registry().get("dataset", text)
    except NameUnknown as unknown:
        path = Path(text)
        if not path.exists():
            raise NameUnknown(
                "dataset",
                text,
                [r.info.name for r in registry().records["dataset"]],
                "It is not a folder or picture either. 'esbench list datasets' shows all.",
            ) from unknown
        from esbench.builtin.datasets.named import Folder

        return path.resolve().stem if path.is_file() else path.resolve().name, Folder(path, max_pixels)
    if component.record.distribution == "esbench":
        return component.info.name, component.target(**component.values)
    return component.info.name, ThirdParty(component)


class ThirdParty:
    """A dataset of a plugin, whose results are checked before they are used.

    Args:
        component: from the registry.
    """

    def __init__(self, component: Component) -> None:
        self._record = component.record
        with calling(self._record):
            self._own = component.target(**component.values)
        if isinstance(self._own, Accompanied):
            self.companions = self._companions

    def ids(self) -> list[str]:
        """Return the names of the pictures."""
        with calling(self._record):
            names = list(itertools.islice(self._own.ids(), MOST))
        if not names or len(names) == MOST or len({*names}) < len(names) or not all(map(_is_name, names)):
            raise wrong(self._record, f"from ids() the names of its pictures, each once and at most {MOST - 1:,}")
        return names

    def load(self, id: str) -> Bytes:
        """Return one picture."""
        with calling(self._record):
            return self._picture(self._own.load(id), f"from load({id!r})", (1, 3))

    def _companions(self, id: str) -> dict[str, Bytes]:
        with calling(self._record):
            found = dict(self._own.companions(id))
            return {name: self._picture(a, f"in companions({id!r}) as {name!r}", (1, 3)) for name, a in found.items()}

    def _picture(self, array: object, where: str, channels: tuple[int, ...]) -> Bytes:
        if not isinstance(array, np.ndarray):
            raise wrong(self._record, f"{where} an array, got a {type(array).__name__}")
        array = np.asarray(array)  # no subclass, such as one with a mask
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in channels or not array.size:
            given = f"got {array.dtype} {array.shape}"
            raise wrong(self._record, f"{where} a picture as uint8 of shape (H, W, 1) or (H, W, 3), {given}")
        if array.shape[0] * array.shape[1] > images.MAX_PIXELS:
            raise wrong(self._record, f"{where} at most {images.MAX_PIXELS:,} pixels, got {array.shape}")
        return array


def _is_name(name: object) -> bool:
    return type(name) is str and name != "" and shown(name) == " ".join(name.split())


def chosen(config: Config, dataset: Dataset) -> list[str]:
    """Return the names of the pictures that a configuration selects."""
    ids = list(dataset.ids())
    for image in config.image:
        if image not in ids:
            raise NameUnknown("picture", image, ids, f"Dataset {config.dataset!r} has {len(ids)}.")
    return list(dict.fromkeys(config.image)) or ids[: config.images]


def picture(dataset: Dataset, image: str, crop: int | None) -> Bytes:
    """Return a clean picture as the unit uses it."""
    whole = dataset.load(image)
    return whole if crop is None else images.centre_crop(whole, crop)


def digest(picture: Bytes) -> str:
    """Return the SHA-256 of the pixels of a picture."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def companions(dataset: Dataset, image: str, crop: int | None) -> dict[str, Floats]:
    """Return the companions of a picture, cropped like it; none if the dataset has only pictures."""
    if not isinstance(dataset, Accompanied):
        return {}
    whole = dataset.companions(image)
    return {name: images.unit(a if crop is None else images.centre_crop(a, crop)) for name, a in whole.items()}


def degradation(noise: str, sigma: float | None) -> Component:
    """Return a degradation at a level; the level is ignored if it has none."""
    component = registry().get("degradation", noise)
    assert isinstance(component.info, DegradationInfo)
    parameter = component.info.parameter
    if not parameter or sigma is None:
        return component
    name, given = params.split(noise)
    if parameter in given:
        raise UsageError(f"The level is given by --{parameter}, not in {noise!r}.")
    text = ",".join(f"{key}={value}" for key, value in (given | {parameter: plain(sigma)}).items())
    return registry().get("degradation", f"{name}[{text}]")


def level(component: Component) -> float | None:
    """Return the value of the parameter that a degradation is swept over, or None."""
    assert isinstance(component.info, DegradationInfo)
    return component.values.get(component.info.parameter)


def component_noise(component: Component, noise: str) -> str:
    """Return the canonical text of a degradation without its level, which is a column of its own."""
    return component.text if level(component) is None else registry().get("degradation", noise).text


def device_kind(device: str) -> str:
    """Return cpu or cuda.

    Raises:
        Unavailable: the device is not available.
        UsageError: there is no such device name.
    """
    return named(device).partition(":")[0]
