from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from esbench import cache
from esbench.builtin.datasets import named, remote
from esbench.builtin.datasets.remote import WORKERS, File, Remote, checksums, fetch, remotes
from esbench.errors import Checksum, DataError, Missing
from esbench.records import Accompanied

N = 6


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def tiny(server) -> Remote:
    """A dataset of six pictures, at /a/ and at /b/ of a server."""
    files = []
    for i in range(N):
        content = encoded(picture(i))
        server.files |= {f"/a/{i}.png": content, f"/b/{i}.png": content}
        addresses = tuple(f"{server.address}/{mirror}/{i}.png" for mirror in "ab")
        files.append(File(f"{i}.png", sha256(content), sha256(picture(i).tobytes()), addresses))
    return Remote("tiny", tuple(files), 0.1, "public domain")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "data" / "tiny"


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- what arrives


def test_every_picture_arrives_as_it_was_published_and_is_asked_for_once(server, tiny, folder):
    assert fetch(tiny, folder) == N
    assert contents(folder) == {f"{i}.png": server.files[f"/a/{i}.png"] for i in range(N)}
    assert sorted(server.asked) == [f"/a/{i}.png" for i in range(N)]
    assert tiny.missing(folder) == []


def test_what_is_whole_is_not_fetched_again_and_what_is_damaged_is(server, tiny, folder):
    fetch(tiny, folder)
    server.asked.clear()
    assert fetch(tiny, folder) == 0
    (folder / "2.png").write_bytes(server.files["/a/2.png"][:50])
    (folder / "4.png").unlink()
    assert fetch(tiny, folder) == 2
    assert sorted(server.asked) == ["/a/2.png", "/a/4.png"]
    assert contents(folder)["2.png"] == server.files["/a/2.png"]


def test_one_line_says_what_how_much_from_where_and_under_what_terms(server, tiny, folder, capsys):
    fetch(tiny, folder)
    (folder / "0.png").unlink()
    fetch(tiny, folder)
    fetch(tiny, folder)
    told = capsys.readouterr()
    where = f"from 127.0.0.1:{server.server_port} into '{folder}'. Terms: public domain."
    assert told.err.splitlines() == [
        f"tiny: fetching 6 pictures (0.1 MB) {where}",
        f"tiny: fetching 1 of 6 pictures (0.1 MB in all) {where}",
    ]
    assert told.out == ""


def test_on_a_terminal_the_pictures_are_counted(tiny, folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(tiny, folder)
    counted = capsys.readouterr().err
    assert re.findall(r"\rtiny: (\d) of 6 pictures", counted) == [str(i) for i in range(1, N + 1)]
    assert counted.endswith("\r\x1b[K"), "and the count is cleared away"


def test_some_are_fetched_at_once_and_no_more(server, tiny, folder):
    many = replace(tiny, files=tuple(replace(file, name=f"{i}{file.name}") for i in (1, 2) for file in tiny.files))
    together, now, most, lock = threading.Barrier(WORKERS, timeout=10), 0, 0, threading.Lock()

    def gate() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait()  # each of the twelve waits for three others
        with lock:
            now -= 1

    server.gate = gate
    assert fetch(many, folder) == 12
    assert most == WORKERS


def test_of_a_picture_in_another_format_the_pixels_decide(server, folder):
    jpeg = encoded(picture(0), "JPEG")
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)))
    server.files |= {"/right.jpg": jpeg, "/wrong.jpg": encoded(picture(1), "JPEG")}

    def one(path: str) -> Remote:
        file = File("7.jpg", sha256(encoded(pixels)), sha256(pixels.tobytes()), (server.address + path,))
        return Remote("tiny", (file,), 0.1, "")

    with pytest.raises(Checksum, match=r"7\.jpg could not be fetched \(the file of 127\.0\.0\.1:\d+ does not match"):
        fetch(one("/wrong.jpg"), folder)
    assert contents(folder) == {}
    assert fetch(one("/right.jpg"), folder) == 1
    assert contents(folder) == {"7.jpg": jpeg}
    assert fetch(one("/right.jpg"), folder) == 0
    (folder / "7.jpg").rename(folder / "7.jpeg")
    assert fetch(one("/right.jpg"), folder) == 0, "the suffix does not matter"


# -- faults, and resuming


@pytest.mark.parametrize("fault", ["dropped", "truncated", 503])
def test_what_may_pass_is_tried_again(server, tiny, folder, fault):
    server.faults["/a/3.png"] = [fault]
    assert fetch(tiny, folder) == N
    assert Counter(server.asked)["/a/3.png"] == 2
    assert "/b/3.png" not in server.asked
    assert contents(folder)["3.png"] == server.files["/a/3.png"]


@pytest.mark.parametrize("fault", [404, 403, 429, "wrong"])
def test_what_one_address_does_not_give_the_next_one_does(server, tiny, folder, fault):
    server.faults["/a/3.png"] = [fault]
    assert fetch(tiny, folder) == N
    assert Counter(server.asked)["/a/3.png"] == Counter(server.asked)["/b/3.png"] == 1
    assert contents(folder)["3.png"] == server.files["/a/3.png"]


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        (404, Missing, "SERVER answers 404 Not Found; SERVER answers 404 Not Found"),
        (
            "wrong",
            Checksum,
            "; ".join(["the file of SERVER does not match the published checksum"] * 2),
        ),
    ],
)
def test_what_is_wrong_with_one_picture_keeps_no_other_back(server, tiny, folder, fault, error, reason):
    server.faults = {f"/{mirror}/1.png": [fault] for mirror in "ab"}
    with pytest.raises(error) as raised:
        fetch(tiny, folder)
    reason = reason.replace("SERVER", f"127.0.0.1:{server.server_port}").strip("; ")
    assert str(raised.value) == (
        f"Dataset 'tiny' is incomplete (5 of its 6 pictures are in '{folder}'): 1.png could not be fetched ({reason}). "
        "Try again with 'esbench data fetch tiny', or set ESBENCH_DATA to a folder that contains tiny/."
    )
    assert raised.value.exit_code == 3
    assert sorted(contents(folder)) == [f"{i}.png" for i in range(N) if i != 1]
    server.asked.clear()
    assert fetch(tiny, folder) == 1
    assert server.asked == ["/a/1.png"]


def test_a_server_that_asks_to_be_left_alone_is_left_alone(server, tiny, folder):
    server.faults = {f"/{mirror}/{i}.png": [429] * 9 for mirror in "ab" for i in range(N)}
    with pytest.raises(
        Missing, match=r"not available: it could not be fetched \(127.* answers 429 Too Many Requests; 127"
    ):
        fetch(tiny, folder)
    assert len(server.asked) <= 2 * WORKERS
    assert not folder.exists()


def test_without_a_network_there_is_one_sentence_and_nothing_is_written(tiny, folder, capsys):
    def unreachable(number: int) -> str:
        return f"http://127.0.0.1:{number}/x.png"

    away = replace(tiny, files=tuple(replace(file, addresses=(unreachable(1), unreachable(9))) for file in tiny.files))
    with pytest.raises(Missing) as raised:
        fetch(away, folder)
    assert str(raised.value) == (
        "Dataset 'tiny' is not available: it could not be fetched (127.0.0.1:1 cannot be reached; 127.0.0.1:9 cannot "
        "be reached). Try again with 'esbench data fetch tiny', or set ESBENCH_DATA to a folder that contains tiny/."
    )
    assert not folder.parent.exists()
    assert capsys.readouterr().err == ""


def test_servers_that_do_not_answer_are_not_waited_for(server, tiny, folder, monkeypatch):
    monkeypatch.setattr(remote, "SILENCE", 0.0)
    server.gate = server.closing.wait
    with pytest.raises(Missing, match=r"not available: it could not be fetched \(no answer within 0 s\)"):
        fetch(tiny, folder)


def test_a_server_that_stops_answering_is_followed_by_the_next(server, tiny, folder, monkeypatch):
    monkeypatch.setattr(cache, "TIMEOUT", (3, 0.2))
    server.faults["/a/3.png"] = ["stalled"]
    assert fetch(tiny, folder) == N
    assert Counter(server.asked)["/a/3.png"] == Counter(server.asked)["/b/3.png"] == 1


def test_a_server_that_is_out_of_reach_is_not_waited_for_at_every_file(server, tmp_path, monkeypatch):
    server.files["/x"] = b"x"
    nowhere = "http://127.0.0.1:9/x"
    monkeypatch.setattr(cache, "_resting", {})

    def download():
        return cache.download((nowhere, f"{server.address}/x"), tmp_path / "x", lambda path: True)

    assert download().read_bytes() == b"x"
    assert list(cache._resting) == ["127.0.0.1:9"]
    assert cache._resting["127.0.0.1:9"] < time.monotonic() + 60, "it gets another chance"
    calls: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("socket.socket.connect", lambda socket, place: calls.append(place))
        with pytest.raises(Missing, match=r"127\.0\.0\.1:9 cannot be reached"):
            cache.download((nowhere,), tmp_path / "y", lambda path: True)
    assert calls == []
    assert download().read_bytes() == b"x"


@pytest.mark.parametrize("place", ["file/tiny", "/proc/nowhere/tiny"])
def test_a_folder_that_cannot_be_written_is_reported(tiny, tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError, match=r"png' cannot be written: .*\. Set ESBENCH_CACHE to another folder\.$"
    ) as raised:
        fetch(tiny, tmp_path / place)
    assert (type(raised.value), raised.value.exit_code) == (DataError, 3)


def test_a_full_disk_is_reported_and_nothing_half_written_stays(server, tiny, folder, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"cannot be written: No space left on device\. Set ESBENCH_CACHE"):
            fetch(tiny, folder)
        assert contents(folder) == {}
        assert len(server.asked) <= WORKERS
    assert fetch(tiny, folder) == N


INTERRUPTED = """
import json, sys
from pathlib import Path
from esbench import cache
from esbench.cli import main
from esbench.builtin.datasets.remote import File, Remote, remotes
files = tuple(File(name, sha, pixels, tuple(addresses)) for name, sha, pixels, addresses in json.loads(sys.argv.pop()))
remotes()["set9"] = Remote("set9", files, 0.1, "")
cache.TIMEOUT = (3, 600)  # on a busy machine what is stalled could be fetched elsewhere before the interruption
main()
"""


def test_after_an_interruption_what_is_whole_stays_and_the_same_command_resumes(server, tiny, tmp_path):
    files = json.dumps([(f.name, f.sha256, f.pixels, f.addresses) for f in tiny.files])
    command = [sys.executable, "-c", INTERRUPTED, "data", "fetch", "set9", files]
    environ = os.environ | {"ESBENCH_CACHE": str(tmp_path / "cache")}
    environ.pop("ESBENCH_DATA", None)
    folder = tmp_path / "cache" / "data" / "set9"
    server.faults = {f"/a/{i}.png": ["stalled"] for i in (1, 3, 5)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    whole = {"0.png", "2.png", "4.png"}
    while process.poll() is None and not (folder.exists() and whole <= {p.name for p in folder.iterdir()}):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "esbench: interrupted: finished work is kept; repeat the command to continue"
    assert "Traceback" not in told
    assert set(contents(folder)) == whole
    again = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert again.stdout == f"set9: {folder}\n"
    assert contents(folder) == {f"{i}.png": server.files[f"/a/{i}.png"] for i in range(N)}
    assert Counter(server.asked)["/a/0.png"] == 1


# -- first use


@pytest.fixture
def set9(tiny, monkeypatch, tmp_path):
    """The name set9 for the tiny dataset, on a machine that has none."""
    monkeypatch.setitem(remotes(), "set9", replace(tiny, name="set9"))
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ESBENCH_DATA", raising=False)
    return tmp_path / "cache" / "data" / "set9"


def test_a_dataset_is_fetched_on_first_use_and_only_then(server, set9):
    found = named.set9()
    assert list(found.ids()) == [str(i) for i in range(N)]
    assert np.array_equal(found.load("3"), picture(3))
    assert len(server.asked) == N
    assert named.set9().path == set9
    assert len(server.asked) == N


def test_half_a_dataset_in_the_cache_is_not_taken_for_the_whole(server, set9):
    set9.mkdir(parents=True)
    (set9 / "0.png").write_bytes(server.files["/a/0.png"])
    (set9 / ".1.png.0a1b2c3d.part").write_bytes(server.files["/a/1.png"][:30])
    assert named.find("set9") is None
    assert len(named.set9().ids()) == N
    assert "/a/0.png" not in server.asked


def test_the_users_own_folder_is_used_unchanged(server, set9, monkeypatch, tmp_path):
    own = tmp_path / "own" / "set9"
    own.mkdir(parents=True)
    monkeypatch.setenv("ESBENCH_DATA", str(own.parent))
    assert named.find("set9") is None, "an empty folder is none"
    (own / "mine.png").write_bytes(server.files["/a/0.png"])
    assert list(named.set9().ids()) == ["mine"]
    assert server.asked == []


def test_while_planning_nothing_is_fetched(server, set9):
    with cache.planning(), pytest.raises(Missing) as raised:
        named.set9()
    assert str(raised.value) == (
        "Dataset 'set9' is not available: fetch it with 'esbench data fetch set9' (0.1 MB), or set ESBENCH_DATA to a "
        "folder that contains set9/."
    )
    assert server.asked == []
    with cache.planning(False):
        assert len(named.set9().ids()) == N


# -- the addresses

#: The files of each dataset.
NUMBERS = [
    ("kodak24", 24),
    ("cbsd68", 68),
    ("bsd400", 400),
    ("set9", 9),
    ("set5", 5),
    ("set14", 14),
    ("set11", 22),
    ("dip-inpaint", 6),
    ("dip-flash", 2),
]


@pytest.mark.parametrize(("name", "images"), NUMBERS)
def test_every_published_picture_has_its_own_addresses(name, images):
    found = remotes()[name]
    stems = [file.name.rpartition(".")[0] for file in found.files]
    assert len(stems) == images
    assert stems == [file.rpartition(".")[0] for file in checksums()[name]]
    addresses = [address for file in found.files for address in file.addresses]
    assert len({*addresses}) == len(addresses)
    for file in found.files:
        assert len(file.sha256) == len(file.pixels) == 64
        for address in file.addresses:
            assert re.match(r"https://(r0k\.us/|raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/)", address)
            if not name.startswith("set1") and name != "set5":  # whose names are numbers there
                assert address.endswith(file.name[-6:])
    assert found.licence
    assert found.megabytes


def test_the_fitting_set_is_train_and_test_of_bsds500_and_the_test_set_is_from_its_other_part():
    def parts(name: str) -> Counter:
        return Counter(file.addresses[0].split("/")[-2] for file in remotes()[name].files)

    assert parts("bsd400") == {"train": 200, "test": 200}
    assert parts("cbsd68") == {"val": 68}


@pytest.mark.skipif(
    "ESBENCH_DATA" not in os.environ, reason="the published files are not available: ESBENCH_DATA is not set"
)
@pytest.mark.parametrize("name", ["kodak24", "set9", "set5", "set14", "set11", "dip-inpaint", "dip-flash"])
def test_the_published_files_are_whole(name):
    found = named.find(name)
    if found is None:
        pytest.skip(f"{name} is not in ESBENCH_DATA")
    assert {state for _, state in named.verify(name, found.path)} == {"ok"}
    assert remotes()[name].missing(found.path) == []


# -- pictures with something beside them


def folder_of(tmp_path, **pixels) -> str:
    for name, array in pixels.items():
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    return str(tmp_path)


def test_the_masks_of_set11_are_where_the_authors_observation_is_black(tmp_path):
    clean = np.arange(20, 120, dtype=np.uint8).reshape(10, 10)
    observed = np.where(np.eye(10, dtype=bool), 0, clean).astype(np.uint8)
    found = named.Set11(folder_of(tmp_path, a_GT=clean, a_masked=observed))
    assert list(found.ids()) == ["a"]
    assert np.array_equal(found.load("a")[..., 0], clean)
    assert np.array_equal(found.companions("a")["mask"][..., 0] > 127, np.eye(10, dtype=bool))


def test_the_masks_of_deep_image_prior_are_white_where_it_is_known(tmp_path):
    clean, known = np.full((6, 7, 3), 50, np.uint8), np.full((6, 7), 255, np.uint8)
    known[2, 3] = 0
    found = named.DipInpaint(folder_of(tmp_path, kate=clean, kate_mask=known))
    assert list(found.ids()) == ["kate"]
    assert np.argwhere(found.companions("kate")["mask"][..., 0] > 127).tolist() == [[2, 3]]


def test_the_guide_is_the_picture_with_flash(tmp_path):
    dark, bright = np.full((6, 7, 3), 50, np.uint8), np.full((6, 7, 3), 200, np.uint8)
    found = named.DipFlash(folder_of(tmp_path, c_01_noflash=dark, c_00_flash=bright))
    assert list(found.ids()) == ["c"]
    assert found.load("c").mean() == 50
    assert found.companions("c")["guide"].mean() == 200


@pytest.mark.parametrize("name", ["set11", "dip-inpaint", "dip-flash"])
def test_the_companions_of_a_picture_have_its_size(name):
    found = named.find(name)
    if found is None:
        pytest.skip(f"{name} is neither in ESBENCH_DATA nor in the cache")
    assert isinstance(found, Accompanied)
    for id in found.ids():
        for companion in found.companions(id).values():
            assert companion.shape[:2] == found.load(id).shape[:2]


def test_half_of_the_pixels_of_set11_are_missing():
    found = named.find("set11")
    if found is None:
        pytest.skip("set11 is neither in ESBENCH_DATA nor in the cache")
    shares = [(found.companions(id)["mask"] > 127).mean() for id in found.ids()]
    assert all(0.48 < share < 0.56 for share in shares)
