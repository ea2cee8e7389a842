from __future__ import annotations

import re

import pytest

from esbench import errors
from esbench.errors import EsbenchError, NameUnknown, did_you_mean

CLASSES = {
    name: thing for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, EsbenchError)
}


def drawn() -> dict[str, tuple[str | None, str]]:
    """Return the tree in the docstring: name -> parent and exit code, where one is drawn."""
    found: dict[str, tuple[str | None, str]] = {}
    path: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        if match := re.match(r"([ │├└─]*)([A-Z]\w+) *(\d?)", line):
            indent, name, code = len(match[1]), match[2], match[3]
            if name not in CLASSES:
                continue
            path = [(i, n) for i, n in path if i < indent]
            found[name] = (path[-1][1] if path else None, code)
            path.append((indent, name))
    return found


def test_the_tree_in_the_docstring_is_the_tree():
    parents = {name: parent for name, (parent, _) in drawn().items()}
    assert parents == {name: None if c is EsbenchError else c.__base__.__name__ for name, c in CLASSES.items()}


def test_the_exit_codes_in_the_docstring_are_the_exit_codes():
    codes = {name: int(code) for name, (_, code) in drawn().items() if code}
    assert codes == {"UsageError": 2, "Unavailable": 3, "UnitError": 1}
    assert codes == {name: CLASSES[name].exit_code for name in codes}
    for name, (parent, code) in drawn().items():
        if parent and not code:
            assert CLASSES[name].exit_code == CLASSES[parent].exit_code, name


def test_an_unknown_name_suggests_the_nearest_and_says_where_all_are():
    error = NameUnknown("criterion", "cifs-jpg", ["wmv", "cifs-jpeg"], "'esbench list-criteria' shows all 2.")
    assert str(error) == ("No criterion 'cifs-jpg'. Did you mean 'cifs-jpeg'? 'esbench list-criteria' shows all 2.")
    assert (error.kind, error.name) == ("criterion", "cifs-jpg")


def test_an_unknown_name_that_is_near_to_nothing_suggests_nothing():
    assert str(NameUnknown("codec", "zzz", ["jpeg"])) == "No codec 'zzz'."


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("qualty", ["quality", "lam"], "Did you mean 'quality'?"),
        ("zzz", ["quality"], ""),
        ("quality", [], ""),
    ],
)
def test_did_you_mean(name, known, sentence):
    assert did_you_mean(name, known) == sentence
