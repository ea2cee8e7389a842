from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esbench.tables import Table

TABLE = Table(
    ("criterion", "PSNR ± std", "gap"),
    [("cifs-jpeg[lam=5]", "28.80 ± 1.95", -0.5), ("a|b_c*", "28.80 ± 2.10", None), ("peak", "30.10 ± 1.00", 1.25)],
)


def test_columns_are_aligned_and_numbers_stand_to_the_right():
    table = Table(("name", "value", "n"), [("a", 1.5, 10), ("longer", None, 2), ("b", 1234567.0, -3)])
    assert table.text() == (
        "name          value   n\n"
        "------  -----------  --\n"
        "a               1.5  10\n"
        "longer            -   2\n"
        "b       1.23457e+06  -3"
    )


def test_a_table_without_rows_is_its_head():
    assert Table(("a", "bc"), []).text() == "a  bc\n-  --"


def test_a_table_that_is_too_wide_has_its_names_in_several_lines_then_its_text_and_is_turned_at_last():
    table = Table(("name", "a number (dB)", "said of it"), [("x", 1.5, "several words of text that go on for long")])
    assert table.text(80) == table.text()
    assert table.text(60) == (
        "      a number\n"
        "name      (dB)  said of it\n"
        "----  --------  -----------------------------------------\n"
        "x          1.5  several words of text that go on for long"
    )
    assert table.text(42).splitlines()[-2:] == [
        "x        1.5  several words of text that",
        "              go on for long",
    ]
    assert table.text(30) == (
        "x\n  a number (dB)  1.5\n  said of it     several words of text\n                 that go on for long"
    )
    assert Table(("name", "unknown", "said of it"), [("x", None, "several words")]).text(20) == (
        "x\n  said of it  several words"
    ), "what is not known has no line"
    assert Table(("a", "b"), []).text(2) == ""


def test_a_note_has_a_name_and_a_sentence_across_the_other_columns():
    table = Table(("name", "a", "b"), [("x", 1, 2)], notes=(("longer", "failed: a | b, again and again"),))
    assert table.text(31).splitlines() == [
        "name    a  b",
        "------  -  -",
        "x       1  2",
        "longer  failed: a | b, again and",
        "        again",
    ]
    assert table.text(8).splitlines()[-4:] == ["", "longer", "  failed: a | b, again and", "  again"]
    assert table.text().splitlines()[-1] == "longer  failed: a | b, again and again"
    assert table.markdown().splitlines()[-1] == r"| longer | failed: a \| b, again and again |  |"
    assert r"longer & \multicolumn{2}{l}{failed: a \textbar{} b, again and again} \\" in table.latex()
    assert table.csv().splitlines()[-1] == 'longer,"failed: a | b, again and again"'
    assert '<th scope="row">longer</th><td colspan="2">failed: a | b, again and again</td>' in table.html()


def test_the_best_of_a_column_is_bold_and_so_is_what_looks_the_same():
    assert TABLE.best("PSNR ± std", max).bold == {(2, 1)}
    assert TABLE.best("PSNR ± std", max, rows=[0, 1]).bold == {(0, 1), (1, 1)}
    assert TABLE.best("gap", min).best("PSNR ± std", max).bold == {(0, 2), (2, 1)}
    assert Table(("x",), [(1.0000001,), (1.0000002,), (2.0,)]).best("x", min).bold == {(0, 0), (1, 0)}


def test_what_is_no_number_is_never_the_best():
    assert Table(("x",), [(None,), ("never",), ("3 (1 not stopped)",)]).best("x", min).bold == {(2, 0)}
    assert Table(("x",), [(None,)]).best("x", min).bold == frozenset()
    assert Table(("x",), []).best("x", min).bold == frozenset()


def test_a_column_that_is_not_there_has_no_best():
    with pytest.raises(ValueError, match="not in tuple"):
        TABLE.best("PSNR", max)


def test_markdown_marks_numbers_by_their_side_and_the_best_by_stars():
    assert TABLE.best("gap", min).markdown() == (
        "| criterion | PSNR ± std | gap |\n"
        "| --- | ---: | ---: |\n"
        "| cifs-jpeg[lam=5] | 28.80 ± 1.95 | **-0.5** |\n"
        "| a\\|b\\_c\\* | 28.80 ± 2.10 | - |\n"
        "| peak | 30.10 ± 1.00 | 1.25 |"
    )


def test_latex_is_a_tabular_of_booktabs_with_a_true_minus():
    assert TABLE.best("gap", min).latex() == (
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        "criterion & PSNR $\\pm$ std & gap \\\\\n"
        "\\midrule\n"
        "cifs-jpeg{[}lam=5] & 28.80 {\\scriptsize $\\pm$ 1.95} & \\textbf{$-$0.5} \\\\\n"
        "a\\textbar{}b\\_c{*} & 28.80 {\\scriptsize $\\pm$ 2.10} & - \\\\\n"
        "peak & 30.10 {\\scriptsize $\\pm$ 1.00} & 1.25 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}"
    )


def test_what_latex_would_take_for_more_is_a_character():
    latex = Table(("x",), [("\\input{a} $1 & #2 % _ ^ ~ <b> [c] d*",)]).latex().splitlines()[4]
    assert latex == (
        r"\textbackslash{}input\{a\} \$1 \& \#2 \% \_ \textasciicircum{} \textasciitilde{} $<$b$>$ {[}c] d{*} \\"
    )


def test_a_line_break_in_a_head_is_one_in_latex_and_a_space_elsewhere():
    table = Table(("a", "gaussian 25\n(n=2)"), [("x", 1)])
    assert table.latex().splitlines()[2] == r"a & \shortstack[r]{gaussian 25 \\ (n=2)} \\"
    assert table.markdown().splitlines()[0] == "| a | gaussian 25 (n=2) |"


def test_csv_has_all_digits_and_nothing_for_nothing():
    assert Table(("a", "b"), [(1 / 3, None), ('say "x, y"', 2)]).csv() == (
        'a,b\n0.3333333333333333,\n"say ""x, y""",2\n'
    )


class Cells(HTMLParser):
    """Collects the text of the cells of a page, and the tags in them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.rstrip("\n") if data.endswith("\n") and not data.strip() else data


#: What names of pictures and criteria may be made of, and more.
CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), max_size=8)
TEXTS = st.lists(st.tuples(CELLS, CELLS), max_size=4)


@given(TEXTS)
def test_whatever_the_cells_hold_they_stay_in_their_places(rows):
    table = Table(("a|b", "<i>"), rows)
    lines = table.markdown().splitlines()
    assert len(lines) == len(rows) + 2
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {3}
    assert list(csv.reader(io.StringIO(table.csv(), newline=""))) == [["a|b", "<i>"], *map(list, rows)]
    assert all(len(re.findall(r"(?<!\\)&", line)) == 1 for line in table.latex().splitlines()[4:-2])
    page = Cells()
    page.feed(str(table.html()))
    assert page.rows == [["a|b", "<i>"], *map(list, rows)]
    assert page.tags == {"table", "thead", "tbody", "tr", "th"} | ({"td"} if rows else set())


def test_html_marks_numbers_by_a_class_and_the_best_by_bold():
    html = Table(("a", "b"), [("x", 1), ("y", 2)]).best("b", max).html()
    assert '<td class="number"><b>2</b></td>' in html
    assert '<th scope="col" class="number">b</th>' in html


def test_html_names_columns_and_rows_for_those_who_hear_a_table():
    html = Table(("a", "b"), [("x", 1), ("y", 2)]).html()
    assert '<tr><th scope="col">a</th><th scope="col" class="number">b</th></tr>' in html
    assert '<tr><th scope="row">x</th><td class="number">1</td></tr>' in html
