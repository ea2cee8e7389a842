"""Output: it cannot control a terminal, works with names of any kind, and a stream that fails is reported."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from esbench import cli
from esbench.cli.output import print_json, say
from esbench.cli.progress import Bars, Lines
from esbench.events import Notice, Progress, RunFinished, RunStarted, UnitFailed, UnitPaused, UnitStarted
from esbench.printable import printable

#: Clears the screen, turns the text red, sets the title, moves up a line; C1; from right to left; no UTF-8.
EVIL = "\x1b[2J\x1b[31mred\x1b]0;title\x07\x9b1A\u202egnp\udcff"
SHOWN = "\\x1b[2J\\x1b[31mred\\x1b]0;title\\x07\\x9b1A\\u202egnp\\udcff"


def is_safe(text: str) -> bool:
    return printable(text, keep="\n") == text


@given(st.text())
def test_what_is_made_printable_holds_nothing_that_controls_a_terminal(text):
    shown = printable(text)
    assert all(c.isprintable() or c > "\x9f" for c in shown)
    assert printable(shown) == shown
    shown.encode()  # no half of a pair is left
    assert text.isprintable() <= (shown == text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_that_is_printed_is_read_back_and_controls_no_terminal(text):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(out):
        print_json({text: [text]})
    printed = out.buffer.getvalue().decode()
    assert json.loads(printed) == {text: [text]}
    assert is_safe(printed)


def test_a_line_cannot_begin_another_one(capsys):
    say("a\nesbench: all done", "b")
    assert capsys.readouterr().out == "a\\nesbench: all done\nb\n"


def test_only_one_module_prints():
    """All others print through it."""
    for path in Path(cli.__file__).parent.glob("*.py"):
        if path.name == "output.py":
            continue
        called = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
        assert not called & {"print", "click.secho", "sys.stdout.write", "sys.stderr.write", "traceback.print_exc"}, (
            path
        )
        assert "click.echo" not in called or path.name == "results.py", path  # the bytes of `export`


GOOD = """
import esbench

@esbench.hookimpl
def esbench_criteria():
    return [esbench.CriterionInfo(name="evil", summary="red \\x1b[31m, and \\x9b31m\\nesbench: all done", target=evil)]

def evil(frame):
    raise RuntimeError("\\x1b[2J\\nesbench: all done")
"""
BROKEN = f"{GOOD}\nraise RuntimeError('\\x1b[2J\\nesbench: all done')\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list-criteria",),
        ("list", "criteria"),
        ("show", "evil"),
        ("plugins",),
        ("plugins", "--traceback", "local"),
        ("env",),
        ("measure", "-c", "evil", "p.png"),
        ("check-criterion", "evil"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("code", [GOOD, BROKEN], ids=["good", "broken"])
def test_what_a_plugin_says_controls_no_terminal(esbench, plugin, tmp_path, monkeypatch, arguments, code):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("p.png")
    plugin(code)
    answer = esbench(*arguments)
    assert is_safe(answer.out + answer.err)
    if "--traceback" not in arguments:  # which has lines
        assert "\nesbench: all done" not in answer.out + answer.err


@pytest.fixture
def evil(tmp_path, monkeypatch) -> str:
    """The name of a picture in the working directory."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(60, 200, (20, 24, 3), dtype=np.uint8)
    name = f"{EVIL}\nesbench: all done.png"
    with open(name, "wb") as file:
        Image.fromarray(pixels).save(file, "PNG")
    return name


TINY = ("--network", "skip[channels=4,scales=1]", "--iterations", "4", "--patience", "2", "--device", "cpu")


def test_the_name_of_a_file_is_shown_and_begins_no_line(esbench, evil):
    shown = f"{SHOWN}\\nesbench: all done.png"
    answer = esbench("measure", "-c", "cifs-jpeg[lam=0]", evil)
    assert (answer.code, shown in answer.out) == (0, True)
    for command in (("denoise", evil, "-o", "out/", *TINY), ("denoise", f"no {evil}", "-o", "no/", *TINY)):
        told = esbench(*command)
        assert is_safe(told.out + told.err)
        assert "\nesbench: all done" not in told.out + told.err
        assert SHOWN in told.out + told.err
    assert os.listdir("out") == [evil]


def test_json_has_the_name_of_a_file_as_it_is(esbench, evil):
    answer = esbench("measure", "-c", "cifs-jpeg[lam=0]", evil, "--json")
    assert [row["image"] for row in json.loads(answer.out)] == [evil]
    assert is_safe(answer.out)


def test_a_run_of_such_pictures_shows_their_names(esbench, evil, tmp_path):
    refused = esbench("run", "-d", ".", "-c", "loss", *TINY)
    assert (refused.code, is_safe(refused.err), "not valid Unicode" in refused.err) == (3, True, True)
    Path(evil).rename(evil.replace("\udcff", ""))
    arguments = ("-d", ".", "-c", "loss", *TINY, "--out", "r\x1b[2J")
    for command in (("run", *arguments), ("status", "r\x1b[2J"), ("replay", "r\x1b[2J", "--patience", "1")):
        answer = esbench(*command)
        assert answer.code == 0, answer
        assert is_safe(answer.out + answer.err)


def test_an_unknown_name_is_shown(esbench):
    for arguments in (("\x1b[2J",), ("run", "--\x1b[2J"), ("list", "\x1b[2J"), ("show", "\x1b[2J"), ("run", "\x1b[2J")):
        answer = esbench(*arguments)
        assert answer.code == 2
        assert is_safe(answer.err)
        assert answer.err.count("\n") == 1


def test_a_path_is_printed_as_it_is_for_programs(esbench, tmp_path, monkeypatch):
    folder = os.fsencode(tmp_path) + b"/\xff\x1b[2J"
    os.makedirs(folder + b"/set9")
    (Path(os.fsdecode(folder)) / "set9" / "a.png").touch()
    environment = os.environ | {"ESBENCH_DATA": os.fsdecode(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "esbench", "data", "path", "set9"], env=environment, capture_output=True
    )
    assert done.stdout == folder + b"/set9\n"


# -- live bars

EVENTS = [
    RunStarted(folder="x[/b]\x1b[2J", units=3, done=1, iterations=100),
    UnitStarted(unit="u[/b]:bug:", iterations=100),
    Notice(unit="u[/b]:bug:", text="cifs-jpeg[lam=2e5]: \x1b[2J"),
    Progress(unit="u[/b]:bug:", step=50, iterations=100, psnr_db=20.5, best={"cifs-jpeg[lam=2e5]": 3}, stopped={}),
    Progress(unit="u[/b]:bug:", step=100, iterations=100, psnr_db=20.5, best={"cifs-jpeg[lam=2e5]": 3}, stopped={}),
    UnitPaused(unit="u[/b]:bug:", step=50),
    UnitFailed(unit="v", reason="[/x] \x1b[2J\nesbench: all done"),
    RunFinished(folder="x[/b]", done=2, failed=1, left=1),
]


def test_bars_show_names_with_brackets_as_they_are(capsys):
    bars = Bars()
    with bars.bars:
        for event in EVENTS[:4]:
            bars(event)
        (_, unit) = bars.bars.tasks
        drawn = [str(column(unit)) for column in bars.bars.columns if type(column).__name__ == "TextColumn"]
        for event in EVENTS[4:]:
            bars(event)
    name, note = drawn[1].split("\n")
    assert name == "u[/b]:bug:"
    assert note.endswith("steps/s; cifs-jpeg[lam=2e5] 3")
    told = capsys.readouterr().err
    assert "u[/b]:bug:: cifs-jpeg[lam=2e5]: \\x1b[2J\n" in told
    assert "v: failed: [/x] \\x1b[2J\\nesbench: all done\n" in told


def test_on_a_terminal_sentences_break_between_words_and_what_is_laid_out_stays(capsys, monkeypatch):
    sentence, row = "a sentence of words; a/long/path-that-stays-whole", "a  row  of  a  table  is  wider"
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    say(sentence, row)
    say(sentence, err=True)
    told = capsys.readouterr()
    assert told.out.splitlines() == ["a sentence of words;", "a/long/path-that-stays-whole", row]
    assert told.err.splitlines() == [sentence], "stderr is no terminal"


def test_lines_control_no_terminal(capsys):
    lines = Lines()
    for event in EVENTS:
        lines(event)
    told = capsys.readouterr().err
    assert is_safe(told)
    assert told.splitlines()[0] == "x[/b]\\x1b[2J: 3 units, 1 already done"


# -- streams and names that fail


def run(*arguments: str, unbuffered: str = "", **streams) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    return subprocess.run([sys.executable, "-m", "esbench", *arguments], env=environment, **streams)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("list-criteria",), ("list-criteria", "--json"), ("--help",), ("--version",)])
def test_a_full_disk_for_the_results_is_a_sentence(arguments, unbuffered):
    with open("/dev/full", "wb") as full:
        done = run(*arguments, unbuffered=unbuffered, stdout=full, stderr=subprocess.PIPE)
    said = b"esbench: The results cannot be written to standard output: No space left on device.\n"
    assert (done.returncode, done.stderr) == (3, said)


def test_a_full_disk_for_messages_changes_no_exit_code(tmp_path):
    with open("/dev/full", "wb") as full:
        assert run("list-criteria", stdout=subprocess.PIPE, stderr=full).returncode == 0
        assert run("show", "nothing", stdout=subprocess.PIPE, stderr=full).returncode == 2
        assert run("status", str(tmp_path), stdout=full, stderr=full).returncode == 3


def test_streams_that_are_closed_are_not_files(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (20, 24, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "b.png"
    command = [sys.executable, "-m", "esbench", "denoise", str(tmp_path / "a.png"), "-o", str(out), *TINY]
    done = subprocess.run(["/bin/sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command])
    assert done.returncode == 0
    assert Image.open(out).size == (24, 20)


def test_a_name_that_the_encoding_of_the_results_does_not_have_is_shown(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "日.png")
    command = [sys.executable, "-m", "esbench", "measure", "-c", "cifs-jpeg[lam=0]", "日.png"]
    streams = {"cwd": tmp_path, "env": os.environ | {"PYTHONIOENCODING": "latin-1"}, "capture_output": True}
    done = subprocess.run(command, **streams)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u65e5.png" in done.stdout
    assert json.loads(subprocess.run([*command, "--json"], **streams).stdout)[0]["image"] == "日.png"


LONG = "x" * 5000


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "path", "kodak24"),
        ("data", "list"),
        ("run", "-d", "kodak24", "--dry-run"),
    ],
    ids=" ".join,
)
def test_a_folder_of_data_that_cannot_be_is_reported(esbench, monkeypatch, arguments):
    monkeypatch.setenv("ESBENCH_DATA", LONG)
    answer = esbench(*arguments)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == "esbench: The folder in ESBENCH_DATA cannot be read: File name too long.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", LONG),
        ("export", LONG),
        ("report", LONG),
        ("replay", LONG),
        ("compare", LONG),
        ("measure", "-c", "loss", LONG),
        ("denoise", "p.png", "-o", f"{LONG}.png"),
        ("denoise", "p.png", "-o", "q.png", "--report", LONG),
        ("run", "-d", LONG, "--dry-run"),
        ("run", "--out", LONG, "--dry-run"),
        ("run", "--config", LONG),
        ("calibrate", "-d", LONG, "--out", "c"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_name_that_no_file_can_have_is_reported(esbench, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 24)).save("p.png")
    answer = esbench(*arguments)
    assert answer.code in (2, 3)
    assert answer.out == ""
    lines = [line for line in answer.err.splitlines() if not line.startswith("run: ")]
    assert len(lines) == 1
    assert lines[0].startswith("esbench: ")
    assert "File name too long" in lines[0]
    assert os.listdir() == ["p.png"]


# -- what is no regular file


@pytest.fixture
def _no_hang():
    """Fail a test that waits forever, such as for the other end of a FIFO."""

    def hang(*_):
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_no_hang")
def test_a_fifo_or_a_device_is_refused_by_what_reads_pictures(esbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    Path("zero.png").symlink_to("/dev/zero")
    for name, kind in (("pipe.png", "FIFO"), ("zero.png", "device")):
        sentence = f"esbench: '{name}' is a {kind}, not a regular file.\n"
        answer = esbench("measure", "-c", "cifs-jpeg[lam=0]", name)
        assert (answer.code, answer.err) == (3, sentence)
        answer = esbench("denoise", name, "-o", "out.png", *TINY)
        assert (answer.code, answer.err) == (3, sentence)
    for data in ("pipe.png", "."):
        answer = esbench("run", "-d", data, "-c", "loss", *TINY, "--dry-run")
        assert (answer.code, "pipe.png' is a FIFO, not a regular file." in answer.err) == (3, True)


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("file", ["run.toml", "run.json", "spec.json", "result.json", "trace.parquet", "lock"])
def test_a_fifo_in_a_run_is_reported(esbench, pictures, tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    pictures("a")
    assert esbench("run", "-d", "pictures", "-c", "loss", *TINY, "--out", "r").code == 0
    (place,) = Path("r/units" if file == "lock" else "r").rglob(file)
    if file == "lock":
        (place.parent / "result.json").unlink()  # of a unit that is done it is not looked at
    place.unlink()
    os.mkfifo(place)
    for command in (("status", "r"), ("export", "r"), ("replay", "r", "--patience", "1"), ("report", "r")):
        answer = esbench(*command)
        assert "Traceback" not in answer.err
        if command == ("status", "r"):
            assert "is a FIFO, not a regular file" in answer.out + answer.err


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("how", ["damaged", "FIFO"])
def test_a_picture_of_a_run_that_cannot_be_read_is_reported(esbench, pictures, tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    pictures("a")
    command = ("run", "-d", "pictures", "-c", "cifs-jpeg[lam=1]", *TINY, "--out", "r")
    assert esbench(*command).code == 0
    (picture,) = Path("r/units").rglob("clean.png")
    content = picture.read_bytes()
    picture.unlink()
    if how == "FIFO":
        os.mkfifo(picture)
    else:
        picture.write_bytes(content[:20])
    answer = esbench(*command)  # the table is printed nevertheless
    assert (answer.code, "The pictures cannot be written: " in answer.err) == (0, True)
    replayed = esbench("replay", "r", "-c", "cifs-jpeg[lam=2]")  # for which it needs the size
    assert (replayed.code, replayed.err.startswith("esbench: 'r/units/")) == (3, True)
    reported = esbench("report", "r")
    assert (reported.code, reported.err.startswith("esbench: 'r/units/")) == (3, True)
