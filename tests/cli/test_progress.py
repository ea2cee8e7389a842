from __future__ import annotations

import re
import time

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
    UnitFailed(unit="w", reason="it diverged"),
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
    assert last.startswith("u: step 100/100, at most 0 s left, 21.00 dB, ")
    assert last.endswith(" steps/s; wmv stopped at 3, emv 9")
    assert done == "u: done in 70 s"
    assert failed == "v: failed: it diverged"


def test_at_80_columns_the_bar_the_steps_and_the_time_left_come_first(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    bars, unit = Bars(), "kodak24-kodim01-denoise-gaussian25-skip-s0-1fc1d4e5"
    best = dict.fromkeys(("cifs-jpeg", "wmv", "emv", "discrepancy", "brisque", "niqe", "loss", "last"), 12345)
    bars(RunStarted(folder="r", units=72, done=71, iterations=20_000))
    bars(UnitStarted(unit=unit, iterations=20_000))
    bars.clock.began[unit] = time.monotonic() - 1000, 0
    bars(Progress(unit=unit, step=10_000, iterations=20_000, psnr_db=20.5, best=best, stopped={}))
    bars.bars.console.print(bars.bars.make_tasks_table(bars.bars.tasks))
    run, first, second = (line.rstrip() for line in capsys.readouterr().err.splitlines())
    assert re.fullmatch(r"━+\S*\s* +71/72 (16:3\d|16:40) min\s+units", run)
    assert re.fullmatch(
        r"━+\S*\s* 10000/20000 (16:3\d|16:40) min kodak24-kodim01-denoise-gaussian25-skip-s0\S*…", first
    )
    assert re.fullmatch(r" +20\.50 dB, 10\.0 steps/s; 0 of 8 stopped", second)
    assert max(map(len, (run, first, second))) <= 80


def test_a_unit_that_starts_again_has_one_bar():
    bars = Bars()
    for event in (EVENTS[0], UnitStarted(unit="u", iterations=9), UnitStarted(unit="u", iterations=9, step=4)):
        bars(event)
    assert [task.description for task in bars.bars.tasks] == ["units", "u"]


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


@pytest.mark.parametrize(
    ("terminal", "term", "kind"), [(True, "xterm", Bars), (True, "dumb", Lines), (False, "xterm", Lines)]
)
def test_bars_are_for_terminals_that_can_redraw_a_line(monkeypatch, terminal, term, kind):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", term)
    with display(quiet=False) as listen:
        assert type(listen) is kind


def test_a_criterion_that_fails_on_another_unit_at_another_step_is_not_reported_again(capsys):
    listen = Lines()
    for unit, step in (("u", 11), ("v", 12)):
        listen(Notice(unit=unit, text=f"Criterion 'bad' raised ValueError: no at step {step}."))
    assert capsys.readouterr().err == "u: Criterion 'bad' raised ValueError: no at step 11.\n"


def test_quiet_is_quiet_but_for_failures(capsys):
    with display(quiet=True) as listen:
        for event in EVENTS:
            listen(event)
    assert capsys.readouterr() == ("", "v: failed: it diverged\n")
