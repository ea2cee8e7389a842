from __future__ import annotations

from esbench.bench.levels import COLUMNS, VIEWS, comparison, numbers

PSNR, GAP, AVERAGE = VIEWS


def row(criterion: str, unit: str, psnr_db: float | None, **change) -> dict:
    """Return a row of the results table, as far as a comparison looks at it; the peak is at 30 dB."""
    return {
        "dataset": "kodak24",
        "noise": "gaussian",
        "sigma": 25.0,
        "unit": unit,
        "criterion": criterion,
        "kind": "criterion",
        "fallback": False,
        "psnr_db": psnr_db,
        "peak_db": 30.0,
        "last_db": 20.0,
        "gap_db": None if psnr_db is None else 30.0 - psnr_db,
        "average_psnr_db": psnr_db,
        "average_peak_db": 31.0,
    } | change


def table(rows: list[dict], view=PSNR):
    """Return the only table of a comparison."""
    ((title, only),) = comparison(rows, view)
    assert title == rows[0]["dataset"]
    return only


def test_a_line_is_a_criterion_and_a_column_a_noise_level_with_what_is_no_criterion_below():
    rows = [row("a", "u", 28.0), row("b", "u", 27.0), row("a", "v", 26.0), row("b", "v", 29.0)]
    assert table(rows).head == ("criterion", "gaussian 25\n(n=2)")
    assert table(rows).rows == [
        ("a", "27.00 ± 1.00"),
        ("b", "28.00 ± 1.00"),
        ("no early stopping", "20.00 ± 0.00"),
        ("peak", "30.00 ± 0.00"),
    ]
    assert table(rows).bold == {(1, 1)}
    assert table(rows, GAP).rows == [
        ("a", "3.00 ± 1.00"),
        ("b", "2.00 ± 1.00"),
        ("no early stopping", "10.00 ± 0.00"),
    ]
    assert table(rows, GAP).bold == {(1, 1)}
    assert [line[0] for line in table(rows, AVERAGE).rows] == ["a", "b", "peak"]


def test_each_column_has_a_best_of_its_own():
    rows = [row("a", "v", 21.0, sigma=100.0), row("b", "v", 22.0, sigma=100.0)]
    rows += [row("a", "u", 28.0), row("b", "u", 27.0)]
    assert table(rows).head == ("criterion", "gaussian 25\n(n=1)", "gaussian 100\n(n=1)")
    assert table(rows).bold == {(0, 1), (1, 2)}


def test_each_dataset_has_a_table_and_one_is_no_wider_than_a_page():
    rows = [row("a", f"{sigma}", 21.0, sigma=float(sigma)) for sigma in range(1, 8)]
    rows.append(row("a", "other", 21.0, dataset="set9"))
    found = comparison(rows, PSNR)
    assert COLUMNS == 4
    assert [title for title, _ in found] == ["kodak24", "kodak24", "set9"]
    assert [len(each.head) for _, each in found] == [5, 4, 2]


def test_what_reads_the_same_is_equally_good():
    rows = [row("a", "u", 28.001), row("b", "u", 28.004), row("c", "u", 27.0)]
    assert table(rows).bold == {(0, 1), (1, 1)}


def test_one_criterion_is_not_the_best_of_anything():
    assert table([row("a", "u", 28.0)]).bold == set()


def test_neither_a_reference_nor_a_criterion_that_did_not_stop_is_the_best():
    rows = [row("a", "u", 26.0), row("b", "u", 27.0), row("last", "u", 29.0), row("fixed[step=9]", "u", 29.0)]
    rows += [row("c", "u", 29.0, fallback=True)]
    assert table(rows).bold == {(1, 1)}
    assert table(rows).rows[4] == ("c", "29.00†")


def test_a_criterion_that_lacks_units_says_so_and_is_not_compared():
    rows = [row("a", "u", 28.0), row("b", "u", 29.0), row("c", "u", 20.0), row("a", "v", 26.0), row("c", "v", 20.0)]
    assert table(rows).rows[1] == ("b", "29.00 (1/2)")
    assert table(rows).bold == {(0, 1)}
    rows.append(row("b", "v", None))  # an output that was lost
    assert table(rows).rows[1] == ("b", "29.00 (1/2)")


def test_units_that_ended_early_have_no_peak():
    early = {"peak_db": None, "last_db": None, "gap_db": None, "average_peak_db": None}
    rows = [row("a", "u", 28.0, **early), row("b", "u", 27.0, **early)]
    assert table(rows).rows == [("a", "28.00"), ("b", "27.00"), ("no early stopping", None), ("peak", None)]
    assert table(rows, GAP).rows == [("a", None), ("b", None), ("no early stopping", None)]
    assert table(rows, GAP).bold == set()


def test_the_numbers_of_a_comparison_are_a_line_each():
    rows = [row("a", "u", 28.0), row("a", "v", 26.0), row("b", "v", None)]
    table = numbers(rows, PSNR)
    assert table.head == ("dataset", "noise", "criterion", "units", "mean_db", "std_db")
    assert table.rows == [
        ("kodak24", "gaussian 25", "a", 2, 27.0, 1.0),
        ("kodak24", "gaussian 25", "no early stopping", 2, 20.0, 0.0),
        ("kodak24", "gaussian 25", "peak", 2, 30.0, 0.0),
    ]


def test_a_criterion_may_be_called_as_what_is_beside_it():
    rows = [row("peak", "u", 28.0), row("b", "u", 27.0)]
    assert [line[1] for line in table(rows).rows] == ["28.00", "27.00", "20.00", "30.00"]
    assert table(rows).bold == {(0, 1)}
