"""The host's memory allocator: the C library's, with or without raised thresholds, or another.

By default, the C library returns large allocations to the kernel when they are freed, so that the next one
costs a page fault per 4 KiB: more than a layer's arithmetic. No torch.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Mapping
from ctypes.util import find_library
from functools import cache
from pathlib import Path

from microbench.errors import SkippedError

LIBRARIES = {
    "jemalloc": ("jemalloc",),
    "tcmalloc": ("tcmalloc_minimal", "tcmalloc"),
}
"""The libraries of each allocator that is preloaded, best first, without `lib`."""

PACKAGES = {
    "jemalloc": ("libjemalloc2", "jemalloc"),
    "tcmalloc": ("libtcmalloc-minimal4", "gperftools"),
}
"""The packages that contain them: Debian's and conda's."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # malloc.h
KEPT = 2**31 - 1  # bytes of free memory to keep: the most that mallopt accepts
SHARED = 2**30  # bytes; smaller allocations come from kept memory


def variables(name: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables that an allocator needs before a process starts.

    Libraries that `environment` preloads are kept, except other allocators.

    Raises:
        SkippedError: its library is not installed.
    """
    if name not in LIBRARIES:
        return {}
    path = find(name)
    if path is None:
        debian, conda = PACKAGES[name]
        raise SkippedError(
            f"allocator={name} needs lib{LIBRARIES[name][0]}, which is not installed: "
            f"`apt install {debian}`, or `conda install -c conda-forge {conda}`"
        )
    before = re.split(r"[ :]", environment.get("LD_PRELOAD", ""))
    kept = [each for each in before if each and not any(f"lib{other}" in each for other in LIBRARIES)]
    return {"LD_PRELOAD": ":".join([path, *kept])}


@cache
def find(name: str) -> str | None:
    """Find an allocator's library: this environment's, otherwise the system's; None if there is none."""
    if not sys.platform.startswith("linux"):
        return None
    for library in LIBRARIES[name]:
        own = sorted(Path(sys.prefix, "lib").glob(f"lib{library}.so*"))
        if found := (str(own[0]) if own else find_library(library)):
            return found
    return None


def tune() -> None:
    """Make the C library keep freed memory instead of returning it to the kernel.

    This raises the thresholds above which memory is mapped separately and trimmed: mallopt(3). It works at
    any time, and cannot be undone.

    Raises:
        SkippedError: the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        raise SkippedError("allocator=tuned needs glibc, and this C library is another")
    library = ctypes.CDLL(None)
    mapped = library.mallopt(M_MMAP_THRESHOLD, SHARED) or library.mallopt(M_MMAP_MAX, 0)
    if not (mapped and library.mallopt(M_TRIM_THRESHOLD, KEPT)):
        raise SkippedError("allocator=tuned: this glibc refuses to raise its thresholds")
