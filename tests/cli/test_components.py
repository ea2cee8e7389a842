from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import esbench as package
from esbench.builtin.datasets.remote import remotes
from esbench.cli import COMMANDS
from esbench.registry import PLURAL, registry

CRITERION_KEYS = [
    "name",
    "summary",
    "distribution",
    "version",
    "status",
    "reason",
    "parameters",
    "needs",
    "reference",
]


# -- lists


def test_list_criteria_json_has_the_promised_keys_for_every_criterion(esbench):
    answer = esbench("list-criteria", "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = json.loads(answer.out)
    assert {"cifs-jpeg", "cifs-png", "wmv", "emv", "loss", "fixed", "last"} <= {row["name"] for row in rows}
    for row in rows:
        assert list(row) == CRITERION_KEYS
        assert row["status"] in ("ok", "unavailable", "broken", "conflict")
        assert (row["reason"] == "") == (row["status"] == "ok")
    (jpeg,) = (row for row in rows if row["name"] == "cifs-jpeg")
    assert (jpeg["distribution"], jpeg["version"]) == ("esbench", package.__version__)
    assert jpeg["needs"] == ["loss"]
    assert "ICIP 2023" in jpeg["reference"]
    schema = jpeg["parameters"]
    assert schema["type"] == "object"
    assert set(schema["properties"]) == {"lam", "quality", "every", "on"}
    quality = schema["properties"]["quality"]
    assert (quality["type"], quality["minimum"], quality["maximum"], quality["default"]) == ("integer", 0, 100, 95)
    (fixed,) = (row for row in rows if row["name"] == "fixed")
    assert fixed["parameters"]["required"] == ["step"]


def test_list_criteria_for_people_has_a_line_for_each(esbench):
    answer = esbench("list-criteria")
    assert (answer.code, answer.err) == (0, "")
    head, _, *lines = answer.out.splitlines()
    assert head.split() == ["criterion", "owner", "status", "summary,", "or", "reason"]
    assert [line.split()[0] for line in lines] == [r.info.name for r in registry().records["criterion"]]


@pytest.mark.parametrize("kind", PLURAL.values())
def test_every_kind_can_be_listed(esbench, kind):
    answer = esbench("list", kind, "--json")
    assert answer.code == 0
    rows = json.loads(answer.out)
    assert rows
    assert all(list(row) == CRITERION_KEYS for row in rows)
    assert [line.split()[0] for line in esbench("list", kind).out.splitlines()[2:]] == [row["name"] for row in rows]


def test_what_is_broken_is_listed_with_its_owner_and_reason_and_the_rest_works(esbench, plugin):
    before = json.loads(esbench("list-criteria", "--json").out)
    plugin("import a_package_that_is_not_there\n")
    rows = json.loads(esbench("list-criteria", "--json").out)
    assert rows[:-1] == before
    assert list(rows[-1]) == CRITERION_KEYS
    assert (rows[-1]["name"], rows[-1]["distribution"], rows[-1]["version"]) == ("local", "esbench-local", "1.0")
    assert rows[-1]["status"] == "broken"
    assert "a_package_that_is_not_there" in rows[-1]["reason"]
    line = esbench("list-criteria").out.splitlines()[-1]
    assert line.split()[:4] == ["local", "esbench-local", "1.0", "broken"]

    (plugged,) = (row for row in json.loads(esbench("plugins", "--json").out) if row["name"] == "local")
    assert list(plugged) == ["name", "distribution", "version", "status", "reason", "provides"]
    assert (plugged["status"], plugged["provides"]) == ("broken", {})
    traceback = esbench("plugins", "--traceback", "esbench-local")
    assert traceback.out.startswith("Traceback (most recent call last):")
    assert "ModuleNotFoundError: No module named 'a_package_that_is_not_there'" in traceback.out


def test_plugins_says_what_each_provides(esbench, plugin):
    plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='mine', summary='my own', target=lambda frame: 1.0)]\n"
        "@esbench.hookimpl\n"
        "def esbench_codecs():\n"
        "    return [esbench.CodecInfo(name='raw', summary='the bytes', target=lambda image: image.tobytes())]\n"
    )
    rows = json.loads(esbench("plugins", "--json").out)
    (mine,) = (row for row in rows if row["name"] == "local")
    assert (mine["status"], mine["reason"]) == ("ok", "")
    assert mine["provides"] == {"criteria": ["mine"], "codecs": ["raw"]}
    assert all(row["distribution"] == "esbench" and row["status"] == "ok" for row in rows if row is not mine)
    (line,) = (line for line in esbench("plugins").out.splitlines() if line.startswith("local "))
    assert line.endswith(("1 codec, 1 criterion", "1 criterion, 1 codec"))
    names = {row["name"]: row["distribution"] for row in json.loads(esbench("list-criteria", "--json").out)}
    assert names["mine"] == names["cifs-raw"] == "esbench-local"


# -- one component


def test_show_says_everything_of_one_component(esbench):
    answer = esbench("show", "cifs-jpeg")
    assert answer.code == 0
    for part in (
        "cifs-jpeg: loss and compressed file size",
        "owner",
        "esbench 0",
        "ICIP 2023",
        "needs",
        "loss",
        "quality",
        "95",
    ):
        assert part in answer.out
    row = json.loads(esbench("show", "cifs-jpeg", "--json").out)
    assert row in json.loads(esbench("list-criteria", "--json").out)
    assert "step" in esbench("show", "fixed").out
    assert "required" in esbench("show", "fixed").out
    assert "no: its value depends on one output" in esbench("show", "loss").out
    assert "yes" in esbench("show", "wmv[window=5]").out


def test_show_tells_the_settings_of_a_network(esbench):
    shown = [line.split(maxsplit=1) for line in esbench("show", "skip").out.splitlines()]
    assert ["input", "noise, 32 channels"] in shown
    assert ["perturbation", "0.0333"] in shown
    assert ["learning", "rate 0.01"] in shown


@pytest.mark.parametrize("kind", PLURAL)
def test_every_component_can_be_shown(esbench, kind):
    for record in registry().records[kind]:
        if record.status == "ok":
            answer = esbench("show", record.info.name, "--kind", kind)
            assert answer.code == 0, answer
            assert answer.out.startswith(f"{record.info.name}: {record.info.summary}\n")


def test_a_name_of_two_kinds_needs_the_kind(esbench, plugin):
    plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='png', summary='size', target=lambda frame: 1.0)]\n"
    )
    answer = esbench("show", "png")
    assert (answer.code, answer.out) == (2, "")
    assert "'png' is a criterion and a codec: choose one with --kind." in answer.err
    assert esbench("show", "png", "--kind", "codec").code == 0


# -- measure


@pytest.fixture
def picture(tmp_path, monkeypatch):
    """A picture file in the working directory."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (24, 28, 3), dtype=np.uint8)
    Image.fromarray(image).save("a b.png")
    return image


def test_measure_json_has_a_row_for_each_picture_and_criterion(esbench, picture):
    answer = esbench(
        "measure", "-c", "cifs-jpeg[lam=0]", "-c", "cifs-jpeg", "-c", "wmv", "a b.png", "./a b.png", "--json"
    )
    assert (answer.code, answer.err) == (0, "")
    rows = json.loads(answer.out)
    assert [row["image"] for row in rows] == ["a b.png"] * 3 + ["./a b.png"] * 3
    assert [row["criterion"] for row in rows[:3]] == ["cifs-jpeg[lam=0]", "cifs-jpeg", "wmv"]
    size, jpeg, wmv = rows[:3]
    assert list(size) == ["image", "criterion", "value", "ms", "bytes"]
    assert isinstance(size["bytes"], int)
    assert size["value"] == size["bytes"] ** 2 / (24 * 28) == package.measure("cifs-jpeg[lam=0]", picture)
    assert jpeg["value"] is None
    assert jpeg["bytes"] == size["bytes"]
    assert jpeg["reason"] == "needs the loss of an optimisation; with lam=0 it is the size alone"
    assert list(wmv) == ["image", "criterion", "value", "ms", "reason"]
    assert (wmv["value"], wmv["reason"]) == (None, "needs the outputs of many steps")


def test_measure_without_json_says_why_there_is_no_value(esbench, picture):
    answer = esbench("measure", "-c", "wmv", "-c", "loss[on=average]", "-c", "cifs-png[lam=0]", "a b.png")
    assert answer.code == 0
    lines = answer.out.splitlines()[2:]
    assert "none: needs the outputs of many steps" in lines[0]
    assert "none: needs the averaged outputs of many steps" in lines[1]
    assert "none" not in lines[2]


def test_what_cannot_be_measured_costs_its_own_values_only(esbench, picture, plugin):
    plugin(
        "import os, esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='odd', summary='raises', target=odd)]\n"
        "def odd(frame):\n"
        "    os.chdir('/')\n"
        "    raise ValueError('odd')\n"
    )
    Path("bad.png").write_bytes(b"no picture")
    answer = esbench("measure", "-c", "odd", "-c", "cifs-png[lam=0]", "bad.png", "none.png", "a b.png", "--json")
    rows = json.loads(answer.out)
    assert answer.code == 1
    assert [(row["image"], row["value"] is None) for row in rows] == [
        *[("bad.png", True)] * 2,
        *[("none.png", True)] * 2,
        ("a b.png", True),
        ("a b.png", False),
    ]
    assert rows[0]["reason"].startswith("'bad.png' is not a picture")
    assert rows[2]["reason"] == "There is no file 'none.png'."
    assert rows[4]["reason"] == "Criterion 'odd' of esbench-local 1.0 raised ValueError: odd at step 0."
    assert answer.err.splitlines() == [f"esbench: {rows[i]['reason']}" for i in (0, 2, 4)]
    shown = esbench("measure", "-c", "odd", "-c", "cifs-png[lam=0]", "bad.png", "a b.png", "./a b.png")
    assert (shown.code, len(shown.out.splitlines())) == (1, 8)
    assert "There is no file" not in shown.err
    assert esbench("measure", "-c", "cifs-png[lam=0]", "bad.png", "none.png", "--json").code == 3


def test_parts_that_json_cannot_hold_are_null(esbench, picture, plugin):
    plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='parts', summary='some', target=parts)]\n"
        "def parts(frame):\n"
        "    return esbench.Value(float('inf'), {'half': 0.5, 'lost': float('nan'), 'whole': 3.0})\n"
    )
    (row,) = json.loads(esbench("measure", "-c", "parts", "a b.png", "--json").out)
    assert (row["value"], row["half"], row["lost"], row["whole"]) == (None, 0.5, None, 3)
    assert row["reason"] == "it gave inf"


# -- data


@pytest.fixture
def data(pictures, tmp_path, monkeypatch):
    """A folder for ESBENCH_DATA with two pictures that are called as Kodak's."""
    (tmp_path / "data").mkdir()
    pictures("kodim01", "kodim02", folder="data/kodak24")
    monkeypatch.setenv("ESBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def test_data_list_says_where_each_dataset_is(esbench, data):
    answer = esbench("data", "list", "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = {row["name"]: row for row in json.loads(answer.out)}
    assert set(rows) == {"samples", *remotes()}
    assert all(list(row) == ["name", "images", "megabytes", "where", "licence", "summary"] for row in rows.values())
    assert rows["kodak24"]["where"] == str(data / "kodak24")
    assert rows["kodak24"]["images"] == 24
    assert rows["samples"]["where"] == "comes with esbench"
    assert rows["set9"]["where"] is None
    lines = {line.split()[0]: line for line in esbench("data", "list").out.splitlines()[2:]}
    assert "not available" in lines["set9"]


def test_data_path_prints_the_folder_and_nothing_else(esbench, data):
    assert esbench("data", "path", "kodak24").out == f"{data / 'kodak24'}\n"


def test_data_verify_compares_with_what_was_published(esbench, data):
    answer = esbench("data", "verify", "kodak24", "--json")
    assert answer.code == 1
    rows = {row["file"]: row["state"] for row in json.loads(answer.out)}
    assert len(rows) == 24
    assert rows["kodim01.png"] == rows["kodim02.png"] == "other pixels"
    assert rows["kodim03.png"] == "missing"
    lines = esbench("data", "verify", "kodak24").out.splitlines()
    assert len(lines) == 25
    assert lines[-1] == "0 of 24 pictures of kodak24 are as published."


def test_data_that_was_compressed_again_without_loss_is_as_good(esbench, data, monkeypatch):
    import hashlib

    from esbench.builtin.datasets import named
    from esbench.images import read

    first, second = (data / "kodak24" / f"kodim0{i}.png" for i in (1, 2))
    published = {
        "kodim01.png": (hashlib.sha256(first.read_bytes()).hexdigest(), ""),
        "kodim02.png": ("another file", hashlib.sha256(read(second).tobytes()).hexdigest()),
    }
    monkeypatch.setattr(named, "checksums", lambda: {"kodak24": published})
    answer = esbench("data", "verify", "kodak24", "--json")
    assert answer.code == 0
    assert [row["state"] for row in json.loads(answer.out)] == ["ok", "same pixels"]
    second.write_text("no picture any more")
    assert [row["state"] for row in json.loads(esbench("data", "verify", "kodak24", "--json").out)] == [
        "ok",
        "other pixels",
    ]


def test_the_sample_picture_is_always_there(esbench, monkeypatch):
    monkeypatch.delenv("ESBENCH_DATA", raising=False)
    samples = registry().get("dataset", "samples").target()
    (name,) = samples.ids()
    image = samples.load(name)
    assert (image.shape, image.dtype) == ((96, 96, 3), np.uint8)
    assert 40 < image.std() < 100


# -- the rest


def test_env_is_what_an_issue_report_needs(esbench):
    facts = json.loads(esbench("env", "--json").out)
    assert facts["esbench"] == package.__version__
    assert {"python", "platform", "packages", "plugins", "machine", "commit"} <= set(facts)
    assert facts["packages"]["torch"] == facts["machine"]["torch"]
    answer = esbench("env")
    assert (answer.code, answer.err) == (0, "")
    assert f"esbench: {package.__version__}" in answer.out


def test_env_reports_a_pytorch_that_cannot_be_used(esbench, monkeypatch):
    def broken(device):
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr("esbench.bench.grid.device_kind", broken)
    facts = json.loads(esbench("env", "--json").out)
    assert facts["machine"] == {"torch": "cannot be used: OSError: libcudart.so.13: cannot open shared object file"}


def test_version_and_help_are_there_for_every_command(esbench):
    assert esbench("--version").out == f"esbench, version {package.__version__}\n"
    listed = esbench("--help").out
    for name in COMMANDS:
        assert f"\n  {name} " in listed
        answer = esbench(name, "--help")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith(f"Usage: esbench {name} ")
    assert "130 interrupted" in " ".join(listed.split())


def test_without_a_command_the_help_is_shown(esbench):
    answer = esbench()
    assert answer.code == 2
    assert "Commands:" in answer.out + answer.err
    assert "Traceback" not in answer.err
