"""The roofline: how fast calls can be on a machine, what limits them, and how close they come.

Williams, Waterman, Patterson: Roofline: An Insightful Visual Performance Model for Multicore Architectures
(Communications of the ACM 52, 2009); with the bandwidth of the cache that the call's bytes fit in, as in
Ilic, Pratas, Sousa: Cache-aware Roofline Model (IEEE Computer Architecture Letters 13, 2014); and with the
time of a call that does nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from microbench.analysis.calls import Row
from microbench.records.peaks import Peaks


class Bound(StrEnum):
    """What limits the speed of a call."""

    COMPUTE = "compute"
    MEMORY = "memory"
    OVERHEAD = "overhead"


@dataclass(frozen=True)
class Roof:
    """How fast a call can be.

    Attributes:
        ceiling: the highest possible FLOP/s, by peak arithmetic or memory bandwidth; 0 for a call that only
            moves bytes; None if a peak that it depends on was not measured.
        least: the shortest possible time by each bound in seconds, except those that were not measured.
        bound: the bound with the lowest speed; None if one was not measured.
    """

    ceiling: float | None
    least: Mapping[Bound, float]
    bound: Bound | None


def roof(flops: int, size: int, dtype: str, peaks: Peaks) -> Roof:
    """Return the roof over a call.

    Args:
        flops: its floating-point operations.
        size: the bytes that it reads and writes.
        dtype: the number format it computes in, such as `float32`.
        peaks: the machine's peaks.
    """
    peak, bandwidth = peaks.arithmetic(dtype), peaks.bandwidth(size)
    least = {Bound.OVERHEAD: peaks.call_seconds}
    for each, work, rate in ((Bound.COMPUTE, flops, peak), (Bound.MEMORY, size, bandwidth)):
        if work == 0:
            least[each] = 0.0  # whatever the rate
        elif rate is not None:
            least[each] = work / rate
    bound = max(least, key=lambda each: least[each]) if len(least) == len(Bound) else None
    if flops == 0:
        return Roof(0.0, least, bound)
    if size == 0 or peak is None:
        return Roof(peak, least, bound)
    return Roof(None if bandwidth is None else min(peak, flops / size * bandwidth), least, bound)


@dataclass(frozen=True)
class Limits:
    """The limits of calls by the peaks; None if no relevant peak, or no time, was measured.

    Among several calls, those whose number format has no peak are left out unless they take most of the time.

    Attributes:
        ceiling: the highest possible FLOP/s; of several calls, the sum of their FLOP over the sum of their
            shortest possible times.
        reached: the shortest possible time over the measured time.
        bound: what most of the shortest possible time is spent on: compute, memory or overhead.
    """

    ceiling: float | None = None
    reached: float | None = None
    bound: str | None = None


def limits(rows: Sequence[Row], peaks: Peaks | None) -> Limits:
    """Return the limits of calls, none of which is within another."""
    if peaks is None:
        return Limits()
    roofs = [(row, roof(row.flops or 0, row.mem_rw or 0, row.dtype, peaks)) for row in rows]
    ceiling = roofs[0][1].ceiling if len(roofs) == 1 else None
    bounded = [row for row, each in roofs if each.bound]
    seconds = _seconds(bounded)
    if not bounded or seconds < _seconds(rows) / 2:
        return Limits(ceiling)
    least: defaultdict[Bound, float] = defaultdict(float)
    for _, each in roofs:
        if each.bound:
            least[each.bound] += each.least[each.bound]
    together = sum(least.values())
    return Limits(
        ceiling if len(roofs) == 1 else sum(row.flops or 0 for row in bounded) / together,
        reached=together / seconds if seconds > 0 else None,
        bound=max(least, key=lambda bound: least[bound]).value,
    )


def _seconds(rows: Iterable[Row]) -> float:
    return sum(row.net_lat or 0.0 for row in rows)
