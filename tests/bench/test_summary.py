from __future__ import annotations

from esbench.bench.summary import notebook, summary


def row(**change) -> dict:
    """Return a row of the results table, as far as a summary looks at it."""
    known = {
        "dataset": "kodak24",
        "task": "denoise",
        "noise": "gaussian",
        "sigma": 25.0,
        "unit": "u",
        "criterion": "wmv",
        "kind": "criterion",
        "iterations": 1000,
        "stop_step": 400,
        "fallback": False,
        "steps_run": 500,
        "psnr_db": 28.0,
        "peak_step": 300,
        "peak_db": 29.0,
        "gap_db": 1.0,
        "last_db": 22.0,
        "criterion_ms_per_step": 0.25,
    } | change
    return {"score_db": known["psnr_db"]} | known


def test_one_unit_is_described_in_words():
    ((heading, table),) = summary([row(), row(criterion="last", stop_step=999, fallback=True, steps_run=1000)])
    assert heading == "kodak24, gaussian noise of sigma 25, 1 unit: peak 29.00 dB at step 300, last step 22.00 dB"
    assert table.head == (
        "criterion",
        "stop step",
        "PSNR at stop (dB)",
        "gap to peak (dB)",
        "steps saved",
        "ms per step",
    )
    assert table.rows[0] == ("wmv", "400", "28.00", "1.00", "50 %", "0.25")
    assert table.rows[1][:2] == ("last", "999 (not stopped)")


def test_several_units_are_a_median_means_and_deviations():
    rows = [
        row(),
        row(unit="v", psnr_db=26.0, gap_db=3.0, stop_step=100, peak_db=29.0),
        row(unit="w", psnr_db=27.0, gap_db=2.0, stop_step=999, fallback=True, steps_run=1000),
    ]
    ((heading, table),) = summary(rows)
    assert heading == "kodak24, gaussian noise of sigma 25, 3 units: peak 29.00 ± 0.00 dB, last step 22.00 ± 0.00 dB"
    assert table.rows == [("wmv", "400 (1 not stopped)", "27.00 ± 0.82", "2.00 ± 0.82", "33 %", "0.25")]


def test_a_criterion_that_failed_is_at_the_end_of_the_table_of_its_units():
    reason = "Criterion 'bad' of esbench-bad 0.1 raised ValueError: no at step 3."
    failed = [("u", "bad", reason), ("v", "bad", reason), ("w", "emv", "It was ended."), ("w", "", "no such file")]
    tables = summary([row(), row(unit="v"), row(unit="w", sigma=50.0), row(unit="x", sigma=50.0)], failed)
    assert [table.notes for _, table in tables] == [
        (("bad", "failed: raised ValueError: no at step 3."),),
        (("emv", "failed (1/2): It was ended."),),
    ]


def test_each_dataset_and_noise_level_has_a_table_of_its_own():
    rows = [row(), row(sigma=50.0), row(noise="poisson", sigma=None), row(dataset="set9")]
    assert [heading.split(":")[0] for heading, _ in summary(rows)] == [
        "kodak24, gaussian noise of sigma 25, 1 unit",
        "kodak24, gaussian noise of sigma 50, 1 unit",
        "kodak24, poisson, 1 unit",
        "set9, gaussian noise of sigma 25, 1 unit",
    ]


def test_what_ended_early_has_no_peak_and_no_gap():
    early = {"peak_step": None, "peak_db": None, "gap_db": None, "last_db": None}
    ((heading, table),) = summary([row(**early)])
    assert heading.endswith("1 unit, ended early (--live): peak, last and gap are not known")
    assert table.rows[0][3] == "-"


def test_an_empty_run_has_no_table():
    assert summary([]) == []


def test_a_number_that_not_all_units_have_says_how_many_do():
    lost = row(psnr_db=None, gap_db=None, last_db=None)
    ((heading, table),) = summary([lost, row(unit="v"), row(unit="v", criterion="emv", psnr_db=29.0, gap_db=0.0)])
    assert heading.endswith("2 units: peak 29.00 ± 0.00 dB, last step 22.00 (1/2) dB")
    assert table.rows[0][2:4] == ("28.00 (1/2)", "1.00 (1/2)")
    assert table.rows[1][1:4] == ("400 (1/2)", "29.00 (1/2)", "0.00 (1/2)")
    assert table.bold == frozenset()
    ((_, table),) = summary([lost])
    assert table.rows[0][2:4] == ("-", "-")


def test_the_best_of_several_criteria_is_marked_and_of_one_it_is_not():
    ((_, table),) = summary([row(), row(criterion="emv", psnr_db=27.0, gap_db=2.0)])
    assert table.bold == {(0, 2), (0, 3)}
    rows = [row(), row(criterion="emv", psnr_db=27.0, gap_db=2.0)]
    rows += [row(criterion=name, psnr_db=29.0, gap_db=0.0, fallback=True) for name in ("last", "never")]
    assert summary(rows)[0][1].bold == {(0, 2), (0, 3)}
    assert summary([row()])[0][1].bold == frozenset()


def test_a_notebook_shows_the_tables_and_needs_nothing_from_elsewhere():
    page = notebook("a<b", [row(), row(sigma=50.0, criterion="emv")])
    assert page.startswith('<div class="esbench">')
    assert page.count("<table>") == 2
    assert "<b>a&lt;b</b>" in page
    assert "<p>kodak24, gaussian noise of sigma 50, 1 unit: peak" in page
    assert [part for part in ("http", "src=", "<script", "@import") if part in page] == []
    assert "no unit is done yet" in notebook("RUN", [])
