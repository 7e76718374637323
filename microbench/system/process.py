"""A process's usage: peak resident memory, page faults and their cost, context switches, CPU time."""

from __future__ import annotations

import mmap
import os
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from microbench.system.files import of_process, read

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
STAT = Path("/proc/self/stat")
TASKS = Path("/proc/self/task")

MINOR_FAULTS, USER_TIME, SYSTEM_TIME = 7, 11, 12  # indices in /proc/PID/stat, from 0 after the name: proc(5)


def _status_bytes(key: str, pid: int | None = None) -> int | None:
    lines = (read(of_process(STATUS, pid)) or "").splitlines()
    found = [line.split()[1] for line in lines if line.startswith(key + ":")]
    return int(found[0]) * 1024 if found else None


class PeakMemory:
    """Peak resident memory above the level at the meter's creation, in bytes; without an id, of this process.

    The kernel's high-water mark (VmHWM) is reset first, so that it is this meter's own; `ru_maxrss` cannot be
    reset, and a fork inherits it. File pages loaded meanwhile, such as the libraries' code, are not the
    workload's and are subtracted. See proc(5), clear_refs and status.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid, self._least = pid, 0
        try:
            of_process(CLEAR_REFS, pid).write_text("5", "utf-8")
            self._level = _status_bytes("VmRSS", pid)
            self._files = _status_bytes("RssFile", pid)
        except OSError:
            self._level = self._files = None

    def peak(self) -> int | None:
        """Return the bytes so far; None if the kernel does not report them (not Linux)."""
        high, files = _status_bytes("VmHWM", self._pid), _status_bytes("RssFile", self._pid)
        if high is None or files is None or self._level is None or self._files is None:
            return None
        return max(self._least, high - self._level - max(0, files - self._files))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out memory that is used and freed again within the context."""
        self._least = self.peak() or 0
        try:
            yield
        finally:
            with suppress(OSError):
                of_process(CLEAR_REFS, self._pid).write_text("5", encoding="utf-8")


@dataclass(frozen=True)
class Used:
    """A process's usage since it began.

    Attributes:
        user: CPU seconds of its own code.
        system: CPU seconds that the kernel spent for it.
        page_faults: page faults without disk access.
        involuntary_switches: how often the kernel took a CPU away.
    """

    user: float
    system: float
    page_faults: int
    involuntary_switches: int


def used(pid: int | None = None) -> Used:
    """Return a process's usage so far; without an id, this process's, which is more precise.

    Another process's seconds are in kernel ticks (hundredths), its switches are those of its current threads,
    and everything is 0 once it has ended.
    """
    if pid is not None:
        return _used_by(pid)
    told = resource.getrusage(resource.RUSAGE_SELF)
    return Used(told.ru_utime, told.ru_stime, told.ru_minflt, told.ru_nivcsw)


def _used_by(pid: int) -> Used:
    fields = (read(of_process(STAT, pid)) or "").rpartition(")")[2].split()
    if len(fields) <= SYSTEM_TIME:
        return Used(0.0, 0.0, 0, 0)
    tick = 1 / os.sysconf("SC_CLK_TCK")
    return Used(
        int(fields[USER_TIME]) * tick,
        int(fields[SYSTEM_TIME]) * tick,
        int(fields[MINOR_FAULTS]),
        sum(_switches(thread) for thread in of_process(TASKS, pid).glob("*/status")),
    )


def _switches(status: Path) -> int:
    """Return how often the kernel took a CPU away from a thread; 0 once it has ended."""
    count = re.search(r"^nonvoluntary_ctxt_switches:\s*(\d+)$", read(status) or "", re.MULTILINE)
    return int(count[1]) if count else 0


class Usage:
    """A context manager that counts a process's usage.

    Without an id, it is this process.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid

    def __enter__(self) -> Usage:
        """Begin to count."""
        self._begin = used(self._pid)
        self._wall = -time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop counting."""
        self._wall += time.perf_counter()
        self._end = used(self._pid)

    @property
    def seconds(self) -> float:
        """How long it counted."""
        return self._wall

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all threads."""
        return self._end.user - self._begin.user + self.system_seconds

    @property
    def system_seconds(self) -> float:
        """The CPU seconds that the kernel spent for the process."""
        return self._end.system - self._begin.system

    @property
    def page_faults(self) -> int:
        """Page faults without disk access."""
        return self._end.page_faults - self._begin.page_faults

    @property
    def involuntary_switches(self) -> int:
        """How often the kernel took a CPU away."""
        return self._end.involuntary_switches - self._begin.involuntary_switches


def page_fault_cost(pages: int = 2048) -> float | None:
    """Return the CPU seconds that one page fault takes; None if memory came without any.

    Fresh memory is mapped, each of its pages touched, and unmapped, as by an allocator that keeps none: the
    cost of unmapping is included. If malloc gets huge pages, so does this, and one fault maps one.
    """
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    start = time.thread_time()
    with mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:: mmap.PAGESIZE] = bytes(pages)
    seconds = time.thread_time() - start
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return seconds / faults if faults else None
