"""What this process used: peak resident memory, page faults, context switches, CPU time."""

from __future__ import annotations

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
    def involuntary_switches(self) -> int:
        """How often the kernel took a CPU away."""
        return self._end.ru_nivcsw - self._begin.ru_nivcsw

    @property
    def seconds(self) -> float:
        """For how long it counted."""
        return self._wall

    def per_call(self, calls: int) -> dict[str, float | None]:
        """The counts as record fields.

        `page_faults_per_call` counts faults served without disk; `involuntary_switches` counts how often the
        kernel took a CPU away; `cpu_utilization` is CPU seconds per second of wall time (2.0: two busy CPUs).
        """
        begin, end = self._begin, self._end
        cpu = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
        return {
            "page_faults_per_call": (end.ru_minflt - begin.ru_minflt) / calls,
            "involuntary_switches": self.involuntary_switches,
            "cpu_utilization": cpu / self._wall if self._wall > 0 else None,
        }
