"""Text that cannot control a terminal: names of files, and what plugins say of themselves, may hold anything."""

from __future__ import annotations

import re

#: Control characters (C0, C1 and DEL), line and paragraph separators, marks that turn the direction of a text, and the
#: halves of pairs that stand for bytes which are no UTF-8.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""Return a text in which what is not printable is shown as Python writes it: `\x1b`, `\n`, `\u202e`.

    Args:
        text: any text.
        keep: characters that stay as they are.

    Examples:
        >>> print(printable("a\x1b[31m\nb"))
        a\x1b[31m\nb
    """
    return UNSAFE.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode("ascii"), text)
