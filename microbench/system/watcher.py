"""A GPU while something runs on it: whose memory it holds, and what it did meanwhile. No torch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from microbench.records.record import GpuTimeline, MemorySource
from microbench.system.gpu import Gpu, Reading

PERIOD = 0.1  # seconds between readings while a case is sampled


class Watcher:
    """A thread that reads a GPU every tenth of a second, from `begin` to `end`.

    Attributes:
        readings: the readings; the first at the beginning, the last at the end.
        cpu_seconds: the CPU time that they took.
    """

    def __init__(self, gpu: Gpu, period: float = PERIOD) -> None:
        self.readings: list[Reading] = []
        self.cpu_seconds = 0.0
        self._gpu, self._period = gpu, period
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to read."""
        self.readings.append(self._gpu.reading())
        self._thread = threading.Thread(target=self._watch, name="microbench-gpu", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        start = time.thread_time()
        while not self._stop.wait(self._period):
            self.readings.append(self._gpu.reading())
        self.cpu_seconds += time.thread_time() - start

    def end(self) -> None:
        """Stop reading; nothing happens if that has been done."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self.readings.append(self._gpu.reading())


def timeline_of(readings: Sequence[Reading]) -> GpuTimeline:
    """Return readings as columns, relative to the first."""
    start = readings[0] if readings else Reading(0.0)
    return GpuTimeline(
        seconds=[each.time - start.time for each in readings],
        memory=[each.memory for each in readings],
        sm_clock=[each.sm_clock for each in readings],
        memory_clock=[each.memory_clock for each in readings],
        power=[each.power for each in readings],
        temperature=[each.temperature for each in readings],
        reasons=[each.reasons for each in readings],
        energy=[
            None if each.energy is None or start.energy is None else each.energy - start.energy
            for each in readings
        ],
    )


@dataclass(frozen=True)
class Entry:
    """A process on a GPU.

    Attributes:
        pid: its id on the host; in a container, another than the process itself knows.
        memory: its bytes; None or 0 if the driver does not tell.
        group: its process group; None if there is no such process here.
    """

    pid: int
    memory: int | None
    group: int | None


@dataclass(frozen=True)
class Border:
    """A GPU between two stages of a case, while nothing is timed.

    Attributes:
        memory: bytes in use by all processes together.
        entries: the processes; None if NVML does not list them.
    """

    memory: int | None
    entries: tuple[Entry, ...] | None

    def of(self, group: int | None, before: Border) -> tuple[Entry, ...]:
        """Return the entries of a process group: those that say so, otherwise the only new one."""
        entries = self.entries or ()
        own = tuple(each for each in entries if group is not None and each.group == group)
        if own or before is self:
            return own
        known = {each.pid for each in before.entries or ()}
        new = tuple(each for each in entries if each.pid not in known)
        return new if len(new) == 1 and len(entries) == len(before.entries or ()) + 1 else ()

    def others(self, group: int | None, before: Border) -> tuple[Entry, ...]:
        """Return the entries that are not a process group's."""
        own = self.of(group, before)
        return tuple(each for each in self.entries or () if each not in own)


def look(gpu: Gpu) -> Border:
    """Read what takes milliseconds: only while nothing is timed."""
    found = gpu.processes()
    entries = None if found is None else tuple(Entry(pid, used, group_of(pid)) for pid, used in found)
    return Border(gpu.memory(), entries)


def group_of(pid: int) -> int | None:
    """Return a process's group; None if there is no such process here."""
    try:
        return os.getpgid(pid) if pid > 0 else None
    except (ProcessLookupError, PermissionError):
        return None


@dataclass(frozen=True)
class Attributed:
    """The memory of a process on a GPU at several borders, in bytes.

    Attributes:
        source: how it was found.
        bytes: at each border.
    """

    source: MemorySource
    bytes: tuple[int | None, ...]


def attributed(before: Border, borders: Sequence[Border], group: int | None) -> Attributed | None:
    """Return how much of a GPU's memory is a process group's; None if NVML does not tell.

    Newer drivers tell containers no memory of single processes, and other process ids than theirs. So the
    memory is, of these, the first that is known at the last border: that of the entries whose process group
    it is; that of the one entry more than before; the increase of the memory in use, if no other process is
    listed, or none of them changed.
    """
    ways = (
        (MemorySource.PROCESS_GROUP, _of_group),
        (MemorySource.NEW_ENTRY, _of_new_entry),
        (MemorySource.DEVICE, _of_increase),
    )
    for source, way in ways:
        found = tuple(way(before, each, group) for each in borders)
        if found and found[-1] is not None:
            return Attributed(source, found)
    return None


def _of_group(before: Border, now: Border, group: int | None) -> int | None:
    own = [each for each in now.entries or () if group is not None and each.group == group]
    return _sum(own)


def _of_new_entry(before: Border, now: Border, group: int | None) -> int | None:
    return _sum(now.of(None, before))


def _sum(entries: Sequence[Entry]) -> int | None:
    """Return the memory of some entries; None if one of them does not tell."""
    return sum(each.memory or 0 for each in entries) if entries and all(e.memory for e in entries) else None


def _of_increase(before: Border, now: Border, group: int | None) -> int | None:
    if before.memory is None or now.memory is None or before.entries is None or now.entries is None:
        return None
    there = sorted((each.pid, each.memory or 0) for each in before.others(group, before))
    here = sorted((each.pid, each.memory or 0) for each in now.others(group, before))
    return max(0, now.memory - before.memory) if there == here else None


class WatchedMemory:
    """The memory of a GPU while a block of code runs, and what the GPU did meanwhile.

    Memory is in KB of 1024 bytes, and None if NVML does not tell it.
    """

    def __init__(self, gpu: Gpu, period: float = PERIOD) -> None:
        self._gpu, self._watcher = gpu, Watcher(gpu, period)
        self._ends: list[Border] = []

    def __enter__(self) -> WatchedMemory:
        """Begin to read."""
        self._ends = [look(self._gpu)]
        self._watcher.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        self._watcher.end()
        self._ends.append(look(self._gpu))

    @property
    def peak_kb(self) -> int | None:
        """The most in use on the device, by all processes, above the level at the beginning."""
        known = [each for each in self.timeline.memory if each is not None]
        level = self._ends[0].memory if self._ends else None
        return None if level is None or not known else max(0, max(known) - level) // 1024

    @property
    def process_kb(self) -> int | None:
        """What this process takes at the end, with CUDA's context; None before, and if NVML does not tell."""
        if len(self._ends) < 2:
            return None
        found = attributed(self._ends[0], self._ends[1:], group_of(os.getpid()))
        is_own = found is not None and found.source is MemorySource.PROCESS_GROUP
        return found.bytes[-1] // 1024 if found is not None and is_own and found.bytes[-1] else None

    @property
    def others(self) -> int | None:
        """The number of other processes on the GPU, at the beginning or the end; None if unknown."""
        group = group_of(os.getpid())
        known = [each for each in self._ends if each.entries is not None]
        return max((len(each.others(group, self._ends[0])) for each in known), default=None)

    @property
    def timeline(self) -> GpuTimeline:
        """The readings: one at the beginning, one at the end, and one in each period."""
        return timeline_of(self._watcher.readings)
