"""How much memory is left: of the machine, and of what control groups grant."""

from __future__ import annotations

import re
from pathlib import Path

from microbench.system import cgroups
from microbench.system.files import read

MEMINFO = Path("/proc/meminfo")


def available() -> int | None:
    """Return how many bytes can be taken without swapping or being killed; None if nothing tells."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", read(MEMINFO) or "", re.MULTILINE)
    left = [int(found[1]) * 1024] if found else []
    return min((*left, *cgroups.memory_left()), default=None)
