from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esbench.frames import Block, Frame
from esbench.observation import Problem
from esbench.pictures import Picture, Pictures
from esbench.records import CodecInfo, CriterionInfo, DegradationInfo, Info


def info(**changes):
    return Info(**{"name": "foo", "summary": "one line", "target": "package.module:thing", **changes})


# -- records


@pytest.mark.parametrize("name", ["a", "wmv", "cifs-jpeg", "jpeg2k", "a-1-b"])
def test_a_name_is_made_of_small_letters_digits_and_single_dashes(name):
    assert info(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", "Foo", "1foo", "foo_bar", "foo bar", "foo-", "-foo", "foo--bar", "foo\n", "fóo", 3, None]
)
def test_another_name_is_refused(name):
    with pytest.raises(ValueError, match="a name consists of a-z, 0-9 and '-' and starts with a letter, got"):
        info(name=name)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"summary": ""}, "the summary of 'foo' must be one line of text"),
        ({"summary": "two\nlines"}, "the summary of 'foo' must be one line of text"),
        ({"summary": None}, "the summary of 'foo' must be one line of text"),
        ({"target": "package.module.thing"}, "the target of 'foo' must be 'package.module:thing' or a callable"),
        ({"target": "a:b:c"}, "the target of 'foo' must be 'package.module:thing' or a callable"),
        ({"target": None}, "the target of 'foo' must be 'package.module:thing' or a callable"),
        ({"requires": "torch"}, "requires of 'foo' must be a tuple of names, got the text 'torch'"),
    ],
)
def test_an_invalid_record_says_what_is_wrong(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        info(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"needs": "loss"}, "needs of 'foo' must be of loss, noisy, sigma, network, holdout, observation, got 'loss'"),
        (
            {"needs": ("losss",)},
            r"needs of 'foo' must be of loss, noisy, sigma, network, holdout, observation, got \('losss',\)",
        ),
        ({"every": 0}, "every of 'foo' must be a whole number from 1, got 0"),
        ({"every": 1.5}, "every of 'foo' must be a whole number from 1, got 1.5"),
        ({"measures": "averge"}, "measures of 'foo' must be 'output' or 'average', got 'averge'"),
    ],
)
def test_an_invalid_criterion_record_says_what_is_wrong(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        CriterionInfo(name="foo", summary="one line", target=len, **changes)


def test_every_kind_of_record_checks_what_all_have():
    for kind in (CriterionInfo, CodecInfo, DegradationInfo):
        with pytest.raises(ValueError, match="a name consists of"):
            kind(name="Foo", summary="one line", target=len)


@pytest.mark.parametrize(
    ("requires", "lacking"),
    [
        ((), ""),
        (("json", "os.path"), ""),
        (("json", "nobody_has_this"), "nobody_has_this"),
        (("nobody_has_this.metrics",), "nobody_has_this.metrics"),
        (("json.nothing",), "json.nothing"),
        (("json.decoder.nothing",), "json.decoder.nothing"),
        (("nobody_has_this>=1.0",), "nobody_has_this>=1.0"),
        (("__main__",), ""),
    ],
)
def test_lacking_names_the_first_requirement_that_cannot_be_imported(requires, lacking):
    assert info(requires=requires).lacking() == lacking


def test_a_requirement_is_not_imported_to_see_whether_it_is_there():
    code = (
        "from esbench import CriterionInfo; import sys;"
        "i = CriterionInfo(name='x', summary='x', target=len, requires=('torch',));"
        "print(i.lacking() == '' and 'torch' not in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


# -- pictures


bytes_2x3x4 = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3) * 3


def random(shape, seed=0, low=-0.2, high=1.2):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


SOURCES = {
    "tensor": lambda a: Pictures(torch.from_numpy(a).movedim(-1, 1).contiguous()),
    "array": Pictures,
    "float64 array": lambda a: Pictures(a.astype(np.float64)),
    "tensor with a gradient": lambda a: Pictures(torch.from_numpy(a).movedim(-1, 1).clone().requires_grad_()),
}
sources = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


@sources
@pytest.mark.parametrize("channels", [1, 3])
def test_all_sources_give_the_same_views(source, channels):
    array = random((2, 5, 4, channels))
    pictures = source(array)
    assert np.array_equal(pictures.float, array.clip(0, 1))
    assert np.array_equal(pictures.uint8, np.rint(array.clip(0, 1) * np.float32(255)).astype(np.uint8))
    assert np.array_equal(pictures.tensor.movedim(1, -1).numpy(), array)
    assert pictures.tensor.requires_grad is False
    assert (pictures.float.dtype, pictures.uint8.dtype) == (np.float32, np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_come_back_as_they_were_by_every_way(channels):
    array = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(channels, -1)
    pictures = Pictures(array)
    assert np.array_equal(pictures.uint8, array)
    assert np.array_equal(Pictures(pictures.float).uint8, array)
    assert np.array_equal(Pictures(pictures.tensor).uint8, array)
    assert np.array_equal(Pictures(pictures.tensor).float, pictures.float)


@sources
def test_a_half_is_rounded_to_the_even_byte(source):
    # multiples of 1/256 times 255 are exact in float32, and these end in one half: 127.5, 63.75 * 2, ...
    halves = np.array([0.5], np.float32)  # 127.5, which is half way between 127 and 128
    exact = np.array([k for k in range(256) if (np.float32((k + 0.5) / 255) * np.float32(255)) == k + 0.5], int)
    array = ((exact + 0.5) / 255).astype(np.float32).reshape(1, 1, -1, 1)
    assert len(exact) > 50
    assert source(halves.reshape(1, 1, 1, 1)).uint8.item() == 128
    assert np.array_equal(source(array).uint8.ravel(), np.minimum(255, exact + exact % 2))


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=20))
def test_tensor_and_array_round_alike(numbers):
    array = np.array(numbers, np.float32).reshape(1, 1, -1, 1)
    assert np.array_equal(SOURCES["tensor"](array).uint8, SOURCES["array"](array).uint8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_tensor_of_another_precision_has_the_same_views(dtype):
    tensor = torch.linspace(-0.1, 1.1, 24).reshape(1, 3, 2, 4).to(dtype)
    assert Pictures(tensor).tensor.dtype == dtype
    assert Pictures(tensor).float.dtype == np.float32
    assert np.array_equal(Pictures(tensor).uint8, Pictures(tensor.float()).uint8)


@pytest.mark.parametrize("source", [*SOURCES.values(), lambda a: Pictures((a.clip(0, 1) * 255).astype(np.uint8))])
def test_the_views_are_read_only(source):
    picture = source(random((2, 3, 4, 3)))[1]
    for view in (picture.float, picture.uint8):
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0, 0] = 0


@sources
def test_the_source_is_left_as_it_was(source):
    array = random((1, 3, 4, 3))
    before = array.copy()
    pictures = source(array)
    _ = pictures.float, pictures.uint8, pictures.tensor
    array += 0  # still writable
    assert np.array_equal(array, before)


def test_a_view_is_made_once():
    pictures = Pictures(torch.zeros(2, 3, 4, 5))
    assert pictures.float is pictures.float
    assert pictures.uint8 is pictures.uint8
    assert np.shares_memory(pictures[0].float, pictures.float)


@sources
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finite_tells_the_picture_that_is_not(source, bad):
    array = random((3, 2, 2, 3))
    array[1, 0, 1, 2] = bad
    pictures = source(array)
    assert list(pictures.finite) == [True, False, True]
    assert [picture.finite for picture in pictures] == [True, False, True]


def test_bytes_are_always_finite():
    assert list(Pictures(bytes_2x3x4).finite) == [True, True]


@sources
def test_pictures_are_a_sequence(source):
    array = random((3, 2, 5, 1))
    pictures = source(array)
    assert len(pictures) == len(list(pictures)) == 3
    assert np.array_equal(pictures[-1].float, pictures[2].float)
    with pytest.raises(IndexError):
        pictures[3]


@sources
def test_a_picture_knows_its_size_as_height_and_width(source):
    picture = source(random((1, 7, 5, 3)))[0]
    assert picture.size == (7, 5)
    assert picture.float.shape == picture.uint8.shape == (7, 5, 3)
    assert picture.tensor.shape == (3, 7, 5)


def test_a_tensor_view_of_bytes_is_in_0_to_1():
    tensor = Pictures(np.array([[[[0], [51], [255]]]], np.uint8)).tensor
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, torch.tensor([[[[0, 0.2, 1]]]]))


# -- frames, problems, blocks


def test_a_frame_has_its_problem_and_does_not_have_the_clean_picture():
    frame = Frame(Pictures(bytes_2x3x4), 1, step=7, loss=0.5)
    assert (frame.step, frame.loss, frame.average) == (7, 0.5, None)
    assert frame.problem == Problem(noisy=None, sigma=None, task="denoise")
    assert np.array_equal(frame.uint8, bytes_2x3x4[1])
    assert not [name for name in (*vars(frame), *dir(frame), *dir(frame.problem)) if "clean" in name]


def test_a_block_gives_its_frames_in_order_each_with_its_average():
    outputs, averages = torch.rand(3, 3, 4, 5), torch.rand(3, 3, 4, 5)
    problem = Problem(sigma=25)
    block = Block(40, [0.3, 0.2, 0.1], [0.6, 0.5, 0.4], Pictures(outputs), Pictures(averages))
    frames = list(block.frames(problem))
    assert len(block) == len(frames) == 3
    assert [(f.step, f.loss) for f in frames] == [(40, 0.3), (41, 0.2), (42, 0.1)]
    assert [f.average.loss for f in frames] == [0.6, 0.5, 0.4]
    for i, frame in enumerate(frames):
        assert torch.equal(frame.tensor, outputs[i])
        assert torch.equal(frame.average.tensor, averages[i])
        assert (frame.average.step, frame.average.problem) == (frame.step, problem)
        assert frame.problem is problem


def test_the_noise_level_is_the_known_one_if_there_is_one():
    noisy = Picture(Pictures(random((1, 8, 8, 3))))
    assert Problem(noisy, sigma=12.5).noise_level == 12.5
    assert Problem(noisy, sigma=0).noise_level == 0
    assert Problem().noise_level is None


def test_the_noise_level_is_estimated_from_the_noisy_picture_where_it_is_not_known():
    from esbench.noise import estimate

    noisy = Picture(Pictures(random((1, 32, 32, 3), low=0, high=1)))
    assert Problem(noisy).noise_level == estimate(noisy.float).sigma > 0
