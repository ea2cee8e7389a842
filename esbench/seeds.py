"""Seeds from names, so that adding an image or a criterion does not change the numbers of others."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sys
from collections.abc import Iterator
from typing import Any


def derive(base: int, *names: object) -> int:
    """Return a seed in [0, 2**63) that depends only on the base seed and the names.

    Examples:
        >>> derive(0, "noise", "kodim01") == derive(0, "noise", "kodim01")
        True
    """
    text = json.dumps([base, *names], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Restore the global generators of Python, NumPy and PyTorch: what third-party code draws changes nothing else."""
    numpy: Any = sys.modules.get("numpy")
    torch: Any = sys.modules.get("torch")
    python = random.getstate()
    of_numpy = None if numpy is None else numpy.random.get_state()
    of_torch = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        if of_numpy is not None:
            numpy.random.set_state(of_numpy)
        if of_torch is not None:
            torch.set_rng_state(of_torch)
