from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from esbench.bench.exported import FORMATS, read, written
from esbench.bench.rows import COLUMNS
from esbench.bench.standings import PROTOCOL, boards, gathered, standings
from esbench.cli import cli
from esbench.errors import DataError, Missing, UsageError

LEVELS = [(image, sigma) for image in ("kodim01", "kodim02", "kodim03", "kodim04") for sigma in (25.0, 50.0)]


@pytest.fixture(scope="module")
def table(tmp_path_factory, write_run):
    """The rows of two criteria on four pictures at two noise levels; each has a gap of its own on each unit."""
    rows = write_run(tmp_path_factory.mktemp("leaderboard") / "RUN", LEVELS, pictures=False).table()
    for i, row in enumerate(rows):
        better = row["criterion"] == "wmv"
        changed(row, gap=0.1 * (i // 2) + (0.0 if better else 0.5), fallback=False)
    return rows


def changed(row, *, gap, **more):
    near = row["peak_db"] - gap
    row |= {"gap_db": gap, "psnr_db": near, "score_db": near, "score_gap_db": gap} | more
    return row


def of(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_are_read_as_they_were_written(kind, table, tmp_path):
    path = tmp_path / f"rows.{kind}"
    path.write_bytes(written(table, kind))
    assert read(path) == table


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"iterations": 13}, r"the settings of 'kodak24-\S+' are those of 'kodak24-\S+'"),
        ({"sigma": 15.0}, "the settings of"),
        ({"gap_db": 0.01}, "gap_db must be the distance of the stop to the peak"),
        ({"gap_db": float("inf")}, "gap_db must be a finite number of usual size, got inf"),
        ({"steps_run": 10**400}, "steps_run must be a finite number of usual size, got 1000"),
        ({"ms_per_step": 1e308}, "ms_per_step must be a finite number of usual size, got 1e"),
        ({"stop_step": 12}, "must be steps of the optimisation"),
        ({"seed": "zero"}, "seed must be int, got 'zero'"),
        ({"psnr_db": None}, "gap_db must be the distance"),
        ({"criterion": "wmv["}, "is not the name of a criterion"),
    ],
)
def test_a_row_that_was_changed_by_hand_is_refused_with_its_fault(change, fault, table, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(written([table[0], table[1] | change], "csv"))
    with pytest.raises(DataError, match=rf"rows\.csv' cannot be used: .*{fault}.*\(row 2\)\. Export it again"):
        read(path)


def test_what_is_no_table_of_results_is_refused_in_a_sentence(tmp_path):
    for name, text, error, says in (
        ("a.txt", "", UsageError, "neither a run nor a table of results"),
        ("a.csv", "dataset,image\nx,y\n", DataError, "lacks the column 'task': export it again with this esbench"),
        ("a.json", "{}", DataError, "cannot be read: it must be an array of objects"),
        ("b.json", "[[1]]", DataError, "cannot be read: it must be an array of objects"),
        ("a.parquet", "x", DataError, "cannot be read"),
        ("b.csv", "\xff", DataError, "cannot be read"),
    ):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        with pytest.raises(error, match=says):
            read(tmp_path / name)
    with pytest.raises(Missing, match="There is no file"):
        read(tmp_path / "none.csv")


# -- what counts -------------------------------------------------------------------------------------------------------


def test_what_two_users_measured_counts_once_and_the_difference_is_reported(table):
    mine = of(table, criterion="wmv")
    theirs = [changed(dict(row), gap=row["gap_db"] + 0.25) if i < 2 else row for i, row in enumerate(mine)]
    rows, said = gathered([("a.csv", mine), ("b.csv", theirs)])
    assert rows == mine
    assert said == [
        "b.csv: 2 rows with other numbers than in a.csv (the gap by up to 0.25 dB), although the settings are the "
        "same; those of a.csv count."
    ]


def test_rows_without_a_gap_do_not_count(table):
    live = table[0] | {"gap_db": None}
    assert gathered([("a.csv", [live, *table[1:]])]) == (
        table[1:],
        ["a.csv: 1 row without a gap (--live), not counted."],
    )


@pytest.mark.parametrize("setting", PROTOCOL)
def test_what_differs_in_a_setting_is_on_another_board(setting, table):
    kind = type(table[0][setting])
    other = {str: "other", int: 99, float: 0.75, type(None): 96}[kind]
    found, said = boards([*table, *(row | {setting: other} for row in table[:3])])
    assert [len(board.rows) for board in found] == [len(table), 3]
    assert said == [f"2 boards, since the rows differ in {setting}."]
    assert found[0].title != found[1].title


def test_a_criterion_with_other_parameters_or_another_owner_has_a_line_of_its_own(table):
    others = [row | {"version": 4} for row in of(table, criterion="wmv")]
    found, said = boards([*table, *others])
    assert said == ["wmv has a line for each of: esbench-foo (version 3), esbench-foo (version 4)."]
    assert sorted((e.criterion, e.version) for e in standings(found[0].rows)) == [("emv", 3), ("wmv", 3), ("wmv", 4)]


# -- the lines ---------------------------------------------------------------------------------------------------------


def test_the_smallest_mean_gap_is_first_and_the_others_are_paired_with_it(table):
    first, second = standings(table)
    gaps = [row["gap_db"] for row in of(table, criterion="wmv")]
    assert (first.criterion, first.rank, first.units, first.of, first.stopped) == ("wmv", 1, 8, 8, 8)
    assert first.gap_db == statistics.fmean(gaps)
    assert first.low < first.gap_db < first.high
    assert (first.behind_db, first.behind_low, first.behind_high) == (None, None, None)
    assert (second.criterion, second.rank) == ("emv", 2)
    # on each unit the difference is the same, although the gaps are not
    assert [second.behind_db, second.behind_low, second.behind_high] == pytest.approx([0.5] * 3)
    assert second.high - second.low > 0.1


def test_the_interval_is_that_of_a_bootstrap_over_pictures(table):
    rows, rng = of(table, criterion="wmv"), np.random.default_rng(1)
    pictures = np.array([[r["gap_db"] for r in rows if r["image"] == f"kodim0{i}"] for i in range(1, 5)])
    means = [pictures[rng.integers(4, size=4)].mean() for _ in range(4000)]
    assert [standings(rows)[0].low, standings(rows)[0].high] == pytest.approx(
        np.quantile(means, (0.025, 0.975)), abs=0.02
    )


def test_criteria_that_lack_units_did_not_stop_or_are_references_are_not_ranked(table):
    wmv = of(table, criterion="wmv")
    few = [row | {"criterion": "few"} for row in wmv[:6]]
    never = [row | {"criterion": "never", "fallback": True} for row in wmv]
    loss = [row | {"criterion": "loss", "fallback": True} for row in wmv]
    found = standings([*few, *never, *loss, *table])
    assert [(e.rank, e.criterion, e.why) for e in found] == [
        (1, "wmv", ""),
        (2, "emv", ""),
        (None, "few", "6 of 8 units"),
        (None, "loss", "reference"),
        (None, "never", "not stopped"),
    ]
    assert found[2].behind_db == 0.0
    assert found[4].stopped == 0


def test_pictures_that_few_have_do_not_push_the_others_out(table):
    mine = [row | {"criterion": "mine"} for row in of(table, criterion="wmv")]
    more = [row | {"criterion": "mine", "unit": f"{row['unit']}-more"} for row in mine]
    found = standings([*table, *mine, *more])
    assert [(e.criterion, e.rank, e.units, e.of) for e in found] == [
        ("mine", 1, 8, 8),
        ("wmv", 2, 8, 8),
        ("emv", 3, 8, 8),
    ]


def test_one_picture_gives_no_interval(table):
    (entry,) = standings(of(table, criterion="wmv", image="kodim01"))
    assert (entry.low, entry.high, entry.units) == (None, None, 2)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory, table):
    """The folder of a leaderboard that was made from two files."""
    folder = tmp_path_factory.mktemp("site")
    longer = [row for row in table if row["image"] == "kodim01"]
    (folder / "rows.json").write_bytes(written(table, "json"))
    (folder / "other.csv").write_bytes(written([row | {"patience": 5} for row in longer], "csv"))
    arguments = ["leaderboard", str(folder / "rows.json"), str(folder / "other.csv"), "--out", str(folder / "site")]
    assert cli.main(arguments, standalone_mode=False) is None
    return folder / "site"


def test_the_command_prints_the_boards_and_writes_a_page_from_which_the_next_is_made(
    site, table, write_run, tmp_path, capsys
):
    assert read(site / "rows.csv")[: len(table)] == table
    run = write_run(tmp_path / "RUN", LEVELS[:1], pictures=False).run.path
    arguments = ["leaderboard", str(site / "rows.csv"), str(run), "--out", str(tmp_path / "next")]
    assert cli.main(arguments, standalone_mode=False) is None
    out, err = capsys.readouterr()
    assert "denoise, skip, 12 steps, patience 3, whole pictures, cpu" in out
    assert out.index("patience 3") < out.index("wmv") < out.index("patience 5")
    assert "2 boards, since the rows differ in patience." in err
    assert f"{run}: 2 rows with other numbers than in {site / 'rows.csv'}" in err
    assert f"page: {tmp_path / 'next/index.html'}" in err


def test_with_json_there_is_a_record_for_each_line_of_each_choice(site, capsys):
    assert (
        cli.main(["leaderboard", str(site / "rows.csv"), "--out", str(site), "--json"], standalone_mode=False) is None
    )
    records = json.loads(capsys.readouterr().out)
    first = [r for r in records if "patience 3" in r["board"]]
    assert [(r["dataset"], r["noise"], r["rank"], r["criterion"], r["units"]) for r in first] == [
        ("", "", 1, "wmv", 8),
        ("", "", 2, "emv", 8),
        ("", "gaussian 25", 1, "wmv", 4),
        ("", "gaussian 25", 2, "emv", 4),
        ("", "gaussian 50", 1, "wmv", 4),
        ("", "gaussian 50", 2, "emv", 4),
    ]


def test_a_run_in_which_nothing_is_done_gives_a_sentence(tmp_path, write_run):
    run = write_run(tmp_path / "RUN", [], planned=["a"]).run.path
    with pytest.raises(UsageError, match=r"Nothing can be ranked: no row of .*RUN has a gap"):
        cli.main(["leaderboard", str(run), "--out", str(tmp_path / "site")], standalone_mode=False)


def test_names_of_others_are_only_ever_text(table, tmp_path):
    name = "<script>alert(1)</script>"
    (tmp_path / "a.csv").write_bytes(written([row | {"distribution": name} for row in table], "csv"))
    cli.main(["leaderboard", str(tmp_path / "a.csv"), "--out", str(tmp_path / "site")], standalone_mode=False)
    page = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in page
    assert "<script>alert" not in page


def test_the_rows_that_come_with_esbench_can_be_read():
    results = Path(__file__).parents[2] / "results"
    for name in ("rows.csv", "bsd400.csv"):
        assert {*read(results / name)[0]} == {*COLUMNS}


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_tables_of_the_chosen_noise_and_the_address_keeps_it(tab, site):
    shown = "[...document.querySelectorAll('.board:not([hidden])')].map((board) => board.dataset.noise)"
    tab.open(site / "index.html")
    assert tab.run(shown) == ["", ""]
    tab.run("document.querySelector('select').focus()")
    tab.press("ArrowDown")
    assert tab.run(shown) == ["gaussian 25", "gaussian 25"]
    assert tab.run("location.hash") == "#noise=gaussian+25"
    tab.reload()
    assert tab.run(shown) == ["gaussian 25", "gaussian 25"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_is_no_wider_than_the_window(width, dark, tab, site):
    tab.resize(width)
    tab.media(dark=dark)
    tab.open(site / "index.html")
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
