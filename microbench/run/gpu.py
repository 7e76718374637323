"""What the GPU does while rounds are measured: the parent reads it, away from what is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean, median
from typing import TypeVar

from msgspec.structs import replace

from microbench.measure import gpu as judging
from microbench.records.progress import OPENED, SAMPLED, SAMPLING, Progress
from microbench.records.record import GpuReadings, GpuTimeline, Measured, MemorySource, Role
from microbench.system.gpu import INSTANT_POWER, Gpu, NoAnswerError, opened
from microbench.system.watcher import Border, Watcher, attributed, group_of, look, timeline_of

PATIENCE = 2.0  # seconds for the driver to free the last worker's memory, and for the GPU to come to rest
PAUSE = 0.05  # seconds between looks meanwhile
SLACK = 32 * 2**20  # bytes
OUTER = 0.05  # of the samples' clocks at either end do not count: each is as exact as one interval is

SOURCES = {
    MemorySource.NEW_ENTRY: "that of the process that is listed since the case began",
    MemorySource.DEVICE: "what is in use on the whole GPU, above the level before the case",
    MemorySource.ALLOCATOR: "what torch's allocator has reserved, without CUDA's context",
}
"""How the process's memory is found where NVML does not say it by our process ids."""

Number = TypeVar("Number", int, float)


@dataclass
class Known:
    """A GPU, and what earlier rounds on it have left.

    Attributes:
        gpu: the GPU.
        ours: the ids of our earlier rounds' processes, as NVML lists them.
        level: the bytes in use before the last round.
        patience: seconds to wait for rest before a round; 0 once that was in vain: others use the GPU.
    """

    gpu: Gpu
    ours: set[int] = field(default_factory=set)
    level: int | None = None
    patience: float = field(default_factory=lambda: PATIENCE)


class Gpus:
    """The GPUs that a run's cases use. What NVML does not tell is said once in a run.

    Args:
        say: is told a line about the run.
        sleep: waits for some seconds.
    """

    def __init__(self, say: Callable[[str], None], sleep: Callable[[float], object] = time.sleep) -> None:
        self.say_once, self.sleep = cache(say), sleep
        self._open: dict[str, Known | None] = {}
        self._library = ExitStack()
        self._missing: set[str] = set()

    def watch(self, uuid: str | None) -> GpuRound | None:
        """Return what watches a GPU during a round; None without a GPU, or if NVML cannot be asked."""
        if uuid is None:
            return None
        if uuid not in self._open:
            self._open[uuid] = self._found(uuid)
        known = self._open[uuid]
        return None if known is None else GpuRound(known, self)

    def _found(self, uuid: str) -> Known | None:
        try:
            return Known(self._library.enter_context(opened(uuid)))
        except NoAnswerError as error:
            self.say_once(
                f"The GPU is not watched (clocks, power, memory by process, other processes): {error}."
            )
            return None

    def tell_missing(self, missing: Mapping[str, str]) -> None:
        """Say what NVML refuses to tell, each once, with its reasons."""
        fresh = {what: why for what, why in missing.items() if what not in self._missing}
        self._missing.update(fresh)
        fresh.pop(INSTANT_POWER, None)  # the mean is read instead
        if fresh:
            why = ", ".join(dict.fromkeys(fresh.values()))
            self.say_once(f"NVML does not tell the GPU's {', '.join(fresh)}: {why}.")

    def close(self) -> None:
        """Close NVML."""
        self._library.close()


class GpuRound:
    """What a GPU does during one round.

    Processes and their memory are read at borders between stages alone, while the worker waits: before the
    worker begins, when it has made CUDA's context, and around the sampling. During the sampling a thread of
    this process reads the rest.
    """

    def __init__(self, known: Known, gpus: Gpus) -> None:
        self._known, self._gpu, self._gpus = known, known.gpu, gpus
        self._watcher = Watcher(known.gpu)
        self._borders: dict[str, Border] = {}
        self._group: int | None = None
        self._counts: list[tuple[float, int]] = []
        self._busy: float | None = None
        self._before = Border(None, None)

    def begin(self) -> None:
        """Wait until the last worker's memory is free and the GPU at rest, for a short time; then look."""
        waited = 0.0
        self._before, self._busy = look(self._gpu), self._gpu.utilization()
        while waited < self._known.patience and not self._is_settled():
            self._gpus.sleep(PAUSE)
            waited += PAUSE
            self._before, self._busy = look(self._gpu), self._gpu.utilization()
        if not self._is_settled():
            self._known.patience = 0.0
        self._known.level = self._before.memory

    def _is_settled(self) -> bool:
        level, memory = self._known.level, self._before.memory
        is_left = any(each.pid in self._known.ours for each in self._before.entries or ())
        is_full = level is not None and memory is not None and memory > level + SLACK
        return not is_left and not is_full and (self._busy or 0.0) <= judging.BUSY

    def progress(self, progress: Progress) -> None:
        """Read what a stage's border allows; the worker waits meanwhile."""
        if progress.stage == OPENED:
            self._group = group_of(progress.pid)
        if progress.stage == SAMPLED:
            self._count(progress.n)
            self._watcher.end()
        if progress.stage in (OPENED, SAMPLING, SAMPLED):
            self._borders[progress.stage] = border = look(self._gpu)
            self._known.ours.update(each.pid for each in border.of(self._group, self._before) if each.pid)
        if progress.stage == SAMPLING:
            self._watcher.begin()
            self._count(progress.n)
        elif progress.stage == "sample" and self._counts:
            self._count(progress.n)

    def _count(self, number: int) -> None:
        self._counts.append((time.monotonic(), number))

    def told(self, measured: Measured) -> Measured:
        """Stop reading, and return a round's measurement with what was read, and the warnings on it."""
        self._watcher.end()
        found = self._readings(measured.outcome.gpu or GpuReadings(), measured)
        outcome = measured.outcome
        warnings = (*outcome.warnings, *judging.gpu_warnings(found))
        peak = found.memory if outcome.peak_memory is None else outcome.peak_memory
        self._tell(found)
        return replace(measured, outcome=replace(outcome, gpu=found, warnings=warnings, peak_memory=peak))

    def _readings(self, of_worker: GpuReadings, measured: Measured) -> GpuReadings:
        readings = self._watcher.readings
        timeline, start = timeline_of(readings), readings[0].time if readings else 0.0
        whole = next((each for each in measured.series if each.role is Role.WHOLE), None)
        of_samples = [] if whole is None else whole.sm_clocks  # finer than NVML's, where they were measured
        reasons, clocks = judging.shares(timeline), of_samples or judging.clocks(timeline)
        number = 0 if whole is None else len(whole.samples)
        counts = [(at - start, min(taken, number)) for at, taken in self._counts]
        if counts and SAMPLED in self._borders:
            counts[-1] = counts[-1][0], number
        lasted = timeline.seconds[-1] if timeline.seconds else 0.0
        return replace(
            of_worker,
            **self._memory(of_worker),
            others=self._others(),
            memory_moved=self._moved(timeline),
            busy_before=self._busy,
            sm_clock=median(clocks) if clocks else None,
            sm_clock_min=_at(OUTER, clocks) if of_samples else min(clocks, default=None),
            sm_clock_max=_at(1 - OUTER, clocks) if of_samples else max(clocks, default=None),
            sm_clock_limit=self._gpu.max_clock(),
            memory_clock=_of(timeline.memory_clock, median),
            power=_of(timeline.power, fmean),
            temperature=_of(timeline.temperature, max),
            reasons=reasons,
            throttled_samples=judging.throttled_samples(timeline, judging.throttling(reasons), counts),
            watching=self._watcher.cpu_seconds / lasted if lasted else None,
            timeline=timeline,
        )

    def _memory(self, of_worker: GpuReadings) -> Mapping[str, int | MemorySource | None]:
        """Return the memory of the process, of its context, and how they were found."""
        if SAMPLED not in self._borders:
            return {}
        ends = [self._borders[each] for each in (OPENED, SAMPLED) if each in self._borders]
        found = attributed(self._before, ends, self._group)
        if found is None:
            reserved = of_worker.reserved
            source = None if reserved is None else MemorySource.ALLOCATOR
            return {"process": reserved, "memory_source": source}
        context = found.bytes[0] if len(ends) > 1 else None
        return {"process": found.bytes[-1], "context": context, "memory_source": found.source}

    def _others(self) -> int | None:
        borders = (self._before, *self._borders.values())
        known = [each.others(self._group, self._before) for each in borders if each.entries is not None]
        left = self._known.ours  # of earlier rounds, which the driver still lists
        return max((sum(each.pid not in left for each in found) for found in known), default=None)

    def _moved(self, timeline: GpuTimeline) -> int | None:
        """Return by how many bytes others changed the memory in use during the sampling.

        A case's own memory never falls meanwhile, because torch's allocator keeps what it has; what it rises
        by is known where NVML tells the memory of a process.
        """
        known = [each for each in timeline.memory if each is not None]
        if not known:
            return None
        fall = rise = highest = 0
        for each in known:
            highest = max(highest, each)
            fall = max(fall, highest - each)
        around = [self._borders[each] for each in (SAMPLING, SAMPLED) if each in self._borders]
        own = attributed(self._before, around, self._group) if len(around) > 1 else None
        if own is not None and own.source is not MemorySource.DEVICE:
            before, after = own.bytes
            if before is not None and after is not None:
                rise = known[-1] - known[0] - (after - before)
        return max(fall, rise)

    def _tell(self, found: GpuReadings) -> None:
        if self._gpu.is_part:
            self._gpus.say_once(
                "The GPU is a part of one (MIG): clocks, power, temperature and energy are the whole GPU's, "
                "so they are not read."
            )
        self._gpus.tell_missing(self._gpu.missing)
        if found.memory_source in SOURCES:
            how = SOURCES[found.memory_source]
            self._gpus.say_once(f"The memory on the GPU is {how}: NVML does not tell it by process.")


def _at(p: float, clocks: list[float]) -> float:
    """Return a quantile of the samples' clocks."""
    ranked = sorted(clocks)
    return ranked[round(p * (len(ranked) - 1))]


def _of(values: list[float | None], what: Callable[[list[float]], float]) -> float | None:
    known = [each for each in values if each is not None]
    return what(known) if known else None
