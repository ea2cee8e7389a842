"""The command line, as it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from esbench.cli import main


@dataclass(frozen=True)
class Answer:
    """The result of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def esbench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Give esbench(*arguments): the command in this process, its exit code and what it printed."""

    def esbench(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["esbench", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return Answer(ended.value.code or 0, printed.out, printed.err)

    return esbench


#: A network and a length that take a moment.
TINY = ("--network", "skip[channels=4,scales=2]", "--iterations", "30", "--patience", "8", "--device", "cpu")


@pytest.fixture
def tiny() -> tuple[str, ...]:
    """Options that make a unit take a moment."""
    return TINY
