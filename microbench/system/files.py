"""The kernel's small status files, the cache folder that is kept between runs, and what a file contains."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

PROCESSES = Path("/proc")


def of_process(own: Path, pid: int | None) -> Path:
    """Return another process's counterpart of `own`, such as /proc/self/stat; `own` itself without an id."""
    return own if pid is None else PROCESSES / str(pid) / own.name


def read(path: Path) -> str | None:
    """Return a file's text, stripped; None if it cannot be read."""
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def cache_folder() -> Path:
    """Return this user's cache folder: `microbench` in XDG_CACHE_HOME, or else in ~/.cache.

    Raises:
        RuntimeError: this user has no home.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder.absolute() / "microbench"


def number(path: Path) -> int | None:
    """Return the integer in a file; None if there is none."""
    text = read(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def digest(path: Path, text: str = "") -> str:
    """Return twelve hexadecimal digits that identify a file's contents, and a text with them.

    Raises:
        OSError: it cannot be read.
    """
    return _digest(path, text, path.stat().st_mtime_ns)


@cache
def _digest(path: Path, text: str, changed: int) -> str:
    found = hashlib.sha256(text.encode())
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            found.update(chunk)
    return found.hexdigest()[:12]
