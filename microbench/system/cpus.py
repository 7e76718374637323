"""The CPUs this process may use, their cores and caches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from microbench.system.cgroups import cpu_quota
from microbench.system.files import number, read

CPUS = Path("/sys/devices/system/cpu")
SIZES = {"K": 2**10, "M": 2**20, "G": 2**30}


def usable() -> set[int]:
    """Return the logical CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def siblings(cpu: int) -> str:
    """Return the CPUs of the same core as the kernel writes them, which identifies the core."""
    return read(CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu)


def one_of_each_core(among: Iterable[int]) -> list[int]:
    """Return the lowest CPU of each core, grouped by package (socket)."""
    lowest = {siblings(cpu): cpu for cpu in sorted(among, reverse=True)}
    return sorted(lowest.values(), key=lambda cpu: (package(cpu), cpu))


def package(cpu: int) -> int:
    """Return the package (socket) of a CPU."""
    return number(CPUS / f"cpu{cpu}/topology/physical_package_id") or 0


def physical_cores() -> int:
    """Return how many physical cores this process may use, within its affinity and quota."""
    cores, quota = len(one_of_each_core(usable())), cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def last_level_cache() -> int | None:
    """Return the bytes of the usable CPUs' last-level cache in total; None if unknown."""
    caches: dict[tuple[int, str], int] = {}
    for cpu in usable():
        for index in (CPUS / f"cpu{cpu}/cache").glob("index*"):
            size = re.fullmatch(r"(\d+)([KMG])", read(index / "size") or "")
            if size and (level := number(index / "level")):
                shared = read(index / "shared_cpu_list") or str(cpu)
                caches[level, shared] = int(size[1]) * SIZES[size[2]]
    last = max((level for level, _ in caches), default=None)
    return sum(size for (level, _), size in caches.items() if level == last) or None


def text(cpus: Iterable[int]) -> str:
    """Return CPUs as the kernel writes them: `0-3,8`."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][-1] + 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def parsed(text: str) -> set[int]:
    """Return the CPUs of a list as the kernel writes it, such as `0-3,8`."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
