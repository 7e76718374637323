"""What a machine reaches at best."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

HALF = ("float16", "bfloat16")
UNMEASURED = ("float64", "complex128")
"""Their arithmetic is slower than fp32's, and how much slower is not measured."""


Positive = Annotated[float, Meta(gt=0)]


class Peaks(msgspec.Struct, frozen=True):
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

    fp32: Positive | None
    bf16: Positive | None
    fp32_by: str
    bf16_by: str
    bandwidths: tuple[tuple[int, Positive], ...]
    call_seconds: Positive
    disturbed: bool = False
    emulated: tuple[tuple[str, Positive], ...] = ()

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
