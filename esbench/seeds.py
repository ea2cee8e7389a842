"""Seeds from names, so that adding an image or a criterion does not change the numbers of others."""

from __future__ import annotations

import hashlib
import json


def derive(base: int, *names: object) -> int:
    """Return a seed in [0, 2**63) that depends only on the base seed and the names.

    Examples:
        >>> derive(0, "noise", "kodim01") == derive(0, "noise", "kodim01")
        True
    """
    text = json.dumps([base, *names], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
