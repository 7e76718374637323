"""The machine: processor, cores, memory, system, versions, thread variables, allocator, git."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from microbench.distribution import VERSION
from microbench.records.record import Machine, Scalar
from microbench.system import cgroups, cpus, driver
from microbench.system.files import read
from microbench.system.setup import checkup

PACKAGES = ("torch", "torchvision", "numpy", "scipy")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_PROC_BIND",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
)
VARIABLES = (*THREAD_VARIABLES, driver.VISIBLE)
ALLOCATORS = ("tcmalloc", "jemalloc", "mimalloc")


def cpu_model() -> str:
    """Return the processor's own name."""
    info = read(Path("/proc/cpuinfo")) or ""
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def memory() -> int | None:
    """Return physical memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def allocator() -> str:
    """Return this process's memory allocator: a preloaded one, otherwise the C library's."""
    maps = read(Path("/proc/self/maps")) or ""
    loaded = [name for name in ALLOCATORS if f"lib{name}" in maps]
    return loaded[0] if loaded else " ".join(part for part in platform.libc_ver() if part) or "system"


def host_id() -> str:
    """Return twelve hexadecimal digits that stay the same on this machine and tell it from others."""
    known = (read(Path("/etc/machine-id")) or "") + platform.node()
    return hashlib.sha256(known.encode()).hexdigest()[:12]


def git_commit() -> str | None:
    """Return the commit of the checkout this package is imported from, with `-dirty` for changes on it."""
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


def described(device: Mapping[str, Scalar], variables: Mapping[str, str]) -> Machine:
    """Describe this machine and its software.

    Args:
        device: the device's facts; those that `Machine` has no field for go to its `extra`.
        variables: environment variables of the measuring process, besides this one's.
    """
    found = _found() | {key.lower(): variables.get(key, os.environ.get(key)) for key in VARIABLES}
    known = {name: value for name, value in device.items() if name in Machine.__struct_fields__}
    extra = {name: value for name, value in device.items() if name not in known}
    return Machine(host_id=host_id(), **{**found, **known}, extra=extra)


def _found() -> dict[str, Any]:
    return {
        "cpu": cpu_model(),
        "physical_cores": cpus.physical_cores(),
        "usable_cpus": len(cpus.usable()),
        "cpu_quota": cgroups.cpu_quota(),
        "memory": memory(),
        "os": f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "python": platform.python_version(),
        "git": git_commit(),
        **checkup(),
        "microbench": VERSION,
        **{package: _version(package) for package in PACKAGES},
    }
