"""The kernel's small status files, and files that are replaced as a whole."""

from __future__ import annotations

import os
import tempfile
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


def number(path: Path) -> int | None:
    """Return the integer in a file; None if there is none."""
    text = read(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def replace(path: Path, text: str) -> None:
    """Write a file as a whole: to a temporary one, which is moved into place once it is complete.

    Raises:
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
