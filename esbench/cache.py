"""The cache of datasets and models, and downloads into it."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import urlsplit

from esbench import disk
from esbench.errors import Checksum, DataError, Missing

#: Seconds to wait for a connection, and for the next piece of a response.
TIMEOUT = (3, 30)

#: Seconds before retrying an interrupted transfer or a busy server.
PAUSES = (0.5, 2.0)

#: The longest pause that a server may request.
PATIENCE = 30.0

#: Seconds before an unreachable server is tried again, so that each of its other files does not wait for a timeout.
REST = 10.0

BUSY = (429, 500, 502, 503, 504)

_planning: ContextVar[bool] = ContextVar("planning", default=False)
_resting: dict[str, float] = {}  # server -> until when


class Unreachable(Missing):
    """A file could not be fetched because of the network: no connection, a broken one, a busy server."""


def cache(*parts: str) -> Path:
    """Return a folder under ESBENCH_CACHE, or under the user's cache folder; it may not exist yet."""
    import platformdirs

    root = os.environ.get("ESBENCH_CACHE") or platformdirs.user_cache_dir("esbench")
    return Path(root).joinpath(*parts)


@contextlib.contextmanager
def planning(alone: bool = True) -> Iterator[None]:
    """Disable fetching, because a plan must not wait for a network."""
    before = _planning.set(alone)
    try:
        yield
    finally:
        _planning.reset(before)


def fetches() -> bool:
    """Whether missing files may be fetched now."""
    return not _planning.get()


def download(
    addresses: Sequence[str],
    target: Path,
    whole: Callable[[Path], bool],
    heard: Callable[[str], None] = lambda server: None,
) -> Path:
    """Fetch a file from the first address that returns it complete, and return its path.

    The file is written atomically.

    Args:
        addresses: its addresses, tried in order.
        target: its path.
        whole: returns whether a file on the disk is the published one.
        heard: called with the name of a server when it starts to respond.

    Raises:
        Missing: no address has it; the message lists the reasons.
        Unreachable: a later attempt may succeed.
        Checksum: the download is not the published file.
        DataError: it cannot be written.
    """
    failures: list[Missing | Checksum] = []
    for address in addresses:
        server = urlsplit(address).netloc
        try:
            _put(_content(address, server, heard), target, whole, server)
        except (Missing, Checksum) as error:
            failures.append(error)
        else:
            return target
    kinds = {type(error) for error in failures}
    kind = next((k for k in (Unreachable, Checksum) if k in kinds), Missing)
    raise kind("; ".join(map(str, failures)))


def _content(address: str, server: str, heard: Callable[[str], None]) -> bytes:
    """Return the content of an address; it must fit into memory.

    Raises:
        Missing: it could not be fetched; the message is the reason.
    """
    import pooch
    import requests

    if _resting.get(server, 0) > time.monotonic():
        raise Unreachable(f"{server} cannot be reached")
    fetch = pooch.HTTPDownloader(progressbar=_Ear(lambda: heard(server)), chunk_size=2**12, timeout=TIMEOUT)
    for pause in (*PAUSES, None):
        content = io.BytesIO()
        try:
            fetch(address, content, None)
            return content.getvalue()
        except requests.RequestException as error:
            failure, wait = _verdict(error, server)
            if pause is None or wait is None:
                raise failure from error
            time.sleep(max(pause, wait))
    raise AssertionError("the last try returns or raises")


def _verdict(error: Exception, server: str) -> tuple[Missing, float | None]:
    """Return the error of a failed download, and after how many seconds to retry; None for never."""
    import requests
    from urllib3.exceptions import MaxRetryError, ReadTimeoutError

    if isinstance(error, requests.HTTPError) and (answer := error.response) is not None:
        code = answer.status_code
        text = f"{server} answers {code} {answer.reason}".rstrip()
        if code not in BUSY:
            return Missing(text), None
        asked = answer.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdigit() else 0.0
        return Unreachable(text), wait if wait <= PATIENCE else None
    if isinstance(error, requests.exceptions.SSLError):
        return Unreachable(f"the certificate of {server} is not accepted"), None
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):  # no connection was made
        _resting[server] = time.monotonic() + REST
        return Unreachable(f"{server} cannot be reached"), None
    if isinstance(error, requests.ReadTimeout) or isinstance(cause, ReadTimeoutError):
        return Unreachable(f"{server} stopped answering"), None
    return Unreachable(f"the connection to {server} broke off"), 0.0


class _Ear:
    """A progress bar for pooch that only reports the start of a response."""

    total = 0

    def __init__(self, heard: Callable[[], None]) -> None:
        self.heard = heard

    def update(self, size: int) -> None:
        self.heard()

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


def _put(content: bytes, target: Path, whole: Callable[[Path], bool], server: str) -> None:
    """Write a file under a temporary name, verify it, and only then rename it.

    Raises:
        Checksum: it is not the published file.
        DataError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with disk.replacing(target) as part:
            part.write_bytes(content)
            if not whole(part):
                raise Checksum(f"the file of {server} does not match the published checksum")
    except OSError as error:
        raise DataError(
            f"{str(target)!r} cannot be written: {disk.reason(error)}. Set ESBENCH_CACHE to another folder."
        ) from error
