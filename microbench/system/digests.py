"""What a file contains, as digits. Those of a large file are kept on disk, so that it is read once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from functools import cache
from pathlib import Path

from microbench.caching import cache_folder
from microbench.system import files

LARGE = 2**24
"""Bytes of a file whose digest is kept; a smaller one is read in milliseconds."""

SETTLED = 2.0
"""Seconds since a file's last change after which a further one is certain to have another time."""

MOST = 100
"""Digests that are kept, the newest of them."""

State = tuple[int, int, int, int]
"""What changes with a file's contents: its inode, size, and times of modification and change."""


def place() -> Path:
    """Return the path of the file that keeps digests.

    Raises:
        RuntimeError: this user has no home.
    """
    return cache_folder() / "digests.json"


def digest(path: Path, text: str = "") -> str:
    """Return twelve hexadecimal digits that identify a file's contents, and a text with them.

    Raises:
        OSError: it cannot be read.
    """
    return _digest(path, text, _state(path))


def _state(path: Path) -> State:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@cache
def _digest(path: Path, text: str, state: State) -> str:
    _, size, *times = state
    if size < LARGE or time.time() - max(times) * 1e-9 < SETTLED:
        return _computed(path, text)
    key = json.dumps([str(path.resolve()), text, *state])
    known = _kept().get(key)
    if known is None:
        known = _computed(path, text)
        _keep(key, known)
    return known


def _computed(path: Path, text: str) -> str:
    found = hashlib.sha256(text.encode())
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            found.update(chunk)
    return found.hexdigest()[:12]


def _kept() -> dict[str, str]:
    """Return the digests on disk; none if they cannot be read."""
    try:
        found = json.loads(place().read_text("utf-8"))
    except (OSError, RuntimeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(key: str, digits: str) -> None:
    """Keep a digest on disk if possible; if two processes do so at once, one may be lost."""
    with contextlib.suppress(OSError, RuntimeError):
        path = place()
        path.parent.mkdir(parents=True, exist_ok=True)
        newest = list((_kept() | {key: digits}).items())[-MOST:]
        files.replace(path, json.dumps(dict(newest), indent=1))
