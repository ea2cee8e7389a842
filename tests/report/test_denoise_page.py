from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import math
import re

import numpy as np
import pytest
from PIL import Image

from esbench.report.denoise_page import HEIGHT, WIDTH, amplified, curve, page, section
from esbench.restoration.options import Options
from esbench.restoration.piece import Optimised
from esbench.restoration.whole import Restored

GREY = np.zeros((4, 4, 1), np.uint8)


def optimised(values: list[float], stop: int, stopped: bool = True) -> Optimised:
    return Optimised((0, 0, 8, 8), stop, len(values), stopped=stopped, reason="because", values=values)


def denoised(image, *each: Optimised) -> Restored:
    return Restored(image, "denoise", "loss", each[0].stop_step, 9, "because", 1.0, 25.0, each[0].values, each)


def points(figure: str) -> np.ndarray:
    found = re.search(r'<polyline[^>]*points="([^"]*)"', figure)
    return np.array([[float(n) for n in point.split(",")] for point in found[1].split()])


def pictures(text: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_the_stop_is_drawn_at_its_step_on_the_curve():
    figure = curve(optimised([5, 3, 1, 2, 4], 2), "loss")
    drawn = points(figure)
    (stop,) = re.findall(r'<line class="stop" x1="([\d.]+)"', figure)
    assert drawn[np.argmax(drawn[:, 1])].tolist()[0] == float(stop)  # the lowest value is the lowest on the page
    assert np.allclose(np.diff(drawn[:, 0]), np.diff(drawn[:, 0])[0], atol=0.11)
    assert "because" not in figure  # it is above the curve
    assert "8 x 8 pixels at (0, 0): because." in curve(optimised([5, 3, 1, 2, 4], 2), "loss", several=True)


def test_a_curve_over_decades_has_a_logarithmic_axis():
    drawn = points(curve(optimised([1, 0.1, 0.01, 0.001], 3), "loss"))
    assert np.allclose(np.diff(drawn[:, 1]), np.diff(drawn[:, 1])[0], atol=0.11)
    for values, ticks in (
        ([1, 0.1, 0.01, 0.001], ["0.001", "0.01", "0.1", "1"]),
        ([0.5, 0.02, 0.01], ["0.01", "0.03", "0.1", "0.3"]),
    ):
        assert re.findall(r'text-anchor="end">([\d.]+)<', curve(optimised(values, 0), "loss")) == ticks


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [math.nan, 1.0, math.nan, 0.0], [-1.0, 1e9, 3.0]])
def test_a_curve_of_any_kind_stays_on_the_page(values):
    figure = curve(optimised(values, 0), "loss")
    drawn = points(figure)
    assert len(drawn) == np.isfinite(values).sum()
    assert (drawn >= 0).all()
    assert (drawn <= (WIDTH, HEIGHT)).all()


def test_a_criterion_without_a_value_has_no_curve_but_its_reason():
    figure = curve(optimised([math.nan] * 3, 2), "wmv", several=True)
    assert "<svg" not in figure
    assert "because." in figure


def test_pictures_are_shown_pixel_by_pixel():
    rng = np.random.default_rng(0)
    for shape in ((9, 7, 3), (9, 7, 1)):
        before, after = rng.integers(0, 256, (2, *shape)).astype(np.uint8)
        shown = pictures(section("a", before, denoised(after, optimised([1.0, 2.0], 0)), Options()).html)
        assert len(shown) == 3
        assert np.array_equal(shown[0], np.squeeze(before))
        assert np.array_equal(shown[1], np.squeeze(after))


def test_sixteen_bits_are_shown_with_eight():
    before = np.full((4, 4, 3), 257 * 7, np.uint16)
    shown = pictures(section("a", before, denoised(before, optimised([1.0], 0)), Options()).html)
    assert shown[0].dtype == np.uint8
    assert (shown[0] == 7).all()


def test_of_a_large_picture_the_part_with_the_most_detail_is_shown_too():
    before = np.zeros((1100, 1300, 1), np.uint8)
    before[600:1000, 800:1200:2] = 255
    text = section("a", before, denoised(before, optimised([1.0], 0)), Options(sigma=12)).html
    whole, _, _, part, *_ = pictures(text)
    assert max(whole.shape) == 1024
    assert part.shape == (512, 512)
    assert part.any(0).sum() == 200
    assert "at (768, 512)" in text
    assert "sigma 12 of 255" in text


@pytest.mark.parametrize(
    ("stopped", "says"), [(True, "stopped by itself at step 1"), (False, "did not stop by itself")]
)
def test_the_title_says_whether_it_stopped_and_the_first_sentence_needs_no_other_knowledge(stopped, says):
    made = section("a<b>.png", GREY, denoised(GREY, optimised([2.0, 1.0, 3.0], 1, stopped)), Options())
    assert made.title == f"a<b>.png: {says}"
    text = page([made])
    assert f"<h1>a&lt;b&gt;.png: {says}</h1>" in text
    assert f"<title>a&lt;b&gt;.png: {says} – esbench</title>" in text
    first = re.search(r'<p class="headline">(.*?)</p>', text, re.S)[1]
    assert "about 25 of 255 levels" in first
    assert not {"sigma", "criterion", "step", "patience"} & set(re.findall(r"\w+", first))


@pytest.mark.parametrize(
    ("task", "keeps"), [("inpaint", True), ("inpaint[keep=false]", False), ("superres[factor=2]", False)]
)
def test_noise_that_known_pixels_keep_is_not_said_to_be_removed(task, keeps):
    found = dataclasses.replace(denoised(GREY, optimised([2, 1, 2], 1)), task=task)
    text = " ".join(page([section("a.png", GREY, found, Options(task=task))]).split())
    assert ("filled in without the noise, about 25 of 255 levels, which the known pixels keep." in text) == keeps
    assert ("The noise, about 25 of 255 levels, is removed." in text) != keeps


def test_impulses_are_said_to_be_filled_in():
    found = dataclasses.replace(denoised(GREY, optimised([2, 1, 2], 1)), task="inpaint", impulses=0.2)
    for level, says in (
        (None, "The impulses, 20% of the values, are filled in; the other values are kept."),
        (9.6, "are filled in, and the noise of the other values, about 10 of 255 levels, is removed."),
    ):
        text = " ".join(page([section("a.png", GREY, found, Options(task="inpaint", level=level))]).split())
        assert says in text
        assert "20.0% of the values" in text


def test_steps_that_were_planned_without_noise_are_said_to_be_enough():
    done = dataclasses.replace(optimised([math.nan] * 3, 2, stopped=False), planned=True)
    found = dataclasses.replace(denoised(GREY, done), task="inpaint", sigma_estimate=None)
    text = " ".join(page([section("a.png", GREY, found, Options(task="inpaint", loss="masking"))]).split())
    assert "The picture is restored. As many steps were done as it takes; more would gain little." in text


def test_the_level_that_was_given_is_what_was_removed():
    found = denoised(GREY, optimised([2, 1, 2], 1))
    for sigma, says in ((12.0, "The noise, about 12 of 255 levels, is removed."), (0.0, "The picture is restored.")):
        text = " ".join(page([section("a.png", GREY, found, Options(sigma=sigma))]).split())
        assert says in text
        assert "25 of 255 levels" not in text


def test_the_title_of_several_pictures_counts_those_that_finished():
    sections = [
        section(f"{i}", GREY, denoised(GREY, optimised([1.0, 2.0], 0, stopped=i > 0)), Options()) for i in range(3)
    ]
    text = page(sections)
    assert "<h1>3 pictures, 2 finished by themselves</h1>" in text
    assert re.findall("<h2>(.*?)</h2>", text) == [each.title for each in sections]
    assert "<h1>2 pictures, 1 finished by itself</h1>" in page(sections[:2])
    assert "<h1>2 pictures, none finished by itself</h1>" in page([sections[0]] * 2)


def test_what_was_removed_is_amplified_around_a_middle_grey():
    after = np.full((20, 20, 1), 100, np.uint8)
    before = after.copy()
    before[::2] += 4
    before[1::2] -= 4
    removed, factor = amplified(before, after)
    assert factor == 8  # with 16 what is three deviations away would not stay in range
    assert set(np.unique(removed)) == {128 - 32, 128 + 32}
    assert amplified(after, after)[0].tolist() == np.full((20, 20, 1), 128).tolist()
    assert amplified(np.uint8([[[255]], [[0]]]), np.uint8([[[0]], [[255]]]))[1] == 1


def test_the_axes_say_what_they_are():
    text = curve(optimised([5, 3, 1, 2, 4], 2), "loss")
    for label in ("loss, lower is better", "step", "stopped at step 2"):
        assert f">{label}</text>" in text
    small = curve(optimised([5, 3, 2, 1, 2, 4], 3), "loss", several=True)
    assert 'text-anchor="end">stopped at step 3<' in small, "to the right it would be cut off"
    assert ">lowest so far at step 2</text>" in curve(optimised([5, 3, 1], 2, stopped=False), "loss")


def test_the_script_of_the_page_is_the_one_that_it_allows():
    text = page([section("a", GREY, denoised(GREY, optimised([1.0], 0)), Options())])
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "{{" not in text
    assert "{%" not in text
