"""Folders of pictures, and the public data sets under their names."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from esbench import images
from esbench.errors import DataError, Missing, NameUnknown
from esbench.types import Bytes


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


def places(name: str) -> list[Path]:
    """Return where a data set is looked for, in order."""
    from esbench.cache import cache

    data = os.environ.get("ESBENCH_DATA")
    return [*([Path(data) / name] if data else []), cache("data") / name]


def named(name: str) -> Folder:
    """Return a public data set from where it lies.

    Raises:
        Missing: it is in none of the places.
    """
    for place in places(name):
        if place.is_dir() and images.files(place):
            return Folder(place)
    n, where = len(checksums()[name]), places(name)[-1]
    raise Missing(
        f"Data set {name!r} is not here: put its {n} pictures into {str(where)!r}, or set ESBENCH_DATA to a folder "
        f"that has {name}/ in it."
    )


kodak24 = functools.partial(named, "kodak24")
cbsd68 = functools.partial(named, "cbsd68")
bsd400 = functools.partial(named, "bsd400")
set9 = functools.partial(named, "set9")


def checksums() -> dict[str, dict[str, Any]]:
    """Return for each public data set, by file name, the SHA-256 of the file and of its decoded RGB pixels."""
    text = resources.files("esbench.datasets").joinpath("checksums.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def verify(name: str) -> Iterator[tuple[str, str]]:
    """Give for each picture of a public data set its file name and "ok", "missing", "other pixels" or "same pixels".

    The pixels count: a copy that was compressed again without loss is as good.
    """
    folder = named(name).path
    for file, (sha, pixels) in sorted(checksums()[name].items()):
        path = folder / file
        if not path.exists():
            yield file, "missing"
        elif hashlib.sha256(path.read_bytes()).hexdigest() == sha:
            yield file, "ok"
        else:
            try:
                same = hashlib.sha256(images.read(path).tobytes()).hexdigest() == pixels
            except DataError:
                same = False
            yield file, "same pixels" if same else "other pixels"
