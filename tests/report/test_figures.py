from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from esbench.report import figures
from esbench.report.levels import criteria

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
    rows = run.table()
    return figures.curves(run.run.units()[0], [row for row in rows if row["unit"] == rows[0]["unit"]], criteria(rows))


def lines(axes) -> dict[str, tuple[list, list]]:
    """Return what is drawn, by label."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_the_gap_is_drawn_over_the_noise_level_with_its_deviation(rows):
    rows = [dict(row) for row in rows]
    rows[0]["gap_db"] = 6.0  # wmv on the first picture; 2 on the second
    (axes,) = figures.gap(rows).axes
    wmv, emv = axes.containers
    assert [wmv.get_label(), emv.get_label()] == ["wmv", "emv"]
    assert list(wmv.lines[0].get_ydata()) == [4.0, 2.0]
    assert np.allclose(wmv.lines[0].get_xdata(), [25, 50], atol=1)
    (bars,) = wmv.lines[2]
    assert np.allclose([segment[:, 1] for segment in bars.get_segments()], [[2, 6], [2, 2]])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["25", "50"]
    assert axes.get_xlabel() == "sigma of gaussian noise"


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
        (in_cost,) = [line for line in cost.axes[0].lines if line.get_label() == name]
        assert (
            gap.axes[0].containers[i].lines[0].get_color()
            == in_cost.get_color()
            == curves.axes[1 + i].lines[0].get_color()
            == figures.COLOURS[i]
        )


def test_curves_are_drawn_with_the_peak_and_the_stops_that_were(run):
    top, wmv, emv = curves_of(run).axes
    assert lines(top)["output"][1][:3] == [10, 14, 18]
    assert lines(top)["peak at 5"] == ([5], [23])
    assert "wmv at 4" in lines(top)
    assert [x for x, _ in lines(wmv).values() if x == [4, 4]] == [[4, 4]]
    assert not any("emv" in label for label in lines(top))  # it never stopped
    assert len(emv.lines) == 1


def test_a_criterion_that_was_measured_now_and_then_is_a_line_all_the_same(tmp_path, write_run):
    values = [9.0, np.nan, np.nan, 5, np.nan, np.nan, 3, np.nan, np.nan, 6, np.nan, np.nan]
    _, axes = curves_of(write_run(tmp_path / "RUN", curves={"loss[every=3]": values})).axes
    assert ([0, 3, 6, 9], [9, 5, 3, 6]) in lines(axes).values()


def test_outputs_that_were_lost_are_left_out_of_the_curve(tmp_path, write_run):
    top = curves_of(
        write_run(tmp_path / "RUN", psnr=[10.0, 14, 18, 20, 21, 23, -np.inf, 21, -np.inf, 19, 18, 17])
    ).axes[0]
    assert len(lines(top)["output"][0]) == 10
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
    assert "x$\\frac$" in text  # in a comment beside the shapes of the letters


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
    assert "currentColor" in text
