from __future__ import annotations

from esbench.report.headline import contest, headline


def row(criterion: str, image: str, gap: float | None, **change) -> dict:
    """Return a row of the results table, as far as a headline looks at it; 6 dB are lost without stopping."""
    return {
        "dataset": "kodak24",
        "image": image,
        "sigma": 25.0,
        "unit": image,
        "criterion": criterion,
        "kind": "criterion",
        "fallback": False,
        "gap_db": gap,
        "psnr_db": None,
        "peak_db": 30.0,
        "last_db": 24.0,
    } | change


A = [row("a", f"p{i}", gap) for i, gap in enumerate((1.0, 2.0, 3.0, 2.0))]
B = [row("b", f"p{i}", gap) for i, gap in enumerate((1.5, 2.5, 3.5, 2.5))]


def test_the_best_is_named_with_n_and_the_paired_difference_to_the_next_one():
    assert headline(A + B) == (
        "a stops closest to the peak: 2.00 dB below it on average over 4 units, 0.50 dB more for b "
        "(95 % interval of the paired difference +0.50 to +0.50 dB). Without early stopping 6.00 dB are lost."
    )


def test_a_difference_that_may_be_chance_is_described_so():
    b = [row("b", f"p{i}", gap) for i, gap in enumerate((0.0, 4.0, 2.0, 2.4))]
    assert "0.10 dB more for b" in headline(A + b)
    assert "so it may be chance" in headline(A + b)


def test_units_on_which_it_did_not_stop_are_counted():
    a = [row("a", f"p{i}", gap, fallback=i > 1) for i, gap in enumerate((1.0, 2.0, 3.0, 2.0))]
    assert "Not stopped, and counted with the last step: a on 2/4 units." in headline(a + B)


def test_one_picture_says_nothing_of_others():
    assert "(one picture does not show how certain that is)" in headline([A[0], B[0]])
    assert "on the only unit" in headline([A[0], B[0]])


def test_references_and_criteria_that_did_not_stop_are_left_out():
    last = [row("last", f"p{i}", 0.0) for i in range(4)]
    never = [row("c", f"p{i}", 0.0, fallback=True) for i in range(4)]
    some = [row("d", "p0", 0.0)]
    means, left_out = contest(last + never + some + B + A)
    assert means == {"a": 2.0, "b": 2.5}
    assert left_out == {"last": "a reference", "c": "not stopped", "d": "a gap on 1/4 units"}
    assert headline(last + never + some + B + A).endswith(
        "Not compared: last (a reference), c (not stopped), d (a gap on 1/4 units)."
    )
    assert headline(last).startswith("No criterion can be called the best.")


def test_a_single_criterion_is_compared_with_none():
    assert headline(A).startswith("a stops 2.00 dB below the peak on average over 4 units.")


def test_without_a_gap_there_is_no_best():
    early = {"peak_db": None, "last_db": None}
    assert headline([row("a", "p0", None, **early)]).startswith("The gap to the peak is not known")
    assert headline([]) == "No unit is done yet."
