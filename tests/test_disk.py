from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest

from esbench import disk
from esbench.disk import write
from esbench.errors import DataError, Missing


def test_a_file_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "a", b"old")
    write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path, monkeypatch):
    write(tmp_path / "a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_write_that_is_killed_leaves_the_old_content(tmp_path, moment):
    write(tmp_path / "a", b"old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from esbench import disk\n"
        f"os.{moment} = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n"
        "disk.write(pathlib.Path(sys.argv[1]), b'new' * 9999)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_bytes() == b"old"
    rest = [name for name in os.listdir(tmp_path) if name != "a"]
    assert all(name.startswith(".") for name in rest)


def test_a_name_as_long_as_the_system_takes_can_be_written(tmp_path):
    name = "n" * os.pathconf(tmp_path, "PC_NAME_MAX")
    write(tmp_path / name, b"new")
    assert os.listdir(tmp_path) == [name]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to("a")
    write(tmp_path / "link", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "link").read_bytes() == b"new"
    assert not (tmp_path / "link").is_symlink()


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    heard = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe", b"new")
    reader.join()
    assert heard == [b"new"]
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_what_is_written_under_another_name_has_the_suffix_that_a_library_looks_at(tmp_path):
    with disk.replacing(tmp_path / "a.dat", suffix=".png") as part:
        part.write_bytes(b"new")
        assert part.suffix == ".png"
        assert part.name.startswith(".")
        assert not (tmp_path / "a.dat").exists()
    assert os.listdir(tmp_path) == ["a.dat"]


# -- regular files


def test_a_regular_file_passes_and_so_does_a_link_to_one(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    disk.regular(tmp_path / "a")
    disk.regular(str(tmp_path / "link"))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (os.mkdir, "is a folder, not a regular file."),
        (os.mkfifo, "is a FIFO, not a regular file."),
        (lambda path: socket.socket(socket.AF_UNIX).bind(path), "is a socket, not a regular file."),
        (lambda path: os.symlink("/dev/zero", path), "is a device, not a regular file."),
        (lambda path: os.symlink(path, path), "cannot be read: Too many levels of symbolic links."),
    ],
    ids=["folder", "FIFO", "socket", "device", "loop"],
)
def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path, monkeypatch, make, problem):
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    make("x")
    with pytest.raises(DataError) as refused:
        disk.regular("x")
    assert str(refused.value) == f"'x' {problem}"


@pytest.mark.parametrize("name", ["a" * 5000, "null\0byte"])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(DataError, match=r"cannot be read: (File name too long|embedded null byte)"):
        disk.regular(name)


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(Missing, match=r"There is no file '.*/nowhere'\."):
        disk.regular(tmp_path / "nowhere")
