"""`--json`: every command that prints a table has it, and prints one document and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest

from esbench.cli import cli

#: What the others print: an address, a line, paths, or rows in a format of their own.
WITHOUT = {"watch", "ctl", "report", "export", "data path", "new-plugin"}

#: A call of each command, in an order in which each finds what it needs.
CALLS = {
    "run": ("-d", "pictures", "-c", "wmv", "-c", "loss", "--out", "R"),
    "resume": ("R",),
    "status": ("R",),
    "replay": ("R", "--patience", "5"),
    "compare": ("R", "-c", "wmv", "-c", "loss"),
    "leaderboard": ("R",),
    "denoise": ("pictures/a.png", "missing.png", "-o", "out/"),
    "restore": ("--task", "superres[factor=2]", "pictures/a.png", "-o", "b.png", "--dry-run"),
    "recommend": (),
    "list-criteria": (),
    "list": ("losses",),
    "show": ("odd",),
    "plugins": ("--traceback", "local"),
    "measure": ("-c", "odd", "-c", "cifs-jpeg[lam=0]", "pictures/a.png", "missing.png"),
    "calibrate": ("-d", "pictures", "--budget", "0s", "--out", "C"),
    "reproduce": ("table1", "-d", "pictures", "--budget", "0s"),
    "data list": (),
    "data fetch": ("set5",),
    "data verify": ("set5",),
    "check-criterion": ("odd",),
    "env": (),
}

ODD = """
import esbench

@esbench.hookimpl
def esbench_criteria():
    print("loaded")
    return [esbench.CriterionInfo(name="odd", summary="prints, and fails", target=odd)]

def odd(frame):
    print("measured")
    raise RuntimeError("no luck")
"""


def leaves(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield all commands that are no groups, each with its name."""
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{each} ")
        else:
            yield f"{name}{each}", command


def test_every_command_has_it_but_those_that_print_no_table():
    having = {name: any("--json" in p.opts for p in command.params) for name, command in leaves(cli)}
    assert {name for name, has in having.items() if not has} == WITHOUT
    assert {name for name, has in having.items() if has} == {*CALLS}


def test_it_is_one_document_whatever_goes_wrong_or_is_printed_by_others(
    esbench, plugin, pictures, tiny, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESBENCH_DATA", str(tmp_path))
    pictures("a", "b", size=(16, 16))
    pictures("baby", "bird", "butterfly", "head", "woman", folder="set5")
    plugin(ODD)
    for name, arguments in CALLS.items():
        small = tiny if name in ("run", "denoise", "restore", "calibrate") else ()
        answer = esbench(*name.split(), *arguments, *small, "--json")
        assert answer.out, (name, answer.code, answer.err)
        assert json.loads(answer.out) is not None, name
        assert answer.code in (0, 1), (name, answer.err)
        assert "measured" in answer.err or "odd" not in arguments or name == "show"


@pytest.mark.parametrize("call", [("show", "nothing"), ("status", "nowhere"), ("measure", "-c", "wmv", "none.png")])
def test_what_cannot_be_done_at_all_is_a_sentence_on_stderr(esbench, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    answer = esbench(*call, "--json")
    assert answer.code in (2, 3)
    assert answer.out == "" or json.loads(answer.out)
    assert len(answer.err.splitlines()) == 1
