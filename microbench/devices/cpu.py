"""The CPU: a clock of nanoseconds, resident memory, what torch allocates."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch._C._profiler import _ExtraFields_Allocation, _ProfilerEvent, _RecordFunctionFast
from torch.autograd.profiler import profile

from microbench import devices
from microbench.config import Config
from microbench.devices import Level
from microbench.errors import UserError
from microbench.records.record import Scalar
from microbench.system import cpus, memory
from microbench.system.energy import Meter
from microbench.system.process import PeakMemory

LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables that keep libraries from using instructions that the CPU has."""


SHARE = 0.9  # of free memory that a process may take


class HostClock:
    """`time.perf_counter_ns`: on a CPU, a call has ended when it returns."""

    name = "perf_counter_ns"
    ahead = False
    mark = staticmethod(time.perf_counter_ns)
    now = staticmethod(time.perf_counter)

    def seconds(self, marks: Sequence[int]) -> list[float]:
        """Return each mark's time in seconds after the first."""
        return [(mark - marks[0]) * 1e-9 for mark in marks]


class ProfiledLedger:
    """Tracks torch's allocations on the host, from its profiler's record of every allocation.

    It counts what passes through torch's CPU allocator, to the byte, but not what libraries such as oneDNN
    allocate themselves, nor the pages that the system has handed out. Memory that was allocated before the
    beginning is unknown to the profiler, so that its release is not counted; neither are allocations by
    threads that the work starts itself.
    """

    NOTE = "microbench.note"

    def __init__(self) -> None:
        self._profile = profile(profile_memory=True)
        self._note = _RecordFunctionFast(
            self.NOTE
        )  # unlike record_function, not an operator that would be seen or traced

    def __enter__(self) -> ProfiledLedger:
        """Begin to record.

        Raises:
            UserError: torch's profiler is already running, and there can be only one.
        """
        if torch._C._autograd._profiler_enabled():
            raise UserError(
                "Memory cannot be measured while torch's profiler is running: stop it first, or leave "
                "memory out."
            )
        with _silent_profiler():
            self._profile.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the recording."""
        self._profile.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def note(self) -> None:
        """Leave a mark in the record, which takes a microsecond."""
        with self._note:
            pass

    def levels(self) -> list[Level]:
        """Evaluate the record, which takes a few microseconds per allocation."""
        results = self._profile.kineto_results
        assert results is not None, "the ledger has not ended"
        return levels_between(_changes(results.experimental_event_tree()))


@contextmanager
def _silent_profiler() -> Iterator[None]:
    """Keep the profiler's library, which reads this variable when it starts, from logging to stderr."""
    name = "KINETO_LOG_LEVEL"
    if name in os.environ:
        yield
        return
    os.environ[name] = "99"
    try:
        yield
    finally:
        del os.environ[name]


def _changes(roots: Iterable[_ProfilerEvent]) -> Iterator[int | None]:
    """Yield each recorded event's change of the level in bytes, in order of time; None is a note."""
    sizes: dict[int, int] = {}  # size by address
    for event in sorted(_walk(roots), key=lambda each: each.start_time_ns):
        fields = event.typed[1]
        if event.name == ProfiledLedger.NOTE:
            yield None
        elif isinstance(fields, _ExtraFields_Allocation) and fields.device.type == "cpu":
            if fields.alloc_size > 0:
                sizes[fields.ptr] = fields.alloc_size
            yield fields.alloc_size if fields.alloc_size > 0 else -sizes.pop(fields.ptr, 0)


def _walk(roots: Iterable[_ProfilerEvent]) -> Iterator[_ProfilerEvent]:
    """Yield all events of a tree."""
    waiting = list(roots)
    while waiting:
        event = waiting.pop()
        yield event
        waiting.extend(event.children)


def levels_between(changes: Iterable[int | None]) -> list[Level]:
    """Return the level at each None among its changes, and the peak since the previous None."""
    found = []
    level = peak = 0
    for change in changes:
        if change is None:
            found.append(Level(level, peak))
            peak = level
        else:
            level += change
            peak = max(peak, level)
    return found


class Device(devices.Device):
    """The CPU this process may use."""

    name = "cpu"
    preference = 0

    def __init__(self) -> None:
        self.clock = HostClock()

    @contextmanager
    def prepared(self, config: Config) -> Iterator[None]:
        """Switch torch's use of oneDNN on or off."""
        onednn: Any = torch.backends.mkldnn
        before, onednn.enabled = onednn.enabled, config.device.mkldnn
        try:
            yield
        finally:
            onednn.enabled = before

    def cache(self) -> int:
        """Return the bytes of the usable CPUs' last-level cache."""
        return cpus.last_level_cache() or super().cache()

    def memory(self) -> PeakMemory:
        """Measure resident memory."""
        return PeakMemory()

    def available(self) -> int | None:
        """Return most of what is free: the kernel would end this process, or swap, if all were taken."""
        free = memory.available()
        return None if free is None else int(SHARE * free)

    def memory_of(self, pid: int) -> PeakMemory:
        """Measure another process's resident memory."""
        return PeakMemory(pid)

    def ledger(self) -> ProfiledLedger:
        """Track torch's allocations on the host."""
        return ProfiledLedger()

    def energy(self) -> Meter:
        """Read the processors' own counters."""
        return Meter()

    def describe(self) -> dict[str, Scalar]:
        """Return the widest vector instructions that torch uses, and the limits on those of libraries."""
        limits = " ".join(f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name))
        return {"cpu_capability": torch.backends.cpu.get_cpu_capability(), "cpu_limits": limits or None}
