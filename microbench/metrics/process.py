"""What this process used: peak resident memory, page faults and their cost, context switches, CPU time."""

from __future__ import annotations

import mmap
import resource
import time
from pathlib import Path
from types import TracebackType

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


def _status_bytes(key: str) -> int | None:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(key + ":")]
    return int(found[0]) * 1024 if found else None


class PeakMemory:
    """Peak resident memory over the level at the meter's making, in bytes.

    The kernel's high-water mark (VmHWM) is reset first, so that it is this meter's own; `ru_maxrss` cannot
    be, and a fork inherits it. Pages of files that came in meanwhile, such as the libraries' code, are not
    the workload's and are subtracted. See proc(5), clear_refs and status.
    """

    def __init__(self) -> None:
        try:
            CLEAR_REFS.write_text("5")
            self._level = _status_bytes("VmRSS")
            self._files = _status_bytes("RssFile")
        except OSError:
            self._level = self._files = None

    def peak(self) -> int | None:
        """Bytes so far; None where the kernel does not say (not Linux)."""
        high, files = _status_bytes("VmHWM"), _status_bytes("RssFile")
        if high is None or files is None or self._level is None or self._files is None:
            return None
        return max(0, high - self._level - max(0, files - self._files))


class Usage:
    """Counts what the process used between entering and leaving it, as a context manager."""

    def __enter__(self) -> Usage:
        """Begin to count."""
        self._begin = resource.getrusage(resource.RUSAGE_SELF)
        self._wall = -time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop counting."""
        self._wall += time.perf_counter()
        self._end = resource.getrusage(resource.RUSAGE_SELF)

    @property
    def seconds(self) -> float:
        """For how long it counted."""
        return self._wall

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all threads."""
        return self._end.ru_utime - self._begin.ru_utime + self.system_seconds

    @property
    def system_seconds(self) -> float:
        """Those of them that the kernel spent for the process."""
        return self._end.ru_stime - self._begin.ru_stime

    @property
    def page_faults(self) -> int:
        """Page faults that took no disk."""
        return self._end.ru_minflt - self._begin.ru_minflt

    @property
    def involuntary_switches(self) -> int:
        """How often the kernel took a CPU away."""
        return self._end.ru_nivcsw - self._begin.ru_nivcsw


def page_fault_cost(pages: int = 2048) -> float | None:
    """CPU seconds that one page fault takes; None where memory came without any.

    Fresh memory is mapped, each page of it touched, and given back, as by an allocator that keeps none: what
    giving back costs is included. Where malloc gets huge pages, so does this, and one fault brings one.
    """
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    start = time.thread_time()
    with mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:: mmap.PAGESIZE] = bytes(pages)
    seconds = time.thread_time() - start
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return seconds / faults if faults else None
