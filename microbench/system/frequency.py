"""The CPUs' clock rate, and what may change it: the governor, turbo, heat.

Paths and meanings: Linux's Documentation/admin-guide/pm/cpufreq.rst and intel_pstate.rst, and
Documentation/ABI/testing/sysfs-devices-system-cpu for the counts of heat.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from microbench.system.cpus import CPUS, one_of_each_core, package
from microbench.system.files import number, of_process, read

BOOST = CPUS / "cpufreq/boost"
NO_TURBO = CPUS / "intel_pstate/no_turbo"
PROCESS = Path("/proc/self/stat")
PROCESSOR = 36  # index in /proc/PID/stat, from 0 after the name in brackets: proc(5), field 39


def governors(among: Iterable[int]) -> list[str]:
    """Return the distinct frequency governors of these CPUs, sorted; none if unknown."""
    found = {read(CPUS / f"cpu{cpu}/cpufreq/scaling_governor") for cpu in among}
    return sorted(governor for governor in found if governor)


def boosts() -> bool | None:
    """Return whether the CPUs may run above their nominal rate (turbo) while heat and power permit."""
    if (boost := number(BOOST)) is not None:
        return boost == 1
    if (no_turbo := number(NO_TURBO)) is not None:
        return no_turbo == 0
    return None


def clock_rate(pid: int | None = None) -> float | None:
    """Return the rate, in Hz, of the CPU that a process's first thread last ran on; None if unknown.

    Without an id, it is this process.
    """
    fields = (read(of_process(PROCESS, pid)) or "").rpartition(")")[2].split()
    if len(fields) <= PROCESSOR:
        return None
    kilohertz = number(CPUS / f"cpu{fields[PROCESSOR]}/cpufreq/scaling_cur_freq")
    return None if kilohertz is None else kilohertz * 1e3


def thermal_throttles(among: Iterable[int]) -> int | None:
    """Return how often heat slowed these CPUs or their packages since boot; None if unknown.

    The CPUs of a core report the same count, as do those of a package; each is counted once.
    """
    cores = one_of_each_core(among)
    one_of_each_package = {package(cpu): cpu for cpu in cores}.values()
    counts = [number(CPUS / f"cpu{cpu}/thermal_throttle/core_throttle_count") for cpu in cores]
    counts += [
        number(CPUS / f"cpu{cpu}/thermal_throttle/package_throttle_count") for cpu in one_of_each_package
    ]
    told = [count for count in counts if count is not None]
    return sum(told) if told else None
