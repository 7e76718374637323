"""What is known of a model's calls one by one: rows, and the views that sum them up. Plain data."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a row is of."""

    MODULE = "module"
    FUNCTION = "function"
    CONTAINER = "container"
