"""Folders of pictures, and the public datasets under their names."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from esbench import disk, images
from esbench.builtin.datasets.remote import checksums, compare, fetch, pictures_by_stem, remotes
from esbench.cache import cache, fetches
from esbench.errors import DataError, Missing, NameUnknown, Unavailable
from esbench.pictures import Bytes
from esbench.printable import is_unicode


class Folder:
    """The pictures of a folder, or one file, by name.

    Args:
        path: the folder or the file.
        max_pixels: a larger picture is rejected before it is decoded.

    Raises:
        Missing: it does not exist or contains no picture.
    """

    def __init__(self, path: str | os.PathLike[str], max_pixels: int = images.MAX_PIXELS) -> None:
        self.path, self.max_pixels = Path(path), max_pixels
        if not self.path.exists():
            raise Missing(f"{str(path)!r} does not exist: give a folder or a picture.")
        found = images.files(self.path) if self.path.is_dir() else [self.path]
        if not found:
            raise Missing(f"{str(path)!r} contains no picture ({', '.join(images.SUFFIXES)}).")
        for odd in (p for p in found if not is_unicode(p.name)):  # it could not be written into a run
            raise DataError(f"{str(odd)!r} has a name that is not valid Unicode: rename it.")
        stems = [p.stem for p in found]
        # a.png and a.jpg are two pictures
        self.files = {p.name if stems.count(p.stem) > 1 else p.stem: p for p in found}

    def ids(self) -> Sequence[str]:
        """Return the names without their suffixes, sorted."""
        return list(self.files)

    def load(self, id: str) -> Bytes:
        """Return one picture."""
        if id not in self.files:
            raise NameUnknown("picture", id, self.files, f"{str(self.path)!r} has {len(self.files)}.")
        return images.read(self.files[id], self.max_pixels)


class Set11(Folder):
    """Pictures with the authors' observation of half of their pixels: NAME_GT and NAME_masked."""

    def ids(self) -> Sequence[str]:
        """Return the names of the pictures, sorted."""
        return [name.removesuffix("_GT") for name in self.files if name.endswith("_GT")]

    def load(self, id: str) -> Bytes:
        """Return one picture."""
        return super().load(f"{id}_GT")

    def companions(self, id: str) -> Mapping[str, Bytes]:
        """Return the mask: missing where the observation is black, which includes known pixels that are black."""
        import numpy as np

        observed = super().load(f"{id}_masked")
        return {"mask": np.where(observed, np.uint8(0), np.uint8(255))}


class DipInpaint(Folder):
    """The pictures and masks of Deep Image Prior's inpainting: NAME and NAME_mask, where white is known."""

    def ids(self) -> Sequence[str]:
        """Return the names of the pictures, sorted."""
        return [name for name in self.files if not name.endswith("_mask")]

    def companions(self, id: str) -> Mapping[str, Bytes]:
        """Return the mask."""
        return {"mask": 255 - self.load(f"{id}_mask")[..., :1]}


class DipFlash(Folder):
    """Pairs of one scene: NAME_01_noflash, which is the picture, and NAME_00_flash, its guide."""

    def ids(self) -> Sequence[str]:
        """Return the names of the scenes, sorted."""
        return [name.removesuffix("_01_noflash") for name in self.files if name.endswith("_01_noflash")]

    def load(self, id: str) -> Bytes:
        """Return the picture without flash."""
        return super().load(f"{id}_01_noflash")

    def companions(self, id: str) -> Mapping[str, Bytes]:
        """Return the picture with flash."""
        return {"guide": super().load(f"{id}_00_flash")}


#: The classes of datasets that are more than a folder of pictures.
KINDS: dict[str, type[Folder]] = {"set11": Set11, "dip-inpaint": DipInpaint, "dip-flash": DipFlash}
#: The folders in ESBENCH_DATA that do not have the name of their dataset.
PLACES = {"dip-inpaint": "dip/inpainting", "dip-flash": "dip/flash"}


def find(name: str) -> Folder | None:
    """Return a public dataset that is available locally, or None; nothing is fetched.

    A folder in ESBENCH_DATA is the user's and may hold only some of the pictures; in the cache all are required.

    Raises:
        Unavailable: the folder in ESBENCH_DATA cannot be read.
    """
    data, kind = os.environ.get("ESBENCH_DATA"), KINDS.get(name, Folder)
    try:
        if data and pictures_by_stem(place := Path(data, PLACES.get(name, name))):
            return kind(place)
    except OSError as error:
        raise Unavailable(f"The folder in ESBENCH_DATA cannot be read: {disk.reason(error)}.") from error
    place = cache("data", name)
    return None if remotes()[name].missing(place) else kind(place)


def named(name: str) -> Folder:
    """Return a public dataset, fetched into the cache if it is not available locally.

    Raises:
        DataError: it is not available and could not be fetched.
    """
    if (found := find(name)) is not None:
        return found
    remote, place = remotes()[name], cache("data", name)
    if not fetches():
        raise absent(name)
    fetch(remote, place)
    return KINDS.get(name, Folder)(place)


def absent(name: str) -> Missing:
    """Return the error for a dataset that is missing or incomplete and must not be fetched now."""
    remote = remotes()[name]
    return Missing(
        f"Dataset {name!r} is {remote.state(cache('data', name))}: fetch it with 'esbench data fetch "
        f"{name}' ({remote.megabytes} MB), or set ESBENCH_DATA to a folder that contains {PLACES.get(name, name)}/."
    )


kodak24 = functools.partial(named, "kodak24")
cbsd68 = functools.partial(named, "cbsd68")
bsd400 = functools.partial(named, "bsd400")
set9 = functools.partial(named, "set9")
set5 = functools.partial(named, "set5")
set14 = functools.partial(named, "set14")
set11 = functools.partial(named, "set11")
dip_inpaint = functools.partial(named, "dip-inpaint")
dip_flash = functools.partial(named, "dip-flash")


def verify(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield for each picture of a public dataset its file in a folder, with any suffix, and the result of `compare`."""
    there = pictures_by_stem(folder)
    for file, (sha256, pixels) in sorted(checksums()[name].items()):
        path = folder / file
        path = path if path.exists() else there.get(path.stem, path)
        yield path.name, compare(path, sha256, pixels)
