from __future__ import annotations

from typing import Any

from esbench.report import html
from esbench.report.worst import kind, worst


def row(criterion: str, unit: str, gap: float | None, stop: int = 10, *, fallback: bool = False) -> dict[str, Any]:
    return {
        "kind": "criterion",
        "criterion": criterion,
        "unit": unit,
        "gap_db": gap,
        "stop_step": stop,
        "peak_step": 50,
        "fallback": fallback,
    }


def test_a_criterion_has_its_ten_largest_gaps_the_largest_first():
    rows = [row("wmv", f"u{i:02}", gap) for i, gap in enumerate([0.5, 3.0, 0.0, None, *[1.0] * 9, 2.0])]
    (found,) = worst(rows)
    assert found.criterion == "wmv"
    assert [each["gap_db"] for each in found.rows] == [3.0, 2.0, *[1.0] * 8]
    assert [each["unit"] for each in found.rows[2:]] == [f"u{i:02}" for i in range(4, 12)]


def test_it_says_how_they_fail():
    stops = [row("wmv", "a", 1.0, 49), row("wmv", "b", 1.0, 51), row("wmv", "c", 1.0, 99, fallback=True)]
    assert [kind(stop) for stop in stops] == ["early", "late", "not stopped"]
    (found,) = worst([*stops, row("wmv", "d", 1.0, 3)])
    assert found.kinds() == "2 early, 1 late, 1 not stopped"


def test_references_and_criteria_that_stopped_at_every_peak_have_none():
    assert worst([row("last", "a", 1.0), row("wmv", "a", 0.0), row("emv", "a", None)]) == []


def test_the_page_lists_them_with_links_to_their_curves_and_pictures(tmp_path, write_run):
    results = write_run(tmp_path / "run", [("kodim01", 25.0), ("kodim02", 25.0)])
    rows = results.table()
    text = html.page(results, rows, tmp_path)
    section = text[text.index('<section id="worst"') :]
    section = section[: section.index("</section>")]
    found = worst(rows)
    assert found
    assert section.count("<li>") == sum(len(each.rows) for each in found) == section.count('<a href="#unit=')
    for each in found:
        for stop in each.rows:
            assert f"#unit={stop['unit']}&amp;solo={each.criterion.replace('[', '%5B').split('%5B')[0]}" in section
            assert f"{stop['gap_db']:.2f} dB, {kind(stop)}: step {stop['stop_step']}" in section
