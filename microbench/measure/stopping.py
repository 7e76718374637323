"""The stopping rule: when there are enough samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from microbench.records.record import StopReason
from microbench.stats.median import LEAST_FOR_INTERVAL, relative_half_width

GROWTH = 1.25
"""Ratio of successive sample counts at which the interval is checked. Every check is a chance to stop by
luck, so checks get rarer as samples grow; at this ratio the interval keeps its coverage (`tests/measure`)."""


@dataclass(frozen=True)
class StoppingRule:
    """Stops at the wanted precision, or at a limit.

    Attributes:
        rel_ci: wanted half-width of the quantile's interval, relative to the quantile.
        min_time: seconds before precision may stop the sampling.
        max_time: seconds after which it stops, once there are `least` samples.
        min_samples: samples before precision may stop the sampling.
        max_samples: samples at which it stops in any case.
        least: samples that even `max_time` waits for: enough for an interval, or fewer if the interval comes
            from several rounds.
        quantile: which quantile of the samples has to be precise; by default the median.
        at_limit: the reason when `max_time` ends it.
        resolution: what samples are known to, in seconds per call: no interval is narrower.
    """

    rel_ci: float
    min_time: float
    max_time: float
    min_samples: int
    max_samples: int
    least: int = LEAST_FOR_INTERVAL
    quantile: float = 0.5
    at_limit: StopReason = StopReason.MAX_TIME
    resolution: float = 0.0

    def limit(self, n: int, elapsed: float) -> StopReason | None:
        """Return the limit that `n` samples in `elapsed` seconds have reached, if any; called per sample."""
        if n >= self.max_samples:
            return StopReason.MAX_SAMPLES
        if elapsed >= self.max_time and n >= self.least:
            return self.at_limit
        return None

    def precise(self, main: Sequence[ArrayLike], n: int, elapsed: float) -> bool:
        """Return whether every main phase's interval is narrow enough, after the least time and samples."""
        if n < self.min_samples or elapsed < self.min_time:
            return False
        return self.half_width(main) <= self.rel_ci

    def half_width(self, main: Sequence[ArrayLike]) -> float:
        """Return the widest of the phases' relative half-widths; infinite if one has no interval."""
        return max(self.interval(samples)[1] for samples in main)

    def interval(self, samples: ArrayLike) -> tuple[float, float]:
        """Return the quantile of a phase's samples, and its relative half-width; infinite without one."""
        return relative_half_width(samples, self.quantile, self.resolution)

    def next_check(self, n: int) -> int:
        """Return the sample count at which to check the interval next, after a check at `n`."""
        return max(self.min_samples, math.ceil(n * GROWTH))

    def eta(self, half_width: float, n: int, elapsed: float) -> float:
        """Return the seconds that sampling may still take after `n` samples in `elapsed` seconds.

        A quantile's interval narrows with the square root of the samples; `least` samples are always taken.
        """
        wanted = elapsed * (half_width / self.rel_ci) ** 2 if math.isfinite(half_width) else math.inf
        least = elapsed / n * min(self.least, self.max_samples)
        return max(0.0, max(least, min(max(wanted, self.min_time), self.max_time)) - elapsed)
