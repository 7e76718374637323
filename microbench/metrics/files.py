"""Small files in which the kernel tells of itself."""

from __future__ import annotations

from pathlib import Path

PROCESSES = Path("/proc")


def of_process(own: Path, pid: int | None) -> Path:
    """Where another process has what `own`, such as /proc/self/stat, is of this one; `own` without its id."""
    return own if pid is None else PROCESSES / str(pid) / own.name


def read(path: Path) -> str | None:
    """What a file says, without white space around it; None where it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def number(path: Path) -> int | None:
    """The whole number that a file says; None where it says none."""
    text = read(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
