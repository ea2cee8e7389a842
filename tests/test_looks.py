from __future__ import annotations

import pytest

from esbench.looks import BUILT_IN, COLOURS, MARKS, PATHS, look
from esbench.templating import source


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_of_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("ground", ["#ffffff", "#14181b"])
def test_every_colour_can_be_seen_on_the_grounds_of_a_page(colour, ground):
    assert ground in source("page.css")
    assert contrast(colour, ground) >= 3


def test_the_look_of_a_criterion_follows_from_its_name():
    assert look("cifs-jpeg") == ("#0078CF", "o")
    assert look("roughness[strength=2]") == look("roughness[strength=2]")
    assert len({look(f"mine{i}") for i in range(200)}) > 40
    assert {look(f"mine{i}").colour for i in range(200)} == set(COLOURS[:-1])  # grey is for what is to be beaten


def test_the_criteria_that_come_with_esbench_look_different():
    assert len({look(name) for name in BUILT_IN}) == len(BUILT_IN)


def test_every_mark_has_a_path():
    assert list(PATHS) == list(MARKS)
