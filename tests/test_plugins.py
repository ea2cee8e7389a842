from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from esbench import loading
from esbench.errors import LoadError, NameUnknown
from esbench.events import RunFinished
from esbench.plugins import BUILT_IN, Plugin, PluginHost
from esbench.registry import Registry

EVERYTHING_ELSE = ("good_criterion", "good_codec", "good_stateful")


def rows(host: PluginHost, distribution: str) -> list[Plugin]:
    return [p for p in host.plugins if p.distribution == distribution]


def row(host: PluginHost, distribution: str) -> Plugin:
    (plugin,) = rows(host, distribution)
    return plugin


def provided(host: PluginHost) -> dict[str, set[str]]:
    """Return the names that the host has, by kind, from all plugins."""
    return {
        kind: {info.name for plugin in host.plugins for info in plugin.records.get(kind, [])}
        for kind in ("codec", "criterion", "dataset", "degradation")
    }


def test_the_built_in_components_come_through_the_same_door():
    host = PluginHost({"ESBENCH_PLUGINS": "none"})
    built_in = [p for p in host.plugins if p.built_in]
    assert [p.name for p in built_in] == list(BUILT_IN)
    assert {p.status for p in built_in} == {"ok"}
    names = provided(host)
    assert {"jpeg", "webp", "png", "jxl", "avif", "jpeg2k"} <= names["codec"]
    assert {"wmv", "emv", "loss", "fixed", "last"} | {f"cifs-{codec}" for codec in names["codec"]} <= names["criterion"]
    assert {"samples", "kodak24", "cbsd68", "bsd400", "set9"} <= names["dataset"]
    assert "gaussian" in names["degradation"]


def test_a_good_plugin_is_a_row_with_its_distribution_and_version(install):
    install("good_criterion")
    plugin = row(PluginHost({}), "esbench-good")
    assert (plugin.name, plugin.version, plugin.status, plugin.reason) == ("good", "1.2.0", "ok", "")
    assert [info.name for info in plugin.records["criterion"]] == ["roughness"]
    assert not plugin.built_in


FAULTS = {
    "import_error": "could not be loaded: ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
    "syntax_error": "could not be loaded: SyntaxError: invalid syntax (esbench_syntax_error.py, line 1)",
    "wrong_signature": "Argument(s) {'kodecs'} are declared in the hookimpl but can not be found in the hookspec",
    "misspelled_hook": "there is no hook 'esbench_criterea'. Did you mean 'esbench_criteria'?",
    "no_hook": "esbench_no_hook has no function marked with @esbench.hookimpl",
    "raising_hook": "raised in esbench_criteria: RuntimeError: out of cheese",
    "wrong_record": "esbench_criteria must return a list of CriterionInfo, got a dict in it",
    "forgets_return": "esbench_criteria must return a list of CriterionInfo, got None",
    "exits": "could not be loaded: SystemExit: no licence found",
    "bad_name": "raised in esbench_criteria: ValueError: a name consists of a-z, 0-9 and '-' and starts with a letter, "
    "got 'Bad Name'",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_plugin_is_a_row_with_owner_version_and_a_reason_of_one_line(install, fault):
    install(fault)
    plugin = row(PluginHost({}), f"esbench-{fault.replace('_', '-')}")
    assert (plugin.status, plugin.version) == ("broken", "0.1")
    assert FAULTS[fault] in plugin.reason
    assert "\n" not in plugin.reason
    assert "Traceback" in plugin.traceback


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_plugin_provides_nothing_and_changes_nothing_else(install, fault):
    install(*EVERYTHING_ELSE)
    before = provided(PluginHost({}))
    install(fault)
    host = PluginHost({})
    assert provided(host) == before
    assert {p.status for folder in ("good", "deflate", "drift") for p in rows(host, f"esbench-{folder}")} == {"ok"}
    assert {p.status for p in host.plugins if p.built_in} == {"ok"}


def test_all_faults_at_once_are_a_row_each_and_the_good_ones_work(install):
    install(*FAULTS, *EVERYTHING_ELSE)
    host = PluginHost({})
    assert {row(host, f"esbench-{fault.replace('_', '-')}").status for fault in FAULTS} == {"broken"}
    assert {"roughness", "drift", "cifs-deflate", "wmv"} <= provided(host)["criterion"]


def test_a_distribution_whose_entry_points_cannot_be_read_is_a_row_with_its_name_and_version(install):
    install("malformed_entry_points", "good_criterion")
    host = PluginHost({})
    plugin = row(host, "esbench-malformed")
    assert (plugin.status, plugin.version) == ("broken", "0.7")
    assert plugin.reason.startswith("its metadata cannot be read: ")
    assert row(host, "esbench-good").status == "ok"


@pytest.fixture
def in_a_folder_named_esbench(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "esbench" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def distribution(folder: Path, name: str, entry_points: str, metadata: str | None = "") -> None:
    info = folder / f"{name.replace('-', '_')}-3.1.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(entry_points)
    if metadata is not None:
        (info / "METADATA").write_text(metadata or f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.1\n")


def test_a_malformed_distribution_that_has_nothing_to_do_with_esbench_is_no_row(in_a_folder_named_esbench):
    distribution(in_a_folder_named_esbench, "unrelated", "[console_scripts]\nno entry point\n")
    assert rows(PluginHost({}), "unrelated") == []
    assert [p for p in PluginHost({}).plugins if "unrelated" in p.name] == []


def test_a_malformed_distribution_that_has_something_for_esbench_is_a_row_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "sharpness", "[console_scripts]\nno entry point\n[esbench]\nsharp = sharpness\n")
    plugin = row(PluginHost({}), "sharpness")
    assert (plugin.status, plugin.version) == ("broken", "3.1")


def test_a_distribution_without_metadata_is_passed_over(in_a_folder_named_esbench):
    before = len(PluginHost({}).plugins)
    (in_a_folder_named_esbench / "leftover-3.1.dist-info").mkdir()
    assert len(PluginHost({}).plugins) == before


@pytest.mark.parametrize("value", ["module:", "two words", ":x", ""])
def test_an_entry_point_that_points_nowhere_is_broken(tmp_path, monkeypatch, value):
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "esbench-aimless", f"[esbench]\naimless = {value}\n")
    plugin = row(PluginHost({}), "esbench-aimless")
    assert plugin.status == "broken"
    assert plugin.reason == f"its entry point {value!r} must be package.module or package.module:object"


def test_an_entry_point_may_be_an_object_of_a_module(tmp_path, monkeypatch, install):
    install("good_criterion")  # whose module is used, by another name and through a class
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "holder_of_hooks.py").write_text(
        "import esbench_good\nclass Hooks:\n    esbench_criteria = staticmethod(esbench_good.esbench_criteria)\n"
    )
    distribution(tmp_path, "esbench-object", "[esbench]\nobject = holder_of_hooks:Hooks\n")
    try:
        assert row(PluginHost({}), "esbench-object").status == "ok"
    finally:
        sys.modules.pop("holder_of_hooks", None)


def test_of_two_copies_of_a_distribution_the_first_on_the_path_counts(tmp_path, monkeypatch, install):
    install("good_criterion")
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "esbench_good", "[esbench]\ngood = esbench_good\n")
    host = PluginHost({})
    assert rows(host, "esbench-good") == []
    assert row(host, "esbench_good").version == "3.1"


def test_what_a_plugin_prints_does_not_get_into_our_output(install, capsys):
    install("prints")
    host = PluginHost({})
    assert row(host, "esbench-prints").status == "ok"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello from the import" in captured.err
    assert "hello from the hook" in captured.err


def test_the_module_of_a_target_is_not_imported_to_collect_the_records(install):
    install("heavy_target")
    host = PluginHost({})
    assert row(host, "esbench-heavy").status == "ok"
    assert "esbench_heavy" in sys.modules
    assert "esbench_heavy.dear" not in sys.modules


def test_ctrl_c_while_a_plugin_is_imported_is_not_swallowed(tmp_path, monkeypatch):
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "cache"))  # where it leaves a note
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "esbench_interrupted.py").write_text(code)
    distribution(tmp_path, "esbench-interrupted", "[esbench]\ninterrupted = esbench_interrupted\n")
    with pytest.raises(KeyboardInterrupt):
        PluginHost({})


# -- ESBENCH_PLUGINS and ESBENCH_STRICT_PLUGINS


def test_esbench_plugins_none_leaves_every_plugin_out_and_imports_none(install):
    install(*EVERYTHING_ELSE, "exits", "malformed_entry_points")
    host = PluginHost({"ESBENCH_PLUGINS": "none"})
    theirs = [p for p in host.plugins if not p.built_in]
    assert len(theirs) >= 5
    assert {(p.status, p.reason) for p in theirs} == {("blocked", "left out by ESBENCH_PLUGINS")}
    assert row(host, "esbench-good").version == "1.2.0"
    assert "esbench_good" not in sys.modules
    assert provided(host)["criterion"].isdisjoint({"roughness", "drift", "cifs-deflate"})
    with pytest.raises(NameUnknown, match=r"ESBENCH_PLUGINS excludes .*'good'"):
        Registry(host).get("criterion", "roughness")


@pytest.mark.parametrize("value", ["good,esbench-drift", " good , esbench-drift ", "esbench-good,drift,none"])
def test_esbench_plugins_lists_entry_points_or_distributions_that_may_load(install, value):
    install(*EVERYTHING_ELSE)
    host = PluginHost({"ESBENCH_PLUGINS": value})
    assert row(host, "esbench-good").status == "ok"
    assert row(host, "esbench-drift").status == "ok"
    assert row(host, "esbench-deflate").status == "blocked"
    assert {p.status for p in host.plugins if p.built_in} == {"ok"}


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_esbench_plugins_leaves_nothing_out(install, value):
    install("good_criterion")
    assert row(PluginHost({"ESBENCH_PLUGINS": value}), "esbench-good").status == "ok"


def test_with_esbench_strict_plugins_a_broken_plugin_is_an_error_that_names_it(install):
    install("import_error")
    with pytest.raises(LoadError) as error:
        PluginHost({"ESBENCH_STRICT_PLUGINS": "1"})
    assert str(error.value) == (
        "Plugin 'import-error' (esbench-import-error 0.1) is broken: could not be loaded: ModuleNotFoundError: "
        "No module named 'a_package_that_nobody_has' (ESBENCH_STRICT_PLUGINS is set)."
    )


@pytest.mark.parametrize("value", ["", "0"])
def test_without_esbench_strict_plugins_a_broken_plugin_is_no_error(install, value):
    install("import_error")
    assert row(PluginHost({"ESBENCH_STRICT_PLUGINS": value}), "esbench-import-error").status == "broken"


def test_esbench_strict_plugins_is_content_with_good_plugins(install):
    install(*EVERYTHING_ELSE)
    names = "esbench-good,esbench-deflate,esbench-drift"
    host = PluginHost({"ESBENCH_STRICT_PLUGINS": "1", "ESBENCH_PLUGINS": names})
    assert row(host, "esbench-good").status == "ok"


# -- events and codecs


def test_a_listener_hears_events_until_it_raises_and_is_then_left_alone(install, capsys):
    install("listener", "good_criterion")
    host = PluginHost({})
    plugin = row(host, "esbench-listener")
    event = RunFinished(folder="r", done=1, failed=0)
    host.emit(event)
    assert plugin.status == "ok"
    host.emit(event)
    assert (plugin.status, plugin.reason) == ("broken", "raised in esbench_event: ValueError: enough")
    host.emit(event)
    assert sys.modules["esbench_listener"].heard == [event, event]
    assert row(host, "esbench-good").status == "ok"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "fault", ["raise SystemExit(3)", "raise KeyboardInterrupt", "raise GeneratorExit", "while True: pass"]
)
def test_a_listener_that_would_end_or_hold_the_run_is_left_alone(plugin, monkeypatch, fault):
    monkeypatch.setattr(loading, "ENDLESS", 0.3)
    code = f"    heard.append(event)\n    {fault}\n"
    plugin("import esbench\nheard = []\n@esbench.hookimpl\ndef esbench_event(event):\n" + code)
    host = PluginHost({})
    for _ in range(3):
        host.emit(RunFinished(folder="r", done=1, failed=0))
    found = row(host, "esbench-local")
    assert found.status == "broken"
    assert found.reason.startswith("raised in esbench_event: ")
    assert len(sys.modules["esbench_local"].heard) == 1


def test_the_criteria_hook_is_given_every_codec_by_name(tmp_path, monkeypatch, install):
    install("good_codec")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "esbench_looker.py").write_text(
        "from esbench import CriterionInfo, hookimpl\n"
        "@hookimpl\n"
        "def esbench_criteria(codecs):\n"
        "    return [CriterionInfo(name=f'half-{c.name}', summary='x', target=len) for c in codecs.values()]\n"
    )
    distribution(tmp_path, "esbench-looker", "[esbench]\nlooker = esbench_looker\n")
    try:
        names = {info.name for info in row(PluginHost({}), "esbench-looker").records["criterion"]}
    finally:
        del sys.modules["esbench_looker"]
    assert {"half-jpeg", "half-deflate"} <= names


def test_a_plugin_cannot_take_codecs_away_from_the_others(tmp_path, monkeypatch, install):
    install("good_codec")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "esbench_thief.py").write_text(
        "from esbench import hookimpl\n@hookimpl\ndef esbench_criteria(codecs):\n    codecs.clear()\n    return []\n"
    )
    distribution(tmp_path, "esbench-thief", "[esbench]\nthief = esbench_thief\n")
    try:
        host = PluginHost({})
    finally:
        del sys.modules["esbench_thief"]
    assert row(host, "esbench-thief").status == "broken"
    assert {"cifs-deflate", "cifs-jpeg"} <= provided(host)["criterion"]


def test_a_codec_of_a_plugin_that_breaks_later_gives_no_criterion(install):
    install("raising_hook")
    host = PluginHost({})
    assert "cifs-halfway" not in provided(host)["criterion"]


def test_a_plugin_may_provide_one_name_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "esbench_stutter.py").write_text(
        "from esbench import CriterionInfo, hookimpl\n"
        "@hookimpl\n"
        "def esbench_criteria():\n"
        "    return [CriterionInfo(name='again', summary='x', target=len)] * 2\n"
    )
    distribution(tmp_path, "esbench-stutter", "[esbench]\nstutter = esbench_stutter\n")
    try:
        plugin = row(PluginHost({}), "esbench-stutter")
    finally:
        del sys.modules["esbench_stutter"]
    assert (plugin.status, plugin.reason) == ("broken", "esbench_criteria returns the name 'again' twice")


# -- as it is in a process of its own


def test_listing_twenty_distributions_imports_no_torch_cv2_or_numpy(plugin_dists):
    folders = [str(folder) for folder in sorted(plugin_dists.iterdir())]
    assert len(folders) >= 20
    code = """
import json, sys
from esbench.registry import registry
names = [r.info.name for r in registry().records["criterion"]]
heavy = [m for m in ("torch", "cv2", "numpy", "imagecodecs", "matplotlib", "esbench_heavy.dear") if m in sys.modules]
print(json.dumps({"names": names, "heavy": heavy}))
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "ESBENCH_PLUGINS": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert {"wmv", "cifs-jpeg", "roughness", "drift", "cifs-deflate", "heavy", "cifs-heavy"} <= set(result["names"])
    assert result["heavy"] == []


def test_esbench_plugins_is_read_from_the_environment(plugin_dists):
    statuses = "{p.distribution: p.status for p in PluginHost().plugins}"
    code = f"from esbench.plugins import PluginHost; print({statuses}['esbench-good'])"
    for value, status in [("none", "blocked"), ("good", "ok")]:
        environ = {**os.environ, "PYTHONPATH": str(plugin_dists / "good_criterion"), "ESBENCH_PLUGINS": value}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == status
