"""The peaks that were measured on this machine before, in a file in the user's cache.

A faulty file does no harm: peaks that cannot be read are measured again, and if they cannot be written, they
are not kept.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from microbench.caching import cache_folder
from microbench.records.peaks import Peaks
from microbench.system import files

Identity = Mapping[str, Any]
"""All that peaks depend on, in JSON's types."""


def place() -> Path:
    """Return the file's path.

    Raises:
        RuntimeError: this user has no home.
    """
    return cache_folder() / "peaks.json"


def read(identity: Identity) -> Peaks | None:
    """Return the peaks of exactly this machine and these settings; None if none are stored."""
    for entry in _entries():
        if entry["of"] == identity:
            with contextlib.suppress(msgspec.ValidationError):
                return msgspec.convert(entry["peaks"], Peaks)
    return None


def write(identity: Identity, peaks: Peaks) -> None:
    """Store peaks next to the others, in place of earlier ones of the same identity.

    The file is replaced as a whole: if two processes write at once, one entry may be lost, and is measured
    again.
    """
    others = [entry for entry in _entries() if entry["of"] != identity]
    with contextlib.suppress(OSError, RuntimeError):
        path = place()
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(
            path, json.dumps([*others, {"of": dict(identity), "peaks": msgspec.to_builtins(peaks)}], indent=1)
        )


def _entries() -> list[dict[str, Any]]:
    """Return the file's entries that have this module's form."""
    try:
        entries = json.loads(place().read_text("utf-8"))
    except (OSError, RuntimeError, ValueError):
        return []
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and {"of", "peaks"} <= entry.keys()]
