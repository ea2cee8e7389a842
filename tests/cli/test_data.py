"""`esbench data fetch`, and what other commands do with a dataset that is not available."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from esbench import models
from esbench.builtin.datasets.remote import File, Remote, remotes
from esbench.images import read


@pytest.fixture
def kodak24(server, pictures, monkeypatch, tmp_path):
    """The name kodak24 for two small pictures on a server, on a machine that has none; its place in the cache."""
    files = []
    for path in sorted(pictures("kodim01", "kodim02", folder="away").iterdir()):
        content = path.read_bytes()
        server.files[f"/{path.name}"] = content
        hashes = hashlib.sha256(content).hexdigest(), hashlib.sha256(read(path).tobytes()).hexdigest()
        files.append(File(path.name, *hashes, (f"{server.address}/{path.name}",)))
    monkeypatch.setitem(remotes(), "kodak24", Remote("kodak24", tuple(files), 0.2, "none known"))
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ESBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "data" / "kodak24"


@pytest.fixture
def offline(kodak24, monkeypatch):
    """The same, without a network."""
    files = tuple(replace(file, addresses=("http://127.0.0.1:9/x",)) for file in remotes()["kodak24"].files)
    monkeypatch.setitem(remotes(), "kodak24", replace(remotes()["kodak24"], files=files))


def test_data_fetch_says_where_a_dataset_is_and_does_nothing_twice(esbench, server, kodak24):
    answer = esbench("data", "fetch", "kodak24")
    assert (answer.code, answer.out) == (0, f"kodak24: {kodak24}\n")
    assert answer.err == (
        f"kodak24: fetching 2 pictures (0.2 MB) from 127.0.0.1:{server.server_port} into '{kodak24}'. Terms: none "
        "known.\n"
    )
    again = esbench("data", "fetch", "kodak24")
    assert (again.code, again.out, again.err) == (0, f"kodak24: {kodak24} (already available)\n", "")
    assert len(server.asked) == 2
    (kodak24 / "kodim02.png").unlink()
    answer = esbench("data", "fetch", "kodak24", "--json")
    assert json.loads(answer.out) == [{"name": "kodak24", "fetched": 1, "where": str(kodak24)}]


def test_data_fetch_without_a_name_fetches_all(esbench, server, kodak24, monkeypatch):
    for name in [*remotes()]:
        monkeypatch.setitem(remotes(), name, replace(remotes()["kodak24"], name=name))
    rows = json.loads(esbench("data", "fetch", "--json").out)
    assert [(row["name"], row["fetched"]) for row in rows] == [(name, 2) for name in remotes()]


def test_data_fetch_leaves_a_folder_of_ones_own_as_it_is(esbench, server, kodak24, pictures, monkeypatch, tmp_path):
    own = pictures("kodim01", folder="kodak24")
    monkeypatch.setenv("ESBENCH_DATA", str(tmp_path))
    answer = esbench("data", "fetch", "kodak24")
    assert (answer.code, answer.out) == (0, f"kodak24: {own} (already available)\n")
    assert server.asked == []
    assert [p.name for p in own.iterdir()] == ["kodim01.png"]


def test_data_fetch_of_nothing_that_is_public_is_refused(esbench, kodak24):
    answer = esbench("data", "fetch", "kodak42")
    assert answer.code == 2
    assert "No public dataset 'kodak42'. Did you mean 'kodak24'?" in answer.err


def test_data_list_says_whether_a_dataset_is_in_the_cache(esbench, server, kodak24):
    def line() -> str:
        (line,) = [line for line in esbench("data", "list").out.splitlines() if line.startswith("kodak24 ")]
        return " ".join(line.split())

    assert line().startswith("kodak24 24 15.4 not available ")
    assert server.asked == []
    esbench("data", "fetch", "kodak24")
    assert line().startswith(f"kodak24 24 15.4 cache: {kodak24} ")


def test_half_a_dataset_is_said_to_be_half(esbench, server, kodak24):
    server.faults["/kodim02.png"] = [404]
    answer = esbench("data", "fetch", "kodak24")
    half = f"Dataset 'kodak24' is incomplete (1 of its 2 pictures are in '{kodak24}'): "
    assert (answer.code, answer.out) == (3, "")
    assert f"esbench: {half}kodim02.png could not be fetched (127.0.0.1:" in answer.err
    for command in ("path", "verify"):
        answer = esbench("data", command, "kodak24")
        assert (answer.code, answer.out) == (3, "")
        assert answer.err.startswith(f"esbench: {half}fetch it with 'esbench data fetch kodak24' (0.2 MB), or set")


def test_a_run_fetches_its_dataset_on_first_use(esbench, server, kodak24):
    least = ("--network", "skip[channels=2,scales=1]", "--iterations", "3", "--patience", "1", "--device", "cpu")
    run = ("run", "-d", "kodak24", "-c", "loss", "--out", "r", "-q", "--json", *least)
    answer = esbench(*run)
    assert answer.code == 0
    assert [row["image"] for row in json.loads(answer.out)] == ["kodim01", "kodim02"]
    assert answer.err.startswith("kodak24: fetching 2 pictures (0.2 MB) from 127.0.0.1:")
    assert len(answer.err.splitlines()) == 1
    assert esbench(*run).err == ""
    assert len(server.asked) == 2


def test_a_run_without_data_and_network_says_what_to_do(esbench, offline, tiny, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    answer = esbench("run", "-d", "kodak24", "-c", "loss", *tiny)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == (
        "esbench: Dataset 'kodak24' is not available: it could not be fetched (127.0.0.1:9 cannot be reached). Try "
        "again with 'esbench data fetch kodak24', or set ESBENCH_DATA to a folder that contains kodak24/.\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "-d", "kodak24", "-c", "loss", "--dry-run"), 3),
        (("list", "datasets"), 0),
        (("show", "kodak24"), 0),
        (("data", "list"), 0),
        (("data", "path", "kodak24"), 3),
        (("data", "verify", "kodak24"), 3),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_what_only_reads_does_not_ask(esbench, server, kodak24, arguments, code):
    answer = esbench(*arguments)
    assert answer.code == code
    assert server.asked == []
    if code:
        assert (
            "'kodak24' is not available: fetch it with 'esbench data fetch kodak24' (0.2 MB), or set ESBENCH_DATA"
            in answer.err
        )


@pytest.mark.parametrize("criterion", ["all", "brisque"])
def test_a_plan_waits_for_no_trained_model(esbench, server, kodak24, pictures, monkeypatch, tiny, criterion):
    for name, model in models.MODELS.items():
        monkeypatch.setitem(
            models.MODELS, name, replace(model, url=f"{server.address}/{name}", package=("", ""), file="")
        )
    plan = esbench("run", "-d", str(pictures("a", size=(100, 100))), "-c", criterion, "--dry-run", "--json", *tiny)
    assert plan.code == 0, plan.err
    assert "brisque" in json.loads(plan.out)["criteria"]
    assert server.asked == []


def test_a_cache_that_cannot_be_written_is_reported(esbench, kodak24, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "file"))
    answer = esbench("data", "fetch", "kodak24")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.splitlines()[-1].startswith(f"esbench: '{tmp_path}/file/data/kodak24/kodim0")
    assert answer.err.endswith("png' cannot be written: Not a directory. Set ESBENCH_CACHE to another folder.\n")
