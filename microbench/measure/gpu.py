"""What a GPU's readings say of a case's samples: throttling, moving clocks, others. No torch.

The codes of the warnings: docs/warnings.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median

from microbench.records.record import BenchmarkWarning, GpuReadings, GpuTimeline, WarningCode

REASONS: Mapping[str, int] = {
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "hw_power_brake": 0x80,
}
"""What holds a GPU's clock down, by our name: NVML's bits. Idleness and clocks that a user set are none."""

IDLE = 0x1
"""The bit that says that the clock is low because there is nothing to do."""

SEVERE = {
    "sw_thermal": "heat",
    "hw_thermal": "heat, in hardware",
    "hw_slowdown": "the hardware (heat, or the power supply)",
    "hw_power_brake": "the power supply's brake",
}
"""The reasons that count in any reading, with what they mean."""

POWER_CAP = "sw_power_cap"
CAPPED = 0.1  # of the readings: below it the power limit is only touched
MOVED_CLOCK = 0.03  # of the highest clock
MOVED_MEMORY = 32 * 2**20  # bytes: a driver's own bookkeeping is smaller
ROUNDING = 1e-6  # of a sample
BUSY = 0.1  # of the time: a desktop takes less


def shares(timeline: GpuTimeline) -> dict[str, float]:
    """Return the share of the readings in which each reason held the clock down, if it ever did."""
    told = [each for each in timeline.reasons if each is not None]
    found = {name: sum(bool(each & bit) for each in told) for name, bit in REASONS.items()}
    return {name: number / len(told) for name, number in found.items() if number}


def throttling(reasons: Mapping[str, float]) -> list[str]:
    """Return the reasons, given with their shares of the readings, that make times doubtful."""
    severe = [name for name in SEVERE if name in reasons]
    return [*severe, *([POWER_CAP] if reasons.get(POWER_CAP, 0.0) > CAPPED else [])]


def throttled(timeline: GpuTimeline, names: Iterable[str]) -> list[bool]:
    """Return for each reading whether one of these reasons held the clock down."""
    bits = sum(REASONS[name] for name in names)
    return [bool((each or 0) & bits) for each in timeline.reasons]


def clocks(timeline: GpuTimeline) -> list[float]:
    """Return the known clocks of the multiprocessors in Hz: those of readings at work, if there are any."""
    pairs = zip(timeline.sm_clock, timeline.reasons, strict=True)
    known = [(clock, reasons or 0) for clock, reasons in pairs if clock is not None]
    return [clock for clock, reasons in known if not reasons & IDLE] or [clock for clock, _ in known]


def throttled_samples(
    timeline: GpuTimeline, names: Iterable[str], counts: Sequence[tuple[float, int]]
) -> list[tuple[int, int]]:
    """Return the samples, as first and last index, whose time overlaps that of a throttled reading.

    A reading stands for the time from the one before it to the one after it. Between two reports of the
    sampling, samples are taken to have lasted equally long.

    Args:
        timeline: the readings.
        names: the reasons that count.
        counts: times in seconds, as those of the readings, and the number of samples taken until then.
    """
    found: list[tuple[int, int]] = []
    times, total = timeline.seconds, counts[-1][1] if counts else 0
    for place, is_throttled in enumerate(throttled(timeline, names)):
        if not is_throttled or not total:
            continue
        before, after = times[max(0, place - 1)], times[min(len(times) - 1, place + 1)]
        first = min(total - 1, math.floor(_taken(before, counts) + ROUNDING))
        last = min(total - 1, max(first, math.ceil(_taken(after, counts) - ROUNDING) - 1))
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def _taken(time: float, counts: Sequence[tuple[float, int]]) -> float:
    """Return how many samples had been taken at a time."""
    for (start, before), (end, after) in pairwise(counts):
        if time < end:
            share = (time - start) / (end - start) if end > start else 1.0
            return before + max(0.0, share) * (after - before)
    return counts[-1][1]


def gpu_warnings(found: GpuReadings) -> Iterator[BenchmarkWarning]:
    """Yield the warnings on what a GPU did while a case was measured: at most one of each code."""
    yield from _not_idle(found)
    yield from _shared(found)
    yield from _throttled(found)
    yield from _clock_moved(found)


def _not_idle(found: GpuReadings) -> Iterator[BenchmarkWarning]:
    if found.busy_before is not None and found.busy_before > BUSY:
        yield BenchmarkWarning(
            WarningCode.GPU_NOT_IDLE,
            f"the GPU was at work {found.busy_before * 100:.0f} % of the time before the case began; end "
            "what else runs on it (see `nvidia-smi`)",
        )


def _shared(found: GpuReadings) -> Iterator[BenchmarkWarning]:
    parts = []
    if found.others:
        parts.append(f"{found.others} other process{'es' * (found.others > 1)} used the GPU")
    if (found.memory_moved or 0) > MOVED_MEMORY:
        parts.append(f"its memory in use changed by {(found.memory_moved or 0) / 2**20:.0f} MiB by itself")
    if parts:
        yield BenchmarkWarning(
            WarningCode.GPU_SHARED,
            f"{' and '.join(parts)}, so its time is not the case's alone; end other processes (see "
            "`nvidia-smi`), or take another GPU",
        )


def _throttled(found: GpuReadings) -> Iterator[BenchmarkWarning]:
    names = throttling(found.reasons)
    if not names:
        return
    texts = [
        f"{SEVERE.get(name, 'its power limit')} ({name}, {found.reasons[name] * 100:.0f} % of the readings)"
        for name in names
    ]
    remedy = "cool it, or let it rest between cases"
    if names == [POWER_CAP]:
        remedy = "this is its sustained speed at that limit; a lower fixed clock is steadier"
    yield BenchmarkWarning(
        WarningCode.GPU_THROTTLED,
        f"{' and '.join(texts)} held the GPU's clock down{_lost(found, names)}; {remedy}",
    )


def _lost(found: GpuReadings, names: Sequence[str]) -> str:
    """Return how much clock was lost: against readings without throttling, or else the highest clock."""
    pairs = list(zip(found.timeline.sm_clock, throttled(found.timeline, names), strict=True))
    low = [clock for clock, is_low in pairs if is_low and clock is not None]
    full = max((clock for clock, is_low in pairs if not is_low and clock is not None), default=None)
    full = max(filter(None, (full, found.sm_clock_limit if full is None else None)), default=None)
    if not low or full is None or median(low) >= full:
        return ""
    lost = 1 - median(low) / full
    return f": {median(low) / 1e6:.0f} MHz instead of {full / 1e6:.0f} MHz, {lost * 100:.0f} % less"


def _clock_moved(found: GpuReadings) -> Iterator[BenchmarkWarning]:
    low, high = found.sm_clock_min, found.sm_clock_max
    if low is not None and high and (high - low) / high > MOVED_CLOCK:
        yield BenchmarkWarning(
            WarningCode.GPU_CLOCK_MOVED,
            f"the GPU's clock moved between {low / 1e6:.0f} and {high / 1e6:.0f} MHz within the series "
            f"({(high - low) / high * 100:.0f} %); raise measure.max_warmup, or have the clock fixed "
            "(`nvidia-smi --lock-gpu-clocks`, by its administrator)",
        )
