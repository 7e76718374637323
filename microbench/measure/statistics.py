"""What samples say: the median with its distribution-free interval, and the rest of a summary."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from microbench.results.record import Summary

CONFIDENCE = 0.95
LEAST_FOR_INTERVAL = 6  # the fewest samples for which two order statistics cover the median at 95 %


@lru_cache(maxsize=1024)
def interval_ranks(n: int, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """The ranks (from 0) of the two order statistics that enclose the median, or None for too few samples.

    The interval [x(low), x(high)] covers the median of any distribution with at least the given confidence,
    because the number of samples below the median is binomial(n, 1/2): Conover, Practical Nonparametric
    Statistics, 3rd ed., 1999, section 3.2. The same interval as `scipy.stats.quantile_test(...)
    .confidence_interval(...)`, from scipy's binomial distribution, without the 0.9 s that importing
    `scipy.stats` takes.
    """
    tail = (1 - confidence) / 2
    below = bdtr(np.arange(n + 1), n, 0.5)  # P(X <= k)
    low = int(np.searchsorted(below, tail)) - 1
    return (low, n - 1 - low) if low >= 0 else None


def median_interval(
    ordered: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float | None, float | None]:
    """The median's interval from sorted samples; (None, None) where there are too few for one."""
    ranks = interval_ranks(len(ordered), confidence)
    if ranks is None:
        return None, None
    return float(ordered[ranks[0]]), float(ordered[ranks[1]])


def relative_half_width(samples: ArrayLike) -> tuple[float, float]:
    """The samples' median and half their interval's width as a share of it (infinite for too few)."""
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    median = float(np.median(ordered))
    low, high = median_interval(ordered)
    if low is None or high is None or median <= 0:
        return median, math.inf
    return median, (high - low) / 2 / median


def drift(samples: NDArray[np.float64]) -> float | None:
    """How much slower (above 0) or faster the second half was: the ratio of the halves' medians, less one.

    None where the halves have fewer than ten samples each, too few to tell drift from noise.
    """
    half = len(samples) // 2
    if half < 10:
        return None
    first = float(np.median(samples[:half]))
    return float(np.median(samples[-half:])) / first - 1 if first > 0 else None


def summarize(samples: ArrayLike, confidence: float = CONFIDENCE) -> Summary:
    """The summary of at least one sample, in the samples' own unit (seconds per call)."""
    values = np.asarray(samples, dtype=np.float64)
    ordered = np.sort(values)
    low, high = median_interval(ordered, confidence)
    q25, median, q75 = (float(q) for q in np.quantile(ordered, (0.25, 0.5, 0.75)))
    return Summary(
        n=len(values),
        median=median,
        ci_low=low,
        ci_high=high,
        confidence=confidence,
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        min=float(ordered[0]),
        max=float(ordered[-1]),
        q25=q25,
        q75=q75,
        drift=drift(values),
    )
