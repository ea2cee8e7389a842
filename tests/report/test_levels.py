from __future__ import annotations

from esbench.report.levels import VIEWS, comparison, numbers

PSNR, GAP, AVERAGE = VIEWS


def row(criterion: str, unit: str, psnr_db: float | None, **change) -> dict:
    """Return a row of the results table, as far as a comparison looks at it; the peak is at 30 dB."""
    return {
        "dataset": "kodak24",
        "noise": "gaussian",
        "sigma": 25.0,
        "unit": unit,
        "criterion": criterion,
        "psnr_db": psnr_db,
        "peak_db": 30.0,
        "last_db": 20.0,
        "gap_db": None if psnr_db is None else 30.0 - psnr_db,
        "average_psnr_db": psnr_db,
        "average_peak_db": 31.0,
    } | change


def test_a_line_is_a_noise_level_and_a_column_a_criterion_with_what_is_no_criterion_beside_them():
    rows = [row("a", "u", 28.0), row("b", "u", 27.0), row("a", "v", 26.0), row("b", "v", 29.0)]
    table = comparison(rows, PSNR)
    assert table.head == ("data set", "noise", "units", "a", "b", "no early stopping", "peak")
    assert table.rows == [("kodak24", "gaussian 25", 2, "27.00 ± 1.00", "28.00 ± 1.00", "20.00 ± 0.00", "30.00 ± 0.00")]
    assert table.bold == {(0, 4)}
    assert comparison(rows, GAP).rows == [
        ("kodak24", "gaussian 25", 2, "3.00 ± 1.00", "2.00 ± 1.00", "10.00 ± 0.00"),
    ]
    assert comparison(rows, GAP).bold == {(0, 4)}
    assert comparison(rows, AVERAGE).head[3:] == ("a", "b", "peak")


def test_each_line_has_a_best_of_its_own():
    rows = [row("a", "v", 21.0, sigma=100.0), row("b", "v", 22.0, sigma=100.0)]
    rows += [row("a", "u", 28.0), row("b", "u", 27.0)]
    assert comparison(rows, PSNR).bold == {(0, 3), (1, 4)}
    assert [line[1] for line in comparison(rows, PSNR).rows] == ["gaussian 25", "gaussian 100"]


def test_what_reads_the_same_is_equally_good():
    rows = [row("a", "u", 28.001), row("b", "u", 28.004), row("c", "u", 27.0)]
    assert comparison(rows, PSNR).bold == {(0, 3), (0, 4)}


def test_one_criterion_is_not_the_best_of_anything():
    assert comparison([row("a", "u", 28.0)], PSNR).bold == set()


def test_a_criterion_that_lacks_units_says_so_and_is_not_compared():
    rows = [row("a", "u", 28.0), row("b", "u", 29.0), row("c", "u", 20.0), row("a", "v", 26.0), row("c", "v", 20.0)]
    (line,) = comparison(rows, PSNR).rows
    assert line[4] == "29.00 (1/2)"
    assert comparison(rows, PSNR).bold == {(0, 3)}
    rows.append(row("b", "v", None))  # an output that was lost
    assert comparison(rows, PSNR).rows == [line]


def test_units_that_ended_early_have_no_peak():
    early = {"peak_db": None, "last_db": None, "gap_db": None, "average_peak_db": None}
    rows = [row("a", "u", 28.0, **early), row("b", "u", 27.0, **early)]
    assert comparison(rows, PSNR).rows == [("kodak24", "gaussian 25", 1, "28.00", "27.00", None, None)]
    assert comparison(rows, GAP).rows == [("kodak24", "gaussian 25", 1, None, None, None)]
    assert comparison(rows, GAP).bold == set()


def test_the_numbers_of_a_comparison_are_a_line_each():
    rows = [row("a", "u", 28.0), row("a", "v", 26.0), row("b", "v", None)]
    table = numbers(rows, PSNR)
    assert table.head == ("dataset", "noise", "column", "units", "mean_db", "std_db")
    assert table.rows == [
        ("kodak24", "gaussian 25", "a", 2, 27.0, 1.0),
        ("kodak24", "gaussian 25", "no early stopping", 2, 20.0, 0.0),
        ("kodak24", "gaussian 25", "peak", 2, 30.0, 0.0),
    ]


def test_a_criterion_may_be_called_as_what_is_beside_it():
    rows = [row("peak", "u", 28.0), row("b", "u", 27.0)]
    (line,) = comparison(rows, PSNR).rows
    assert line[3:] == ("28.00", "27.00", "20.00", "30.00")
    assert comparison(rows, PSNR).bold == {(0, 3)}
