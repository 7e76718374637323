"""The machine's setup as far as it matters for times, for `microbench doctor`.

A value that the system does not report is None.

Paths and meanings: Linux's Documentation/admin-guide/mm/transhuge.rst and hugetlbpage.rst,
Documentation/admin-guide/cputopology.rst, and Documentation/ABI/testing/sysfs-devices-system-cpu.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from itertools import pairwise, repeat
from pathlib import Path

from microbench.system import cgroups, cpus, frequency
from microbench.system.cpus import CPUS, siblings
from microbench.system.files import number, read

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
NODES = Path("/sys/devices/system/node")
TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage/enabled")
CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0")
HYPERVISOR = Path("/sys/hypervisor/type")
DMI = Path("/sys/class/dmi/id")
SUPPLIES = Path("/sys/class/power_supply")
READINGS = 2000
REPEATS = 5

Field = str | int | float | None


def checkup() -> dict[str, Field]:
    """Return the records' `env_*` fields on the setup, without that prefix; None if unknown.

    Frequencies are in Hz, memory in bytes, the clock's step and cost in seconds. Reading them takes a few
    milliseconds.
    """
    usable = cpus.usable()
    slowest, fastest = frequency_range()
    pages, page_size = static_huge_pages()
    return {
        "smt": hyper_threads(usable),
        "sockets": sockets(usable),
        "numa_nodes": numa_nodes(usable),
        "governor": ", ".join(frequency.governors(usable)) or None,
        "turbo": frequency.boosts(),
        "frequency_driver": frequency_driver(),
        "frequency_min": slowest,
        "frequency_max": fastest,
        "cgroup_version": cgroups.version(),
        "memory_limit": cgroups.memory_limit(),
        "thp": transparent_huge_pages(),
        "huge_pages": pages,
        "huge_page_size": page_size,
        "load_average": load_average(),
        "clock_source": clock_source(),
        "clock_sources": clock_sources(),
        "clock_step": clock_step(),
        "clock_cost": clock_cost(),
        "hypervisor": virtualization(),
        "on_battery": on_battery(),
    }


def on_battery() -> bool | None:
    """Return whether a battery is discharging; False without one, None if the system reports none at all."""
    told = draining_battery()
    return False if told is None and SUPPLIES.is_dir() else told


def sockets(among: Iterable[int]) -> int | None:
    """Return the number of packages (sockets) of these CPUs."""
    found = {number(CPUS / f"cpu{cpu}/topology/physical_package_id") for cpu in among}
    return None if None in found or not found else len(found)


def numa_nodes(among: Iterable[int]) -> int | None:
    """Return the number of NUMA nodes (each with memory of its own) of these CPUs."""
    cpus = list(among)
    found = [node for node in NODES.glob("node[0-9]*") if any((node / f"cpu{cpu}").exists() for cpu in cpus)]
    return len(found) or None


def hyper_threads(among: Iterable[int]) -> bool | None:
    """Return whether one of these CPUs shares its core with another (SMT)."""
    if (active := number(CPUS / "smt/active")) is not None:
        return active == 1
    cores = [siblings(cpu) for cpu in among if (CPUS / f"cpu{cpu}/topology").exists()]
    return any(re.search(r"[,-]", core) for core in cores) if cores else None


def frequency_driver() -> str | None:
    """Return the driver that sets the CPUs' clock rate, such as `intel_pstate` or `acpi-cpufreq`."""
    return read(CPUS / "cpu0/cpufreq/scaling_driver")


def frequency_range() -> tuple[float | None, float | None]:
    """Return the lowest and the highest clock rate allowed for the first CPU, in Hz."""
    ends = [number(CPUS / f"cpu0/cpufreq/scaling_{end}_freq") for end in ("min", "max")]
    low, high = (None if kilohertz is None else kilohertz * 1e3 for kilohertz in ends)
    return low, high


def transparent_huge_pages() -> str | None:
    """Return the mode of transparent huge pages: `always`, `madvise` or `never`."""
    chosen = re.search(r"\[(\w+)\]", read(TRANSPARENT) or "")
    return chosen[1] if chosen else None


def static_huge_pages() -> tuple[int | None, int | None]:
    """Return the number of reserved huge pages, and the bytes of one."""
    text = read(MEMINFO) or ""
    count = re.search(r"^HugePages_Total:\s+(\d+)$", text, re.MULTILINE)
    size = re.search(r"^Hugepagesize:\s+(\d+) kB$", text, re.MULTILINE)
    return int(count[1]) if count else None, int(size[1]) * 1024 if size else None


def clock_source() -> str | None:
    """Return the kernel's clock source, such as `tsc`."""
    return read(CLOCK_SOURCE / "current_clocksource")


def clock_sources() -> str | None:
    """Return the available clock sources, separated by spaces."""
    return read(CLOCK_SOURCE / "available_clocksource")


def virtualization() -> str | None:
    """Return the hypervisor's name, as far as it is known; `none` without one.

    x86 processors show guests the flag `hypervisor`, whatever the hypervisor.
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
    """Return the load average of the last minute."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def draining_battery() -> bool | None:
    """Return whether one of the machine's own batteries is discharging; None on a machine without one.

    Linux's Documentation/ABI/testing/sysfs-class-power: a mouse's battery has the scope `Device`.
    """
    batteries = [supply for supply in _supplies() if read(supply / "type") == "Battery"]
    states = [read(battery / "status") for battery in batteries if read(battery / "scope") != "Device"]
    return any(state == "Discharging" for state in states) if states else None


def _supplies() -> list[Path]:
    try:
        return list(SUPPLIES.iterdir())
    except OSError:
        return []


def clock_step(clock: Callable[[], int] = time.perf_counter_ns, readings: int = READINGS) -> float | None:
    """Return the smallest step between successive readings, in seconds; None if the clock stood still.

    For a clock finer than the time of a reading, this is that time.
    """
    read = [clock() for _ in range(readings)]
    steps = [later - earlier for earlier, later in pairwise(read) if later > earlier]
    return min(steps) * 1e-9 if steps else None


def clock_cost(clock: Callable[[], int] = time.perf_counter_ns, readings: int = READINGS) -> float:
    """Return the seconds per reading: the least mean of several series, including Python's call and loop."""
    return min(_series(clock, readings) for _ in range(REPEATS)) / readings * 1e-9


def _series(clock: Callable[[], int], readings: int) -> int:
    start = time.perf_counter_ns()
    for _ in repeat(None, readings):
        clock()
    return time.perf_counter_ns() - start
