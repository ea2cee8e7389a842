"""The documentation is true: what there is has its place in it, what it names is there, and its code runs."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shlex
import shutil
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template

import click
import pytest

import esbench
from esbench import errors, hookspecs, models, params
from esbench.bench.config import PRESETS, Config
from esbench.bench.rows import COLUMNS
from esbench.bench.spec import UnitSpec
from esbench.builtin import networks
from esbench.builtin.criteria.cifs import table
from esbench.cli import cli
from esbench.events import Event
from esbench.plugins import PluginHost, Status
from esbench.records import CodecInfo, CriterionInfo, DatasetInfo, DegradationInfo
from esbench.registry import PLURAL, Record, Registry, parameters
from esbench.testing import check_criterion

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("esbench_")}

#: ```language ... ```, and the comment that may say why it is not run, or which package it needs beside esbench.
BLOCK = re.compile(
    r"(?:<!-- (?:not run: (?P<why>[^>]+)|needs: (?P<needs>\w+)) -->\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```$",
    re.M | re.S,
)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(path: Path, *kinds: str) -> list[str]:
    found = BLOCK.finditer(path.read_text(encoding="utf-8"))
    return [m["code"] for m in found if m["kind"] in kinds and not m["why"] and not m["needs"]]


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next of the same or a higher level."""
    level = re.escape(heading).split(r"\ ")[0].count("#")
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", text, re.M | re.S)
    assert found, f"there is no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def commands(group: click.Group = cli, above: str = "esbench") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield f"{above} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{above} {name}")


def built_in_criteria() -> list[Record]:
    return Registry(PluginHost({"ESBENCH_PLUGINS": "none"})).records["criterion"]


# -- what there is, and its place --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_heading_with_its_signature_and_the_example_of_its_docstring(name):
    signature = str(inspect.signature(HOOKS[name])).replace("'", "")
    under = section(page("hooks.md"), f"## `{name}{signature}`")
    example = re.search(r"```python\n(.*?)```", inspect.getdoc(HOOKS[name]) or "", re.S)
    assert textwrap.dedent(example[1]) in under


def test_every_field_of_every_record_is_explained():
    for record in (CriterionInfo, CodecInfo, DatasetInfo, DegradationInfo):
        for field in dataclasses.fields(record):
            assert f"`{field.name}`" in page("hooks.md"), f"{record.__name__}.{field.name}"


def test_every_event_is_explained_with_its_fields():
    written = {cells[0].strip("`"): cells[1] for cells in rows(page("hooks.md")) if len(cells) == 2}
    for event in Event.__subclasses__():
        assert all(f"`{field.name}`" in written[event.__name__] for field in dataclasses.fields(event)), event


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda x: x if isinstance(x, str) else "")
def test_every_command_has_a_heading_and_every_option_its_line(name, command):
    level = "##" if name.count(" ") == 1 else "###"
    text = section(page("commands.md"), f"{level} {name}")
    lines = [cells[0] for cells in rows(text)]
    options = [p for p in command.params if isinstance(p, click.Option)]
    for option in options:
        (line,) = [line for line in lines if re.search(rf"`{option.opts[-1]}(?![\w-])", line)] or [""]
        assert all(f"`{flag}" in line for flag in option.opts), f"{name} {'/'.join(option.opts)} has no line"
        if isinstance(option.type, click.Choice):
            assert all(f"`{choice}`" in text for choice in option.type.choices), (name, option.name)
    if not isinstance(command, click.Group):
        written = {flag for line in lines for flag in re.findall(r"`(--?[\w-]+)", line)}
        assert written == {flag for option in options for flag in option.opts}, f"{name} has no such option"


def test_no_command_is_promised_that_does_not_exist():
    headings = re.findall(r"^#{2,3} (esbench .*)$", page("commands.md"), re.M)
    assert headings == [name for name, _ in commands()]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_every_command_line_is_one_that_could_be_typed(path):
    variables: dict[str, str] = {}
    for line in "".join(blocks(path, "sh")).replace("\\\n", "").splitlines():
        words = shlex.split(Template(line).safe_substitute(variables), comments=True)
        assigned = [w for w in words if re.fullmatch(r"[A-Z_]+=.*", w)]
        variables |= dict(w.split("=", 1) for w in assigned)
        words = [w for w in words if w not in assigned]
        if words[:1] != ["esbench"]:
            continue
        group, words = cli, words[1:]
        while isinstance(group, click.Group):
            command = group.get_command(click.Context(group), words[0])
            assert command is not None, line
            group, words = command, words[1:]
        group.make_context("esbench", words, resilient_parsing=False)


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda x: x if isinstance(x, str) else "")
def test_the_help_of_every_command_ends_with_examples_that_could_be_typed(name, command):
    if isinstance(command, click.Group):
        return
    text = command.get_help(click.Context(command, info_name=name, terminal_width=80))
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.strip() for line in text.split("Examples:\n")[1].splitlines()]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert " ".join(words).startswith(f"{name} ") or line == name
        command.make_context(name, words[name.count(" ") + 1 :], resilient_parsing=False)
        assert len(line) < 78


def test_the_summary_for_agents_names_every_command_and_its_links_exist():
    text = page("llms.txt")
    assert [name for name, _ in commands() if not re.search(rf"`{name}[` ]", text)] == []
    assert [file for file in re.findall(r"\]\(([^)]+)\)", text) if not (ROOT / "docs" / file).is_file()] == []


def test_every_exit_code_is_explained():
    tree = [errors.EsbenchError, *errors.EsbenchError.__subclasses__()]
    codes = {"0", "130", *(str(e.exit_code) for e in tree)}
    assert {cells[0] for cells in rows(section(page("commands.md"), "## Exit codes"))} - {"code"} == codes


def test_every_environment_variable_is_explained():
    found = set()
    for path in (ROOT / "esbench").rglob("*.py"):
        found |= set(re.findall(r"\bESBENCH_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert found
    assert found <= {cells[0].strip("`") for cells in rows(section(page("commands.md"), "## Environment variables"))}


@pytest.mark.parametrize("record", built_in_criteria(), ids=lambda r: r.info.name)
def test_every_criterion_and_each_of_its_parameters_is_explained(record):
    text, name = page("criteria.md"), record.info.name
    family = "cifs-*" if record.info.codec else name
    assert f"`{name}`" in re.sub(r"^## Parameters$.*?(?=^## )", "", text, flags=re.M | re.S), "it has no section"
    written = {(cells[0], cells[1]): cells[2:4] for cells in rows(section(text, "## Parameters")) if len(cells) == 5}
    for p in parameters(record).values():
        if p.name in ("every", "on"):
            assert any(cells[0] == f"`{p.name}`" for cells in rows(text))
            continue
        known = written.get((f"`{name}`", f"`{p.name}`")) or written.get((f"`{family}`", f"`{p.name}`"))
        default = "must be given" if p.default is params.REQUIRED else params.plain(p.default)
        assert known == [default, params.describe(p.annotation)], f"{name}: {p.name}"


def test_no_parameter_is_promised_that_does_not_exist():
    known = {f"`{r.info.name}`": {f"`{name}`" for name in parameters(r)} for r in built_in_criteria()}
    known["`cifs-*`"] = {"`lam`"}
    for cells in rows(section(page("criteria.md"), "## Parameters")):
        if len(cells) == 5 and cells[0] != "criterion":
            assert cells[1] in known[cells[0]], cells


def test_every_degradation_is_explained_with_its_default():
    found = Registry(PluginHost({"ESBENCH_PLUGINS": "none"})).records["degradation"]
    written = {cells[0].strip("`"): cells[2] for cells in rows(section(page("benchmark.md"), "## Degradations"))}
    assert {*written} - {"--noise"} == {record.info.name for record in found}
    for record in found:
        for p in parameters(record).values():
            told = "`--sigma`" if p.name == record.info.parameter else f"`{p.name}`, default {params.plain(p.default)}"
            assert told in written[record.info.name]


def test_every_check_of_the_kit_is_explained():
    written = {cells[0].strip("`") for cells in rows(section(page("write-a-criterion.md"), "## Check it"))}
    found = {finding.check.partition(":")[0] for finding in check_criterion("loss")}
    assert {name.partition(":")[0] for name in written} - {"check"} == found


def test_every_trained_model_is_named():
    assert [file for file in models.MODELS if f"`{file}`" not in page("criteria.md")] == []


def test_the_calibrated_table_is_the_one_that_is_used():
    lines = ["| codec | sigma | mu | bytes per pixel |", "|---|---|---|---|"]
    lines += [
        f"| `{codec}` | {float(sigma):g} | {mu:g} | {table()['texture'].get(codec, {}).get(sigma, '')} |"
        for codec, levels in table()["mu"].items()
        for sigma, mu in sorted(levels.items(), key=lambda item: float(item[0]))
    ]
    written = re.search(r"<!-- calibration-table -->\n(.*?)\n<!--", page("criteria.md"), re.S)
    assert written[1].splitlines() == lines, "docs/criteria.md should have:\n" + "\n".join(lines)


def test_every_column_of_the_results_is_explained():
    assert tuple(cells[0].strip("`") for cells in rows(section(page("results.md"), "## The table")))[1:] == COLUMNS


def test_every_part_of_a_unit_is_explained():
    text = section(page("results.md"), "### `spec.json`")
    for field in dataclasses.fields(UnitSpec):
        assert f"`{field.name}`" in text, field.name


def test_every_configuration_key_is_explained_with_its_default():
    lines = {cells[1].strip("`"): cells for cells in rows(section(page("benchmark.md"), "## Options"))}
    lines.pop("key")
    assert list(lines) == [field.name for field in dataclasses.fields(Config)]
    for field in dataclasses.fields(Config):
        if isinstance(field.default, str):
            assert lines[field.name][2] == f"`{field.default}`"
        elif isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert lines[field.name][2] == f"{field.default:.9g}"


@pytest.mark.parametrize("info", networks.INFOS, ids=lambda info: info.name)
def test_every_network_is_explained_with_its_settings_and_parameters(info):
    (settings,) = [cells for cells in rows(page("networks.md")) if cells[0] == f"[`{info.name}`](#{info.name})"]
    assert settings[2] == f"`{info.input}`"
    assert settings[4:6] == [f"{info.perturbation:.3g}", f"{info.learning_rate:g}"]
    written = {cells[0]: cells[1] for cells in rows(section(page("networks.md"), f"## {info.name}")) if len(cells) == 3}
    written.pop("parameter", None)
    known = parameters(Registry(PluginHost({"ESBENCH_PLUGINS": "none"})).find("network", info.name))
    assert written == {f"`{key}`": params.plain(param.default) for key, param in known.items()}


def test_every_preset_is_explained():
    assert {cells[0].strip("`") for cells in rows(section(page("benchmark.md"), "## Presets"))} - {"preset"} == {
        *PRESETS
    }


def test_every_status_is_explained():
    text = page("plugins-and-trust.md")
    for status in Status.__args__:
        assert f"`{status}`" in section(text, "## Status of a plugin")
    for status in ("ok", "unavailable", "broken", "conflict"):
        assert f"`{status}`" in section(text, "## Status of a component")


def test_every_kind_of_component_can_be_found():
    text = section(page("commands.md"), "## esbench list") + section(page("commands.md"), "## esbench show")
    for singular, plural in PLURAL.items():
        assert f"`{singular}`" in text
        assert f"`{plural}`" in text


def test_every_public_name_is_in_the_reference():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
    shown = set(re.findall(r"^::: esbench\.(?:\w+\.)*(\w+)$", text, re.M))
    assert set(esbench.__all__) - shown == {"hookimpl"}  # a marker, which the page of plugins names
    assert "`esbench.hookimpl`" in page("api/plugins.md")


def test_the_tree_of_errors_is_that_of_the_code():
    tree = inspect.getdoc(errors).split("\n\n")[1]
    assert textwrap.dedent(tree) in page("api/errors.md")


# -- links, pictures and code ------------------------------------------------------------------------------------------


#: Where a paragraph ends: before an empty line, an item of a list, a row of a table, and a heading.
PARAGRAPHS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)|\n(?=\s*[|#])")


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_no_paragraph_is_longer_than_90_words(path):
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"\]\([^)\s]+\)", "]", text)
    assert [paragraph for paragraph in PARAGRAPHS.split(text) if len(paragraph.split()) > 90] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", path.read_text(encoding="utf-8"))):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in headings}
            assert anchor in slugs, target


def test_every_guide_has_a_picture():
    nav = re.search(r"^nav:\n(.*?)^  - Reference:", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M | re.S)
    guides = re.findall(r": (\S+\.md)$", nav[1], re.M)
    assert len(guides) > 10
    assert [name for name in guides if "](images/" not in page(name)] == []


def test_the_pictures_are_small():
    pictures = list((ROOT / "docs/images").iterdir())
    assert {p.name for p in pictures} >= {"quick-pictures.png", "quick-curves.png"}
    assert all(p.stat().st_size < 200_000 for p in pictures)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_every_block_of_toml_and_json_can_be_read(path):
    for code in blocks(path, "toml"):
        values = tomllib.loads(code)
        if "project" not in values:
            assert Config(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    for code in blocks(path, "json"):
        json.loads(code)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, which the pages call RUN."""
    folder = tmp_path_factory.mktemp("docs") / "RUN"
    options = "--crop 32 --network skip[channels=2,scales=1] --iterations 8 --patience 2 --device cpu"
    arguments = ["run", *options.split(), "-c", "cifs-jpeg", "-c", "loss", "--out", str(folder), "-q", "--json"]
    assert cli.main(arguments, standalone_mode=False) in (0, None)
    return folder


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(path, run, tmp_path, monkeypatch, capsys):
    shutil.copytree(run, tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for code in blocks(path, "python"):
        exec(compile(code, f"{path.name}: {code.splitlines()[0]}", "exec"), names)


NEEDY = [(p, m["needs"], m["code"]) for p in PAGES for m in BLOCK.finditer(p.read_text(encoding="utf-8")) if m["needs"]]


@pytest.mark.parametrize(("path", "needs", "code"), NEEDY, ids=[f"{p.name}-{needs}" for p, needs, _ in NEEDY])
def test_the_code_that_needs_another_package_runs_where_it_is_installed(path, needs, code, tmp_path, monkeypatch):
    pytest.importorskip(needs, reason=f"{needs}, of which {path.name} has an example, is not installed")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"{path.name}: {needs}", "exec"), {"__name__": "page"})


# -- the first plugin --------------------------------------------------------------------------------------------------


def test_the_first_plugin_of_the_readme_is_the_one_of_the_tutorial():
    readme, tutorial = ROOT / "README.md", ROOT / "docs/write-a-criterion.md"
    assert blocks(readme, "toml")[0] == blocks(tutorial, "toml")[0]
    (module,) = [code for code in blocks(readme, "python") if "hookimpl" in code]
    assert module == blocks(tutorial, "python")[0]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give installed(change): the plugins of an environment that has the first plugin of the README, changed."""

    def installed(was: str = "", now: str = "") -> Registry:
        project = tomllib.loads(blocks(ROOT / "README.md", "toml")[0])["project"]
        (module,) = [code for code in blocks(ROOT / "README.md", "python") if "hookimpl" in code]
        (entry,) = project["entry-points"]["esbench"].items()
        (tmp_path / f"{entry[1]}.py").write_text(module.replace(was, now) if was else module)
        info = tmp_path / f"{entry[1]}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        (info / "entry_points.txt").write_text(f"[esbench]\n{entry[0]} = {entry[1]}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(__import__("sys").modules, entry[1], raising=False)
        return Registry(PluginHost({}))

    return installed


def test_the_first_plugin_shows_up(installed):
    component = installed().get("criterion", "roughness[strength=0.2]")
    assert (component.text, component.record.distribution) == ("roughness[strength=0.2]", "esbench-roughness")


def test_the_first_plugin_passes_the_conformance_kit(installed):
    found = check_criterion(installed().get("criterion", "roughness"))
    assert [str(finding) for finding in found if finding.status == "failed"] == []


def test_the_first_plugin_broken_shows_up_as_broken_with_the_sentence_of_the_docs(installed):
    found = installed("esbench_criteria", "esbench_criterion")
    (plugin,) = [p for p in found.host.plugins if p.distribution == "esbench-roughness"]
    assert plugin.status == "broken"
    assert plugin.reason in page("plugins-and-trust.md")
    assert found.get("criterion", "wmv").record.status == "ok"
