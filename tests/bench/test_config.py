from __future__ import annotations

import dataclasses
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esbench.bench import build, grid
from esbench.bench import config as configuration
from esbench.bench.config import FREE, GROWS, ONCE, PRESETS, Config, read, resolve
from esbench.cache import planning
from esbench.errors import ConfigError, Missing

configs = st.builds(
    Config,
    criterion=st.lists(st.sampled_from(["wmv", "cifs-jpeg[lam=1e6]", 'a"b', "é"]), min_size=1, unique=True).map(tuple),
    dataset=st.text(min_size=1, max_size=8).filter(lambda s: s.isprintable()),
    images=st.none() | st.integers(1, 9),
    crop=st.none() | st.integers(1, 999),
    sigma=st.lists(st.floats(0, 255), min_size=1, max_size=3, unique=True).map(tuple),
    input_scale=st.floats(0, 1),
    seed=st.lists(st.integers(0, 2**40), min_size=1, max_size=3, unique=True).map(tuple),
    live=st.booleans(),
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


@given(configs)
def test_what_is_written_is_read_back(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "round.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert read(path) == config


def test_flags_go_before_the_file_the_file_before_the_preset_and_that_before_the_defaults(tmp_path):
    file = written(tmp_path, 'iterations = 7\nnetwork = "skip[scales=2]"\n')
    assert resolve({}) == Config()
    preset = resolve({}, preset="quick")
    assert (preset.iterations, preset.network) == (1000, "skip[channels=32]")
    assert resolve({}, preset="quick", file=file).iterations == 7
    mixed = resolve({"iterations": 9}, preset="quick", file=file)
    assert (mixed.iterations, mixed.network, mixed.patience) == (9, "skip[scales=2]", 200)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_configuration_and_has_a_summary(preset):
    assert isinstance(resolve({}, preset=preset), Config)
    assert configuration.preset_summary(preset)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.startswith("dip-")])
def test_the_settings_of_the_notebooks_fit_their_pictures(preset):
    config = resolve({"device": "cpu"}, preset=preset)
    try:
        with planning():
            units = list(grid.units(config))
    except Missing as missing:
        pytest.skip(str(missing))
    assert units
    scene = build.scene(units[0], config.dataset)
    scene.fits()
    assert units[0].iterations == config.iterations


def test_the_defaults_and_the_preset_are_those_of_the_paper():
    c = Config()
    assert (c.iterations, c.patience, c.sigma, c.input_scale) == (20_000, 1000, (25.0,), 0.1)
    assert resolve({}, preset="paper") == c


def test_one_value_will_do_where_several_may_be(tmp_path):
    c = read(written(tmp_path, 'sigma = 15\nseed = 3\ncriterion = "wmv"\nimage = "a"\n'))
    assert (c.sigma, c.seed, c.criterion, c.image) == ((15.0,), (3,), ("wmv",), ("a",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("iteration = 5\n", "There is no configuration key 'iteration'. Did you mean 'iterations'? The keys are: crit"),
        ("zzzzzz = 5\n", "There is no configuration key 'zzzzzz'. The keys are: criterion, "),
        ('iterations = "many"\n', "iterations must be int, got 'many'."),
        ("iterations = 2.5\n", "iterations must be int, got 2.5."),
        ("iterations = true\n", "iterations must be int, got True."),
        ("sigma = [15, true]\n", "sigma must be float, got True."),
        ("live = 1\n", "live must be bool, got 1."),
        ("criterion = [3]\n", "criterion must be str, got 3."),
        ("iterations = 0\n", "iterations must be at least 1, got 0."),
        ("patience = -1\n", "patience must be at least 0, got -1."),
        ("images = 0\n", "images must be at least 1, got 0."),
        ("crop = -5\n", "crop must be at least 1, got -5."),
        ("input_scale = -0.1\n", "input-scale must be at least 0, got -0.1."),
        ("input_scale = nan\n", "input-scale must be at least 0, got nan."),
        ("input_scale = inf\n", "input-scale must be at least 0, got inf."),
        ("sigma = nan\n", "sigma must be a number, got nan."),
        ("sigma = inf\n", "sigma must be a number, got inf."),
        ("sigma = []\n", "sigma needs at least one value, got none."),
        ("criterion = []\n", "criterion needs at least one value, got none."),
        ("seed = []\n", "seed needs at least one value, got none."),
        ('images = 2\nimage = ["a"]\n', "Give either images (how many) or image (which), not both."),
        ("iterations = \n", "cannot be read as TOML: "),
        (f"seed = 1{'0' * 5000}\n", "cannot be read as TOML: Exceeds the limit"),
        (f"seed = 1{'0' * 400}\n", "seed must be a number of at most 64 bits, got one of 1329."),
        (f"time_limit = 1{'0' * 400}\n", "time_limit must be a number of at most 64 bits, got one of 1329."),
    ],
)
def test_what_does_not_fit_is_reported_in_a_sentence(tmp_path, text, sentence):
    with pytest.raises(ConfigError) as error:
        read(written(tmp_path, text))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_no_toml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no configuration '.*none\.toml'\."):
        read(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml' cannot be read as TOML: "):
        read(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="is a folder, not a regular file"):
        read(tmp_path)


# -- growing


def test_criteria_levels_and_seeds_grow_and_keep_their_order():
    old = Config(criterion=("wmv", "emv"), sigma=(25.0,), seed=(0, 1))
    new = Config(criterion=("loss", "wmv"), sigma=(15.0, 25.0), seed=(1, 2))
    grown = new.grown(old)
    assert grown.criterion == ("wmv", "emv", "loss")
    assert grown.sigma == (25.0, 15.0)
    assert grown.seed == (0, 1, 2)


@pytest.mark.parametrize(
    ("old", "new", "both"),
    [
        ({"images": 2}, {"images": 5}, {"images": 5}),
        ({"images": 5}, {"images": 2}, {"images": 5}),
        ({"images": 2}, {}, {}),
        ({}, {"image": ("a",)}, {}),
        ({"image": ("b",)}, {"image": ("a", "b")}, {"image": ("b", "a")}),
    ],
)
def test_pictures_grow(old, new, both):
    assert Config(**new).grown(Config(**old)) == Config(**both)


def different(value: object) -> object:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case None:
            return 64
        case _:
            return f"{value}2"


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Config) if f.name not in FREE])
def test_a_change_of_anything_else_is_refused_and_both_values_are_reported(name):
    old = Config()
    value = different(getattr(old, name))
    new = dataclasses.replace(old, **{name: value})
    with pytest.raises(ConfigError) as error:
        new.grown(old)
    sentence = str(error.value)
    assert sentence.startswith(f"This run has {name} = ")
    assert str(value) in sentence
    assert sentence.endswith("Only criterion, baseline, image, images, sigma, seed can be extended.")


@pytest.mark.parametrize("name", sorted(set(FREE) - set(GROWS)))
def test_how_it_is_run_may_differ_from_command_to_command(name):
    old = Config()
    value = {"budget": "9m", "shard": "2/8"}.get(name) or different(getattr(old, name))
    new = dataclasses.replace(old, **{name: value})
    assert getattr(new.grown(old), name) == getattr(new, name)


@pytest.mark.parametrize("name", ONCE)
def test_what_belongs_to_one_command_is_not_remembered(name):
    value = {"budget": "9m", "shard": "2/8", "retry_failed": True}[name]
    assert name not in tomllib.loads(Config(**{name: value}).to_toml())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("9m", 540), ("1h30m", 5400), ("1h 30m", 5400), ("0.5h", 1800), ("2d", 172800)],
)
def test_a_budget_is_a_length_of_time(text, seconds):
    assert Config(budget=text).seconds == seconds


@pytest.mark.parametrize("text", ["", "m", "9x", "9m!", "-5", "soon", "1.h"])
def test_an_invalid_duration_is_refused(text):
    with pytest.raises(ConfigError, match="budget must be a duration such as 90s, 9m or 1h30m, got "):
        Config(budget=text)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(ConfigError, match=r"shard must be i/n with i from 1 to n, as in 2/8, got "):
        Config(shard=text)


@given(configs, configs)
def test_growing_keeps_all_of_both(a, b):
    b = dataclasses.replace(a, criterion=b.criterion, sigma=b.sigma, seed=b.seed, images=b.images)
    grown = b.grown(a)
    for name in ("criterion", "sigma", "seed"):
        assert set(getattr(grown, name)) == set(getattr(a, name)) | set(getattr(b, name))
    assert (grown.images or math.inf) == max(a.images or math.inf, b.images or math.inf)
    assert grown.grown(grown) == grown
    assert tomllib.loads(grown.to_toml())["dataset"] == a.dataset


@pytest.mark.parametrize("options", [{"noise": "poisson[rate=5]"}, {"task": "superres[factor=2]", "noise": "none"}])
def test_a_level_of_a_noise_without_one_is_refused(options):
    with pytest.raises(ConfigError, match=r"sigma is the level of the noise, and '\S+' has none: leave it out"):
        resolve(options | {"sigma": (50.0,)})
    assert resolve(options).noise in ("poisson[rate=5]", "none")


def test_a_level_adds_noise_to_a_task_without(tmp_path):
    (file := tmp_path / "run.toml").write_text("task = 'superres[factor=2]'\ninput-scale = 0.5\nsigma = [10]\n")
    assert resolve({"task": "inpaint"}).noise == "none"
    assert resolve({"task": "inpaint", "sigma": (10.0,)}).noise == "gaussian"
    assert resolve({}, file=file).noise == "gaussian"
    assert resolve({}, file=file).input_scale == 0.5  # as the flag is written
    assert resolve({"task": "inpaint"}, preset="quick").noise == "none"
