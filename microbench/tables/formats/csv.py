"""Comma-separated values with a header; times in seconds, unknown values empty, lists as JSON."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from microbench.tables.export import write_csv


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode flat rows."""
    file = io.StringIO(newline="")
    write_csv(rows, file)
    return file.getvalue().encode()
