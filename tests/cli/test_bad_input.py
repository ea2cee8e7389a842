"""Bad input of every kind: one sentence on stderr, nothing on stdout, exit code 2 or 3, and nothing is written."""

from __future__ import annotations

import os

import pytest

from esbench.bench.config import Config
from esbench.bench.store import Run


@pytest.fixture
def place(pictures, tmp_path, monkeypatch):
    """A folder with good and bad things in it, as the working directory."""
    pictures("a", "b", folder="good")
    pictures("small", size=(20, 20), folder="small")
    pictures("a", folder="spoiled")
    (tmp_path / "spoiled" / "a.png").write_text("This is a text.\n")
    (tmp_path / "text.png").write_text("This is a text.\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("nothing")
    (tmp_path / "file").touch()
    (tmp_path / "bad.toml").write_text("iterations = \n")
    (tmp_path / "other.toml").write_text("iteration = 5\n")
    run = Run(tmp_path / "other-run")
    with run.lock():
        run.begin(Config(iterations=77, dataset="good"), [], {}, {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ESBENCH_DATA", raising=False)
    return tmp_path


def tree(place) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in place.rglob("*")}


RUN = ("run", "--device", "cpu", "--network", "skip[channels=4,scales=2]", "--iterations", "5", "--patience", "2")
GOOD = (*RUN, "-d", "good", "-c", "loss")

CASES = {
    "no such criterion": (
        (*RUN, "-d", "good", "-c", "cifs-jpg"),
        2,
        "No criterion 'cifs-jpg'. Did you mean 'cifs-jpeg'?",
    ),
    "parameter out of range": (
        (*RUN, "-d", "good", "-c", "cifs-jpeg[quality=900]"),
        2,
        "quality must be between 0 and 100, got 900 (in 'cifs-jpeg[quality=900]')",
    ),
    "no such parameter": ((*RUN, "-d", "good", "-c", "wmv[windw=5]"), 2, "Did you mean 'window'?"),
    "parameter missing": ((*RUN, "-d", "good", "-c", "fixed"), 2, "step"),
    "bracket not closed": (
        (*RUN, "-d", "good", "-c", "wmv[window=5"),
        2,
        "A component is written name[key=value,key=value]",
    ),
    "codec without a row in the table": (
        (*RUN, "-d", "good", "-c", "cifs-jpeg2k[psnr=30]"),
        2,
        "give a number as lam=..., or find one with 'esbench calibrate",
    ),
    "no such dataset": ((*RUN, "-c", "loss", "-d", "kodak"), 2, "No dataset 'kodak'. Did you mean 'kodak24'?"),
    "dataset not available": (
        (*RUN, "-c", "loss", "-d", "kodak24"),
        3,
        "Dataset 'kodak24' is not available: it could not be fetched (r0k.us cannot be reached",
    ),
    "empty folder": ((*RUN, "-c", "loss", "-d", "empty"), 3, "'empty' contains no picture"),
    "folder of other files": ((*RUN, "-c", "loss", "-d", "notes"), 3, "'notes' contains no picture"),
    "text called .png": ((*RUN, "-c", "loss", "-d", "text.png"), 3, "'text.png' is not a picture that can be read"),
    "text called .png in a folder": (
        (*RUN, "-c", "loss", "-d", "spoiled"),
        3,
        "a.png' is not a picture that can be read",
    ),
    "no such picture": ((*GOOD, "--image", "c"), 2, "No picture 'c'."),
    "20 x 20 picture": (
        ("run", "--device", "cpu", "-d", "small", "-c", "loss"),
        2,
        "small: Network 'skip' cannot make a picture of 20 x 20: it needs both sides to be at least 33: fewer",
    ),
    "crop too small": (
        (*GOOD, "--crop", "3"),
        2,
        "a picture of 3 x 3: it needs both sides to be at least 5",
    ),
    "sigma -1": ((*GOOD, "--sigma", "-1"), 2, "sigma must be at least 0, got -1"),
    "sigma nan": ((*GOOD, "--sigma", "nan"), 2, "sigma must be a number, got nan."),
    "sigma many": ((*GOOD, "--sigma", "many"), 2, "'many' is not a valid float"),
    "level twice": (
        (*GOOD, "--noise", "gaussian[sigma=3]"),
        2,
        "The level is given by --sigma, not in 'gaussian[sigma=3]'.",
    ),
    "no such noise": ((*GOOD, "--noise", "gausian"), 2, "No degradation 'gausian'. Did you mean 'gaussian'?"),
    "too many channels": (
        (*GOOD, "--network", f"skip[channels=1{'0' * 20},scales=2]"),
        2,
        "0,scales=2]' with 32 input channels is too large for this machine: choose fewer channels.",
    ),
    "no such network": ((*GOOD, "--network", "skipp"), 2, "No network 'skipp'. Did you mean 'skip'?"),
    "no such task": ((*GOOD, "--task", "denoize"), 2, "No task 'denoize'. Did you mean 'denoise'?"),
    "no such executor": ((*GOOD, "--executor", "cereal"), 2, "No executor 'cereal'. Did you mean 'serial'?"),
    "no such device": ((*GOOD, "--device", "gpu"), 2, "device must be auto, cpu, cuda or cuda:N, got 'gpu'."),
    "device not available": ((*GOOD, "--device", "cuda:99"), 3, "Device 'cuda:99' is not available"),
    "no such precision": ((*GOOD, "--precision", "half"), 2, "'half' is not one of 'auto', 'float32', 'bfloat16'."),
    "no iterations": ((*GOOD, "--iterations", "0"), 2, "iterations must be at least 1, got 0."),
    "half an iteration": ((*GOOD, "--iterations", "0.5"), 2, "'0.5' is not a valid integer"),
    "negative patience": ((*GOOD, "--patience", "-1"), 2, "patience must be at least 0, got -1."),
    "no images": ((*GOOD, "--images", "0"), 2, "images must be at least 1, got 0."),
    "a picture of more pixels": ((*GOOD, "--max-pixels", "9"), 3, "claims "),
    "images and image": ((*GOOD, "--images", "1", "--image", "a"), 2, "Give either images (how many) or image (which)"),
    "input scale nan": ((*GOOD, "--input-scale", "nan"), 2, "input-scale must be at least 0, got nan."),
    "no such preset": ((*GOOD, "--preset", "fast"), 2, "'fast' is not one of 'paper', 'quick', 'dip-denoise'"),
    "no such configuration": ((*GOOD, "--config", "none.toml"), 2, "There is no configuration 'none.toml'."),
    "configuration without an end": (
        (*GOOD, "--config", "/dev/zero"),
        2,
        "'/dev/zero' is a device, not a regular file.",
    ),
    "folder of no Unicode": (
        (*GOOD, "--out", "\udcff"),
        2,
        "The folder of a run must have a name in valid Unicode, got",
    ),
    "configuration that is no TOML": (
        (*GOOD, "--config", "bad.toml"),
        2,
        "'bad.toml' cannot be read as TOML",
    ),
    "key of the configuration": (
        (*GOOD, "--config", "other.toml"),
        2,
        "There is no configuration key 'iteration'. Did you",
    ),
    "out is a file": ((*GOOD, "--out", "file"), 3, "'file' cannot be written: Not a directory. Choose another --out."),
    "out below a file": (
        (*GOOD, "--out", "file/r"),
        3,
        "'file/r' cannot be written: Not a directory. Choose another --out.",
    ),
    "out that the system refuses": ((*GOOD, "--out", "/proc/nowhere/r"), 3, "'/proc/nowhere/r' cannot be written: "),
    "out of something else": (
        (*GOOD, "--out", "notes"),
        2,
        "'notes' already exists and is not a run: choose another --out.",
    ),
    "run of another configuration": (
        (*GOOD, "--out", "other-run"),
        2,
        'This run has network = "skip", the command "skip[channels=4,scales=2]": choose another --out, or keep the',
    ),
    "the same, only looked at": ((*GOOD, "--out", "other-run", "--dry-run"), 2, "This run has network = "),
    "no such option": ((*GOOD, "--sigmas", "3"), 2, "'--sigmas'"),
    "option without a value": ((*GOOD, "--out"), 2, "'--out' requires an argument"),
    "no such command": (("runn",), 2, "No command 'runn'. Did you mean 'run'?"),
    "measure nothing": (("measure", "-c", "loss"), 2, "Missing argument 'IMAGES...'"),
    "measure without a criterion": (("measure", "good/a.png"), 2, "Missing option '-c' / '--criterion'"),
    "measure what is not there": (("measure", "-c", "loss", "none.png"), 3, "There is no file 'none.png'."),
    "measure a text": (("measure", "-c", "loss", "text.png"), 3, "'text.png' is not a picture that can be read"),
    "measure a folder": (("measure", "-c", "loss", "good"), 3, "'good' is a folder: give the pictures in it"),
    "measure by nothing": (("measure", "-c", "zzz", "good/a.png"), 2, "No criterion 'zzz'."),
    "show nothing": (("show", "cifs-jpg"), 2, "No criterion 'cifs-jpg'. Did you mean 'cifs-jpeg'?"),
    "list nothing": (("list", "things"), 2, "'things' is not one of 'criteria', 'codecs'"),
    "an unknown plugin": (("plugins", "--traceback", "nobody"), 2, "No plugin 'nobody'."),
    "export nothing": (("export", "notes"), 3, "'notes' is not a run of esbench (it has no run.toml)."),
    "export in no format": (
        ("export", "other-run", "--format", "xml"),
        2,
        "'xml' is not one of 'csv', 'json', 'parquet'.",
    ),
    "an unknown public dataset": (("data", "path", "kodak"), 2, "No public dataset 'kodak'. Did you mean 'kodak24'?"),
    "data not available": (("data", "path", "kodak24"), 3, "Dataset 'kodak24' is not available"),
    "verify what is not available": (("data", "verify", "set9"), 3, "Dataset 'set9' is not available"),
    "calibrate what has no lam": (
        ("calibrate", "-c", "wmv", "-d", "good", "--out", "c"),
        2,
        "calibrate finds lam of a CIFS criterion, such as cifs-jpeg, got 'wmv'.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence_and_an_exit_code(esbench, place, case):
    arguments, code, sentence = CASES[case]
    before = tree(place)
    answer = esbench(*arguments)
    assert answer.code == code, answer
    assert answer.out == ""
    lines = answer.err.splitlines()
    lines = [line for line in lines if not line.startswith("run: esbench-runs/")]  # the folder, where none was given
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("esbench: ")
    assert sentence in lines[0]
    assert "Traceback" not in lines[0]
    assert tree(place) == before


def test_a_current_folder_that_was_removed_is_reported(esbench, place, monkeypatch):
    monkeypatch.chdir(place / "empty")
    (place / "empty").rmdir()
    answer = esbench("new-plugin", "x")
    assert (answer.code, answer.err) == (3, "esbench: The current folder was removed: change to another one.\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_reported(esbench, place):
    (place / "closed").mkdir(mode=0o500)
    answer = esbench(*GOOD, "--out", "closed/r")
    assert answer.code == 3
    assert answer.err == "esbench: 'closed/r' cannot be written: Permission denied. Choose another --out.\n"


def test_a_disk_that_is_full_is_reported(esbench, place, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = esbench(*GOOD, "--out", "r")
    assert answer.code == 3
    assert (
        answer.err.splitlines()[-1] == "esbench: 'r' cannot be written: No space left on device. Choose another --out."
    )
