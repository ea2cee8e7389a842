"""Folders of pictures, and the public data sets under their names."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from esbench import disk, images
from esbench.builtin.datasets.remote import checksums, compare, fetch, lying, remotes
from esbench.cache import cache, fetches
from esbench.errors import Missing, NameUnknown, Unavailable
from esbench.pictures import Bytes


class Folder:
    """The pictures of a folder, or one file, by name.

    Args:
        path: the folder or the file.

    Raises:
        Missing: it does not exist, or has no picture in it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise Missing(f"There is no folder or picture {str(path)!r}.")
        found = images.files(self.path) if self.path.is_dir() else [self.path]
        if not found:
            raise Missing(f"{str(path)!r} has no picture in it (one of {', '.join(images.SUFFIXES)}).")
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
        return images.read(self.files[id])


def find(name: str) -> Folder | None:
    """Return a public data set from where it lies, or None; nothing is fetched.

    A folder in ESBENCH_DATA is its owner's, and may have some of the pictures only; in the cache all must be there.

    Raises:
        Unavailable: the folder in ESBENCH_DATA cannot be read.
    """
    data = os.environ.get("ESBENCH_DATA")
    try:
        if data and lying(place := Path(data, name)):
            return Folder(place)
    except OSError as error:
        raise Unavailable(f"The folder in ESBENCH_DATA cannot be read: {disk.reason(error)}.") from error
    place = cache("data", name)
    return None if remotes()[name].missing(place) else Folder(place)


def named(name: str) -> Folder:
    """Return a public data set from where it lies, fetched into the cache if it is nowhere yet.

    Raises:
        DataError: it is nowhere, and could not be fetched.
    """
    if (found := find(name)) is not None:
        return found
    remote, place = remotes()[name], cache("data", name)
    if not fetches():
        raise absent(name)
    fetch(remote, place)
    return Folder(place)


def absent(name: str) -> Missing:
    """Return what is said of a data set that is nowhere, or not whole, and is not to be fetched now."""
    remote = remotes()[name]
    return Missing(
        f"Data set {name!r} is {remote.state(cache('data', name))}: 'esbench data fetch {name}' brings it "
        f"({remote.megabytes} MB), or set ESBENCH_DATA to a folder that has {name}/ in it."
    )


kodak24 = functools.partial(named, "kodak24")
cbsd68 = functools.partial(named, "cbsd68")
bsd400 = functools.partial(named, "bsd400")
set9 = functools.partial(named, "set9")


def verify(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Give for each picture of a public data set its file in a folder, whatever its suffix, and what `compare` says."""
    there = lying(folder)
    for file, (sha256, pixels) in sorted(checksums()[name].items()):
        path = folder / file
        path = path if path.exists() else there.get(path.stem, path)
        yield path.name, compare(path, sha256, pixels)
