"""The sensors, read before and after the sampling, never during it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from microbench.measure.disturbances import Surroundings
from microbench.records.record import Readings
from microbench.system import cgroups, cpus, frequency, load, setup
from microbench.system.process import Usage, page_fault_cost

MANY_FAULTS = 50  # per call; fewer take 0.1 ms at most, so that their cost is not worth measuring

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class _Counts:
    """Counters since the machine or the process started."""

    times: load.CpuTimes | None
    delays: dict[int, float] | None
    throttled: list[float]
    heated: int | None


def _counts(among: set[int], pid: int | None) -> _Counts:
    return _Counts(
        load.cpu_times(among),
        load.run_delays(pid),
        cgroups.throttled_seconds(),
        frequency.thermal_throttles(among),
    )


class Sensors:
    """A context manager that reads what a process uses and what disturbs it.

    Args:
        pid: the process; None for this one.

    Attributes:
        cpus: the CPUs that the process's threads may run on.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid
        self.cpus = load.allowed_cpus(pid) or cpus.usable()
        self._usage = Usage(pid)
        self._ours = [self._usage] if pid is None else [self._usage, Usage()]

    def __enter__(self) -> Sensors:
        """Read the initial counters."""
        self._before = _counts(self.cpus, self._pid)
        for usage in self._ours:
            usage.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Read the final counters."""
        for usage in self._ours:
            usage.__exit__(kind, error, trace)
        self._after = _counts(self.cpus, self._pid)
        self._clock_rate = frequency.clock_rate(self._pid)

    def readings(self, calls: int) -> Readings:
        """Return the readings for `calls` calls; measure the cost of a page fault if there were many."""
        usage, before, after = self._usage, self._before, self._after
        faults = usage.page_faults / calls
        cost = page_fault_cost() if faults > MANY_FAULTS else None
        return Readings(
            sampling_seconds=usage.seconds,
            page_faults_per_call=faults,
            page_fault_cost=cost,
            page_fault_share=None if cost is None else min(1.0, usage.page_faults * cost / usage.cpu_seconds),
            involuntary_switches=usage.involuntary_switches,
            cpu_utilization=usage.cpu_seconds / usage.seconds,
            system_utilization=usage.system_seconds / usage.seconds,
            run_delay=_run_delay(before, after, usage.seconds),
            foreign_cpus=_foreign_cpus(before, after, self._ours),
            steal=_steal(before, after),
            throttled=_throttled(before, after),
            thermal_throttles=_increase(before.heated, after.heated),
            cpu_frequency=self._clock_rate,
        )

    def surroundings(self, threads: int, allocator: str) -> Surroundings:
        """Return the environment of a case with these threads and this allocator."""
        return Surroundings(
            threads=threads,
            cpus=len(self.cpus),
            quota=cgroups.cpu_quota(),
            allocator=allocator,
            governors=frequency.governors(self.cpus),
            boosts=frequency.boosts(),
            on_battery=setup.draining_battery(),
        )


def _increase(before: Number | None, after: Number | None) -> Number | None:
    return None if before is None or after is None else after - before


def _throttled(before: _Counts, after: _Counts) -> float | None:
    """Return the throttled seconds of the control group that was throttled longest."""
    if len(before.throttled) != len(after.throttled):
        return None
    each = zip(before.throttled, after.throttled, strict=True)
    return max((later - earlier for earlier, later in each), default=None)


def _run_delay(before: _Counts, after: _Counts, seconds: float) -> float | None:
    if before.delays is None or after.delays is None:
        return None
    return load.waited_between(before.delays, after.delays) / seconds


def _foreign_cpus(before: _Counts, after: _Counts, ours: Sequence[Usage]) -> float | None:
    """Return how many CPUs others kept busy: neither the process, nor this one if it waits for it.

    The kernel counts a CPU's time in ticks but a process's exactly, so the difference may be below 0.
    """
    if before.times is None or after.times is None:
        return None
    own = sum(usage.cpu_seconds for usage in ours)
    return max(0.0, after.times.busy - before.times.busy - own) / ours[0].seconds


def _steal(before: _Counts, after: _Counts) -> float | None:
    if before.times is None or after.times is None:
        return None
    busy, stolen = after.times.busy - before.times.busy, after.times.stolen - before.times.stolen
    return stolen / (busy + stolen) if busy + stolen > 0 else 0.0
