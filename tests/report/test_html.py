from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser

import pytest

from esbench.cli import cli
from esbench.errors import Missing, Unavailable
from esbench.report import embed, html
from esbench.report.files import report

VOID = {"meta", "input", "br", "wbr"}

HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>&amp;$title https://example.org'
SHORT = '"><img src=x onerror=x></script><script>&amp;$title'  # picture, dataset and noise name one folder


class Page(HTMLParser):
    """A page as it is parsed: its elements with their attributes, and the text in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), "an attribute is given twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.text.setdefault(tag, []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, attribute: str) -> list[str]:
        return [given[attribute] for _, given in self.elements if attribute in given]

    def seen(self) -> str:
        """Return all text but that of the head and the scripts."""
        hidden = "".join(self.text["head"] + self.text["script"])
        return "".join(text for text in self.text["html"] if text not in hidden)


def page_of(results) -> Page:
    return Page(html.page(results, results.table(), results.run.path / "report"))


@pytest.fixture(scope="module")
def results(tmp_path_factory, write_run):
    levels = [("kodim01", 25.0), ("kodim02", 25.0), ("kodim01", 50.0)]
    return write_run(
        tmp_path_factory.mktemp("html") / "my run",
        levels,
        failed={"roughness[strength=2]": "esbench-foo: no < or > here"},
        planned=["not-begun"],
    )


@pytest.fixture(scope="module")
def ids(results) -> list[str]:
    """Return the ids of the three units that are done."""
    return [unit.id for unit in results.run.units()][:3]


@pytest.fixture(scope="module")
def page(results) -> Page:
    return page_of(results)


def test_the_page_names_no_address_but_those_of_data(page):
    text = "".join(page.text["html"])
    for _, attributes in page.elements:
        text += " ".join(value or "" for value in attributes.values())
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert re.search(r"https?:|\bftp:|//[a-z]|@import|xmlns", re.sub(r"^ *//.*$", "", text, flags=re.M)) is None
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "base", "img", "form"}
    assert page.values("src") == []
    assert all(address.startswith("#") for address in page.values("href"))
    data = json.loads(next(text for text in page.text["script"] if text.startswith('{"units"')))
    assert data["units"] == "./../units/"  # where the script points to for a whole picture
    assert re.findall(r"url\((?!#)", text) == []


def test_what_is_pointed_at_is_there_once(page, ids):
    there = page.values("id")
    assert len(there) == len(set(there))
    pointers = [value for name in ("href", "aria-labelledby", "for") for value in page.values(name)]
    used = {value.removeprefix("#") for value in pointers}
    units = {value for value in used if value.startswith("unit=")}
    assert {value.partition("&")[0] for value in units} == {f"unit={id}" for id in ids}
    assert used - units
    assert used - units <= set(there)


def test_nothing_runs_but_the_script_of_the_page(page):
    kinds = [attributes.get("type") for attributes in page.all("script")]
    assert [kind for kind in kinds if kind != "application/json"] == [None]
    script = max(page.text["script"], key=lambda text: "use strict" in text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_the_page_is_for_phones_for_the_dark_and_for_those_who_cannot_see_it(page):
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "@media (prefers-color-scheme: dark)" in "".join(page.text["style"])
    assert page.all("html") == [{"lang": "en"}]
    pictures = [a for a in page.all("svg") if "viewbox" in a and a.get("aria-hidden") != "true"]
    assert len(pictures) == 2
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)
    wide = [a for a in page.all("div") if "scroll" in (a.get("class") or "")]
    assert wide
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in wide)
    assert len(page.all("thead")) == len(page.all("table"))


def test_the_page_says_what_was_found(page, results):
    text = page.seen()
    assert page.text["h1"] == ["my run"]
    assert "wmv stops 2.00 dB below the peak on average over 3 units." in text
    assert "Without early stopping 6.00 dB are lost. Not compared: emv (not stopped)." in text
    assert "3 of 4 done, 0 failed" in text
    assert "2.00 ± 0.00" in text
    assert "lam = 25000 to 50000" in page.text["td"]
    for name in ("wmv", "emv", "no early stopping", "peak", "gaussian 25\n(n=2)", "gaussian 50\n(n=1)"):
        assert name in page.text["th"]


def test_the_page_begins_with_what_failed_by_criterion_and_reason(page, ids):
    assert "1 plugin failed on 3 of 9 columns." in page.text["header"]
    summary = "".join(page.text["summary"])
    assert summary.startswith("roughness[strength=2] ×3 esbench-foo 1.2 (version 3) esbench-foo: no < or > here")
    assert [a for a in page.all("details") if "open" in a] == []  # they are folded
    assert [text for text in page.text["li"] if text.strip()][:3] == ids
    sections = [a["id"] for a in page.all("section")]
    assert sections[0] == "failures"
    assert '<section id="failures"' not in str(sections[1:])


def test_the_map_has_a_line_for_each_unit_and_a_cell_for_each_criterion(page, ids):
    lines = [a for a in page.all("tr") if "data-unit" in a]
    assert [(a["data-unit"], a["data-picture"], a["data-noise"]) for a in lines] == [
        (ids[0], "kodim01", "gaussian 25"),
        (ids[1], "kodim02", "gaussian 25"),
        (ids[2], "kodim01", "gaussian 50"),
        ("not-begun", "not-begun", ""),
    ]
    assert ["data-failed" in a for a in lines] == [True, True, True, False]
    cells = [(a["data-value"], a.get("style"), a["title"]) for a in page.all("td") if "data-value" in a][:3]
    assert cells == [
        ("2", "--heat: 33%", "stopped at step 4"),
        ("6", "--heat: 100%", "not stopped: step 11"),
        ("", None, "esbench-foo: no < or > here"),
    ]
    assert len([a for a in page.all("td") if (a.get("title") or "").startswith("not stopped")]) == 3
    assert "missing" in page.text["td"]
    assert [a["data-sort"] for a in page.all("button") if "data-sort" in a] == [
        "picture",
        "noise",
        "wmv",
        "emv",
        "roughness[strength=2]",
    ]


def test_the_page_says_where_it_comes_from(page):
    text = page.seen()
    for fact in ("c0ffee+dirty", "torch", "2.6.0", "esbench-foo", "1.2", "H200", "555.42", "esbench run -c wmv"):
        assert fact in text, fact
    assert 'criterion = ["cifs-jpeg", "wmv"]\n' in "".join(page.text["pre"])


def test_the_page_holds_every_unit_that_can_be_chosen(page, ids):
    data = [
        json.loads(text)
        for text, attributes in zip(page.text["script"], page.all("script"), strict=True)
        if (attributes.get("id") or "").startswith("unit-")
    ]
    assert [a["data-unit"] for a in page.all("script") if "data-unit" in a] == ids
    assert [unit["id"] for unit in data] == ids
    assert all(unit["failed"] == [["roughness[strength=2]", "esbench-foo: no < or > here"]] for unit in data)
    assert [option["value"] for option in page.all("option") if option.get("value")] == ["0", "1", "2"]
    assert page.text["option"][-3:] == [
        "kodim01, gaussian 25",
        "kodim02, gaussian 25",
        "kodim01, gaussian 50",
    ]
    assert [a["id"] for a in page.all("script") if "id" in a] == ["unit-0", "unit-1", "unit-2", "data"]
    assert all(source.startswith("data:image/png;base64,iVBOR") for unit in data for source in unit["sources"])


def test_what_has_no_room_is_said_to_be_left_out(results, monkeypatch):
    monkeypatch.setattr(embed, "CURVES", 1)
    monkeypatch.setattr(embed, "PICTURES", 1)
    text = page_of(results).seen()
    assert "the curves of 1 of 3 units, first those of the worst stops, then alternating" in text
    assert "the pictures of 1 of 3 units, reduced to 48 pixels" in text


def test_hostile_names_are_only_ever_text(tmp_path, write_run):
    name = f"{HOSTILE}[x={HOSTILE}]".replace("/", "_")
    results = write_run(
        tmp_path / 'R"<b>&',
        [(HOSTILE, 25.0)],
        curves={"wmv": range(12)},
        dataset=SHORT,
        noise=SHORT,
        failed={name: HOSTILE},
    )
    page = page_of(results)
    assert "img" not in {tag for tag, _ in page.elements}
    assert len(page.all("script")) == 3
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert page.text["h1"] == ['R"<b>&']
    assert page.text["option"][-2:] == [f"{SHORT} 25", f"{HOSTILE}, {SHORT} 25"]
    assert HOSTILE in page.text["summary"]
    assert SHORT in page.text["caption"]
    (line,) = [attributes for attributes in page.all("tr") if "data-unit" in attributes]
    assert line["data-picture"] == HOSTILE
    assert [a["data-sort"] for a in page.all("button") if "data-sort" in a][-1] == name


def test_a_run_that_ended_its_units_early_is_reported_without_a_peak(tmp_path, write_run):
    page = page_of(write_run(tmp_path / "RUN", live=True))
    assert "The gap to the peak is not known" in page.seen()
    assert "No gap is known, so there are no figures." in page.text["p"]
    assert "21.00" in page.text["td"]
    assert "?" in page.text["td"]
    assert "ended early (--live)" in page.seen()


def test_a_run_of_which_nothing_is_done_is_reported_as_far_as_it_is(tmp_path, write_run):
    results = write_run(tmp_path / "RUN", [], planned=["a", "b"])
    unit = results.run.unit("a")
    unit.write_error("Traceback ...\nValueError: <too small>\n")
    page = page_of(results)
    assert "0 of 2 done, 1 failed" in page.seen()
    assert "1 of 2 units failed." in page.text["header"]
    assert "".join(page.text["summary"]).startswith("whole units ×1 ValueError: <too small>")
    assert "failed: ValueError: <too small>" in page.text["td"]
    assert "missing" in page.text["td"]
    assert len(page.all("script")) == 1
    assert [a for a in page.all("select") if a.get("id") == "unit"] == []
    assert report(results, tmp_path) == [tmp_path / "index.html"]


def test_a_unit_that_is_damaged_is_a_failure_and_the_others_are_reported(tmp_path, write_run):
    results = write_run(tmp_path / "RUN", [("a", 25.0), ("b", 25.0)])
    unit = results.run.units()[0]
    path = unit.path / "trace.parquet"
    path.write_bytes(path.read_bytes()[:100])
    page = page_of(results)
    assert page.text["option"][-1] == "b, gaussian 25"
    assert "1 of 2 done, 1 failed" in page.seen()
    assert unit.id in page.text["li"]
    assert [a["data-unit"] for a in page.all("tr") if "data-failed" in a] == [unit.id]


def test_a_criterion_that_lacks_units_says_so_in_every_table(results, ids):
    rows = [row for row in results.table() if row["criterion"] == "emv" or row["unit"] != ids[1]]
    page = Page(html.page(results, rows, results.run.path / "report"))
    assert page.text["small"].count(" (1/2)") == 3  # of each view
    assert page.text["small"].count(" ± 0.00 (2/3)") == 1  # the gap over all units
    assert page.text["small"].count(" (2/3)") == 2  # SSIM and stop
    assert "wmv (a gap on 2/3 units)" in page.seen()


def test_of_very_many_units_the_map_says_how_many_it_leaves_out(results, ids, monkeypatch):
    monkeypatch.setattr(html, "LINES", 1)
    page = page_of(results)
    assert [a["data-unit"] for a in page.all("tr") if "data-unit" in a] == ids[:1]
    assert "3 more units of the plan are not shown." in page.seen()


def test_the_command_writes_the_files_and_prints_their_paths_without_torch(tmp_path, write_run, monkeypatch, capsys):
    results = write_run(tmp_path / "RUN")
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    assert cli.main(["report", str(results.run.path)], standalone_mode=False) is None
    printed = capsys.readouterr().out.splitlines()
    folder = results.run.path / "report"
    assert sorted(printed) == sorted(str(path) for path in folder.iterdir())
    names = [path.removeprefix(f"{folder}/") for path in printed]
    assert names[0] == "index.html"
    for stem in ("gap", "cost", f"curves-{results.run.units()[0].id}"):
        assert {f"{stem}.{kind}" for kind in ("svg", "pdf", "png")} <= set(names)
    for view in ("table", "table-gap", "table-average"):
        assert {f"{view}.{kind}" for kind in ("md", "tex", "csv")} <= set(names)
    assert "| wmv | 21.00 |" in (folder / "table.md").read_text(encoding="utf-8")
    assert "% kodak24\n\\begin{tabular}" in (folder / "table.tex").read_text(encoding="utf-8")
    assert "kodak24,gaussian 25,wmv,1,21.0,0.0" in (folder / "table.csv").read_text(encoding="utf-8")


def test_the_command_says_what_it_cannot_do(tmp_path, write_run):
    with pytest.raises(Missing, match="is not a run"):
        cli.main(["report", str(tmp_path)], standalone_mode=False)
    results = write_run(tmp_path / "RUN")
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"cannot be written: Not a directory. Choose another --out\."):
        cli.main(["report", str(results.run.path), "--out", str(tmp_path / "file" / "x")], standalone_mode=False)
