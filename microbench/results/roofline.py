"""The roofline: how fast a call can be on a machine, what keeps it from being faster, how near it comes.

Williams, Waterman, Patterson: Roofline: An Insightful Visual Performance Model for Multicore Architectures
(Communications of the ACM 52, 2009); with the bandwidth of the cache that the call's bytes fit in, as in
Ilic, Pratas, Sousa: Cache-aware Roofline Model (IEEE Computer Architecture Letters 13, 2014); and with the
time that a call takes to do nothing.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

HALF = ("float16", "bfloat16")
UNMEASURED = ("float64", "complex128")
"""Their arithmetic is slower than fp32's, and how much slower is not measured."""


@dataclass(frozen=True)
class Peaks:
    """What a machine reaches at best, as measured on it.

    Attributes:
        fp32: FLOP/s of products in fp32; None where it was not to be measured.
        bf16: FLOP/s of products in bf16; None where it is emulated too.
        fp32_by: which kind of product reached `fp32`.
        bf16_by: which kind of product reached `bf16`.
        bandwidths: bytes that a call reads and writes, and B/s at which it does, by ascending bytes.
        call_seconds: the time of a call that computes next to nothing.
        disturbed: other work, a quota or heat kept the machine from its best while they were measured.
        emulated: the 16-bit formats that the hardware converts to fp32 to compute in, and the FLOP/s of a
            small product in each: no peak, which is that of fp32.
    """

    fp32: float | None
    bf16: float | None
    fp32_by: str
    bf16_by: str
    bandwidths: tuple[tuple[int, float], ...]
    call_seconds: float
    disturbed: bool = False
    emulated: tuple[tuple[str, float], ...] = ()

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_plain(cls, data: Any) -> Peaks:
        """From plain data.

        Raises:
            ValueError: it is not that of peaks.
        """
        try:
            return cls(
                fp32=_rate(data["fp32"]),
                bf16=_rate(data["bf16"]),
                fp32_by=str(data["fp32_by"]),
                bf16_by=str(data["bf16_by"]),
                bandwidths=tuple((int(size), _positive(rate)) for size, rate in data["bandwidths"]),
                call_seconds=_positive(data["call_seconds"]),
                disturbed=bool(data["disturbed"]),
                emulated=tuple((str(name), _positive(rate)) for name, rate in data.get("emulated", ())),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"these are no peaks: {error}") from error

    def best(self, other: Peaks) -> Peaks:
        """The better of each of two measurements."""
        fp32, fp32_by = max((self.fp32 or 0.0, self.fp32_by), (other.fp32 or 0.0, other.fp32_by))
        bf16, bf16_by = max((self.bf16 or 0.0, self.bf16_by), (other.bf16 or 0.0, other.bf16_by))
        rates = dict(self.bandwidths)
        for size, rate in other.bandwidths:
            rates[size] = max(rate, rates.get(size, 0.0))
        return Peaks(
            fp32=fp32 or None,
            bf16=bf16 or None,
            fp32_by=fp32_by,
            bf16_by=bf16_by,
            bandwidths=tuple(sorted(rates.items())),
            call_seconds=min(self.call_seconds, other.call_seconds),
            disturbed=self.disturbed or other.disturbed,
            emulated=_in_both(dict(self.emulated), dict(other.emulated)),
        )

    def arithmetic(self, dtype: str) -> float | None:
        """FLOP/s at best in a number format such as `float32`; None where none was measured for it.

        Formats that are emulated in fp32 can be no faster than fp32. Other 16-bit floating-point formats have
        the peak of bf16, float64 has none, all others have that of fp32.
        """
        if dtype in UNMEASURED:
            return None
        return self.bf16 if dtype in HALF and dtype not in dict(self.emulated) else self.fp32

    def bandwidth(self, size: float) -> float | None:
        """B/s at best of a call that reads and writes so many bytes; None where none was measured.

        Between the measured sizes it is interpolated over the logarithm of the bytes; below the least and
        above the largest it is that of these.
        """
        if not self.bandwidths:
            return None
        sizes, rates = zip(*self.bandwidths, strict=True)
        after = bisect(sizes, size)
        if after == 0 or after == len(sizes):
            return float(rates[max(0, after - 1)])
        share = math.log(size / sizes[after - 1]) / math.log(sizes[after] / sizes[after - 1])
        return float(rates[after - 1] + share * (rates[after] - rates[after - 1]))


def _in_both(one: Mapping[str, float], other: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """What two looks found to be emulated, at the better rate: other work may have slowed it in one alone."""
    return tuple((name, max(one[name], other[name])) for name in sorted(one.keys() & other.keys()))


def _rate(value: Any) -> float | None:
    return None if value is None else _positive(value)


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{value} is no peak")
    return number


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
