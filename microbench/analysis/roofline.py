"""The roofline: how fast a call can be on a machine, what keeps it from being faster, how near it comes.

Williams, Waterman, Patterson: Roofline: An Insightful Visual Performance Model for Multicore Architectures
(Communications of the ACM 52, 2009); with the bandwidth of the cache that the call's bytes fit in, as in
Ilic, Pratas, Sousa: Cache-aware Roofline Model (IEEE Computer Architecture Letters 13, 2014); and with the
time that a call takes to do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from microbench.records.peaks import Peaks


class Bound(StrEnum):
    """What keeps a call from being faster."""

    COMPUTE = "compute"
    MEMORY = "memory"
    OVERHEAD = "overhead"


@dataclass(frozen=True)
class Roof:
    """How fast a call can be.

    Attributes:
        intensity: FLOP per byte; None for a call without bytes.
        ceiling: FLOP/s at best: the peak of arithmetic, or what memory can feed; 0 for a call that only moves
            bytes; None where a peak that it depends on was not measured.
        least: the seconds that each bound allows at least; without those that were not measured.
        bound: the one that allows the least speed; None where one was not measured.
    """

    intensity: float | None
    ceiling: float | None
    least: Mapping[Bound, float]
    bound: Bound | None


def roof(flops: int, size: int, dtype: str, peaks: Peaks) -> Roof:
    """The roof over a call.

    Args:
        flops: its floating-point operations.
        size: the bytes that it reads and writes.
        dtype: the number format it computes in, such as `float32`.
        peaks: what the machine reaches at best.
    """
    peak, bandwidth = peaks.arithmetic(dtype), peaks.bandwidth(size)
    intensity = flops / size if size else None
    least = {Bound.OVERHEAD: peaks.call_seconds}
    if (compute := _seconds(flops, peak)) is not None:
        least[Bound.COMPUTE] = compute
    if (memory := _seconds(size, bandwidth)) is not None:
        least[Bound.MEMORY] = memory
    bound = max(least, key=lambda each: least[each]) if len(least) == len(Bound) else None
    return Roof(intensity, _ceiling(flops, intensity, peak, bandwidth), least, bound)


def _seconds(work: int, rate: float | None) -> float | None:
    """How long work takes at a rate; none takes no time, whatever the rate."""
    if work == 0:
        return 0.0
    return None if rate is None else work / rate


def _ceiling(
    flops: int, intensity: float | None, peak: float | None, bandwidth: float | None
) -> float | None:
    if flops == 0:
        return 0.0
    if intensity is None or peak is None:
        return peak
    return None if bandwidth is None else min(peak, intensity * bandwidth)
