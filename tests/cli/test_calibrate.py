from __future__ import annotations

import json

import pytest


def test_the_command_writes_what_it_found_the_curve_and_a_figure(esbench, pictures, tmp_path):
    call = (
        *("calibrate", "-c", "cifs-jpeg", "-d", pictures("a", "b", size=(48, 48)), "--images", "2", "--crop", "40"),
        *("--iterations", "60", "--patience", "15", "--sigma", "25", "--network", "skip[channels=4,scales=3]"),
        *("--device", "cpu", "--out", tmp_path / "c", "-q", "--json"),
    )
    answer = esbench(*call, "-o", tmp_path / "table.json", "--figure", tmp_path / "curve.svg")
    assert (answer.code, answer.err) == (0, "")
    (row,) = json.loads(answer.out)
    assert (row["codec"], row["objective"], row["pictures"]) == ("jpeg", "windowed", 2)
    assert row["psnr_db"] <= row["best_psnr_db"]
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["mu"] == {"jpeg": {"25": row["mu"]}}
    assert table["origin"]["found"] == [row]
    assert "at the stop of the benchmark's rule" in table["origin"]["search"]
    assert (tmp_path / "curve.svg").read_bytes().startswith(b"<?xml")

    (other,) = json.loads(esbench(*call, "--objective", "global").out)  # of the same optimisations
    assert other["objective"] == "global"
    assert other["best_psnr_db"] != row["best_psnr_db"] or other["best_mu"] != row["best_mu"]


def test_a_budget_leaves_the_rest_to_the_same_command(esbench, pictures, tmp_path):
    call = (
        *("calibrate", "-d", pictures("a", "b", size=(48, 48)), "--iterations", "30", "--patience", "5"),
        *("--sigma", "25", "--network", "skip[channels=4,scales=3]", "--device", "cpu", "--out", tmp_path / "c"),
    )
    first = esbench(*call, "--budget", "0s", "--figure", tmp_path / "curve.svg", "--json")
    assert (first.code, json.loads(first.out)) == (0, [])
    assert "2 units left: run the same command again to continue" in first.err
    assert not (tmp_path / "curve.svg").exists()
    (row,) = json.loads(esbench(*call, "--json").out)
    assert row["pictures"] == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--iterations", "50"), "patience must be less than the 50 iterations for the rule to stop at all, got 1000."),
        (("--figure", "curve.txt"), "--figure must end in .svg, .pdf, .png, got 'curve.txt'."),
    ],
)
def test_the_command_says_what_it_cannot_do_before_the_first_step(esbench, pictures, tmp_path, options, sentence):
    answer = esbench("calibrate", "-d", pictures("a"), "--out", tmp_path / "c", *options)
    assert (answer.code, answer.out, answer.err) == (2, "", f"esbench: {sentence}\n")
    assert not (tmp_path / "c").exists()
