"""The scripts and styles of the pages, in a browser."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esbench.report import denoise_page, html

#: The least accessible things that a page can do; axe-core finds more, but is not installed here.
FAULTS = """
(() => {
  const named = (e) => e.textContent.trim() || e.ariaLabel || e.labels?.length || e.title;
  const parts = [...document.querySelectorAll("button, a[href], select, input, [role=region]")];
  const seen = (e) => e.checkVisibility();
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  const steps = [...document.querySelectorAll("h1, h2, h3")].map((e) => Number(e.tagName[1]));
  return [
    ...parts.filter((e) => seen(e) && !named(e)).map((e) => `no name: ${e.outerHTML.slice(0, 80)}`),
    ...[...document.images].filter((e) => !e.hasAttribute("alt")).map((e) => `no alt: ${e.outerHTML.slice(0, 80)}`),
    ...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => `twice: ${id}`),
    ...steps.filter((level, i) => level > (steps[i - 1] ?? 0) + 1).map((level) => `no level above h${level}`),
    document.documentElement.lang && document.title ? "" : "no lang or title",
    document.querySelector("main") ? "" : "no main",
    document.documentElement.scrollWidth > innerWidth ? "too wide" : "",
  ].filter(Boolean);
})()
"""

#: The contrast of all text that is shown to what is behind it, the lowest first.
CONTRAST = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("svg, script, style, noscript")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.textContent.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
})()
"""

SHOWN = "[...document.querySelectorAll('.map tbody tr:not([hidden])')].map((line) => line.dataset.picture)"
NAMES = "[...document.querySelectorAll('#curves .name')].map((name) => name.textContent)"
FRAGMENT = "Object.fromEntries(new URLSearchParams(location.hash.slice(1)))"


@pytest.fixture(scope="module")
def units(tmp_path_factory, write_run):
    """The results of three units, on which a criterion failed."""
    levels = [("kodim01", 25.0), ("kodim02", 25.0), ("kodim01", 50.0)]
    results = write_run(tmp_path_factory.mktemp("page") / "RUN", levels, failed={"roughness": "no value"})
    unit = results.run.units()[0]
    film = [{"picture": step, "webp": webp(step)} for step in (0, 1, 4)]
    (unit.path / "live.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in [{"unit": unit.id}, *film]))
    return results


def webp(value: int) -> str:
    """Return a grey picture as base64."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(file, "WEBP")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def page(tmp_path_factory, units) -> Path:
    """The page of these units."""
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(html.page(units, units.table(), path.parent), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ids(units) -> list[str]:
    """The ids of the units."""
    return [unit.id for unit in units.run.units()]


# -- pictures


def test_a_scrub_bar_shows_the_earlier_outputs_of_a_unit_that_has_them(tab, page):
    parts = "[...document.querySelectorAll('#pictures figure:last-child :is(img, input)')]"
    shown = f"(([image, bar]) => [image.alt, bar.ariaValueText, image.naturalWidth])({parts})"
    tab.open(page)
    tab.run("open(0)")
    tab.until(f"{shown}[2] === 8")
    assert tab.run(shown) == ["output, step 4", "step 4", 8]
    tab.run(f"{parts}[1].focus()")
    tab.press("ArrowLeft")
    assert tab.run(shown)[:2] == ["output, step 1", "step 1"]
    tab.run("open(1)")
    assert tab.run("document.querySelectorAll('#pictures input').length") == 0


# -- curves


def test_a_click_on_a_name_shows_only_that_criterion_and_the_address_keeps_it(tab, page):
    tab.open(page)
    assert tab.run(NAMES) == ["PSNR (dB)", "wmv", "emv"]
    tab.click("#curves .choice")
    assert tab.run(NAMES) == ["PSNR (dB)", "wmv"]
    assert tab.run(FRAGMENT)["solo"] == "wmv"
    assert tab.run("document.querySelector('#stops [aria-pressed=true]').textContent") == "wmv"
    tab.click("#stops [aria-pressed=true]")
    assert tab.run(NAMES) == ["PSNR (dB)", "wmv", "emv"]


def test_arrow_keys_read_the_values_of_a_step(tab, page):
    said = "document.querySelector('#curves output').textContent"
    tab.open(page)
    tab.run("document.querySelector('#curves svg').focus()")
    tab.press("ArrowRight", times=5)
    assert tab.run(said).startswith("step 5: ")
    tab.press("ArrowLeft")
    assert tab.run(said).startswith("step 4: ")
    assert "wmv 1" in tab.run(said)
    tab.press("End")
    assert tab.run(said).startswith("step 11: ")
    tab.press("Home")
    assert tab.run(said).startswith("step 0: ")


# -- the map of all units


def test_the_map_is_sorted_by_a_click_on_the_name_of_a_column(tab, page):
    order = "[...document.querySelectorAll('.map tbody tr')].map((line) => line.dataset.noise)"
    tab.open(page)
    assert tab.run(order) == ["gaussian 25", "gaussian 25", "gaussian 50"]
    for expected, direction in (([25, 25, 50], "ascending"), ([50, 25, 25], "descending")):
        tab.click(".map [data-sort=noise]")
        assert tab.run(order) == [f"gaussian {sigma}" for sigma in expected]
        assert tab.run("document.querySelector('.map [aria-sort]:nth-child(2)').ariaSort") == direction
    assert tab.run(FRAGMENT)["sort"] == "-noise"


def test_the_map_is_filtered_by_noise_picture_and_failure(tab, page):
    tab.open(page)
    tab.run("document.querySelector('.filters [name=picture]').focus()")
    tab.write("02")
    assert tab.run(SHOWN) == ["kodim02"]
    assert tab.run("document.querySelector('.filters output').textContent") == "1 of 3 units"
    tab.run("document.querySelector('.filters [name=picture]').select()")
    tab.write("kodim01")
    assert tab.run(SHOWN) == ["kodim01", "kodim01"]
    tab.run("document.querySelector('.filters [name=noise]').focus()")
    tab.press("ArrowDown", times=2)
    assert tab.run(SHOWN) == ["kodim01"]
    tab.click(".filters [name=failed]")
    assert tab.run(FRAGMENT) == {"noise": "gaussian 50", "picture": "kodim01", "failed": "1"}
    assert tab.run(SHOWN) == ["kodim01"]


def test_a_click_opens_the_unit_and_the_address_brings_it_back(tab, page, ids):
    tab.open(page)
    tab.click(f'.map tr[data-unit="{ids[2]}"] a')
    title = "document.getElementById('unit-name').textContent"
    assert tab.run(title) == "kodim01, gaussian 50"
    assert tab.run(FRAGMENT)["unit"] == ids[2]
    tab.reload()
    assert tab.run(title) == "kodim01, gaussian 50"
    assert tab.run("document.querySelectorAll('#pictures img').length") == 5
    link = tab.run("document.querySelector('#pictures a').getAttribute('href')")
    assert link.endswith(f"/units/{ids[2]}/images/noisy.png")


# -- print, light and dark, wide and narrow


def test_in_print_from_dark_mode_it_is_black_on_white_and_nothing_is_folded(tab, page):
    tab.media(dark=True)
    tab.open(page)
    assert tab.run("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    tab.media("print", dark=True)
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.run(CONTRAST)[0] >= 4.5
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run("[...document.querySelectorAll('details')].every((details) => details.open)") is True
    assert tab.run("[...document.querySelectorAll('.view')].every((view) => view.checkVisibility())") is True


@pytest.fixture(scope="module")
def why(tmp_path_factory) -> Path:
    """The page of a restoration."""
    from esbench.restoration.options import Options
    from esbench.restoration.restore import denoise

    noisy = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    network = "skip[channels=2,scales=1]"
    restored = denoise(noisy, network=network, iterations=12, patience=3, device="cpu")
    path = tmp_path_factory.mktemp("why") / "why.html"
    section = denoise_page.section("noisy.png", noisy, restored, Options(network=network))
    path.write_text(denoise_page.page([section]), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["page", "why"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_pages_are_accessible(name, width, dark, tab, request):
    tab.resize(width)
    tab.media(dark=dark)
    tab.open(request.getfixturevalue(name))
    assert tab.run(FAULTS) == []
    least = tab.run(CONTRAST)
    assert least[0] >= 4.5, least


def test_the_edge_between_before_and_after_is_moved_by_the_keys(tab, why):
    tab.open(why)
    tab.run("document.querySelector('input[type=range]').focus()")
    tab.press("End")
    assert tab.run("document.querySelector('.wipe').style.getPropertyValue('--edge')") == "100%"
    tab.press("Home")
    assert tab.run("document.querySelector('.wipe').style.getPropertyValue('--edge')") == "0%"


def test_the_pictures_are_zoomed_by_the_keys(tab, why):
    tab.open(why)
    tab.run("document.querySelector('.window').focus()")
    scale = "Number(getComputedStyle(document.querySelector('.tiles')).getPropertyValue('--scale'))"
    assert tab.run(scale) == 1
    tab.press("+")
    assert tab.run(scale) > 1
    tab.press("0")
    assert tab.run(scale) == 1
