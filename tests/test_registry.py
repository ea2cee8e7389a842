from __future__ import annotations

import enum
import sys
from typing import get_args

import numpy as np
import pytest

from esbench.errors import Conflict, LoadError, NameUnknown, ParamError, Unavailable, UsageError
from esbench.frames import Frame
from esbench.pictures import Pictures
from esbench.plugins import Plugin, PluginHost
from esbench.records import CriterionInfo, DegradationInfo
from esbench.registry import LEADING, PLURAL, Record, Registry, load, parameters, registry


@pytest.fixture
def make(install):
    """Give make(*folders): a registry with these distributions installed."""

    def make(*folders: str) -> Registry:
        install(*folders)
        return Registry(PluginHost({}))

    return make


def record(registry: Registry, kind: str, name: str, distribution: str | None = None) -> Record:
    (found,) = [r for r in registry.records[kind] if r.info.name == name and distribution in (None, r.distribution)]
    return found


def plugin(registry: Registry, distribution: str) -> Plugin:
    (found,) = [p for p in registry.host.plugins if p.distribution == distribution]
    return found


FRAME = Frame(Pictures(np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)), loss=0.5)


# -- what is there


def test_every_kind_has_its_records_each_with_an_owner(make):
    records = make().records
    assert set(records) == set(PLURAL) == set(LEADING)
    for kind, of_kind in records.items():
        assert of_kind, kind
        assert {r.kind for r in of_kind} == {kind}
        assert all(r.distribution and r.distribution_version for r in of_kind)


def test_what_comes_with_esbench_is_ok(make):
    ours = [r for records in make().records.values() for r in records if r.distribution == "esbench"]
    # packages of baselines are an extra
    lacking = {r.info.name: r.info.lacking() for r in ours if r.kind == "baseline"}
    assert {(r.status, r.reason) for r in ours if not (r.kind == "baseline" and lacking[r.info.name])} == {("ok", "")}
    assert all(
        f"needs {lacking[r.info.name]}: pip" in r.reason for r in ours if r.kind == "baseline" and lacking[r.info.name]
    )


def test_every_component_that_comes_with_esbench_can_be_imported_and_has_readable_parameters(make):
    for records in make().records.values():
        for r in records:
            if r.distribution == "esbench" and r.status == "ok":
                assert callable(load(r, r.info.target)), r.info.name
                parameters(r)


def test_a_criterion_of_a_plugin_is_found_and_works(make):
    component = make("good_criterion").get("criterion", "roughness[strength=2]")
    assert (component.record.distribution, component.record.distribution_version) == ("esbench-good", "1.2.0")
    assert component.text == "roughness[strength=2]"
    assert component.values == {"strength": 2.0, "every": 1, "on": "output"}
    assert component.target(FRAME, strength=2.0) == pytest.approx(2 * 12 / 255)


def test_a_criterion_is_found_by_its_qualified_name_too(make):
    found = make("good_criterion")
    assert found.get("criterion", "esbench-good:roughness").record is found.find("criterion", "roughness")
    assert found.find("criterion", "esbench:wmv") is found.find("criterion", "wmv")


def test_every_criterion_has_the_parameters_every_and_on(make):
    found = make("good_criterion")
    component = found.get("criterion", "roughness[on=average,every=10]")
    assert (component.values["every"], component.values["on"]) == (10, "average")
    assert component.text == "roughness[every=10,on=average]"
    with pytest.raises(ParamError, match="every must be at least 1, got 0"):
        found.get("criterion", "roughness[every=0]")
    with pytest.raises(ParamError, match="on must be output or average, got input"):
        found.get("criterion", "roughness[on=input]")


def test_the_record_sets_the_defaults_of_every_and_on():
    info = CriterionInfo(name="slow", summary="x", target=lambda frame: 0.0, every=10, measures="average")
    known = parameters(Record("criterion", info, "esbench-slow", "1"))
    assert {name: p.default for name, p in known.items()} == {"every": 10, "on": "average"}
    assert get_args(known["on"].annotation) == ("output", "average")


def test_the_text_of_a_component_is_canonical(make):
    found = make()
    assert found.get("criterion", "cifs-jpeg[quality=90,lam=2e6]").text == "cifs-jpeg[lam=2000000,quality=90]"
    assert found.get("criterion", " cifs-jpeg[quality=95,every=1] ").text == "cifs-jpeg"
    assert found.get("criterion", "esbench:wmv[window=50]").text == "wmv[window=50]"


# -- what is not there


def test_an_unknown_name_suggests_the_nearest_and_the_command_that_shows_all(make):
    found = make()
    with pytest.raises(NameUnknown) as error:
        found.get("criterion", "cifs-jpg")
    count = len(found.records["criterion"])
    assert str(error.value) == (
        f"No criterion 'cifs-jpg'. Did you mean 'cifs-jpeg'? 'esbench list-criteria' shows all {count}."
    )
    with pytest.raises(NameUnknown, match=r"'esbench list codecs' shows all"):
        found.get("codec", "zzz")


def test_an_unknown_name_says_why_a_plugin_could_not_be_loaded(make):
    found = make("import_error")
    (broken,) = [plugin for plugin in found.host.plugins if plugin.status == "broken"]
    with pytest.raises(NameUnknown) as error:
        found.get("criterion", "zzz")
    assert str(error.value).endswith(
        f"Plugin {broken.name!r} of {broken.owner} is broken: {broken.reason.rstrip('.')}."
    )


@pytest.mark.parametrize("text", ["wmv[window", "wmv[window=1]", "wmv[windw=50]", "fixed"])
def test_bad_parameters_are_a_usage_error(make, text):
    with pytest.raises(UsageError):
        make().get("criterion", text)


@pytest.mark.parametrize(
    ("name", "requirement"),
    [
        ("needs-package", "a_package_that_nobody_has"),
        ("needs-module", "a_package_that_nobody_has.metrics"),
        ("needs-version", "a_package_that_nobody_has>=1.0"),
    ],
)
def test_a_criterion_whose_requirement_is_missing_is_listed_as_unavailable_with_the_reason(make, name, requirement):
    found = make("missing_requirement")
    r = record(found, "criterion", name)
    assert r.status == "unavailable"
    assert r.reason.startswith(f"needs {requirement}")
    with pytest.raises(Unavailable, match=f"^Criterion '{name}' cannot be used: needs a_package_that_nobody_has"):
        found.get("criterion", name)
    assert found.get("criterion", "wmv")


def test_a_target_that_is_not_there_is_listed_as_broken_and_its_neighbours_work(make):
    found = make("no_target")
    function, module = record(found, "criterion", "no-function"), record(found, "criterion", "no-module")
    assert (function.status, module.status) == ("broken", "broken")
    assert function.reason == (
        "Criterion 'no-function' of esbench-no-target 0.1 could not be loaded: 'esbench_no_target' has no 'gone'"
    )
    assert module.reason == (
        "Criterion 'no-module' of esbench-no-target 0.1 could not be loaded: "
        "there is no module 'esbench_no_target_at_all'"
    )
    with pytest.raises(Unavailable, match=r"^Criterion 'no-function' cannot be used: "):
        found.get("criterion", "no-function")
    assert found.get("criterion", "still-fine").target(FRAME) == 1.0


def test_a_criterion_may_say_itself_why_it_is_unavailable(make, capsys):
    r = record(make("bad_unavailable"), "criterion", "no-gpu")
    assert (r.status, r.reason) == ("unavailable", "there is no such device here")
    assert capsys.readouterr().out == ""


def test_a_criterion_that_fails_at_saying_so_is_broken_and_nothing_else(make):
    found = make("bad_unavailable", "good_criterion")
    r = record(found, "criterion", "asks-badly")
    assert r.status == "broken"
    assert r.reason == "Criterion 'asks-badly' of esbench-bad-unavailable 0.1 raised OSError: the driver is away"
    assert record(found, "criterion", "roughness").status == "ok"


def test_the_module_of_a_target_is_imported_when_it_is_used_and_not_before(make):
    found = make("heavy_target")
    assert record(found, "criterion", "heavy").status == "ok"
    assert record(found, "criterion", "cifs-heavy").status == "ok"
    assert "esbench_heavy.dear" not in sys.modules
    assert found.get("criterion", "heavy").target(FRAME, depth=4) == 4.0
    assert "esbench_heavy.dear" in sys.modules


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nobody_has_this:x", "ModuleNotFoundError: No module named 'nobody_has_this'"),
        ("math:x", "AttributeError: module 'math' has no attribute 'x'"),
        ("math:pi", "math:pi is a float, not callable"),
    ],
)
def test_load_says_whose_target_cannot_be_loaded_and_why(target, reason):
    r = Record("codec", CriterionInfo(name="foo", summary="x", target=target), "esbench-foo", "1.0")
    with pytest.raises(LoadError) as error:
        load(r, target)
    assert str(error.value) == f"Codec 'foo' of esbench-foo 1.0 could not be loaded: {reason}"


def test_what_a_target_prints_when_it_is_imported_does_not_get_into_our_output(tmp_path, monkeypatch, capsys):
    (tmp_path / "talks_when_imported.py").write_text("print('hello')\ndef f(frame): return 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    target = "talks_when_imported:f"
    load(Record("criterion", CriterionInfo(name="foo", summary="x", target=target), "esbench-foo", "1.0"), target)
    del sys.modules["talks_when_imported"]
    assert capsys.readouterr() == ("", "hello\n")


def test_a_target_without_readable_signature_is_a_load_error():
    info = CriterionInfo(name="foo", summary="x", target=max)
    with pytest.raises(LoadError, match=r"Criterion 'foo' of esbench-foo 1\.0 has no readable signature"):
        parameters(Record("criterion", info, "esbench-foo", "1.0"))


# -- conflicts


def test_a_built_in_is_not_shadowed(make):
    found = make("clash_built_in")
    assert found.get("criterion", "wmv").record.distribution == "esbench"
    assert record(found, "criterion", "wmv", "esbench").status == "ok"
    theirs = record(found, "criterion", "wmv", "esbench-clash-built-in")
    assert theirs.status == "conflict"
    assert theirs.reason.startswith("esbench ")
    assert theirs.reason.endswith(" has the same name; this one is 'esbench-clash-built-in:wmv'")
    assert plugin(found, "esbench-clash-built-in").status == "conflict"
    assert plugin(found, "esbench-clash-built-in").reason == f"criterion 'wmv': {theirs.reason}"
    assert {p.status for p in found.host.plugins if p.built_in} == {"ok"}


def test_what_clashes_with_a_built_in_is_there_by_its_qualified_name(make):
    component = make("clash_built_in").get("criterion", "esbench-clash-built-in:wmv")
    assert component.target(FRAME) == 42.0
    assert component.text == "esbench-clash-built-in:wmv"


def test_two_plugins_with_one_name_are_both_in_conflict(make):
    found = make("twin_a", "twin_b")
    a, b = record(found, "criterion", "twin", "esbench-twin-a"), record(found, "criterion", "twin", "esbench-twin-b")
    assert (a.status, b.status) == ("conflict", "conflict")
    assert a.reason == "esbench-twin-b 2.0 has the same name; this one is 'esbench-twin-a:twin'"
    assert b.reason == "esbench-twin-a 1.0 has the same name; this one is 'esbench-twin-b:twin'"
    assert {plugin(found, f"esbench-twin-{x}").status for x in "ab"} == {"conflict"}


def test_the_plain_name_of_two_is_refused_naming_both(make):
    found = make("twin_a", "twin_b")
    with pytest.raises(Conflict) as error:
        found.get("criterion", "twin")
    sentence = str(error.value)
    assert "both have a criterion 'twin'. Choose " in sentence
    for part in ("esbench-twin-a 1.0", "esbench-twin-b 2.0", "'esbench-twin-a:twin'", "'esbench-twin-b:twin'"):
        assert part in sentence


def test_each_of_two_is_there_by_its_qualified_name(make):
    found = make("twin_a", "twin_b")
    assert found.get("criterion", "esbench-twin-a:twin").target(FRAME) == 1.0
    assert found.get("criterion", "esbench-twin-b:twin").target(FRAME) == 2.0


def test_one_of_two_that_is_broken_or_blocked_leaves_the_name_to_the_other(install):
    install("twin_a", "twin_b")
    found = Registry(PluginHost({"ESBENCH_PLUGINS": "twin-a"}))
    assert found.get("criterion", "twin").record.distribution == "esbench-twin-a"
    assert plugin(found, "esbench-twin-b").status == "blocked"


def test_a_broken_entry_point_of_a_distribution_in_conflict_keeps_its_own_reason(install, tmp_path, monkeypatch):
    install("clash_built_in")
    info = tmp_path / "esbench_clash_built_in-0.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: esbench-clash-built-in\nVersion: 0.2\n")
    (info / "entry_points.txt").write_text("[esbench]\nclash = esbench_clash_built_in\nlost = esbench_lost_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = Registry(PluginHost({}))
    statuses = {p.name: p.status for p in found.host.plugins if p.distribution == "esbench-clash-built-in"}
    assert statuses == {"clash": "conflict", "lost": "broken"}


# -- codecs become criteria


def test_a_codec_of_a_plugin_is_a_criterion_that_its_distribution_owns(make):
    found = make("good_codec")
    r = record(found, "criterion", "cifs-deflate")
    assert (r.distribution, r.distribution_version, r.status) == ("esbench-deflate", "0.3", "ok")
    assert r.qualified == "esbench-deflate:cifs-deflate"
    component = found.get("criterion", "cifs-deflate[level=9,lam=0]")
    assert component.text == "cifs-deflate[lam=0,level=9]"
    value = component.target(FRAME, lam=0.0, level=9)
    size = len(found.get("codec", "deflate[level=9]").target(FRAME.uint8, level=9))
    assert (value.value, value.parts) == (size**2 / 16, {"bytes": size})


def test_a_built_in_codec_is_a_criterion_that_esbench_owns(make):
    assert record(make("good_codec"), "criterion", "cifs-jpeg").distribution == "esbench"


def test_a_codec_that_two_plugins_claim_gives_no_criterion(make):
    found = make("twin_a", "twin_b")
    assert {r.status for r in found.records["codec"] if r.info.name == "twine"} == {"conflict"}
    assert "cifs-twine" not in {r.info.name for r in found.records["criterion"]}
    assert found.get("codec", "esbench-twin-a:twine").target(FRAME.uint8) == b"a"
    with pytest.raises(Conflict):
        found.get("codec", "twine")


def test_a_codec_named_like_a_built_in_leaves_the_built_in_criterion_as_it_was(make):
    found = make("clash_codec")
    r = record(found, "criterion", "cifs-jpeg")
    assert (r.distribution, r.status) == ("esbench", "ok")
    assert found.get("criterion", "cifs-jpeg[lam=0]").target(FRAME, lam=0.0, quality=95).parts["bytes"] > 500
    assert record(found, "codec", "jpeg", "esbench").status == "ok"
    assert record(found, "codec", "jpeg", "esbench-clash-codec").status == "conflict"
    assert found.get("codec", "esbench-clash-codec:jpeg").target(FRAME.uint8) == b""


def test_the_criterion_of_a_codec_whose_module_is_not_there_is_broken_as_the_codec_is(make):
    found = make("broken_codec")
    assert record(found, "codec", "nowhere").status == "broken"
    assert record(found, "criterion", "cifs-nowhere").status == "broken"
    with pytest.raises(Unavailable, match=r"there is no module 'esbench_broken_codec\.nowhere'"):
        found.get("criterion", "cifs-nowhere")


@pytest.mark.parametrize(
    ("codec", "reason"),
    [
        ("unimportable", "SystemExit: no codec here"),
        ("nameless", "AttributeError: module 'esbench_broken_codec.empty' has no attribute 'encode'"),
    ],
)
def test_the_criterion_of_a_codec_that_cannot_be_imported_is_a_load_error(make, codec, reason):
    found = make("broken_codec")
    for kind, name in (("codec", codec), ("criterion", f"cifs-{codec}")):
        with pytest.raises(LoadError, match=f"could not be loaded: {reason}"):
            found.get(kind, name)


def test_the_registry_of_the_process_is_made_once():
    assert registry() is registry()


class Mode(enum.Enum):
    A = "a"


@pytest.mark.parametrize(
    "default",
    [Mode.A, object(), float("nan"), (1, float("inf")), [1]],
    ids=["enum", "object", "nan", "infinite", "list"],
)
def test_a_default_that_cannot_be_recorded_is_refused_when_the_target_is_read(default):
    def foo(frame, *, a=default):
        return 1.0

    info = CriterionInfo(name="foo", summary="x", target=foo)
    wanted = r"^Criterion 'foo' of esbench-foo 1.0 must have a finite number, .* as the default of 'a'$"
    with pytest.raises(LoadError, match=wanted):
        parameters(Record("criterion", info, "esbench-foo", "1.0"))


def test_the_parameter_that_a_degradation_sweeps_must_be_one_of_its_own():
    info = DegradationInfo(name="foo", summary="x", target=lambda clean, rng, *, sigma=1.0: clean, parameter="sgima")
    with pytest.raises(LoadError, match="must have the parameter 'sgima', which its record names"):
        parameters(Record("degradation", info, "esbench-foo", "1.0"))


@pytest.mark.parametrize("version", ["1.2", 1.0, True, -1])
def test_a_version_that_is_no_whole_number_is_refused(version):
    with pytest.raises(ValueError, match="the version of 'foo' must be a whole number from 0, got "):
        CriterionInfo(name="foo", summary="x", target=len, version=version)
