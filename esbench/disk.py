"""Files on the disk: read only regular files, and write atomically."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esbench.errors import DataError, Missing, Unavailable

#: What a path can be besides a regular file; opening one may block forever.
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def regular(path: str | os.PathLike[str]) -> None:
    """Check that a path is a regular file, without opening it.

    Raises:
        Missing: there is no such file.
        DataError: it is something else, or cannot be accessed.
    """
    name = repr(os.fspath(path))
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise Missing(f"There is no file {name}.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise DataError(f"{name} cannot be read: {reason(error)}.") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{name} is {KINDS.get(stat.S_IFMT(mode), 'something else')}, not a regular file.")


def text(path: str | os.PathLike[str]) -> str:
    """Return the text of a regular file.

    Raises:
        Missing: there is no such file.
        DataError: it is something else.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not text.
    """
    regular(path)
    return Path(path).read_text(encoding="utf-8")


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically; a path that is not a regular file (a pipe, a terminal) is written directly."""
    if os.path.exists(path) and not os.path.isfile(path):
        Path(path).write_bytes(data)
        return
    with replacing(path) as part:
        part.write_bytes(data)


@contextmanager
def replacing(path: str | os.PathLike[str], suffix: str = "", sync: bool = True) -> Iterator[Path]:
    """Yield a temporary file that replaces `path` at the end, and is removed if an exception is raised.

    A link is replaced, not followed.

    Args:
        path: the file to write.
        suffix: the suffix of the temporary file, for libraries that depend on it.
        sync: wait until it is on the disk; otherwise a loss of power may leave it empty.
    """
    # not derived from the name, because a long one would become too long
    part = Path(path).with_name(f".esbench.{uuid.uuid4().hex[:8]}{suffix}")
    try:
        yield part
        if sync:
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(path: str | os.PathLike[str], remedy: str = "") -> Iterator[None]:
    """Raise an error with a sentence if something cannot be written.

    Args:
        path: the file or folder that is written.
        remedy: a sentence on what to do.

    Raises:
        Unavailable: it cannot be written.
        BlockingIOError: another process holds a lock, which is not an error of the disk.
    """
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        sentence = f"{os.fspath(path)!r} cannot be written: {reason(error)}."
        raise Unavailable(f"{sentence} {remedy}".rstrip()) from error


def reason(error: Exception) -> str:
    """Return the message of an exception as a short clause: one line without a full stop."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(said.split())[:300].rstrip(".")
