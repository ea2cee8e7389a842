"""Tables, and how to write them: for a terminal, and as Markdown, LaTeX, HTML and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

from esbench.printable import printable

#: Characters with a special meaning in LaTeX, and those that need a command.
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    "[": r"{[}",  # after the end of a row, LaTeX would read it as an argument
    "*": r"{*}",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "†": r"$\dagger$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
}


#: How a value is shown that is not known.
UNKNOWN = "-"

#: The least width of a column whose text is broken into lines.
LEAST = 24


@dataclass(frozen=True)
class Table:
    """A table with named columns; cells are text or numbers.

    Attributes:
        head: the names of the columns; LaTeX keeps their line breaks.
        rows: the cells; None is shown as a dash.
        bold: the (row, column) of the cells in bold, for formats that have it.
        notes: further rows at the end: a name, and a sentence in the place of all other cells.
    """

    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    bold: Collection[tuple[int, int]] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()

    def best(
        self, column: str, choose: Callable[[Iterable[float]], float], rows: Collection[int] | None = None
    ) -> Table:
        """Return the table with the best cell of a column in bold, and all cells that show the same number.

        Args:
            column: the name of the column.
            choose: `min` or `max`.
            rows: the indices of the rows to choose from; None for all.
        """
        i = self.head.index(column)
        shown = [_number(_cell(row[i])) for row in self.rows]
        numbers = {r: n for r, n in enumerate(shown) if n is not None and (rows is None or r in rows)}
        if not numbers:
            return self
        best = choose(numbers.values())
        bold = {(r, i) for r, n in numbers.items() if n == best}
        return dataclasses.replace(self, bold=frozenset(self.bold) | bold)

    def text(self, width: int | None = None) -> str:
        """Return aligned columns; columns of numbers are set to the right.

        A table that is too wide has its names, then its last column if it is text, in several lines; if that is not
        enough it is turned: a paragraph for each row, a line for each column.

        Args:
            width: the width of the terminal; None for any.
        """
        # a name may contain line breaks or control characters
        head, *rows = ([printable(cell) for cell in line] for line in (self.head, *self._cells()))
        notes = [(printable(name), printable(sentence)) for name, sentence in self.notes]
        if notes:
            first = max(len(name) for name in (head[0], *(row[0] for row in rows), *(name for name, _ in notes)))
            rows = [[row[0].ljust(first), *row[1:]] for row in rows]
        text = self._columns(head, rows, width)
        if text is None:
            turned = [_paragraph(head, row, width or 0) for row in rows]
            return "\n\n".join([*turned, *(f"{name}\n{_filled(sentence, width, '  ')}" for name, sentence in notes)])
        lines = [
            name.ljust(first + 2) + _filled(sentence, width, " " * (first + 2)).lstrip() for name, sentence in notes
        ]
        return "\n".join([text, *lines])

    def _columns(self, head: list[str], rows: list[list[str]], width: int | None) -> str | None:
        """Return aligned columns, or None if they are too wide."""
        right, wide = self._right(), [max(map(len, column)) for column in zip(*rows, strict=True)] or [0] * len(head)
        text = _aligned([[name] for name in head], [[[cell] for cell in row] for row in rows], right)
        if width is None or _fits(text, width):
            return text
        names: list[list[str]] = []
        for least in range(max(map(len, head)), 0, -1):  # the fewest lines that fit
            names = [
                textwrap.wrap(name, max([least, w, *map(len, name.split())]), break_on_hyphens=False)
                for name, w in zip(head, wide, strict=True)
            ]
            text = _aligned(names, [[[cell] for cell in row] for row in rows], right)
            if _fits(text, width):
                return text
        room = width - sum(max([w, *map(len, lines)]) + 2 for w, lines in zip(wide[:-1], names[:-1], strict=True))
        if room >= LEAST and not right[-1]:
            wrapped = [[*([cell] for cell in row[:-1]), textwrap.wrap(row[-1], room) or [""]] for row in rows]
            return _aligned([*names[:-1], [head[-1]]], wrapped, right)
        return None

    def markdown(self) -> str:
        """Return the table in the Markdown of GitHub."""
        rule = ["---:" if right else "---" for right in self._right()]
        cells = [[_markdown(cell) for cell in row] for row in self._cells()]
        blank = [""] * (len(self.head) - 2)
        notes = [[_markdown(name), _markdown(sentence), *blank] for name, sentence in self.notes]
        lines = [[_markdown(name) for name in self.head], rule, *self._marked(cells, "**{}**"), *notes]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def latex(self) -> str:
        r"""Return a `tabular` that needs `\usepackage{booktabs}`; the text after the mean in a cell is small."""
        right = self._right()
        names = [_stacked(name, r) for name, r in zip(self.head, right, strict=True)]
        cells = [[_shrunk(cell, r) for cell, r in zip(row, right, strict=True)] for row in self._cells()]
        head, *rows = (f"{' & '.join(line)} \\\\" for line in [names, *self._marked(cells, r"\textbf{{{}}}")])
        rest = len(self.head) - 1
        rows += [f"{_latex(name)} & \\multicolumn{{{rest}}}{{l}}{{{_latex(text)}}} \\\\" for name, text in self.notes]
        columns = "".join("r" if r else "l" for r in right)
        begin, end = f"\\begin{{tabular}}{{{columns}}}", "\\end{tabular}"
        return "\n".join([begin, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", end])

    def html(self, caption: str = "", keys: Mapping[str, str] = MappingProxyType({})) -> Markup:
        """Return a `<table>`; the first cell of a row is its header, cells of numeric columns have the class `number`.

        The text after the mean in a cell, as in `27.34 ± 2.10 (22/24)`, is small, and below the mean on narrow pages.

        Args:
            caption: shown above the table.
            keys: markup to put before the name of a row, by that name.
        """
        from esbench.templating import render

        right = self._right()
        rows = [
            [(*_parts(cell, right[i]), (r, i) in self.bold) for i, cell in enumerate(row)]
            for r, row in enumerate(self._cells())
        ]
        return render(
            "table.html", head=self.head, right=right, rows=rows, notes=self.notes, caption=caption, keys=keys
        )

    def csv(self) -> str:
        """Return comma-separated values; numbers have all their digits, None is empty."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([self.head, *self.rows, *self.notes])
        return text.getvalue()

    def _cells(self) -> list[list[str]]:
        return [[_cell(value) for value in row] for row in self.rows]

    def _right(self) -> list[bool]:
        cells = self._cells()
        return [bool(cells) and all(_numeric(row[i]) for row in cells) for i in range(len(self.head))]

    def _marked(self, cells: list[list[str]], pattern: str) -> list[list[str]]:
        return [
            [pattern.format(cell) if (r, i) in self.bold else cell for i, cell in enumerate(row)]
            for r, row in enumerate(cells)
        ]


def _aligned(head: list[list[str]], rows: list[list[list[str]]], right: list[bool]) -> str:
    """Return rows of cells of lines as aligned columns; names stand at the bottom of their row."""
    tall = max(map(len, head))
    raised = [[""] * (tall - len(lines)) + lines for lines in head]
    widths = [max(len(line) for cell in column for line in cell) for column in zip(raised, *rows, strict=True)]
    lines = [*_lines(raised), ["-" * width for width in widths], *(line for row in rows for line in _lines(row))]
    return "\n".join(
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in lines
    )


def _lines(row: list[list[str]]) -> list[tuple[str, ...]]:
    return list(itertools.zip_longest(*row, fillvalue=""))


def _fits(text: str, width: int) -> bool:
    return all(len(line) <= width for line in text.split("\n"))


def _paragraph(head: list[str], row: list[str], width: int) -> str:
    """Return a row on its side: its first cell, and below it a line for each other that is known, with its name."""
    names = [f"  {name}" for name in head[1:]]
    room = max(map(len, names), default=0) + 2
    lines = [
        textwrap.fill(cell, max(width, room + LEAST), initial_indent=name.ljust(room), subsequent_indent=" " * room)
        for name, cell in zip(names, row[1:], strict=True)
        if cell != UNKNOWN
    ]
    return "\n".join([row[0].rstrip(), *lines])


def _filled(sentence: str, width: int | None, indent: str) -> str:
    """Return a sentence in lines of a width, which are indented."""
    if width is None:
        return indent + sentence
    return textwrap.fill(sentence, max(width, len(indent) + LEAST), initial_indent=indent, subsequent_indent=indent)


def markdown(tables: Iterable[tuple[str, Table]]) -> str:
    """Return tables as Markdown, each with its title above."""
    return "\n\n".join(f"**{_markdown(title)}**\n\n{table.markdown()}" for title, table in tables)


def latex(tables: Iterable[tuple[str, Table]]) -> str:
    """Return tables as LaTeX, each with its title above in a comment."""
    return "\n\n".join(f"% {' '.join(title.split())}\n{table.latex()}" for title, table in tables)


def _cell(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _numeric(cell: str) -> bool:
    return cell[:1] in "-+0123456789" and not any(letter.isalpha() for letter in cell.replace("e", ""))


def _number(cell: str) -> float | None:
    """Return the number at the start of a cell: 27.0 of `27.00 ± 0.82`."""
    found = re.match(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", cell)
    return float(found[0]) if found else None


def _parts(cell: str, right: bool) -> tuple[str, str]:
    """Split a numeric cell into the mean and the text after it."""
    mean, space, rest = cell.partition(" ")
    return (mean, space + rest) if right and rest[:1] in ("±", "(") else (cell, "")


def _markdown(cell: str) -> str:
    return re.sub(r"([\\|*_`<])", r"\\\1", " ".join(cell.split()))


def _stacked(name: str, right: bool) -> str:
    """Return the name of a column with its line breaks."""
    first, *others = (_latex(line) for line in name.split("\n"))
    if not others:
        return first
    lines = r" \\ ".join([first, *others])
    return rf"\shortstack[{'r' if right else 'l'}]{{{lines}}}"


def _shrunk(cell: str, numeric: bool) -> str:
    """Return a cell with small letters after the mean."""
    mean, rest = _parts(cell, numeric)
    return _latex(mean, numeric) + (rf" {{\scriptsize {_latex(rest)}}}" if rest else "")


def _latex(cell: str, numeric: bool = False) -> str:
    text = "".join(LATEX.get(character, character) for character in " ".join(cell.split()))
    return re.sub(r"^-(?=[\d.])", "$-$", text) if numeric else text
