"""Small files in which the kernel tells of itself, and the folder for what is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

PROCESSES = Path("/proc")


def of_process(own: Path, pid: int | None) -> Path:
    """Where another process has what `own`, such as /proc/self/stat, is of this one; `own` without its id."""
    return own if pid is None else PROCESSES / str(pid) / own.name


def read(path: Path) -> str | None:
    """What a file says, without white space around it; None where it cannot be read."""
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def cache_folder() -> Path:
    """The folder for what this user's runs keep: `microbench` in XDG_CACHE_HOME, or else in ~/.cache.

    Raises:
        RuntimeError: this user has no home.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder.absolute() / "microbench"


def number(path: Path) -> int | None:
    """The whole number that a file says; None where it says none."""
    text = read(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
