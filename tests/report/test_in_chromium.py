"""What the scripts and styles of the pages do, in a browser."""

from __future__ import annotations

import pytest

from esbench.report import html


@pytest.fixture(scope="module")
def page(tmp_path_factory, write_run):
    """Return the page of a run of three units, on one of which a criterion failed."""
    levels = [("kodim01", 25.0), ("kodim02", 25.0), ("kodim01", 50.0)]
    results = write_run(tmp_path_factory.mktemp("page") / "RUN", levels, failed={"roughness": "no value"})
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(html.page(results, results.table(), path.parent), encoding="utf-8")
    return path


def test_a_click_on_a_name_shows_only_that_criterion_and_the_address_keeps_it(tab, page):
    tab.open(page)
    names = "[...document.querySelectorAll('#curves .name')].map((name) => name.textContent)"
    assert tab.run(names) == ["PSNR (dB)", "wmv", "emv"]
    tab.click("#curves .choice")
    assert tab.run(names) == ["PSNR (dB)", "wmv"]
    assert "solo=wmv" in tab.run("location.hash")
    assert tab.run("document.querySelector('#stops [aria-pressed=true]').textContent") == "wmv"
    tab.click("#stops [aria-pressed=true]")
    assert tab.run(names) == ["PSNR (dB)", "wmv", "emv"]
