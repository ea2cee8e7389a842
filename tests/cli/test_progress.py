from __future__ import annotations

import pytest

from esbench.cli.progress import Bars, Lines, display
from esbench.events import Notice, Progress, RunFinished, RunStarted, UnitFailed, UnitFinished, UnitStarted

EVENTS = [
    RunStarted(folder="r", units=3, done=1, iterations=100),
    Notice(text="This will take about 2.0 h"),
    UnitStarted(unit="u", iterations=100),
    Notice(unit="u", text="cifs-jpeg: lam=auto is 5"),
    Progress(unit="u", step=50, iterations=100, psnr_db=20.5, best={"wmv": 3}, stopped={}),
    Progress(unit="u", step=100, iterations=100, psnr_db=21.0, best={"wmv": 3, "emv": 9}, stopped={"wmv": 3}),
    UnitFinished(unit="u", seconds=70.4),
    UnitStarted(unit="v", iterations=100),
    UnitFailed(unit="v", reason="it diverged"),
    RunFinished(folder="r", done=2, failed=1),
]


def test_plain_lines_say_what_is_worth_a_line(capsys):
    lines = Lines()
    for event in EVENTS:
        lines(event)
    printed = capsys.readouterr()
    assert printed.out == ""
    run, long, lam, last, done, failed = printed.err.splitlines()
    assert run == "r: 3 units, 1 already done"
    assert long == "This will take about 2.0 h"
    assert lam == "u: cifs-jpeg: lam=auto is 5"
    assert last.startswith("u: step 100/100, 21.00 dB, ")
    assert last.endswith(" 0 s left; wmv stopped at 3, emv 9")
    assert done == "u: done in 70 s"
    assert failed == "v: failed: it diverged"


def test_bars_show_what_lasts_beside_them_and_leave_nothing_else(capsys):
    bars = Bars()
    with bars.bars:
        for event in EVENTS:
            bars(event)
        (run,) = bars.bars.tasks
        assert (run.completed, run.total) == (2, 3)
    printed = capsys.readouterr()
    assert printed.out == ""
    for part in ("This will take about 2.0 h", "u: cifs-jpeg: lam=auto is 5", "v: failed: it diverged"):
        assert part in printed.err


@pytest.mark.parametrize(("terminal", "kind"), [(True, Bars), (False, Lines)])
def test_bars_are_for_terminals(monkeypatch, terminal, kind):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with display(quiet=False) as listen:
        assert type(listen) is kind


def test_quiet_is_quiet_but_for_failures(capsys):
    with display(quiet=True) as listen:
        for event in EVENTS:
            listen(event)
    assert capsys.readouterr() == ("", "v: failed: it diverged\n")
