from __future__ import annotations

import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
import torch

from esbench.bench.config import Config
from esbench.bench.grid import chosen, degradation, device_kind, level, open_dataset, picture, units
from esbench.bench.spec import LATER, UnitSpec, unit_id
from esbench.device import precise
from esbench.errors import DataError, Missing, NameUnknown, ParamError, Unavailable, UsageError
from esbench.images import read

SPEC = UnitSpec(
    dataset="kodak24",
    image="kodim01",
    pixels="0" * 64,
    crop=96,
    task="denoise",
    noise="gaussian",
    sigma=25.0,
    network="skip",
    seed=0,
    iterations=20_000,
    input_scale=0.1,
    learning_rate=0.01,
    perturbation=1 / 30,
    depth=32,
    precision="float32",
    device="cpu",
    engine=1,
)


# -- the name of a unit


def test_the_name_of_a_unit_never_changes():
    # the SHA-256 of its fields as JSON with sorted keys and no spaces, its first 8 digits:
    # a run of last year must be found again
    assert unit_id(SPEC) == "kodak24-kodim01-denoise-gaussian25-skip-s0-0e5c04a5"
    fields = {key: value for key, value in dataclasses.asdict(SPEC).items() if key not in LATER}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert unit_id(SPEC).endswith(hashlib.sha256(text.encode()).hexdigest()[:8])


def test_what_came_later_is_part_of_the_name_where_it_is_not_as_it_was_before():
    # golden: the units of results/ were run by an esbench that had neither losses nor inputs
    assert LATER == {"loss": "mse", "input": "noise", "regulariser": ""}
    assert unit_id(dataclasses.replace(SPEC, loss="mse", input="noise")) == unit_id(SPEC)
    assert unit_id(dataclasses.replace(SPEC, input="meshgrid")) == "kodak24-kodim01-denoise-gaussian25-skip-s0-fe38f7fa"


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(UnitSpec)])
def test_the_name_changes_with_everything_that_the_numbers_depend_on(field):
    value = getattr(SPEC, field)
    other = f"{value}x" if isinstance(value, str) else value + 1
    assert unit_id(dataclasses.replace(SPEC, **{field: other})) != unit_id(SPEC)


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "ü", "x" * 40, "CON:"])
def test_the_name_is_a_file_name_whatever_the_pictures_are_called(name):
    id = unit_id(dataclasses.replace(SPEC, dataset=name, image=name, noise="gaussian[a=1]", network="skip[scales=2]"))
    assert re.fullmatch(r"[A-Za-z0-9._-]+", id)
    assert "gaussian25-skip-s0" in id


# -- the units of a configuration


@pytest.fixture
def config(pictures):
    return Config(dataset=str(pictures("b", "a", "c")), device="cpu")


def test_there_is_a_unit_for_each_picture_level_and_seed_pictures_first(config):
    specs = list(units(dataclasses.replace(config, sigma=(50.0, 15.0), seed=(3, 1))))
    assert [(s.image, s.sigma, s.seed) for s in specs] == [
        (image, sigma, seed) for image in "abc" for sigma in (50.0, 15.0) for seed in (3, 1)
    ]
    assert len({unit_id(s) for s in specs}) == 12
    assert {s.dataset for s in specs} == {"pictures"}


def test_what_is_asked_for_twice_is_one_unit(config):
    twice = dataclasses.replace(config, image=("a", "a"), sigma=(25.0, 25.0), seed=(0, 0))
    assert len(list(units(twice))) == 1


def test_criteria_and_what_is_free_make_no_difference_to_the_units(config):
    other = dataclasses.replace(config, criterion=("emv",), patience=5, live=True)
    assert list(units(other)) == list(units(config))


def test_adding_a_picture_a_level_or_a_seed_leaves_the_others_as_they_are(config, pictures):
    before = {unit_id(s) for s in units(config)}
    pictures("aa")
    after = {unit_id(s) for s in units(dataclasses.replace(config, sigma=(25.0, 50.0), seed=(0, 1)))}
    assert before < after


def test_the_same_name_with_other_pixels_is_another_unit(config, pictures):
    before = [unit_id(s) for s in units(config)]
    pictures("b", "a", "c", size=(24, 29))
    assert not set(before) & {unit_id(s) for s in units(config)}


def test_texts_are_canonical_and_auto_is_decided(config):
    written = dataclasses.replace(
        config, network="skip[scales=2, channels=128]", noise="gaussian", device="auto", precision="auto"
    )
    spec = next(units(written))
    assert (spec.network, spec.noise, spec.sigma) == ("skip[scales=2]", "gaussian", 25.0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert (spec.precision, spec.device) == (precise("auto", device), device)


def test_a_degradation_without_a_level_is_one_unit_whatever_sigma_says(config, plugin):
    plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_degradations():\n"
        "    return [esbench.DegradationInfo(name='halve', summary='half', target=half)]\n"
        "def half(clean, rng, *, by: float = 0.5):\n"
        "    return clean * by\n"
    )
    specs = list(units(dataclasses.replace(config, noise="halve[by=0.25]", sigma=(15.0, 25.0))))
    assert [(s.image, s.noise, s.sigma) for s in specs] == [(i, "halve[by=0.25]", None) for i in "abc"]
    assert "-halve-" in unit_id(specs[0])


# -- pictures


def test_a_folder_is_a_dataset_of_its_name_and_a_file_one_of_a_single_picture(pictures, monkeypatch, tmp_path):
    folder = pictures("b", "a")
    name, dataset = open_dataset(str(folder))
    assert (name, list(dataset.ids())) == ("pictures", ["a", "b"])
    name, dataset = open_dataset(str(folder / "b.png"))
    assert (name, list(dataset.ids())) == ("b", ["b"])
    assert np.array_equal(dataset.load("b"), read(folder / "b.png"))
    monkeypatch.chdir(folder)
    assert open_dataset(".")[0] == "pictures"


def test_two_pictures_that_differ_in_their_suffix_are_two(pictures):
    folder = pictures("a", "b")
    (folder / "a.png").rename(folder / "a.bmp")
    pictures("a")
    assert list(open_dataset(str(folder))[1].ids()) == ["a.bmp", "a.png", "b"]


def test_a_dataset_that_is_installed_goes_before_a_folder_of_its_name(pictures, monkeypatch, tmp_path):
    pictures("a", folder="samples")
    monkeypatch.chdir(tmp_path)
    assert list(open_dataset("samples")[1].ids()) == ["hopper"]
    assert list(open_dataset("./samples")[1].ids()) == ["a"]


def test_a_public_dataset_is_found_where_the_environment_says(pictures, monkeypatch, tmp_path):
    pictures("kodim02", "kodim01", folder="kodak24")
    monkeypatch.setenv("ESBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("ESBENCH_CACHE", str(tmp_path / "cache"))
    assert list(open_dataset("kodak24")[1].ids()) == ["kodim01", "kodim02"]
    told = r"'set9' is not available: it could not be fetched \(.* 'esbench data fetch set9', or set ESBENCH_DATA"
    with pytest.raises(Missing, match=told):
        open_dataset("set9")


def test_an_unknown_dataset_is_reported_with_the_nearest(tmp_path):
    with pytest.raises(NameUnknown, match=r"No dataset 'kodak'\. Did you mean 'kodak24'\?"):
        open_dataset("kodak")
    with pytest.raises(Missing, match="contains no picture"):
        open_dataset(str(tmp_path))
    (tmp_path / "a\udcff.png").touch()
    with pytest.raises(DataError, match=r"a\\udcff\.png' has a name that is not valid Unicode: rename it\."):
        open_dataset(str(tmp_path))


def test_pictures_are_chosen_by_number_or_by_name(config):
    dataset = open_dataset(config.dataset)[1]
    assert chosen(config, dataset) == ["a", "b", "c"]
    assert chosen(dataclasses.replace(config, images=2), dataset) == ["a", "b"]
    assert chosen(dataclasses.replace(config, image=("c", "a")), dataset) == ["c", "a"]
    with pytest.raises(NameUnknown, match="No picture 'd'"):
        chosen(dataclasses.replace(config, image=("d",)), dataset)


def test_a_picture_is_cropped_before_its_pixels_are_named(config):
    dataset = open_dataset(config.dataset)[1]
    spec = next(units(dataclasses.replace(config, crop=16)))
    crop = picture(dataset, "a", 16)
    assert crop.shape == (16, 16, 3)
    assert spec.pixels == hashlib.sha256(crop.tobytes()).hexdigest()


# -- degradations and devices


def test_the_level_is_put_into_the_degradation():
    assert level(degradation("gaussian", 12.5)) == 12.5
    assert degradation("gaussian", 12.5).text == "gaussian[sigma=12.5]"


@pytest.mark.parametrize(
    ("noise", "sigma", "error", "sentence"),
    [
        ("gaussian", -1.0, ParamError, "sigma must be at least 0, got -1"),
        ("gaussian[sigma=3]", 25.0, UsageError, "The level is given by --sigma, not in 'gaussian[sigma=3]'."),
        ("gausian", 25.0, NameUnknown, "No degradation 'gausian'. Did you mean 'gaussian'?"),
    ],
)
def test_a_degradation_that_cannot_be_is_reported(noise, sigma, error, sentence):
    with pytest.raises(error) as said:
        degradation(noise, sigma)
    assert str(said.value).startswith(sentence)


def test_a_device_that_is_not_available_or_unknown_is_refused():
    assert device_kind("cpu") == "cpu"
    with pytest.raises(UsageError, match=r"device must be auto, cpu, cuda or cuda:N, got 'gpu'\."):
        device_kind("gpu")
    with pytest.raises(Unavailable, match=r"Device 'cuda:99' is not available"):
        device_kind("cuda:99")


def test_what_the_dataset_does_not_have_is_reported(pictures):
    said: list[str] = []
    config = Config(dataset=str(pictures("a", "b", size=(24, 28))), images=3, crop=26, device="cpu")
    assert len(list(units(config, said))) == 2
    assert said == [
        f"Dataset {config.dataset!r} has 2 pictures, not 3: all are used.",
        "Smaller than --crop 26: a gives 26 x 24, and 1 more.",
    ]
