"""The look of a criterion in every figure and on every page: a colour and a mark that depend only on its name."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

#: Nine hues and a grey. Each has a contrast of at least 3 to the background and shade of a page, light and dark.
COLOURS = (
    "#0078CF",
    "#D7660B",
    "#069544",
    "#EA43A2",
    "#8E49E2",
    "#DF2226",
    "#01989E",
    "#978E13",
    "#A1600B",
    "#7C7C7C",
)
GREY = len(COLOURS) - 1

#: The marks, by their names in matplotlib.
MARKS = "osD^vP<X>*"

#: Each mark as an SVG path, within (-5, -5) and (5, 5).
PATHS = {
    "o": "M-4 0A4 4 0 1 1 4 0A4 4 0 1 1-4 0Z",
    "s": "M-3.6-3.6H3.6V3.6H-3.6Z",
    "D": "M0-5L5 0 0 5-5 0Z",
    "^": "M0-4.5L4.6 4H-4.6Z",
    "v": "M0 4.5L4.6-4H-4.6Z",
    "P": "M-1.6-4.6H1.6V-1.6H4.6V1.6H1.6V4.6H-1.6V1.6H-4.6V-1.6H-1.6Z",
    "<": "M-4.5 0L4-4.6V4.6Z",
    "X": "M-4.6-2.4L-2.4-4.6 0-2.2 2.4-4.6 4.6-2.4 2.2 0 4.6 2.4 2.4 4.6 0 2.2-2.4 4.6-4.6 2.4-2.2 0Z",
    ">": "M4.5 0L-4-4.6V4.6Z",
    "*": "M0-5L1.3-1.7 4.8-1.5 2.1.7 3 4 0 2.1-3 4-2.1.7-4.8-1.5-1.3-1.7Z",
}

#: Colour and mark of the built-in criteria. The references are grey.
BUILT_IN = {
    "cifs-jpeg": (0, "o"),
    "wmv": (1, "s"),
    "emv": (2, "D"),
    "discrepancy": (3, "^"),
    "holdout": (4, "v"),
    "brisque": (5, "P"),
    "niqe": (6, "<"),
    "cifs-webp": (7, "X"),
    "cifs-avif": (8, ">"),
    "cifs-png": (5, "*"),
    "cifs-jxl": (4, "o"),
    "cifs-jpeg2k": (6, "s"),
    "niqe-live": (8, "D"),
    "loss": (GREY, "o"),
    "fixed": (GREY, "s"),
    "last": (GREY, "X"),
}


class Look(NamedTuple):
    """A colour, and a mark by its name in matplotlib."""

    colour: str
    mark: str


def look(criterion: str) -> Look:
    """Return the look of a criterion. It does not depend on other criteria, so it is the same in all reports."""
    if criterion in BUILT_IN:
        colour, mark = BUILT_IN[criterion]
        return Look(COLOURS[colour], mark)
    number = int.from_bytes(hashlib.sha256(criterion.encode("utf-8", "surrogatepass")).digest()[:8])
    return Look(COLOURS[number % GREY], MARKS[number // GREY % len(MARKS)])
