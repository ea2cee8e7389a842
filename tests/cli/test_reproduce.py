from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import pytest

from esbench.paper import artefacts
from esbench.report import figures

#: Criteria that need no trained model.
FEW = (artefacts.METHODS["ES-WMV"], artefacts.METHODS["CIFS"])


@pytest.fixture
def place(pictures, tmp_path, monkeypatch):
    """A working folder with two pictures; the paper's artefacts with fewer criteria, figures in one format."""
    monkeypatch.chdir(tmp_path)
    pictures("a", "b", size=(40, 44))
    monkeypatch.setattr(figures, "FORMATS", ("svg",))  # three of each take their time
    for name in ("table1", "fig3", "fig4"):
        monkeypatch.setitem(artefacts.ARTEFACTS, name, dataclasses.replace(artefacts.ARTEFACTS[name], criteria=FEW))
    return tmp_path


#: A pass that takes a moment.
PASS = (
    *("--dataset", "pictures", "--images", "2", "--crop", "36", "--iterations", "30", "--patience", "6"),
    *("--sigma", "25", "--network", "skip[channels=2,scales=1]", "--device", "cpu"),
)


def steps(answer) -> int:
    """Return how many optimisations a command did."""
    return sum(": done in" in line for line in answer.err.splitlines())


def test_a_pass_continues_from_the_last_one(esbench, place):
    first = esbench("reproduce", "table1", *PASS, "--images", "1")
    assert first.code == 0, first.err
    assert steps(first) == 1
    assert "here, 1 picture " in first.out
    said = first.err.splitlines()
    assert (
        "1, and none of the 276, units of the whole (cbsd68 and kodak24, sigma 15, 25, 50); this pass covers 1." in said
    )
    assert any(
        line.startswith("Each has 30 of 20000 steps, patience 6 instead of 1000, 36 x 36 pixels") for line in said
    )

    shutil.rmtree(place / "esbench-runs")  # the small files are enough
    second = esbench("reproduce", "table1", *PASS)
    assert (second.code, steps(second)) == (0, 1)
    assert "here, 2 pictures" in second.out

    written = {path.name for path in (place / "esbench-runs/paper/table1").iterdir()}
    assert written == {f"table1.{kind}" for kind in ("md", "tex", "csv", "svg")}
    with open(place / "esbench-runs/paper/table1/table1.csv") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["ES-WMV", "CIFS", artefacts.CIFS_OF_FIG2, "No ES", "Peak"]

    third = esbench("reproduce", "table1", *PASS, "--json")
    assert (third.code, steps(third)) == (0, 0)
    assert "run: " not in third.err
    assert [float(row["psnr_db"]) for row in rows.values()] == [row["psnr_db"] for row in json.loads(third.out)]

    # the same units make the other figures
    gaps = esbench("reproduce", "fig3", *PASS)
    assert (gaps.code, steps(gaps)) == (0, 0)
    assert "gap to the peak (dB)" in gaps.out
    stops = esbench("reproduce", "fig4", *PASS)
    assert (stops.code, steps(stops)) == (0, 0)
    files = {path.name for path in (place / "esbench-runs/paper/fig4").iterdir()}
    assert {"fig4.md", "fig4-a.svg", "fig4-b.svg"} <= files
    assert "fig4-a-pictures.png" not in files  # of that one there is no run any more
    assert "fig4-b-pictures.png" in files


def test_lam_by_noise_level_with_both_objectives(esbench, place):
    answer = esbench("reproduce", "fig2", *PASS, "--sigma", "50", "-q")
    assert (answer.code, answer.err) == (0, "")
    (head, _, *lines) = answer.out.strip().splitlines()[2:]
    assert head.split()[:2] == ["sigma", "pictures"]
    assert [line.split()[0] for line in lines] == ["25", "50"]
    assert [line.split()[-1] for line in lines] == ["66.9", "35.7"]  # the paper's
    assert (place / "esbench-runs/paper/fig2/fig2.svg").exists()
    assert len(list((place / "results/lam").iterdir())) == 4


def test_figure_1_needs_no_optimisation(esbench, place, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(place)
    answer = esbench("reproduce", "fig1", "--dataset", "pictures", "--sigma", "0", "--sigma", "50")
    assert answer.code == 0
    assert answer.out.splitlines()[1] == "pictures, 2 pictures"
    assert "The size rises from each level to the next in 2 of 2." in answer.err
    assert {path.name for path in (place / "esbench-runs/paper/fig1").iterdir()} == {
        f"fig1-pictures.{kind}" for kind in ("md", "tex", "csv", "svg", "pdf", "png")
    }
    assert len((place / "results/sizes-pictures.csv").read_text().splitlines()) == 1 + 2 * 2


def test_a_budget_ends_a_pass_before_its_end(esbench, place):
    answer = esbench("reproduce", "table1", *PASS, "--budget", "0s", "--json")
    assert (answer.code, json.loads(answer.out)) == (0, [])
    assert "0, and none of the 276, units of the whole" in answer.err
    assert not (place / "results/rows.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("fig5",), 2, "'fig5' is not one of 'fig1', 'fig2', 'table1', 'fig3', 'fig4'."),
        (("fig1", "--iterations", "9"), 2, "fig1 needs no optimisation: omit --iterations."),
        (("table1", "--dataset", "nowhere"), 2, "No dataset 'nowhere'."),
        (("table1", "--budget", "soon"), 2, "budget must be a duration such as 90s, 9m or 1h30m, got 'soon'."),
        (("fig1", "--dataset", "pictures", "--crop", "20"), 2, "Figure 1 needs pictures of at least 32 x 32 pixels"),
        (("fig1", "--dataset", "pictures", "--results", "pictures/a.png"), 3, "Choose another --results."),
        (("fig1", "--dataset", "pictures", "--out", "pictures/a.png"), 3, "Choose another --out."),
    ],
)
def test_an_error_is_one_sentence(esbench, place, arguments, code, sentence):
    answer = esbench("reproduce", *arguments)
    assert answer.code == code
    assert sentence in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
