"""The directions of imports, read from the source of every file and compared with docs/architecture.md."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import esbench

ROOT = Path(esbench.__file__).parent
KINDS = tuple(
    f"builtin.{kind}"
    for kind in (
        "criteria",
        "codecs",
        "datasets",
        "degradations",
        "tasks",
        "losses",
        "regularisers",
        "networks",
        "inputs",
        "baselines",
    )
)


@dataclass(frozen=True)
class Import:
    """One import: its module, and whether it happens when the file itself is imported, or is for the type checker."""

    module: str
    at_import: bool
    types: bool = False


def name_of(path: Path) -> str:
    parts = ("esbench", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(source: str, known: set[str]) -> set[Import]:
    """Return all imports of a source."""
    found: set[Import] = set()

    def visit(node: ast.AST, at_import: bool, types: bool = False) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.body:
                visit(child, False, True)
            for child in node.orelse:
                visit(child, at_import)
            return
        if isinstance(node, ast.Import):
            found.update(Import(alias.name, at_import, types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say where from, from the root"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(Import(inner if inner in known else str(node.module), at_import, types))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, at_import and not inside, types)

    visit(ast.parse(source), True)
    return found


#: All imports of a module, and those that are executed.
ALL = {name: imports_of(path.read_text(encoding="utf-8"), set(SOURCES)) for name, path in SOURCES.items()}
IMPORTS = {name: {i for i in imports if not i.types} for name, imports in ALL.items()}


def is_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def ours(*names: str) -> tuple[str, ...]:
    return tuple(f"esbench.{name}" for name in names)


def who_imports(*packages: str) -> set[str]:
    return {name for name, imports in IMPORTS.items() if any(is_in(i.module, *packages) for i in imports)}


def reached(name: str) -> set[str]:
    """Return every module that is imported when `name` is, the packages that they are in among them."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        parts = module.split(".")
        todo += [".".join(parts[:i]) for i in range(1, len(parts))]
        todo += [i.module for i in IMPORTS.get(module, ()) if i.at_import]
    return seen


def test_the_reader_of_imports_sees_them_where_they_are():
    source = """
import os.path
from esbench import params
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
try:
    import cv2
except ImportError:
    pass
class A:
    import json
    def f(self):
        from numpy import array
"""
    assert imports_of(source, {"esbench.params"}) == {
        Import("os.path", True),
        Import("esbench.params", True),
        Import("typing", True),
        Import("torch", False, types=True),
        Import("cv2", True),
        Import("json", True),
        Import("numpy", False),
    }


def test_every_file_is_read():
    assert {
        *ours("stopping.rule", "records", "plugins", "registry", "builtin.criteria.cifs", "builtin.codecs.opencv")
    } <= set(SOURCES)
    assert len(SOURCES) > 25


def test_the_rule_imports_nothing_but_the_standard_library():
    assert {i.module.partition(".")[0] for i in IMPORTS["esbench.stopping.rule"]} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", [n for n in SOURCES if is_in(n, *ours(*KINDS))])
def test_the_kinds_know_neither_the_engine_nor_the_bench_nor_the_command_line(name):
    above = ours(
        "bench",
        "engine",
        "cli",
        "report",
        "executors",
        "stopping",
        "restoration",
        "measuring",
        "plugins",
        "registry",
        "paper",
    )
    assert [i.module for i in IMPORTS[name] if is_in(i.module, *above)] == []


@pytest.mark.parametrize("name", [n for n in SOURCES if is_in(n, *ours(*KINDS))])
def test_the_kinds_do_not_know_each_other(name):
    own = ".".join(name.split(".")[1:3])
    others = ours(*(kind for kind in KINDS if kind != own))
    assert [i.module for i in IMPORTS[name] if is_in(i.module, *others)] == []


@pytest.mark.parametrize("name", ["settings", "loop", "fast"])
def test_the_optimisation_itself_knows_neither_criteria_nor_names(name):
    above = ours("stopping", "builtin", "registry", "plugins", "engine.session", "engine.build")
    assert [i.module for i in IMPORTS[f"esbench.engine.{name}"] if is_in(i.module, *above)] == []


@pytest.mark.parametrize(
    "name", [n for n in SOURCES if not is_in(n, "esbench.cli") and n not in ("esbench", "esbench.__main__")]
)
def test_nothing_below_the_command_line_knows_it(name):
    assert [i.module for i in IMPORTS[name] if is_in(i.module, "esbench.cli", "click")] == []


#: The floors of the house, from the ground up: a room knows those of its own floor and of the floors below. Imports
#: inside functions and those for the type checker count as well.
FLOORS = (
    (
        *("errors", "seeds", "pictures", "metrics", "events", "torch_state", "plain", "process", "printable"),
        *("limits", "untouched"),
    ),
    ("disk", "templating", "tables", "thinning", "looks", "correlated"),
    ("records", "noise", "images", "device", "cache", "loading", "average"),
    ("observation", "params", "hookspecs", "models", "notebook"),
    ("frames", "kinds", "clipping", "divergence", "filling"),
    ("builtin",),
    ("plugins", "registry"),
    ("stopping", "recommendation"),
    ("engine",),
    ("stopper", "measuring", "restoration"),
    ("bench",),
    ("executors", "report"),
    ("paper", "live"),
    ("testing", "templates"),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_is_on_a_floor():
    assert {room(name) for name in SOURCES} - {"", "__main__"} == set(FLOOR)


@pytest.mark.parametrize("name", [n for n in SOURCES if room(n) in FLOOR])
def test_no_arrow_points_upwards_not_even_inside_a_function_or_for_types(name):
    below = [i.module for i in ALL[name] if is_in(i.module, "esbench") and room(i.module) in FLOOR]
    assert [module for module in below if FLOOR[room(module)] > FLOOR[room(name)]] == []


def test_there_is_no_circle_of_imports_not_even_inside_functions_or_for_types():
    graph = {
        name: {i.module for i in imports if i.module in SOURCES and i.module != "esbench"} - {name}
        for name, imports in ALL.items()
    }
    while leaves := {name for name, below in graph.items() if not below}:
        graph = {name: below - leaves for name, below in graph.items() if name not in leaves}
    assert graph == {}


def test_there_is_no_circle_of_rooms():
    graph: dict[str, set[str]] = {}
    for name, imports in ALL.items():
        below = {room(i.module) for i in imports if is_in(i.module, "esbench") and room(i.module) in FLOOR}
        graph.setdefault(room(name), set()).update(below - {room(name)})
    while leaves := {name for name, below in graph.items() if not below}:
        graph = {name: below - leaves for name, below in graph.items() if name not in leaves}
    assert graph == {}


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in SOURCES
        if is_in(
            n,
            *ours("stopping.rule", "records", "errors", "params", "hookspecs", "plugins", "registry", "cli", "report"),
            *ours("tables", "templating"),
        )
        or is_in(n, *ours("stopping.criterion", "bench.results", "bench.summary", "bench.config", "bench.grid"))
        or n in {"esbench", *ours(*KINDS, "builtin.executors")}
    ],
)
def test_what_lists_and_what_reads_results_imports_no_torch_and_no_codec_not_even_by_another(name):
    heavy = ("torch", "cv2", "imagecodecs")
    assert sorted(m for m in reached(name) if is_in(m, *heavy)) == []


def test_results_and_reports_do_not_import_torch_at_all():
    assert [n for n in who_imports("torch") if is_in(n, *ours("stopping.rule", "params", "plugins", "registry"))] == []
    assert [n for n in who_imports("torch") if is_in(n, *ours("bench.results", "bench.summary", "report"))] == []


@pytest.mark.parametrize(
    ("packages", "homes"),
    [
        (("cv2", "imagecodecs"), ("builtin.codecs", "builtin.degradations", "images")),
        (("pluggy",), ("plugins", "hookspecs")),
        (("matplotlib",), ("report", "paper.figures", "builtin.datasets.samples", "notebook")),
        (("pyarrow",), ("bench.files", "bench.exported")),
        (("pandas",), ("bench.results",)),
        (("click",), ("cli",)),
        (("jinja2",), ("templating",)),
        (("markupsafe",), ("templating", "report.figures", "report.denoise_page")),
        (("rich",), ("cli", "report")),
        (("dask", "distributed"), ("executors",)),
        (("pooch", "requests"), ("cache",)),
    ],
    ids=lambda x: "-".join(x),
)
def test_a_library_is_known_in_its_place_alone(packages, homes):
    assert [name for name in sorted(who_imports(*packages)) if not is_in(name, *ours(*homes))] == []


def test_no_two_public_classes_or_types_have_one_name():
    homes: dict[str, list[str]] = {}
    for name, path in SOURCES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(name)
            elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
                homes.setdefault(ast.unparse(node.target), []).append(name)
    assert {name: where for name, where in homes.items() if len(where) > 1 and not name.startswith("_")} == {}
