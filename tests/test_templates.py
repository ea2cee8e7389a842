"""Each kind of plugin from the template, generated, installed with pip into a folder of its own, and run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from esbench import templates
from esbench.cli import cli
from esbench.errors import UsageError

ROOT = Path(__file__).parents[1]
NAMES = {kind: f"my-{kind.partition('-')[2] or kind}" for kind in templates.KINDS}


def python(*arguments: object, path: Path | None = None, here: Path | None = None) -> str:
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "" if path is None else str(path)}
    words = [sys.executable, *map(str, arguments)]
    done = subprocess.run(words, env=environ, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip_install(site: Path, *folders: Path) -> None:
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    python("-m", "pip", "install", *offline, "--target", site, *folders)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin of each kind, and `site`, where all are installed."""
    folder = tmp_path_factory.mktemp("plugins")
    for kind, name in NAMES.items():
        templates.write(name, kind, folder)
    pip_install(folder / "site", *(folder / f"esbench-{name}" for name in NAMES.values()))
    return folder


def test_every_kind_is_listed_from_its_own_distribution(generated):
    rows = json.loads(python("-m", "esbench", "plugins", "--json", path=generated / "site"))
    mine = {row["distribution"]: row for row in rows if row["distribution"].startswith("esbench-my-")}
    assert {row["status"] for row in mine.values()} == {"ok"}
    provides = {name: mine[f"esbench-{name}"]["provides"] for name in NAMES.values()}
    assert provides == {
        "my-criterion": {"criteria": ["my-criterion"]},
        "my-with-memory": {"criteria": ["my-with-memory"]},
        "my-codec": {"codecs": ["my-codec"]},
        "my-dataset": {"datasets": ["my-dataset"]},
        "my-degradation": {"degradations": ["my-degradation"]},
    }


def test_every_kind_passes_its_own_tests(generated):
    tests = [generated / f"esbench-{name}" / "tests" for name in NAMES.values()]
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, path=generated / "site", here=generated)
    assert " passed" in said
    assert "failed" not in said


def test_every_kind_is_shown_by_the_command_that_it_names(generated):
    for kind in ("dataset", "degradation"):
        assert f"my-{kind}" in python("-m", "esbench", "show", "--kind", kind, f"my-{kind}", path=generated / "site")


def test_they_work_together_in_a_run(generated):
    criteria = ("my-criterion", "my-with-memory[every=2]", "cifs-my-codec[lam=1e6]")
    options = (
        "--images 1 --crop 40 --iterations 4 --patience 1 --device cpu --json -q --network skip[channels=2,scales=1]"
    )
    words = ["-d", "my-dataset", "--noise", "my-degradation[width=0.3]", *options.split(), "--out", "RUN"]
    words += [word for name in criteria for word in ("-c", name)]
    rows = json.loads(python("-m", "esbench", "run", *words, path=generated / "site", here=generated))
    assert {row["criterion"] for row in rows} == {*criteria[:2], "cifs-my-codec[lam=1000000]"}
    assert {(row["dataset"], row["image"], row["noise"], row["sigma"]) for row in rows} == {
        ("my-dataset", "ramp-0", "my-degradation[width=0.3]", None)
    }


def test_the_template_travels_with_the_package():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "package-data"
    ]
    package = ROOT / "esbench"
    found = {path for pattern in declared["esbench"] for path in package.glob(pattern)}
    assert {path for path in (package / "templates/plugin").rglob("*") if path.is_file()} <= found


@pytest.mark.parametrize("kind", templates.KINDS)
def test_nothing_of_the_template_is_left_open(kind):
    files, check = templates.plugin("two-words", kind)
    assert {"pyproject.toml", "README.md", "esbench_two_words/__init__.py", "tests/test_two_words.py"} < {*files}
    assert "two-words" in check
    for path, text in files.items():
        assert "$" not in text, path
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_the_example_is_exactly_what_the_template_gives():
    files, _ = templates.plugin("example", "criterion")
    for path, text in files.items():
        assert (ROOT / "plugins/esbench-example" / path).read_text(encoding="utf-8") == text, path
    there = {p.relative_to(ROOT / "plugins/esbench-example") for p in (ROOT / "plugins/esbench-example").rglob("*")}
    made = {"build", "__pycache__"}
    written = {str(p) for p in there if not made & {*p.parts} and ".egg-info" not in str(p) and ".pytest" not in str(p)}
    assert {path for path in written if "." in path} == {*files}


def command(*arguments: str) -> None:
    cli.main(["new-plugin", *arguments], standalone_mode=False)


def test_the_command_writes_into_this_folder_and_says_what_comes_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command("esbench-two-words", "--kind", "criterion-with-memory")
    out = capsys.readouterr().out
    assert "esbench-two-words/esbench_two_words/criterion.py" in out
    assert out.splitlines()[-3:] == [
        "  pip install -e esbench-two-words",
        "  esbench check-criterion two-words",
        "  python -m pytest esbench-two-words",
    ]
    assert (tmp_path / "esbench-two-words/README.md").is_file()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Two Words", "A name must consist of a-z, 0-9 and '-'"),
        ("class", "not be a Python keyword, got 'class'"),
        ("wmv", "A criterion 'wmv' already exists: choose another name."),
        ("here", "'esbench-here' already exists: choose another name, or remove it."),
        ("link", "'esbench-link' already exists: choose another name, or remove it."),
    ],
)
def test_a_name_that_does_not_do_is_refused(name, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "esbench-here").mkdir()
    (tmp_path / "esbench-link").symlink_to("nowhere")
    with pytest.raises(UsageError) as raised:
        command(name)
    assert sentence in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["esbench-here", "esbench-link"]
