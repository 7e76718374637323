"""A machine's peaks."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

HALF = ("float16", "bfloat16")
UNMEASURED = ("float64", "complex128")
"""Formats whose arithmetic is slower than fp32's, by an unmeasured factor."""


Positive = Annotated[float, Meta(gt=0)]


class Peaks(msgspec.Struct, frozen=True):
    """A machine's measured peaks.

    Attributes:
        fp32: FLOP/s of products in fp32; None if not measured.
        bf16: FLOP/s of products in bf16; None if not measured or emulated.
        fp32_by: the kind of product that reached `fp32`.
        bf16_by: the kind of product that reached `bf16`.
        fp16: FLOP/s of products in fp16; None if not measured or emulated, or if bf16's stands for it.
        tf32: FLOP/s of products of fp32 in TF32; None if not measured.
        fp16_by: the kind of product that reached `fp16`.
        tf32_by: the kind of product that reached `tf32`.
        bandwidths: bytes that a call reads and writes, and its B/s, by ascending bytes.
        call_seconds: the time of a call that computes almost nothing.
        disturbed: whether other work, a quota or heat limited the machine during the measurement.
        emulated: the 16-bit formats that are computed by conversion to fp32, with the FLOP/s of a small
            product in each, which is no peak: their peak is that of fp32.
    """

    fp32: Positive | None
    bf16: Positive | None
    fp32_by: str
    bf16_by: str
    bandwidths: tuple[tuple[int, Positive], ...]
    call_seconds: Positive
    disturbed: bool = False
    emulated: tuple[tuple[str, Positive], ...] = ()
    fp16: Positive | None = None
    tf32: Positive | None = None
    fp16_by: str = ""
    tf32_by: str = ""

    @property
    def products(self) -> tuple[tuple[str, float | None, str], ...]:
        """Each precision with its FLOP/s, None if not measured, and the kind of product that reached it."""
        return (
            ("fp32", self.fp32, self.fp32_by),
            ("tf32", self.tf32, self.tf32_by),
            ("bf16", self.bf16, self.bf16_by),
            ("fp16", self.fp16, self.fp16_by),
        )

    def best(self, other: Peaks) -> Peaks:
        """Return the better of each of two measurements."""
        fp32, fp32_by = max((self.fp32 or 0.0, self.fp32_by), (other.fp32 or 0.0, other.fp32_by))
        bf16, bf16_by = max((self.bf16 or 0.0, self.bf16_by), (other.bf16 or 0.0, other.bf16_by))
        fp16, fp16_by = max((self.fp16 or 0.0, self.fp16_by), (other.fp16 or 0.0, other.fp16_by))
        tf32, tf32_by = max((self.tf32 or 0.0, self.tf32_by), (other.tf32 or 0.0, other.tf32_by))
        rates = dict(self.bandwidths)
        for size, rate in other.bandwidths:
            rates[size] = max(rate, rates.get(size, 0.0))
        return Peaks(
            fp32=fp32 or None,
            bf16=bf16 or None,
            fp32_by=fp32_by,
            bf16_by=bf16_by,
            fp16=fp16 or None,
            tf32=tf32 or None,
            fp16_by=fp16_by,
            tf32_by=tf32_by,
            bandwidths=tuple(sorted(rates.items())),
            call_seconds=min(self.call_seconds, other.call_seconds),
            disturbed=self.disturbed or other.disturbed,
            emulated=_in_both(dict(self.emulated), dict(other.emulated)),
        )

    def arithmetic(self, dtype: str) -> float | None:
        """Return the peak FLOP/s in a number format such as `float32`; None if not measured.

        Formats that are emulated in fp32 cannot be faster than fp32. Other 16-bit floating-point formats have
        the peak of bf16 unless their own was measured, float64 has none, all others have that of fp32.
        """
        if dtype in UNMEASURED:
            return None
        if dtype == "float16" and self.fp16 is not None:
            return self.fp16
        return self.bf16 if dtype in HALF and dtype not in dict(self.emulated) else self.fp32

    def bandwidth(self, size: float) -> float | None:
        """Return the peak B/s of a call that reads and writes `size` bytes; None if not measured.

        Between the measured sizes, it is interpolated over the logarithm of the bytes; outside of them, it is
        that of the nearest size.
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
    """Return the formats that both measurements found emulated, at the better rate."""
    return tuple((name, max(one[name], other[name])) for name in sorted(one.keys() & other.keys()))
