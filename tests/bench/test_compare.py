from __future__ import annotations

import json
import math

import numpy as np
import pytest

from esbench.bench.compare import MEASURES, SCORES, difference, interval
from esbench.bench.results import Results
from esbench.cli import cli
from esbench.errors import UsageError

FALLS, TURNS = [6, 5, 4, 3, 2, 1], [9, 5, 1, 2, 3, 4]


def pair(image: str, first: float | None, second: float | None, sigma: float = 25.0) -> tuple[dict, dict]:
    """Return two rows of the results table, as far as a difference looks at them."""
    row = {"dataset": "d", "image": image, "sigma": sigma}
    return row | dict.fromkeys(MEASURES, first), row | dict.fromkeys(MEASURES, second)


# -- differences


def test_the_mean_difference_is_second_minus_first():
    record = difference([pair("a", 1.0, 4.0), pair("b", 2.0, 1.0), pair("c", 3.0, 3.0)], "psnr_db")
    assert record["first_mean"] == 2.0
    assert record["second_mean"] == pytest.approx(8 / 3)
    assert record["difference"] == pytest.approx(2 / 3)
    assert (record["pairs"], record["images"], record["levels"]) == (3, 3, 1)


@pytest.mark.parametrize(
    ("measure", "counts"),
    [("psnr_db", (2, 1, 1)), ("average_psnr_db", (2, 1, 1)), ("gap_db", (1, 2, 1)), ("stop_step", (None, None, 1))],
)
def test_the_second_wins_with_a_higher_psnr_or_a_lower_gap_and_no_step_is_better_than_another(measure, counts):
    pairs = [pair("a", 1.0, 4.0), pair("b", 1.0, 2.0), pair("c", 3.0, 1.0), pair("d", 2.0, 2.0)]
    record = difference(pairs, measure)
    assert (record["wins"], record["losses"], record["ties"]) == counts


def test_a_pair_without_the_number_is_not_counted():
    record = difference([pair("a", None, 4.0), pair("b", 1.0, 2.0), pair("c", 1.0, None)], "gap_db")
    assert (record["pairs"], record["images"], record["difference"]) == (1, 1, 1.0)
    nothing = difference([pair("a", None, 4.0)], "gap_db")
    assert (nothing["pairs"], nothing["difference"], nothing["low"], nothing["ties"]) == (0, None, None, 0)
    json.dumps(nothing, allow_nan=False)


# -- the interval


def test_on_many_pictures_it_is_that_of_the_normal_distribution():
    changes = np.random.default_rng(1).normal(0.3, 2.0, 400)
    low, high = interval(changes, range(400))
    half = 1.96 * changes.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((changes.mean() - half, changes.mean() + half), abs=0.05 * half)


def test_more_seeds_of_the_same_pictures_do_not_make_it_narrower():
    changes = np.random.default_rng(2).normal(size=12)
    once = interval(changes, range(12))
    assert interval(np.tile(changes, 5), [*range(12)] * 5) == pytest.approx(once)
    low, high = interval(np.tile(changes, 5), range(60))
    assert high - low < 0.6 * (once[1] - once[0])


def test_a_picture_with_more_pairs_has_more_weight():
    low, high = interval(np.array([0.0, 1.0, 1.0, 1.0]), ["a", "b", "b", "b"])
    assert (low, high) == (0.0, 1.0)
    assert interval(np.array([0.5, 0.5, 0.5]), ["a", "b", "b"]) == (0.5, 0.5)


def test_the_draws_are_the_same_each_time():
    changes = np.random.default_rng(3).normal(size=30)
    assert interval(changes, range(30)) == interval(changes, range(30))


def test_one_picture_says_nothing_of_others():
    assert interval(np.array([1.0, 2.0]), ["a", "a"]) == (None, None)


# -- who is compared with whom


def units(text: str = "wmv", curve: list[float] = TURNS, images: str = "abc", **change) -> list[dict]:
    return [{"image": image, "curves": {text: curve}} | change for image in images]


def criteria_of(records: list[dict]) -> set[tuple[str, str]]:
    return {(record["first_criterion"], record["second_criterion"]) for record in records}


def test_two_runs_are_paired_by_picture_level_and_seed_and_what_is_alone_is_counted(write_run):
    first = write_run(*units(images="abc"), *units(images="a", seed=1), name="A")
    second = write_run(*units(images="bcd", curve=FALLS, network="skip[scales=3]"), name="B")
    records = first.compare(second)
    assert [record["measure"] for record in records] == list(MEASURES)
    record = records[0]
    assert record["first_run"] == str(first.run.path)
    assert (record["pairs"], record["first_unpaired"], record["second_unpaired"]) == (2, 2, 1)
    assert (record["first_mean"], record["second_mean"], record["difference"]) == (20.0, 15.0, -5.0)
    assert (record["low"], record["high"]) == (-5.0, -5.0)
    assert [r["difference"] for r in records] == [-5.0, 5.0, -5.0, 3.0]
    assert [(r["wins"], r["losses"]) for r in records] == [(0, 2), (0, 2), (0, 2), (None, None)]


def test_several_levels_are_compared_together_and_one_by_one(write_run):
    first = write_run(*units(sigma=15.0), *units(sigma=25.0), name="A")
    second = write_run(*units(sigma=15.0, curve=FALLS), *units(sigma=25.0), name="B")
    records = [r for r in first.compare(second) if r["measure"] == "psnr_db"]
    assert [(r["sigma"], r["levels"], r["pairs"], r["images"], r["difference"]) for r in records] == [
        (None, 2, 6, 3, -2.5),
        (15.0, 1, 3, 3, -5.0),
        (25.0, 1, 3, 3, 0.0),
    ]


def test_pictures_of_one_name_and_other_pixels_are_no_pair(write_run):
    first = write_run(*units(), name="A")
    with pytest.raises(UsageError, match=r".*A' and .*B' have no pairs: a pair has the same dataset"):
        first.compare(write_run(*units(pixels="1" * 64), name="B"))


def test_without_criteria_all_that_both_have_are_compared(write_run):
    both = {"wmv": TURNS, "loss": FALLS}
    first = write_run({"curves": both | {"emv": TURNS}}, name="A")
    second = write_run({"curves": both | {"last": TURNS}}, name="B")
    assert criteria_of(first.compare(second)) == {("wmv", "wmv"), ("loss", "loss")}


def test_the_only_criterion_of_each_is_compared_with_that_of_the_other(write_run):
    first, second = write_run(*units("wmv"), name="A"), write_run(*units("emv"), name="B")
    assert criteria_of(first.compare(second)) == {("wmv", "emv")}


def test_criteria_are_one_for_both_or_one_for_each_with_their_new_parameters(write_run):
    columns = {"value": TURNS, "bytes": [10, 20, 30, 40, 50, 60]}
    trace = {"loss": np.array([9, 4, 1, 0.9, 0.8, 0.7])}
    first = write_run({"curves": {"cifs-jpeg": columns, "wmv": TURNS}, "trace": trace}, name="A")
    second = write_run({"curves": {"cifs-jpeg[lam=3]": columns, "loss": FALLS}, "trace": trace}, name="B")
    assert criteria_of(first.compare(second, criteria=["cifs-jpeg[lam=20]"])) == {
        ("cifs-jpeg[lam=20]", "cifs-jpeg[lam=20]")
    }
    assert criteria_of(first.compare(second, criteria=["wmv", "loss"])) == {("wmv", "loss")}
    assert criteria_of(first.compare(criteria=["wmv", "cifs-jpeg[lam=0]"])) == {("wmv", "cifs-jpeg[lam=0]")}


def test_one_run_is_paired_by_unit(write_run):
    twice = [*units(), *units(device="cuda")]  # the same picture, level and seed, run on two devices
    results = write_run(*({**unit, "curves": {"wmv": TURNS, "loss": FALLS}} for unit in twice))
    record = results.compare(criteria=["loss", "wmv"])[0]
    assert (record["pairs"], record["images"], record["difference"], record["wins"]) == (6, 3, 5.0, 6)


@pytest.mark.parametrize(
    ("two", "criteria", "sentence"),
    [
        (False, [], "Comparing within one run needs two criteria, as in -c wmv -c cifs-jpeg; got 0."),
        (False, ["wmv"], "Comparing within one run needs two criteria, as in -c wmv -c cifs-jpeg; got 1."),
        (True, ["wmv", "loss", "emv"], "Comparing two runs takes one criterion for both, or one for each; got 3."),
        (True, [], "The runs have no criterion in common:"),
        (True, ["wmv"], "'wmv' was not measured in"),
    ],
)
def test_an_ambiguous_comparison_is_refused(write_run, two, criteria, sentence):
    first = write_run({"curves": {"wmv": TURNS, "loss": FALLS}}, name="A")
    second = write_run({"curves": {"emv": TURNS, "last": FALLS}}, name="B")
    with pytest.raises(UsageError) as refused:
        first.compare(second if two else None, criteria=criteria)
    assert str(refused.value).startswith(sentence)


# -- the command


@pytest.fixture
def two(write_run) -> tuple[Results, Results]:
    first = write_run(*units(sigma=15.0), *units(sigma=25.0), *units(images="d"), name="A")
    second = write_run(*units(sigma=15.0, curve=FALLS), *units(sigma=25.0), name="B", patience=1)
    return first, second


def test_the_command_prints_a_line_a_measure_and_level(two, capsys):
    first, second = (str(results.run.path) for results in two)
    assert cli.main(["compare", first, second], standalone_mode=False) in (0, None)
    assert capsys.readouterr().out == (
        f"first:  {first}\n"
        f"second: {second}\n"
        "The runs differ in patience (2, 1).\n"
        "\n"
        "wmv: d, gaussian, 6 pairs of 3 pictures\n"
        "\n"
        "                   sigma  first  second  second - first  95 % interval   pairs  better  worse  same\n"
        "-----------------  -----  -----  ------  --------------  --------------  -----  ------  -----  ----\n"
        "PSNR (dB)          all    20.00   17.50           -2.50  -2.50 to -2.50      6       0      3     3\n"
        "PSNR (dB)          15     20.00   15.00           -5.00  -5.00 to -5.00      3       0      3     0\n"
        "PSNR (dB)          25     20.00   20.00           +0.00  +0.00 to +0.00      3       0      0     3\n"
        "gap to peak (dB)   all     0.00    2.50           +2.50  +2.50 to +2.50      6       0      3     3\n"
        "gap to peak (dB)   15      0.00    5.00           +5.00  +5.00 to +5.00      3       0      3     0\n"
        "gap to peak (dB)   25      0.00    0.00           +0.00  +0.00 to +0.00      3       0      0     3\n"
        "average PSNR (dB)  all    19.00   16.50           -2.50  -2.50 to -2.50      6       0      3     3\n"
        "average PSNR (dB)  15     19.00   14.00           -5.00  -5.00 to -5.00      3       0      3     0\n"
        "average PSNR (dB)  25     19.00   19.00           +0.00  +0.00 to +0.00      3       0      0     3\n"
        "stop step          all        2       4              +2  +2 to +2            6       -      -     3\n"
        "stop step          15         2       5              +3  +3 to +3            3       -      -     0\n"
        "stop step          25         2       2              +0  +0 to +0            3       -      -     3\n"
        "\n"
        "Not paired: 1 of the first, 0 of the second (wmv).\n"
    )


def test_json_is_the_records_and_nothing_else(two, capsys):
    first, second = two
    cli.main(["compare", str(first.run.path), str(second.run.path), "--json"], standalone_mode=False)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == first.compare(second)
    assert printed.err == "The runs differ in patience (2, 1).\n"


def test_three_runs_are_too_many(two):
    with pytest.raises(Exception, match="Expected one or two runs, got 3"):
        cli.main(["compare", *[str(two[0].run.path)] * 3], standalone_mode=False)


def test_scores_are_compared_where_a_task_has_one(write_run):
    score = {"trace": {"score_db": [1.0, 2, 3, 4, 5, 6]}, "result": {"score_peak_db": 6.0, "score_last_db": 6.0}}
    both = {"wmv": [9, 8, 1, 2, 2, 0], "loss": [9, 8, 7, 6, 5, 4]}
    results = write_run({"task": "inpaint", "curves": both} | score)
    records = results.compare(criteria=["wmv", "loss"])
    by_measure = {record["measure"]: record["difference"] for record in records}
    assert list(by_measure) == [*MEASURES, *SCORES]
    assert (by_measure["score_db"], by_measure["score_gap_db"]) == (3.0, -3.0)
