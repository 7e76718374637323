"""The limits and counters of this process's control groups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from microbench.system.files import read

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED = 2**60  # version 1 writes "no limit" as the largest number of pages


def lines_of(controller: str, name: str) -> Iterator[str]:
    """Yield a file's lines from this process's control group and each above it, in version 2 or 1."""
    for line in (read(MEMBERSHIP) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") or not controllers:
            root = ROOT / controller if controllers else ROOT
            group = root / path.strip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root) and (text := read(folder / name)) is not None:
                    yield text


def version() -> int | None:
    """Return the version of control groups that limits CPU time and memory here; None if none is visible."""
    if (ROOT / "cgroup.controllers").exists():
        return 2
    return 1 if (ROOT / "cpu").is_dir() or (ROOT / "memory").is_dir() else None


def cpu_quota() -> float | None:
    """Return the CPU time that the control groups grant this process, in CPUs; None without a limit."""
    second = (limit.split() for limit in lines_of("cpu", "cpu.max"))
    first = zip(
        lines_of("cpu", "cpu.cfs_quota_us"),
        lines_of("cpu", "cpu.cfs_period_us"),
        strict=False,
    )
    quotas = [*map(tuple, second), *first]
    granted = [int(quota) / int(period) for quota, period in quotas if quota not in ("max", "-1")]
    return min(granted, default=None)


def memory_limit() -> int | None:
    """Return how many bytes the control groups grant this process; None without a limit."""
    texts = [*lines_of("memory", "memory.max"), *lines_of("memory", "memory.limit_in_bytes")]
    limits = [int(text) for text in texts if text.isdigit() and int(text) < UNLIMITED]
    return min(limits, default=None)


def memory_left() -> list[int]:
    """Return how many bytes this process's control group has left, and each above it that has a limit.

    Cached files that were not used recently are left too, because the kernel drops them when it needs to.
    """
    second = (lines_of("memory", name) for name in ("memory.max", "memory.current", "memory.stat"))
    first = (
        lines_of("memory", name) for name in ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    )
    found = []
    for limit, used, stat in (*zip(*second, strict=False), *zip(*first, strict=False)):
        if limit.isdigit() and int(limit) < UNLIMITED:
            cached = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
            found.append(max(0, int(limit) - int(used) + (int(cached[1]) if cached else 0)))
    return found


def oom_kills() -> int | None:
    """Return how many processes the kernel killed for lack of memory, in this control group or overall."""
    texts = [
        *lines_of("memory", "memory.events"),
        *lines_of("memory", "memory.oom_control"),
        read(Path("/proc/vmstat")) or "",
    ]
    counts = [re.search(r"^oom_kill (\d+)$", text, re.MULTILINE) for text in texts]
    return next((int(count[1]) for count in counts if count), None)


def throttled_seconds() -> list[float]:
    """Return how long quotas have throttled this process's control group, and each above it.

    In seconds of all CPUs together; a group that does not report it is left out.
    """
    found = []
    for text in lines_of("cpu", "cpu.stat"):
        if micro := re.search(r"^throttled_usec (\d+)$", text, re.MULTILINE):
            found.append(int(micro[1]) * 1e-6)
        elif nano := re.search(r"^throttled_time (\d+)$", text, re.MULTILINE):
            found.append(int(nano[1]) * 1e-9)
    return found
