from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from esbench import images
from esbench.report import embed

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


def test_a_curve_can_be_of_fewer_stretches():
    assert embed.thinned(np.arange(100.0), 10)[0] == 10
    assert len(embed.thinned(np.arange(100.0), 10)[1]) == 20


def test_the_two_values_of_a_stretch_come_in_their_order():
    up, down = np.arange(800.0), np.arange(800.0)[::-1]
    assert embed.thinned(up)[1][:4] == [0, 3, 4, 7]
    assert embed.thinned(down)[1][:4] == [799, 796, 795, 792]


def test_a_unit_is_its_curves_its_stops_and_its_peak(tmp_path, write_run):
    results = write_run(tmp_path / "RUN")
    rows = results.table()
    data = embed.curves(results.run.units()[0], rows)
    assert (data["steps"], data["stretch"], data["peak"]) == (12, 1, [5, 23.0])
    assert [panel["name"] for panel in data["panels"]] == ["PSNR (dB)", "wmv", "emv"]
    assert [line["name"] for line in data["panels"][0]["lines"]] == ["averaged output", "output"]
    assert data["panels"][0]["lines"][1]["values"] == [10, 14, 18, 20, 21, 23, 22, 21, 20, 19, 18, 17]
    assert data["panels"][0]["lines"][0]["values"][0] == 9
    assert data["panels"][1]["lines"][0]["values"][3:6] == [6, 1, 2]
    assert [(row["criterion"], row["stop_step"], row["fallback"]) for row in data["rows"]] == [
        ("wmv", 4, False),
        ("emv", 11, True),
    ]


def test_the_pictures_are_those_of_the_unit_and_of_the_stops_that_there_were(tmp_path, write_run):
    results = write_run(tmp_path / "RUN")
    rows = results.table()
    held = embed.embedded(results.run, rows)
    (text,) = held.units.values()
    data = json.loads(text)
    assert (held.pictured, held.side) == (1, None)
    assert all(results.run.units()[0].path.joinpath("images", each["file"]).exists() for each in data["pictures"])
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
    unit.write_image("stop-wmv", images.read(unit.image_path("peak")))
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


def test_where_whole_pictures_are_too_much_they_are_reduced(tmp_path, write_run, monkeypatch):
    results = write_run(tmp_path / "RUN", [("a", 25.0), ("b", 25.0)], size=(300, 200, 3))
    path = results.run.units()[0].image_path("noisy")
    with Image.open(path) as image:
        assert (pixels(embed.picture(path, None)) == np.asarray(image)).all()
    monkeypatch.setattr(embed, "PICTURES", 100_000)
    held = embed.embedded(results.run, results.table())
    assert held.side in embed.SIDES
    assert held.pictured == 2
    sources = [source for text in held.units.values() for source in json.loads(text)["sources"]]
    assert sum(map(len, sources)) <= 100_000
    assert all(source.startswith("data:image/webp;base64,UklGR") for source in sources)


@pytest.mark.parametrize(("size", "shown"), [((300, 200, 3), (96, 64)), ((40, 90, 1), (40, 90))])
def test_a_reduced_picture_is_no_larger_than_it_may_be_and_none_is_enlarged(tmp_path, write_run, size, shown):
    results = write_run(tmp_path / "RUN", size=size)
    source = embed.picture(results.run.units()[0].image_path("noisy"), 96)
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        assert (image.format, image.size[::-1]) == ("WEBP", shown)


def test_what_has_no_room_is_left_out_and_each_noise_level_comes_in_turn(tmp_path, write_run, monkeypatch):
    levels = [("a", 25.0), ("b", 25.0), ("c", 25.0), ("a", 50.0), ("b", 50.0)]
    results = write_run(tmp_path / "RUN", levels)
    rows = results.table()
    ids = [unit.id for unit in results.run.units()]
    assert embed.in_turn(rows) == [ids[i] for i in (0, 3, 1, 4, 2)]
    held = embed.embedded(results.run, rows)
    assert (list(held.units), held.pictured, held.side) == (ids, 5, None)
    size = len(embed.script(embed.curves(results.run.units()[0], rows[:2])))
    monkeypatch.setattr(embed, "CURVES", 3 * size + 100)
    monkeypatch.setattr(embed, "PICTURES", 100)
    held = embed.embedded(results.run, rows)
    assert (list(held.units), held.pictured, held.side) == ([ids[0], ids[1], ids[3]], 1, embed.SIDES[-1])
    assert ["pictures" in json.loads(text) for text in held.units.values()] == [True, False, False]


def test_many_units_have_shorter_curves_so_that_all_of_them_fit(tmp_path, write_run, monkeypatch):
    random = np.random.default_rng(0)
    curves, psnr = {"wmv": random.random(2000), "emv": random.random(2000)}, 20 + random.random(2000)
    results = write_run(tmp_path / "RUN", [(f"p{i}", 25.0) for i in range(4)], curves=curves, psnr=psnr)
    monkeypatch.setattr(embed, "CURVES", 30_000)
    held = embed.embedded(results.run, results.table())
    assert len(held.units) == 4
    assert held.stretches < embed.STRETCHES
    assert sum(len(json.dumps(json.loads(text)["panels"])) for text in held.units.values()) < 30_000


def test_the_outputs_over_the_steps_are_fewer_and_smaller_if_those_of_all_units_would_not_fit(
    tmp_path, write_run, monkeypatch
):
    results = write_run(tmp_path / "RUN", [("a", 25.0), ("b", 25.0)])
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    webp = base64.b64encode(images.encoded(pixels, 160, "WEBP")).decode()
    film = [{"picture": step, "webp": webp} for step in range(40)]
    film[-1]["webp"] = "AA=="  # damaged: the browser shows none
    for unit in results.run.units():
        lines = [{"unit": unit.id}, *film[:20], {"values": {}}, {"webp": webp}, [], *film[20:]]
        (unit.path / "live.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"picture": 4, "w')

    def held() -> list[dict[str, Any]]:
        return [json.loads(text) for text in embed.embedded(results.run, results.table()).units.values()]

    assert [unit["film"] for unit in held()] == [film, film]
    monkeypatch.setattr(embed, "ALL", 100_000)
    assert len(json.dumps(held())) < 100_000
    for unit in held():
        first, *_, last = unit["film"]
        assert (first["picture"], last) == (0, film[-1])
        assert len(first["webp"]) < len(webp)
    monkeypatch.setattr(embed, "ALL", 12_000)  # not even these
    first, second = held()
    assert "film" in first
    assert "film" not in second


def test_pictures_that_were_deleted_are_not_missed(tmp_path, write_run):
    results = write_run(tmp_path / "RUN", pictures=False)
    held = embed.embedded(results.run, results.table())
    assert held.pictured == 0
    assert json.loads(next(iter(held.units.values())))["pictures"] == []


def test_json_in_a_page_cannot_end_its_element():
    text = embed.script({"</script>": "<!--<script>&\u2028"})
    assert not {"<", ">", "&", "\u2028"} & set(text)
    assert json.loads(text) == {"</script>": "<!--<script>&\u2028"}
