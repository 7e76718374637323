"""Load on the CPUs: other processes, the hypervisor, and how long a process's threads waited for a CPU."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from microbench.system.files import of_process, read

STAT = Path("/proc/stat")
TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class CpuTimes:
    """The time of some CPUs since boot, in seconds over all of them.

    Attributes:
        busy: time in which they ran a process or the kernel.
        stolen: time in which the hypervisor ran something else instead.
    """

    busy: float
    stolen: float


def cpu_times(among: Iterable[int]) -> CpuTimes | None:
    """Return these CPUs' times; None if the kernel does not report each.

    See proc(5), /proc/stat: user, nice, system, idle, iowait, irq, softirq and steal time in ticks. Guest
    time is already included in user and nice.
    """
    ticks = dict(_ticks(read(STAT) or ""))
    try:
        times = [ticks[cpu] for cpu in among]
    except KeyError:
        return None
    second = os.sysconf("SC_CLK_TCK")
    busy = sum(user + nice + system + irq + softirq for user, nice, system, _, _, irq, softirq, _ in times)
    return CpuTimes(busy / second, sum(steal for *_, steal in times) / second)


def _ticks(stat: str) -> Iterator[tuple[int, list[int]]]:
    """Yield each CPU's number and its first eight counters."""
    for line in stat.splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and len(counts) >= 8:
            yield int(name[3:]), [int(count) for count in counts[:8]]


def threads(pid: int | None = None) -> list[int]:
    """Return the ids of a process's threads (without an id, this one's); none if unknown."""
    try:
        return [int(path.name) for path in of_process(TASKS, pid).iterdir()]
    except OSError:
        return []


def allowed_cpus(pid: int | None = None) -> set[int]:
    """Return the CPUs that any of a process's threads may run on; without an id, of this process.

    An OpenMP library that binds its threads (OMP_PROC_BIND) binds the first one too, to a single CPU.
    """
    found: set[int] = set()
    for thread in threads(pid):
        try:
            found |= os.sched_getaffinity(thread)
        except OSError:  # the thread has ended
            continue
    return found


def run_delays(pid: int | None = None) -> dict[int, float] | None:
    """Return how long each of a process's threads, by id, has waited for a CPU, in seconds.

    Without an id, it is this process. None if the kernel does not report it. It is the second number of
    /proc/PID/task/TID/schedstat, see Linux's Documentation/scheduler/sched-stats.rst; in a kernel that does
    not count, the first number is 0 too.
    """
    found = {thread: _schedstat(of_process(TASKS, pid) / str(thread)) for thread in threads(pid)}
    told = {thread: numbers for thread, numbers in found.items() if numbers is not None}
    if not any(ran for ran, _ in told.values()):
        return None
    return {thread: waited * 1e-9 for thread, (_, waited) in told.items()}


def _schedstat(thread: Path) -> tuple[int, int] | None:
    """Return the nanoseconds that a thread ran and waited; None if it has ended or they are unknown."""
    numbers = (read(thread / "schedstat") or "").split()
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 3 else None


def waited_between(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Return the seconds that threads waited between two readings of `run_delays`.

    A thread that started meanwhile counts in full; one that ended is not counted, because the kernel forgets
    it; one whose id was reused counts as the later thread.
    """
    total = 0.0
    for thread, waited in after.items():
        earlier = before.get(thread, 0.0)
        total += waited - earlier if earlier <= waited else waited
    return total
