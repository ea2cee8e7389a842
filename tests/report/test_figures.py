from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esbench.looks import look
from esbench.report import figures

MAGIC = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
HOSTILE = "x$\\frac$ ]]> --> \x00\x1b\u202e\ud800 <script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory, write_run):
    levels = [("a", 25.0), ("b", 25.0), ("a", 50.0)]
    return write_run(tmp_path_factory.mktemp("figures") / "RUN", levels)


@pytest.fixture(scope="module")
def rows(run):
    return run.table()


def curves_of(run):
    unit = run.run.units()[0]
    return figures.curves(unit, [row for row in run.table() if row["unit"] == unit.id])


def lines(axes) -> dict[str, tuple[list, list]]:
    """Return what is drawn, by label."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def drawn(axes, label: str) -> list[tuple[list, list]]:
    """Return what is drawn under a label: of the criteria one after another."""
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if line.get_label() == label]


def test_a_gap_is_a_dot_for_each_unit_and_a_mean_for_each_noise_level(rows):
    rows = [dict(row) for row in rows]
    rows[0]["gap_db"] = 6.0  # wmv on the first picture; 2 on the second
    (axes,) = figures.gap(rows).axes
    assert [y for _, y in drawn(axes, "_units")] == [[6, 2], [2], [6, 6], [6]]
    (x, means), *_ = drawn(axes, "wmv")
    assert means == [4.0, 2.0]
    assert [round(at) for at in x] == [1, 2]
    assert all(abs(dot - round(x[0])) < 0.5 for dots, _ in drawn(axes, "_units")[:1] for dot in dots)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["25", "50"]
    assert axes.get_xlabel() == "sigma of gaussian noise"


def test_the_bar_of_a_gap_is_the_interval_of_the_paired_difference_to_the_best(tmp_path, write_run):
    rows = write_run(tmp_path / "RUN", [("a", 25.0), ("b", 25.0)]).table()
    gaps = iter([1.0, 2.0, 3.0, 6.0])  # wmv and emv on the first picture, then on the second: 1 and 3 dB apart
    rows = [row | {"gap_db": next(gaps), "fallback": False} for row in rows]
    ((_, bar),) = drawn(figures.gap(rows).axes[0], "_interval")
    assert bar == [3.0, 5.0]  # the mean is 4 and the difference 1 to 3 with a mean of 2
    rows = [row | {"criterion": "last"} if row["criterion"] == "emv" else row for row in rows]
    assert drawn(figures.gap(rows).axes[0], "_interval") == []


def test_a_unit_far_above_all_others_is_a_triangle_at_the_edge(rows):
    first = rows[0]["unit"]
    many = [row | {"unit": f"{i}", "gap_db": 1.0} for i in range(30) for row in rows if row["unit"] == first]
    many[0]["gap_db"] = 500.0
    (axes,) = figures.gap(many).axes
    assert axes.get_ylim()[1] < 30
    (_, edge), *_ = drawn(axes, "_above")
    assert edge == [axes.get_ylim()[1]]


def test_each_line_has_its_name_at_its_end_and_names_do_not_lie_on_each_other(rows):
    rows = [row | {"criterion": f"{row['criterion']}{i}"} for row in rows for i in range(4)]
    (axes,) = figures.gap(rows).axes
    names = {text.get_text(): text.xy[1] for text in axes.texts}
    assert set(names) == {row["criterion"] for row in rows}
    places = sorted(names.values())
    assert min(np.diff(places)) > 0.05 * axes.get_ylim()[1]


@given(st.lists(st.floats(0, 10), max_size=12), st.floats(0, 2))
def test_names_are_moved_apart_and_stay_in_order(places, apart):
    places = sorted(places)
    moved = figures._spaced(places, apart)
    assert all(b - a >= apart - 1e-9 for a, b in itertools.pairwise(moved))
    assert all(place >= -1e-9 for place in moved)
    if all(b - a >= apart for a, b in itertools.pairwise(places)):
        assert moved == pytest.approx(places)


def test_noise_without_a_level_and_a_single_criterion_have_a_figure(tmp_path, write_run):
    rows = write_run(tmp_path / "RUN", [("a", None)], curves={"wmv": range(12)}, noise="poisson[rate=12]").table()
    (axes,) = figures.gap(rows).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["poisson[rate=12]"]


def test_the_cost_is_drawn_against_the_gap_beside_that_of_a_step(rows):
    rows = [row | {"criterion_ms_per_step": 0.0 if row["criterion"] == "emv" else 0.5} for row in rows]
    (axes,) = figures.cost(rows).axes
    drawn = lines(axes)
    assert drawn["wmv"] == ([0.5], [2.0])
    assert drawn["emv"] == ([figures.LEAST_MS], [6.0])
    (step,) = [x for label, (x, _) in drawn.items() if label.startswith("_")]
    assert step == [500.0, 500.0]


def test_a_criterion_has_one_colour_in_all_figures(run, rows):
    gap, cost, curves = figures.gap(rows), figures.cost(rows), curves_of(run)
    for i, name in enumerate(("wmv", "emv")):
        found = [line.get_color() for each in (gap, cost) for line in each.axes[0].lines if line.get_label() == name]
        assert {*found, curves.axes[1 + i].lines[0].get_color()} == {look(name).colour}


def test_curves_are_drawn_with_the_peak_and_the_stops_that_were(run):
    top, wmv, emv = curves_of(run).axes
    assert lines(top)["output, which is scored"][1][:3] == [10, 14, 18]
    assert lines(top)["peak at 5"] == ([5], [23])
    assert "wmv at 4" in lines(top)
    assert [x for x, _ in lines(wmv).values() if x == [4, 4]] == [[4, 4]]
    assert not any("emv" in label for label in lines(top))  # it not stopped
    assert len(emv.lines) == 1


def test_a_criterion_that_was_measured_every_few_steps_is_a_line_too(tmp_path, write_run):
    values = [9.0, np.nan, np.nan, 5, np.nan, np.nan, 3, np.nan, np.nan, 6, np.nan, np.nan]
    _, axes = curves_of(write_run(tmp_path / "RUN", curves={"loss[every=3]": values})).axes
    assert ([0, 3, 6, 9], [9, 5, 3, 6]) in lines(axes).values()


def test_outputs_that_were_lost_are_left_out_of_the_curve(tmp_path, write_run):
    top = curves_of(
        write_run(tmp_path / "RUN", psnr=[10.0, 14, 18, 20, 21, 23, -np.inf, 21, -np.inf, 19, 18, 17])
    ).axes[0]
    assert len(lines(top)["output, which is scored"][0]) == 10
    low, high = top.get_ylim()
    assert low < 14
    assert 23 < high < 30


@pytest.mark.parametrize("kind", figures.FORMATS)
def test_a_figure_is_the_same_file_each_time(run, rows, tmp_path, kind):
    first, second = (
        figures.save(figures.gap(rows), tmp_path / f"{name}.{kind}").read_bytes() for name in ("first", "second")
    )
    assert first == second
    assert first.startswith(MAGIC[kind])


def test_a_name_is_written_letter_by_letter(tmp_path, write_run):
    rows = write_run(tmp_path / "RUN").table()
    rows = [
        row | {"criterion": HOSTILE, "dataset": HOSTILE, "noise": HOSTILE} for row in rows if row["criterion"] == "wmv"
    ]
    text = figures.save(figures.gap(rows), tmp_path / "gap.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert "<script" not in text
    assert "x$\\frac$" in "".join(ElementTree.fromstring(text).itertext())


def test_the_element_of_a_page_has_no_address_no_metadata_and_ids_of_its_own(rows):
    text = figures.element(figures.gap(rows), "gap", 'gaps, "quoted" & <all>')
    assert re.search(r"https?:|xmlns|<!|<metadata|<style", text) is None
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == 'gaps, "quoted" & <all>'
    ids = {part.get("id") for part in root.iter() if part.get("id")}
    assert all(id.startswith("gap-") for id in ids)
    used = {*re.findall(r'href="#([^"]+)"', text), *re.findall(r"url\(#([^)]+)\)", text)}
    assert used
    assert used <= ids
    assert "#000000" not in text
    assert "gap to the peak (dB)" in "".join(root.itertext())  # text, not the shapes of letters
    assert "DejaVu" not in text
    assert "currentColor" in text
