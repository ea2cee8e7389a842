"""Tables: rows and columns, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Columns with a head, cells as they are shown or numbers."""

    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def text(self) -> str:
        """Return aligned columns; columns of numbers are set to the right."""
        cells = [[_cell(value) for value in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(self.head, *cells, strict=True)]
        right = [bool(self.rows) and all(_numeric(row[i]) for row in cells) for i in range(len(self.head))]
        lines = [self.head, tuple("-" * width for width in widths), *cells]
        return "\n".join(
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
            for line in lines
        )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _numeric(cell: str) -> bool:
    return cell[:1] in "-+0123456789" and not any(letter.isalpha() for letter in cell.replace("e", ""))
