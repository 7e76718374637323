"""The folder of what is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return this user's cache folder: `microbench` in XDG_CACHE_HOME, or else in ~/.cache.

    Raises:
        RuntimeError: this user has no home.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder.absolute() / "microbench"
