"""Who else uses the CPUs: other processes, the hypervisor, and how long own threads waited for one."""

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
    """What some CPUs did since the machine started, in seconds over all of them.

    Attributes:
        busy: ran a process or the kernel.
        stolen: would have run, but the hypervisor ran something else.
    """

    busy: float
    stolen: float


def cpu_times(among: Iterable[int]) -> CpuTimes | None:
    """What these CPUs did; None where the kernel does not say it of each.

    See proc(5), /proc/stat: user, nice, system, idle, iowait, irq, softirq and steal time in ticks. The time
    of guests is in user and nice already.
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
    """Each CPU's number and its first eight counts."""
    for line in stat.splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and len(counts) >= 8:
            yield int(name[3:]), [int(count) for count in counts[:8]]


def threads(pid: int | None = None) -> list[int]:
    """The ids of a process's threads, this one's without its id; none where the kernel does not say."""
    try:
        return [int(path.name) for path in of_process(TASKS, pid).iterdir()]
    except OSError:
        return []


def allowed_cpus(pid: int | None = None) -> set[int]:
    """The CPUs that any of a process's threads may run on; of this process without its id.

    An OpenMP library that binds its threads (OMP_PROC_BIND) binds the first one too, to a single CPU.
    """
    found: set[int] = set()
    for thread in threads(pid):
        try:
            found |= os.sched_getaffinity(thread)
        except OSError:  # it has ended
            continue
    return found


def run_delays(pid: int | None = None) -> dict[int, float] | None:
    """For how long each of a process's threads has been ready to run without a CPU, in seconds, by its id.

    Of this process without the process's id. None where the kernel does not say. The second number of
    Linux's /proc/PID/task/TID/schedstat, see its Documentation/scheduler/sched-stats.rst; a kernel that does
    not count says 0 of the first, too.
    """
    found = {thread: _schedstat(of_process(TASKS, pid) / str(thread)) for thread in threads(pid)}
    told = {thread: numbers for thread, numbers in found.items() if numbers is not None}
    if not any(ran for ran, _ in told.values()):
        return None
    return {thread: waited * 1e-9 for thread, (_, waited) in told.items()}


def _schedstat(thread: Path) -> tuple[int, int] | None:
    """Nanoseconds that a thread ran, and waited to run; None where it has ended, or nothing is told."""
    numbers = (read(thread / "schedstat") or "").split()
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 3 else None


def waited_between(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Seconds that threads waited between two readings of `run_delays`.

    A thread that has started meanwhile counts whole; one that has ended is not counted, for the kernel
    forgets it; one whose id a later thread took counts as that.
    """
    total = 0.0
    for thread, waited in after.items():
        earlier = before.get(thread, 0.0)
        total += waited - earlier if earlier <= waited else waited
    return total
