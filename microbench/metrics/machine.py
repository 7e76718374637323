"""What this machine is: processor, cores, memory, system, versions, thread variables, allocator, git."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
PACKAGES = ("microbench", "torch", "torchvision", "numpy", "scipy")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_PROC_BIND",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
)
ALLOCATORS = ("tcmalloc", "jemalloc", "mimalloc")


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def usable_cpus() -> set[int]:
    """The logical CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _of_control_groups(controller: str, name: str) -> Iterator[str]:
    """What a file says in this process's control group and in each above it, in version 2 or 1 of them."""
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") or not controllers:
            root = CGROUPS / controller if controllers else CGROUPS
            group = root / path.strip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root) and (text := _read(folder / name)) is not None:
                    yield text


def cpu_quota() -> float | None:
    """How many CPUs' worth of time the control groups grant this process; None without a limit."""
    second = (limit.split() for limit in _of_control_groups("cpu", "cpu.max"))
    first = zip(
        _of_control_groups("cpu", "cpu.cfs_quota_us"),
        _of_control_groups("cpu", "cpu.cfs_period_us"),
        strict=False,
    )
    quotas = [*map(tuple, second), *first]
    granted = [int(quota) / int(period) for quota, period in quotas if quota not in ("max", "-1")]
    return min(granted, default=None)


def physical_cores() -> int:
    """How many physical cores this process may use: hyper-threads counted once, affinity and quota obeyed."""
    siblings = {_read(CPUS / f"cpu{cpu}/topology/thread_siblings_list") or cpu for cpu in usable_cpus()}
    quota = cpu_quota()
    return len(siblings) if quota is None else max(1, min(len(siblings), int(quota)))


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory: in this control group, or at all."""
    texts = [
        *_of_control_groups("memory", "memory.events"),
        *_of_control_groups("memory", "memory.oom_control"),
        _read(Path("/proc/vmstat")) or "",
    ]
    counts = [re.search(r"^oom_kill (\d+)$", text, re.MULTILINE) for text in texts]
    return next((int(count[1]) for count in counts if count), None)


def cpu_model() -> str:
    """The processor's name as it gives it."""
    info = _read(Path("/proc/cpuinfo")) or ""
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def memory() -> int | None:
    """Physical memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def allocator() -> str:
    """The memory allocator that serves this process: one that is loaded over the C library's, or that."""
    maps = _read(Path("/proc/self/maps")) or ""
    loaded = [name for name in ALLOCATORS if f"lib{name}" in maps]
    return loaded[0] if loaded else " ".join(part for part in platform.libc_ver() if part) or "system"


def host_id() -> str:
    """Twelve hexadecimal digits that stay the same on this machine and tell it from others."""
    known = (_read(Path("/etc/machine-id")) or "") + platform.node()
    return hashlib.sha256(known.encode()).hexdigest()[:12]


def git_commit() -> str | None:
    """The commit of the checkout this package is imported from, with `-dirty` for changes on it."""
    here = Path(__file__).resolve().parents[1]
    if not (here.parent / ".git").exists():
        return None
    command = ["git", "-C", str(here.parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, str | int | float | None]:
    """What the records' `env_*` fields hold, without that prefix; memory in bytes."""
    return {
        "cpu": cpu_model(),
        "physical_cores": physical_cores(),
        "usable_cpus": len(usable_cpus()),
        "cpu_quota": cpu_quota(),
        "memory": memory(),
        "os": f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "python": platform.python_version(),
        "allocator": allocator(),
        "git": git_commit(),
        **{package: _version(package) for package in PACKAGES},
        **{name.lower(): os.environ.get(name) for name in THREAD_VARIABLES},
    }
