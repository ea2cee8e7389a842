"""Make text safe for a terminal: names of files and texts of plugins may contain anything."""

from __future__ import annotations

import re

#: Control characters (C0, C1 and DEL), line and paragraph separators, marks that change the direction of text, and
#: surrogates, which represent bytes that are not UTF-8.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with unprintable characters escaped as in Python: `\x1b`, `\n`, `\u202e`.

    Args:
        text: any text.
        keep: characters to leave unchanged.

    Examples:
        >>> print(printable("a\x1b[31m\nb"))
        a\x1b[31m\nb
    """
    return UNSAFE.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode("ascii"), text)


def is_unicode(text: str) -> bool:
    """Whether a text can be written to a file: the name of a file may contain bytes that are not UTF-8."""
    return text == text.encode(errors="replace").decode()
