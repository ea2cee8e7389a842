"""Where esbench keeps what it did not bring along."""

from __future__ import annotations

import os
from pathlib import Path


def cache(*parts: str) -> Path:
    """Return a folder under ESBENCH_CACHE, or under the user's cache folder; it may not exist yet."""
    import platformdirs

    root = os.environ.get("ESBENCH_CACHE") or platformdirs.user_cache_dir("esbench")
    return Path(root).joinpath(*parts)
