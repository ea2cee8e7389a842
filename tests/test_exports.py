from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import esbench

HEAVY = ("torch", "cv2", "numpy", "pluggy", "imagecodecs", "PIL", "matplotlib", "pyarrow", "pandas", "click", "rich")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", esbench.__all__)
def test_every_public_name_can_be_imported_from_the_package(name):
    assert getattr(esbench, name) is not None


def test_the_public_names_are_in_order_and_there_once():
    assert esbench.__all__ == sorted(set(esbench.__all__))


def test_what_plugins_are_promised_is_public():
    promised = {"hookimpl", "CriterionInfo", "CodecInfo", "DatasetInfo", "DegradationInfo", "Frame", "Problem", "Event"}
    assert promised <= set(esbench.__all__)


def test_what_python_users_are_promised_is_public():
    assert {"Stopper", "first_stop", "measure", "Results", "criteria"} <= set(esbench.__all__)


def test_a_star_import_gives_exactly_the_public_names():
    names = python("from esbench import *; print(*sorted(n for n in dir() if not n.startswith('__')))")
    assert names.split() == esbench.__all__


def test_dir_shows_every_public_name():
    assert set(esbench.__all__) <= set(dir(esbench))


def test_the_type_checker_sees_every_public_name():
    source = Path(esbench.__file__).read_text(encoding="utf-8")
    block = source.partition("if TYPE_CHECKING:")[2].partition("\n#: public name")[0]
    imported = re.findall(r"\b(\w+)\b", re.sub(r"from [\w.]+ import", "", block))
    assert sorted(imported) == esbench.__all__


def test_another_name_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="'esbench' has no attribute 'Stoper'"):
        _ = esbench.Stoper


def test_importing_the_package_imports_nothing_heavy():
    assert python(f"import esbench, sys; print(*[m for m in {HEAVY} if m in sys.modules])") == ""


@pytest.mark.parametrize("name", ["hookimpl", "CriterionInfo", "Frame", "first_stop", "EsbenchError"])
def test_what_a_plugin_imports_imports_neither_torch_nor_cv2_nor_numpy(name):
    heavy = [m for m in HEAVY if m != "pluggy"]
    assert python(f"from esbench import {name}; import sys; print(*[m for m in {heavy} if m in sys.modules])") == ""


@pytest.mark.parametrize(
    "first", ["esbench.builtin.criteria", "esbench.builtin.criteria.cifs", "esbench.measuring", "esbench.registry"]
)
def test_a_function_named_like_a_module_stays_a_function_whatever_was_imported_first(first):
    code = f"""
import importlib, esbench
importlib.import_module({first!r})
esbench.criteria(); names = set(esbench.criteria())
print("wmv" in names, callable(esbench.measure), callable(esbench.criteria))
"""
    assert python(code) == "True True True"


def test_the_version_is_that_of_the_distribution():
    assert (
        python("import esbench, importlib.metadata as m; print(m.version('esbench') == esbench.__version__)") == "True"
    )
