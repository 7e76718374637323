"""The libraries, imported without their telemetry, which starts threads and processes and calls home."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

TELEMETRY = "openvino_telemetry"  # openvino and nncf do without it if it is not installed


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Make a module appear not installed."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before


with hidden(TELEMETRY):
    try:
        import openvino
    except ImportError:
        openvino = None
    try:
        import nncf
    except ImportError:
        nncf = None

__all__ = ["nncf", "openvino"]
