"""The kernel's small status files, and files that are replaced as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

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


@contextmanager
def replaced(path: Path, is_binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file to write as a whole: a temporary one, which is moved into place once it is complete.

    Raises:
        OSError: it cannot be written.
    """
    made = path.with_name(f".{path.name[:100]}.{token_hex(4)}")
    try:
        with made.open("xb" if is_binary else "x", encoding=None if is_binary else "utf-8") as file:
            yield file
        with suppress(OSError):
            shutil.copymode(path, made)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def replace(path: Path, text: str) -> None:
    """Write a text to a file as a whole.

    Raises:
        OSError: it cannot be written.
    """
    with replaced(path) as file:
        file.write(text)
