from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from esbench.report import embed
from esbench.report.levels import criteria

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=1500)


def pixels(source: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,")))) as image:
        return np.asarray(image)


@given(VALUES)
def test_a_thinned_curve_is_short_and_keeps_the_lowest_and_the_highest_of_every_stretch(values):
    stretch, kept = embed.thinned(values)
    assert len(kept) <= 2 * embed.STRETCHES
    if stretch == 1:
        assert len(kept) == len(values)
    for i in range(0, len(values), stretch):
        part = [float(f"{v:.5g}") for v in values[i : i + stretch] if v == v]
        mine = kept[i : i + 1] if stretch == 1 else kept[2 * i // stretch : 2 * i // stretch + 2]
        known = [v for v in mine if v is not None]
        assert (min(known), max(known)) == (min(part), max(part)) if part else not known


def test_the_two_values_of_a_stretch_come_in_their_order():
    up, down = np.arange(800.0), np.arange(800.0)[::-1]
    assert embed.thinned(up)[1][:4] == [0, 3, 4, 7]
    assert embed.thinned(down)[1][:4] == [799, 796, 795, 792]


def test_a_unit_is_its_curves_its_stops_and_its_peak(tmp_path, write_run):
    results = write_run(tmp_path / "RUN")
    rows = results.table()
    data = embed.curves(results.run.units()[0], rows, criteria(rows))
    assert (data["steps"], data["stretch"], data["peak"]) == (12, 1, [5, 23.0])
    assert [panel["name"] for panel in data["panels"]] == ["PSNR (dB)", "wmv", "emv"]
    assert data["panels"][0]["lines"][0]["values"] == [10, 14, 18, 20, 21, 23, 22, 21, 20, 19, 18, 17]
    assert data["panels"][0]["lines"][1]["values"][0] == 9
    assert data["panels"][1]["lines"][0]["values"][3:6] == [6, 1, 2]
    assert [(row["criterion"], row["stop_step"], row["fallback"]) for row in data["rows"]] == [
        ("wmv", 4, False),
        ("emv", 11, True),
    ]
    assert [row["colour"] for row in data["rows"]] == [0, 1]


def test_the_pictures_are_those_of_the_unit_and_of_the_stops_that_there_were(tmp_path, write_run):
    results = write_run(tmp_path / "RUN")
    rows = results.table()
    held = embed.embedded(results.run, rows)
    data = json.loads(held.units[results.run.units()[0].id])
    assert (held.pictured, held.whole) == (1, True)
    titles = [(picture["title"], picture["note"]) for picture in data["pictures"]]
    assert titles == [
        ("noisy", "gaussian 25"),
        ("clean", "never shown to a criterion"),
        ("peak", "step 5, 23.00 dB"),
        ("no early stopping", "step 11, 17.00 dB"),
        ("wmv", "step 4, 21.00 dB"),
    ]
    with Image.open(results.run.units()[0].image_path("noisy")) as noisy:
        assert (pixels(data["sources"][data["pictures"][0]["source"]]) == np.asarray(noisy)).all()


def test_the_picture_of_another_stop_is_not_shown_for_this_one(tmp_path, write_run):
    results = write_run(tmp_path / "RUN")
    rows = results.replay(patience=0)  # which stops at once
    assert rows[0]["stop_step"] == 0
    titles = [title for title, *_ in embed.pictures(results.run.units()[0], rows)]
    assert titles == ["noisy", "clean", "peak", "no early stopping"]


def test_pictures_that_are_the_same_are_there_once(tmp_path, write_run):
    results = write_run(tmp_path / "RUN")
    unit = results.run.units()[0]
    unit.image_path("stop-wmv").write_bytes(unit.image_path("peak").read_bytes())
    (text,) = embed.embedded(results.run, results.table()).units.values()
    data = json.loads(text)
    assert len(data["pictures"]) == 5
    assert len(data["sources"]) == 4


def test_units_ended_early_have_neither_peak_nor_last(tmp_path, write_run):
    results = write_run(tmp_path / "RUN", live=True)
    (text,) = embed.embedded(results.run, results.table()).units.values()
    data = json.loads(text)
    assert data["peak"] is None
    assert [picture["title"] for picture in data["pictures"]] == ["noisy", "clean", "wmv"]


@pytest.mark.parametrize("size", [(6, 8, 1), (300, 20, 1), (300, 280, 3)])
def test_where_whole_pictures_are_too_much_their_middle_is_shown(tmp_path, write_run, size):
    results = write_run(tmp_path / "RUN", curves={}, size=size)
    path = results.run.units()[0].image_path("noisy")
    with Image.open(path) as image:
        whole = np.asarray(image)
    h, w = size[:2]
    top, left = max(0, (h - 256) // 2), max(0, (w - 256) // 2)
    assert (pixels(embed.picture(path, whole=True)) == whole).all()
    assert (pixels(embed.picture(path, whole=False)) == whole[top : top + 256, left : left + 256]).all()


def test_what_has_no_room_is_left_out_and_each_noise_level_comes_in_turn(tmp_path, write_run, monkeypatch):
    levels = [("a", 25.0), ("b", 25.0), ("c", 25.0), ("a", 50.0), ("b", 50.0)]
    results = write_run(tmp_path / "RUN", levels)
    rows = results.table()
    ids = [unit.id for unit in results.run.units()]
    assert embed.in_turn(rows) == [ids[i] for i in (0, 3, 1, 4, 2)]
    held = embed.embedded(results.run, rows)
    assert (list(held.units), held.pictured, held.whole) == (ids, 5, True)
    size = len(embed.script(embed.curves(results.run.units()[0], rows[:2], criteria(rows))))
    monkeypatch.setattr(embed, "CURVES", 3 * size + 10)
    monkeypatch.setattr(embed, "PICTURES", 2 * sum(map(len, json.loads(held.units[ids[0]])["sources"])) + 10)
    held = embed.embedded(results.run, rows)
    assert (list(held.units), held.pictured, held.whole) == ([ids[i] for i in (0, 1, 3)], 2, False)
    assert ["pictures" in json.loads(text) for text in held.units.values()] == [True, False, True]


def test_pictures_that_were_deleted_are_not_missed(tmp_path, write_run):
    results = write_run(tmp_path / "RUN", pictures=False)
    held = embed.embedded(results.run, results.table())
    assert held.pictured == 0
    assert json.loads(next(iter(held.units.values())))["pictures"] == []


def test_json_in_a_page_cannot_end_its_element():
    text = embed.script({"</script>": "<!--<script>&\u2028"})
    assert not {"<", ">", "&", "\u2028"} & set(text)
    assert json.loads(text) == {"</script>": "<!--<script>&\u2028"}
