from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from esbench.bench import driver, grid
from esbench.bench.config import Config
from esbench.bench.results import Results
from esbench.bench.spec import unit_id
from esbench.builtin.criteria import cifs
from esbench.errors import ConfigError, DataError, UsageError
from esbench.paper import artefacts, calibrate, passes, tables
from esbench.paper.passes import POINTS, Passes
from esbench.registry import registry

CBSD68 = Path(os.environ.get("ESBENCH_DATA", "")) / "cbsd68"


# -- the paper's own numbers


@pytest.mark.parametrize("sigma", [15.0, 25.0, 50.0])
@pytest.mark.parametrize("method", artefacts.FIG3_GAP_DB)
def test_what_was_read_off_figure_3_is_what_table_1_says(sigma, method):
    row = artefacts.TABLE1["cbsd68", sigma]
    read = artefacts.FIG3_GAP_DB[method][artefacts.LEVELS.index(sigma)]
    assert read == pytest.approx(row["Peak"][0] - row[method][0], abs=0.025)


def test_the_paper_has_a_number_for_every_level_and_method():
    assert list(artefacts.FIG1_KILOBYTES) == list(artefacts.ARTEFACTS["fig1"].sigma)
    assert list(artefacts.FIG2_MU) == list(artefacts.ARTEFACTS["fig2"].sigma) == [*range(5, 80, 5)]
    assert all(len(gaps) == 15 for gaps in artefacts.FIG3_GAP_DB.values())
    assert all(list(row) == [*artefacts.METHODS, "No ES", "Peak"] for row in artefacts.TABLE1.values())
    assert set(artefacts.TABLE1) == {(d, s) for d in ("cbsd68", "kodak24") for s in (15, 25, 50)}


def test_its_methods_are_criteria_of_ours():
    for text in (*artefacts.METHODS.values(), artefacts.SIZE):
        record = registry().find("criterion", text.partition("[")[0])
        assert record.distribution == "esbench"
    assert registry().get("criterion", artefacts.SIZE).text == artefacts.SIZE


@pytest.mark.skipif(not CBSD68.is_dir(), reason="needs CBSD68 in ESBENCH_DATA")
def test_the_picture_of_figure_1_has_the_papers_sizes_here():
    # read off the figure to about 0.3 kB; other noise changes the size by less than that
    (config,) = artefacts.configs(artefacts.ARTEFACTS["fig1"], None, {})
    config = dataclasses.replace(config, image=(artefacts.FIG1_PICTURE,), sigma=(0.0, 15.0, 75.0), device="cpu")
    for row in artefacts.sizes(config):
        assert row["pixels"] == artefacts.FIG1_PIXELS
        assert row["bytes"] / 1000 == pytest.approx(artefacts.FIG1_KILOBYTES[row["sigma"]], abs=0.6)


# -- what an artefact is made of


def test_the_whole_is_the_papers_setting():
    found = {name: artefacts.configs(artefact, None, {}) for name, artefact in artefacts.ARTEFACTS.items()}
    for configs in found.values():
        for config in configs:
            assert (config.iterations, config.patience, config.input_scale) == (20_000, 1000, 0.1)
            assert (config.network, config.crop, config.noise) == ("skip", None, "gaussian")
    assert [config.dataset for config in found["table1"]] == ["cbsd68", "kodak24"]
    assert {name: a.units for name, a in artefacts.ARTEFACTS.items()} == {
        "fig1": 68 * 16,
        "fig2": 400 * 15,
        "table1": (68 + 24) * 3,
        "fig3": 68 * 15,
        "fig4": 3,
    }


@pytest.mark.parametrize(
    ("given", "patience"),
    [
        ({"iterations": 400}, 80),
        ({"iterations": 10_000}, 1000),
        ({"iterations": 3}, 1),
        ({"iterations": 400, "patience": 200}, 200),
        ({}, 1000),
    ],
)
def test_fewer_steps_have_less_patience(given, patience):
    (config,) = artefacts.configs(artefacts.ARTEFACTS["fig3"], None, given)
    assert config.patience == patience


def test_figure_4_has_its_own_pictures_where_they_are():
    fig4 = artefacts.ARTEFACTS["fig4"]
    assert [c.image for c in artefacts.configs(fig4, None, {})] == [("101085", "291000", "182053")]
    assert [c.image for c in artefacts.configs(fig4, "cbsd68", {"images": 2})] == [("101085", "291000")]
    assert [(c.image, c.images) for c in artefacts.configs(fig4, "set9", {})] == [((), 3)]


def test_an_error_in_an_option_is_reported():
    with pytest.raises(ConfigError, match="images must be at least 1"):
        artefacts.configs(artefacts.ARTEFACTS["table1"], None, {"images": 0})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, ["2 of 276 units of the whole (cbsd68 and kodak24, sigma 15, 25, 50); this pass covers 5."]),
        (
            {"iterations": 400, "crop": 96, "network": "skip[channels=8]"},
            [
                "2 of 276 units of the whole (cbsd68 and kodak24, sigma 15, 25, 50); this pass covers 5.",
                "Each has 400 of 20000 steps, patience 80 instead of 1000, 96 x 96 pixels of each picture, network "
                "skip[channels=8] instead of skip: not comparable with the paper's numbers.",
            ],
        ),
    ],
)
def test_a_pass_says_how_much_of_the_whole_it_covers(flags, said):
    artefact = artefacts.ARTEFACTS["table1"]
    assert artefacts.partial(artefact, artefacts.configs(artefact, None, flags), asked=5, done=2) == said


def test_pictures_are_cut_to_multiples_of_32_around_their_centre():
    picture = np.arange(100 * 70).reshape(100, 70, 1)
    assert np.array_equal(artefacts.cut(picture), picture[2:98, 3:67])
    assert artefacts.cut(picture[:64, :32]).shape == (64, 32, 1)


def test_the_sizes_of_figure_1(pictures):
    config = Config(dataset=str(pictures("a", "b", size=(40, 70))), sigma=(0.0, 5.0, 50.0), device="cpu")
    rows = list(artefacts.sizes(config))
    assert [(row["image"], row["sigma"]) for row in rows] == [(i, s) for i in "ab" for s in (0, 5, 50)]
    assert {row["pixels"] for row in rows} == {32 * 64}
    assert tables.rising(rows) == (2, 2)
    assert tables.rising([row | {"bytes": 7 if row["image"] == "a" else row["bytes"]} for row in rows]) == (1, 2)
    records = tables.sizes(rows)
    assert records[2]["kilobytes"] == (rows[2]["bytes"] + rows[5]["bytes"]) / 2000
    assert records[2]["paper_kilobytes"] == 150.0
    with pytest.raises(UsageError, match="Figure 1 needs pictures of at least 32 x 32 pixels; 'a' is smaller"):
        list(artefacts.sizes(dataclasses.replace(config, crop=30)))


# -- what passes leave behind

CRITERIA = ("cifs-jpeg", "wmv[window=2]")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Config, Path]:
    """A small run of two units: a picture at two levels."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("paper")
    y, x = np.mgrid[:36, :40]
    Image.fromarray(np.stack([5 * x, 7 * y, 40 + 90 * (x > y)], -1).astype(np.uint8)).save(folder / "a.png")
    config = Config(
        dataset=str(folder / "a.png"),
        criterion=CRITERIA,
        network="skip[channels=2,scales=1]",
        sigma=(15.0, 25.0),
        iterations=40,
        patience=8,
        device="cpu",
    )
    driver.run(config, folder / "r", driver.plan(config, folder / "r"), lambda event: None)
    return config, folder / "r"


@pytest.fixture
def kept(run, tmp_path) -> Passes:
    results = Results(run[1])
    Passes(tmp_path / "results").take(results, [u.id for u in results.run.units()], CRITERIA)
    return Passes(tmp_path / "results")  # as another process would read it


def test_rows_come_back_as_they_were(run, kept):
    config, folder = run
    table = Results(folder).table()
    for spec in grid.units(config):
        found = kept.rows(spec, CRITERIA, config.patience)
        assert [row["criterion"] for row in found] == list(CRITERIA)
        for row in found:
            (was,) = [r for r in table if (r["unit"], r["criterion"]) == (row["unit"], row["criterion"])]
            for key in was.keys() - {"kind", "seconds"}:
                value = was[key]
                assert type(row[key]) is type(value), key
                assert row[key] == (pytest.approx(value, rel=1e-8) if isinstance(value, float) else value), key
            assert (row["device"], row["crop"], row["input_scale"]) == ("cpu", None, 0.1)


def test_what_was_not_run_is_not_there(run, kept):
    config, _ = run
    spec = next(grid.units(config))
    assert kept.rows(spec, CRITERIA, 9) == []
    assert kept.rows(dataclasses.replace(spec, seed=1), CRITERIA, config.patience) == []
    assert [r["criterion"] for r in kept.rows(spec, (*CRITERIA, "emv"), config.patience)] == list(CRITERIA)


def test_a_unit_of_another_device_or_precision_counts(run, kept):
    config, _ = run
    spec = next(grid.units(config))
    kinds = itertools.product(("cpu", "cuda"), ("float32", "bfloat16"))
    everywhere = [dataclasses.replace(spec, device=device, precision=precision) for device, precision in kinds]
    assert len({unit_id(there) for there in everywhere}) == 4
    for there in everywhere:
        assert kept.rows(there, CRITERIA, config.patience) == kept.rows(spec, CRITERIA, config.patience)


def test_a_second_pass_adds_and_the_same_pass_changes_nothing(run, tmp_path):
    config, folder = run
    results = Results(folder)
    one, two = [unit.id for unit in results.run.units()]
    place = tmp_path / "results"
    Passes(place).take(results, [one], CRITERIA)
    Passes(place).take(results, [two], CRITERIA)
    assert all(len(Passes(place).rows(spec, CRITERIA, config.patience)) == 2 for spec in grid.units(config))
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert len(before) == 1 + 2 + 2
    Passes(place).take(results, [one, two], CRITERIA)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_another_version_of_a_criterion_does_not_count(run, kept, monkeypatch):
    config, _ = run
    made_by = passes.made_by
    newer = {"version": made_by("wmv")["version"] + 1}
    monkeypatch.setattr(passes, "made_by", lambda text: newer if text.startswith("wmv") else made_by(text))
    assert [r["criterion"] for r in kept.rows(next(grid.units(config)), CRITERIA, config.patience)] == ["cifs-jpeg"]


def test_cifs_is_decided_again_where_the_calibrated_table_has_changed(run, kept, monkeypatch):
    config, folder = run
    results = Results(folder)
    spec = next(grid.units(config))
    unit = results.run.unit(unit_id(spec))
    edges = calibrate.windowed(calibrate.curve_of(unit, "cifs-jpeg"), config.patience).edges
    seen = set()
    for mu in [edges[0] / 2, *(edges[1:] + edges[:-1]) / 2, edges[-1] * 2]:
        monkeypatch.setattr(cifs, "table", lambda mu=mu: {"mu": {"jpeg": {"15": mu}}, "texture": {}, "grey": {}})
        row = kept.rows(spec, CRITERIA, config.patience)[0]
        lam = f"cifs-jpeg[lam={mu * 36 * 40}]"
        (wanted,) = [r for r in results.replay(criteria=[lam]) if r["unit"] == unit.id]
        for key in ("stop_step", "fallback", "steps_run", "psnr_db", "gap_db"):
            assert row[key] == pytest.approx(wanted[key], abs=1e-7), key
        seen.add(row["stop_step"])
    assert len(seen) > 1


def test_cifs_is_decided_again_with_the_texture_of_the_unit(run, kept, monkeypatch):
    config, _ = run
    spec = next(grid.units(config))
    texture = kept.rows(spec, CRITERIA, config.patience)[0]["texture"]
    resolved = Results(run[1]).run.unit(unit_id(spec)).result()["criteria"]["cifs-jpeg"]["resolved"]
    assert cifs.mu("jpeg", "jpeg", 15.0, texture) * 36 * 40 == pytest.approx(resolved["lam"], rel=1e-8)
    ordinary = {"jpeg": {"15": 1.21 * texture}}
    table = {"mu": {"jpeg": {"15": 100.0}}, "texture": ordinary, "power": 1.5, "grey": {}}
    monkeypatch.setattr(cifs, "table", lambda: table)
    assert kept.rows(spec, CRITERIA, config.patience)[0]["mu"] == pytest.approx(133.1)


def test_a_kept_curve_is_short_and_has_both_ends(run, kept, monkeypatch):
    folder = run[1]
    unit = Results(folder).run.units()[0]
    curve = kept.curve(unit.id)
    assert list(curve) == ["step", "loss", "psnr_db", "average_psnr_db", *CRITERIA]
    assert (curve["step"][0], curve["step"][-1]) == (0, 39)
    at = curve["step"].astype(int)
    assert curve["loss"] == pytest.approx(unit.trace()["loss"][at], rel=1e-8)
    assert np.isnan(curve["wmv[window=2]"][0])

    monkeypatch.setattr(passes, "POINTS", 10)
    Passes(kept.path).take(Results(folder), [unit.id], CRITERIA)
    assert len(kept.curve(unit.id)["step"]) <= 10 < POINTS


def test_the_search_for_lam_needs_no_run(run, kept):
    config, folder = run
    rows = [kept.rows(spec, ("cifs-jpeg",), config.patience)[0] for spec in grid.units(config)]
    curves = calibrate.curves(Results(folder), [row["unit"] for row in rows], "cifs-jpeg")
    for record in kept.lams(rows):
        for objective in calibrate.OBJECTIVES:
            found = calibrate.calibrate(curves[record["sigma"]], objective, config.patience)
            for key in ("mu", "psnr_db", "best_mu", "best_psnr_db"):
                assert record[f"{objective}_{key}"] == pytest.approx(found[key], rel=1e-3), key
        assert record["paper_mu"] == artefacts.FIG2_MU[record["sigma"]]


def test_a_file_that_is_cut_off_is_reported(run, kept):
    config, _ = run
    unit = kept.rows(next(grid.units(config)), CRITERIA, config.patience)[0]["unit"]
    path = kept.path / f"curves/{unit}.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        kept.curve(unit)
    rows = kept.path / "rows.csv"
    rows.write_text(rows.read_text().replace("a,denoise", "a", 1))
    with pytest.raises(DataError, match=r"rows\.csv' cannot be read"):
        Passes(kept.path)


def test_sizes_are_added_to_those_that_are_there(tmp_path):
    row = {"dataset": "d", "image": "a", "crop": None, "sigma": 5.0, "pixels": 1024, "bytes": 700}
    Passes(tmp_path).sizes([row, row | {"image": "b"}])
    Passes(tmp_path).sizes([row | {"bytes": 701}, row | {"crop": 32}])
    text = (tmp_path / "sizes-d.csv").read_text().splitlines()
    assert text[0] == "dataset,image,crop,sigma,pixels,bytes"
    assert sorted(text[1:]) == ["d,a,,5,1024,701", "d,a,32,5,1024,700", "d,b,,5,1024,700"]


# -- beside the paper's


def row(criterion, psnr_db, **more):
    first = {"dataset": "kodak24", "sigma": 25.0, "unit": "u", "image": "a", "criterion": criterion, "psnr_db": psnr_db}
    return first | {"peak_db": 30.0, "last_db": 20.0, "gap_db": 30 - psnr_db, "fallback": False} | more


def test_our_numbers_stand_beside_the_papers():
    rows = [row("cifs-jpeg", 29.0), row("wmv", 28.0), row("cifs-jpeg", 27.0, unit="v"), row("wmv", 29.5, unit="v")]
    records = {r["method"]: r for r in tables.compared(rows)}
    assert records["CIFS"]["psnr_db"] == 28.0
    assert records["CIFS"]["psnr_std_db"] == 1.0
    assert (records["CIFS"]["paper_psnr_db"], records["CIFS"]["paper_psnr_std_db"]) == (28.804, 1.947)
    assert records["CIFS"]["paper_gap_db"] == pytest.approx(29.040 - 28.804)
    assert records["No ES"]["gap_db"] == 10
    assert records["Peak"]["psnr_db"] == 30
    table = tables.psnr(list(records.values()))
    assert table.head == ("dataset", "sigma", "", "ES-WMV", "CIFS", "No ES", "Peak")
    assert table.rows[0] == (
        "kodak24",
        "25",
        "here, 2 pictures",
        "28.75 ± 0.75",
        "28.00 ± 1.00",
        *("20.00 ± 0.00",),
        "30.00 ± 0.00",
    )
    assert table.rows[1][2:5] == ("paper", "27.69 ± 3.27", "28.80 ± 1.95")
    assert table.bold == {(0, 3), (1, 4)}  # the best of the criteria; the peak is none


def test_criteria_that_did_not_stop_are_reported():
    rows = [row("wmv", 20.0, fallback=True), row("wmv", 28.0, unit="v"), row("cifs-jpeg", 29.0)]
    records = tables.compared(rows)
    assert tables.never_stopped(records) == [
        "kodak24, sigma 25: not stopped, and counted with the last step: ES-WMV 1 of 2."
    ]


def test_what_the_paper_does_not_have_is_left_open():
    records = tables.compared([row("wmv", 28.0, dataset="mine"), row("wmv", 28.0, dataset="cbsd68", sigma=30.0)])
    found = {(r["dataset"], r["method"]): (r["paper_psnr_db"], r["paper_gap_db"]) for r in records}
    assert found["mine", "ES-WMV"] == (None, None)
    assert found["cbsd68", "ES-WMV"] == (None, 1.10)  # of figure 3
    assert found["cbsd68", "Peak"] == (None, 0.0)
    assert json.loads(json.dumps(records)) == records


def test_the_lam_of_figure_2_is_that_of_the_papers_level(run, kept):
    config, _ = run
    rows = [r for spec in grid.units(config) for r in kept.rows(spec, CRITERIA, config.patience)]
    found = [r for r in kept.beside_fig2(rows) if r["criterion"] == artefacts.CIFS_OF_FIG2]
    assert [(r["sigma"], r["mu"]) for r in found] == [(15.0, 120.0), (25.0, 66.9)]


def test_figure_4_has_the_papers_stops():
    (record,) = tables.stops([row("niqe-live", 25.0, dataset="cbsd68", image="291000", stop_step=900, peak_step=4000)])
    assert (record["method"], record["stop_step"], record["paper_stop_step"]) == ("NIQE", 900, 1010)


def test_small_files_are_small(kept):
    sizes = {path.name: len(path.read_bytes()) for path in kept.path.rglob("*.gz")}
    assert max(sizes.values()) < 10_000
    assert all(gzip.decompress(path.read_bytes()).count(b"\n") <= POINTS + 1 for path in kept.path.glob("curves/*"))
