"""Download public datasets: the addresses and checksums of their pictures."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from esbench import images
from esbench.builtin.datasets import esbench_datasets
from esbench.cache import Unreachable, download
from esbench.errors import Checksum, DataError, Missing

#: Number of simultaneous downloads.
WORKERS = 4

#: Seconds within which a server has to start its response.
SILENCE = 10.0

#: Minimum number of seconds between two lines about a dataset, without a terminal.
LINE_EVERY = 10.0


@dataclass(frozen=True)
class File:
    """One picture of a dataset.

    Attributes:
        name: the name of the file to fetch.
        sha256: the SHA-256 of the published file.
        pixels: the SHA-256 of its decoded RGB pixels, which decide if the bytes differ.
        addresses: its addresses, tried in order.
    """

    name: str
    sha256: str
    pixels: str
    addresses: tuple[str, ...]

    def whole(self, path: Path) -> bool:
        """Return whether a file is a complete copy of this picture."""
        return compare(path, self.sha256, self.pixels) in ("ok", "same pixels")


@dataclass(frozen=True)
class Remote:
    """A dataset on the web.

    Attributes:
        name: the name of the dataset.
        files: its pictures.
        megabytes: their size.
        licence: their terms of use.
    """

    name: str
    files: tuple[File, ...]
    megabytes: float | None
    licence: str

    def missing(self, folder: Path) -> list[File]:
        """Return the pictures that a folder lacks, with any suffix."""
        there = pictures_by_stem(folder)
        return [file for file in self.files if Path(file.name).stem not in there]

    def state(self, folder: Path) -> str:
        """Describe a folder that lacks pictures, as part of a message."""
        n = len(self.files)
        here = n - len(self.missing(folder))
        return f"incomplete ({here} of its {n} pictures are in {str(folder)!r})" if here else "not available"


@functools.cache
def remotes() -> Mapping[str, Remote]:
    """Return the public datasets by name."""
    infos = {info.name: info for info in esbench_datasets()}
    found = {}
    for name, source in _data("sources.json").items():
        published = {Path(file).stem: hashes for file, hashes in checksums()[name].items()}
        files = []
        for file, key in source["files"].items():
            sha256, pixels = published[Path(file).stem]
            files.append(File(file, sha256, pixels, tuple(address.format(key) for address in source["addresses"])))
        found[name] = Remote(name, tuple(files), infos[name].megabytes, infos[name].licence)
    return found


def checksums() -> dict[str, dict[str, Any]]:
    """Return for each public dataset, by file name, the SHA-256 of the file and of its decoded RGB pixels."""
    return _data("checksums.json")


def _data(file: str) -> dict[str, dict[str, Any]]:
    text = resources.files("esbench.builtin.datasets").joinpath(file).read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """Return the picture files of a folder by name without suffix; empty if the folder does not exist."""
    return {path.stem: path for path in images.files(folder)} if folder.is_dir() else {}


def compare(path: Path, sha256: str, pixels: str) -> str:
    """Compare a file with these SHA-256 and return "ok", "missing", "other pixels" or "same pixels".

    A file with the same pixels is valid: it was recompressed without loss.
    """
    if not path.exists():
        return "missing"
    if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return "ok"
    try:
        same = hashlib.sha256(images.read(path).tobytes()).hexdigest() == pixels
    except DataError:
        same = False
    return "same pixels" if same else "other pixels"


def fetch(remote: Remote, folder: Path) -> int:
    """Fetch the pictures that a folder lacks, several at once, and return their number.

    A picture gets its final name once it is complete and its checksum is verified. So after an interruption the
    existing files are valid, and the next call continues with the rest.

    Raises:
        Missing: pictures could not be fetched.
        Checksum: a checksum does not match.
        DataError: the folder cannot be written.
    """
    there = pictures_by_stem(folder)
    wanted = [f for f in remote.files if not f.whole(there.get(Path(f.name).stem, folder / f.name))]
    shown = _Shown(remote, len(wanted), folder)

    def bring(file: File) -> None:
        download(file.addresses, folder / file.name, file.whole, shown.begin)

    failures: dict[str, DataError] = {}
    for file, error in _at_once(bring, wanted, shown.answered):
        if error is None:
            shown.advance()
        else:
            failures[file.name] = error
    shown.end()
    if failures:
        raise _sentence(remote, folder, failures)
    return len(wanted)


def _at_once(
    bring: Callable[[File], None], files: Sequence[File], answered: threading.Event
) -> Iterator[tuple[File, DataError | None]]:
    """Fetch files in several threads and yield each with its error, or None.

    After an error that affects more than one file, no further download is started. The threads are daemons that are
    never joined, so that neither a silent server nor a slow resolver delays Ctrl-C or the message about the network.
    """
    todo: SimpleQueue[File | None] = SimpleQueue()
    done: SimpleQueue[tuple[File, BaseException | None] | None] = SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while (file := todo.get()) is not None and not stop.is_set():
            try:
                bring(file)
            except BaseException as error:
                if type(error) not in (Missing, Checksum):
                    stop.set()
                done.put((file, error))
            else:
                done.put((file, None))
        done.put(None)

    workers = min(WORKERS, len(files))
    for item in (*files, *[None] * workers):
        todo.put(item)
    for _ in range(workers):
        threading.Thread(target=work, daemon=True).start()
    silent = time.monotonic() + SILENCE
    try:
        while workers:
            try:
                answer = done.get(timeout=1)  # Ctrl-C just before a wait without timeout would be handled only after it
            except Empty:
                if not answered.is_set() and time.monotonic() > silent:
                    yield files[0], Unreachable(f"no answer within {SILENCE:.0f} s")
                    return
                continue
            if answer is None:
                workers -= 1
                continue
            file, error = answer
            if error is not None and not isinstance(error, DataError):
                raise error
            yield file, error
    finally:
        stop.set()


def _sentence(remote: Remote, folder: Path, failures: Mapping[str, DataError]) -> DataError:
    """Return the error for a dataset that could not be fetched."""
    which = ", ".join(sorted(failures)[:3]) + (", ..." if len(failures) > 3 else "")
    reason = next(iter(failures.values()))
    for error in failures.values():
        if not isinstance(error, Missing | Checksum):
            return error  # the disk
        if isinstance(error, Unreachable):
            which, reason = "it", error
    return type(reason)(
        f"Dataset {remote.name!r} is {remote.state(folder)}: {which} could not be fetched ({reason}). Try again "
        f"with 'esbench data fetch {remote.name}', or set ESBENCH_DATA to a folder that contains {remote.name}/."
    )


class _Shown:
    """Show progress on stderr: a line when a server answers, then a count."""

    def __init__(self, remote: Remote, wanted: int, folder: Path) -> None:
        self.remote, self.wanted, self.folder = remote, wanted, folder
        self.arrived, self.told = 0, time.monotonic()
        self.answered, self.lock = threading.Event(), threading.Lock()

    def begin(self, server: str) -> None:
        """Announce what is fetched, its size, its origin and its terms of use."""
        with self.lock:
            if self.answered.is_set():
                return
            self.answered.set()
        n, of = self.wanted, len(self.remote.files)
        size = f"{self.remote.megabytes} MB"
        what = f"{n} of {of} pictures ({size} in all)" if n < of else f"{n} pictures ({size})"
        where = f"from {server} into {str(self.folder)!r}"
        self._say(f"{self.remote.name}: fetching {what} {where}. Terms: {self.remote.licence}.")

    def advance(self) -> None:
        """Count a fetched picture."""
        self.arrived += 1
        count, now = f"{self.remote.name}: {self.arrived} of {self.wanted} pictures", time.monotonic()
        if sys.stderr.isatty():
            self._say(f"\r{count}", end="")
        elif now - self.told >= LINE_EVERY:
            self.told = now
            self._say(count)

    def end(self) -> None:
        """Erase the count."""
        if self.arrived and sys.stderr.isatty():
            self._say("\r\x1b[K", end="")

    def _say(self, text: str, end: str = "\n") -> None:
        print(text, file=sys.stderr, end=end, flush=True)
