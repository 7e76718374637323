"""How the system is set up: clock source, huge pages, sockets, virtualization. None is what it does not tell.

Paths and meanings: Linux's Documentation/admin-guide/mm/transhuge.rst and hugetlbpage.rst,
Documentation/admin-guide/cputopology.rst, and Documentation/ABI/testing/sysfs-devices-system-cpu.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from microbench.system.cpus import CPUS, siblings
from microbench.system.files import number, read

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
NODES = Path("/sys/devices/system/node")
TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage/enabled")
CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0")
HYPERVISOR = Path("/sys/hypervisor/type")
DMI = Path("/sys/class/dmi/id")


def sockets(among: Iterable[int]) -> int | None:
    """How many packages (sockets) these CPUs lie in."""
    found = {number(CPUS / f"cpu{cpu}/topology/physical_package_id") for cpu in among}
    return None if None in found or not found else len(found)


def numa_nodes(among: Iterable[int]) -> int | None:
    """How many NUMA nodes, each with memory near to it, these CPUs lie in."""
    cpus = list(among)
    found = [node for node in NODES.glob("node[0-9]*") if any((node / f"cpu{cpu}").exists() for cpu in cpus)]
    return len(found) or None


def hyper_threads(among: Iterable[int]) -> bool | None:
    """Whether one of these CPUs shares its core with another (SMT)."""
    if (active := number(CPUS / "smt/active")) is not None:
        return active == 1
    cores = [siblings(cpu) for cpu in among if (CPUS / f"cpu{cpu}/topology").exists()]
    return any(re.search(r"[,-]", core) for core in cores) if cores else None


def frequency_driver() -> str | None:
    """What sets the CPUs' clock rate, such as `intel_pstate` or `acpi-cpufreq`."""
    return read(CPUS / "cpu0/cpufreq/scaling_driver")


def frequency_range() -> tuple[float | None, float | None]:
    """The lowest and the highest clock rate that the first CPU is let run at, in Hz."""
    ends = [number(CPUS / f"cpu0/cpufreq/scaling_{end}_freq") for end in ("min", "max")]
    low, high = (None if kilohertz is None else kilohertz * 1e3 for kilohertz in ends)
    return low, high


def transparent_huge_pages() -> str | None:
    """Which memory gets huge pages without asking: `always`, `madvise` or `never`."""
    chosen = re.search(r"\[(\w+)\]", read(TRANSPARENT) or "")
    return chosen[1] if chosen else None


def static_huge_pages() -> tuple[int | None, int | None]:
    """How many huge pages are set aside, and the bytes of one."""
    text = read(MEMINFO) or ""
    count = re.search(r"^HugePages_Total:\s+(\d+)$", text, re.MULTILINE)
    size = re.search(r"^Hugepagesize:\s+(\d+) kB$", text, re.MULTILINE)
    return int(count[1]) if count else None, int(size[1]) * 1024 if size else None


def clock_source() -> str | None:
    """What the kernel reads the time from, such as `tsc`."""
    return read(CLOCK_SOURCE / "current_clocksource")


def clock_sources() -> str | None:
    """What it could read the time from, separated by spaces."""
    return read(CLOCK_SOURCE / "available_clocksource")


def virtualization() -> str | None:
    """The hypervisor this system runs on, as far as it gives its name; `none` without one.

    The flag `hypervisor` is what x86 processors show to guests, whatever the hypervisor.
    """
    if kind := read(HYPERVISOR):
        return kind
    flags = re.search(r"^flags\s*:(.*)$", read(CPUINFO) or "", re.MULTILINE)
    if flags is None:
        return None
    if "hypervisor" not in flags[1].split():
        return "none"
    told = [read(DMI / name) for name in ("sys_vendor", "product_name")]
    return " ".join(name for name in told if name) or "unnamed"


def load_average() -> float | None:
    """How many threads ran or wanted to, on average over the last minute."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
