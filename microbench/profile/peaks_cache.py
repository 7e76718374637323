"""The peaks that were measured on this machine before, in a file of the user's cache.

What is wrong with the file never matters: what cannot be read is measured again, what cannot be written is
not kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from microbench.records.peaks import Peaks
from microbench.system import files

Identity = Mapping[str, Any]
"""What peaks depend on, in JSON's types."""


def place() -> Path:
    """The file.

    Raises:
        RuntimeError: this user has no home.
    """
    return files.cache_folder() / "peaks.json"


def read(identity: Identity) -> Peaks | None:
    """The peaks of just this machine and these settings; None where none are kept."""
    for entry in _entries():
        if entry["of"] == identity:
            with contextlib.suppress(msgspec.ValidationError):
                return msgspec.convert(entry["peaks"], Peaks)
    return None


def write(identity: Identity, peaks: Peaks) -> None:
    """Keep them beside the others, in place of what was kept for the same before.

    The file is replaced as a whole: of two that write at once, one may be lost, and is measured again.
    """
    others = [entry for entry in _entries() if entry["of"] != identity]
    with contextlib.suppress(OSError, RuntimeError):
        path = place()
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(
            path, json.dumps([*others, {"of": dict(identity), "peaks": msgspec.to_builtins(peaks)}], indent=1)
        )


def _entries() -> list[dict[str, Any]]:
    """What the file holds, as far as it has the form of this module's."""
    try:
        entries = json.loads(place().read_text("utf-8"))
    except (OSError, RuntimeError, ValueError):
        return []
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and {"of", "peaks"} <= entry.keys()]


def _replace(path: Path, text: str) -> None:
    """Write it beside its place, and put it there once it is complete."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
