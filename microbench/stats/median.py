"""The median or another quantile, and its interval, which assumes nothing about the distribution."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from microbench.stats.dependence import inefficiency

CONFIDENCE = 0.95
LEAST_FOR_INTERVAL = 6  # the fewest independent samples with a 95 % interval of the median

Ranks = tuple[int | None, int | None]
"""The ranks, from 0, of an interval's two ends; None for an end that too few samples do not have."""


@lru_cache(maxsize=4096)
def interval_ranks(n: int, confidence: float = CONFIDENCE, p: float = 0.5) -> Ranks:
    """Return the ranks of the two order statistics around the quantile `p`, by default the median.

    The interval [x(low), x(high)] covers the quantile of any distribution with at least the given confidence,
    because the number of independent samples below it is binomial(n, p): Conover, Practical Nonparametric
    Statistics, 3rd ed., 1999, section 3.2. Each end is missed with at most half the remaining probability.
    It is the interval of `scipy.stats.quantile_test(...).confidence_interval(...)`, from scipy's binomial
    distribution, without the 0.9 s that importing `scipy.stats` takes.
    """
    low, high = _lower_rank(n, confidence, p), _lower_rank(n, confidence, 1 - p)
    return low, None if high is None else n - 1 - high


def _lower_rank(n: int, confidence: float, p: float) -> int | None:
    """Return the rank of the lower end: the quantile is rarely below this order statistic."""
    tail = (1 - confidence) / 2
    rank = bisect_left(range(n + 1), tail, key=lambda below: float(bdtr(below, n, p))) - 1
    return rank if rank >= 0 else None


def least_for_interval(p: float, confidence: float = CONFIDENCE) -> int:
    """Return the fewest independent samples that have both ends of an interval of the quantile `p`.

    All of n samples are on the same side of the quantile with probability p^n or (1 - p)^n: Wilks,
    Determination of Sample Sizes for Setting Tolerance Limits, The Annals of Mathematical Statistics 12
    (1941).
    """
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(p, 1 - p)))


def dependent_ranks(n: int, effective: float, confidence: float = CONFIDENCE, p: float = 0.5) -> Ranks:
    """Return the ranks for `n` samples that tell as much about the quantile as `effective` independent ones.

    They are at the same quantiles as the ranks of `effective` independent samples, rounded outwards.
    """
    independent = max(1, min(n, math.floor(effective)))
    low, high = interval_ranks(independent, confidence, p)
    return (
        None if low is None else (low + 1) * (n + 1) // (independent + 1) - 1,
        None if high is None else -(-(high + 1) * (n + 1) // (independent + 1)) - 1,
    )


def quantile(samples: ArrayLike, p: float = 0.5) -> float:
    """Return the quantile `p` of the samples, by default the median.

    It is below the true one as often as above it, however few the samples: definition 8 of Hyndman & Fan,
    Sample Quantiles in Statistical Packages, The American Statistician 50 (1996).
    """
    return float(np.quantile(np.asarray(samples, dtype=np.float64), p, method="median_unbiased"))


def quantile_interval(
    samples: ArrayLike, confidence: float = CONFIDENCE, p: float = 0.5
) -> tuple[float | None, float | None, float]:
    """Return the ends of the interval of the quantile `p`, and the effective sample size.

    Samples of one process depend on each other; their effective number is their number over the statistical
    inefficiency of the signs sgn(x - quantile) (see `dependence.inefficiency`).

    Args:
        samples: in the order they were taken, in any unit.
        confidence: the level of the interval.
        p: which quantile, by default the median.

    Returns:
        The two ends in the samples' unit, None for too few effective samples, and the effective number.
    """
    values = np.asarray(samples, dtype=np.float64)
    effective = len(values) / inefficiency(values, p)
    ranks = dependent_ranks(len(values), effective, confidence, p)
    there = [rank for rank in ranks if rank is not None]
    ordered = np.partition(values, there) if there else values
    low, high = (None if rank is None else float(ordered[rank]) for rank in ranks)
    return low, high, effective


def resolved(low: float, high: float, middle: float, resolution: float) -> tuple[float, float]:
    """Return an interval's ends, at least half the clock's resolution away from its middle.

    Samples of a clock that ticks slowly may all be equal, and their time is not known exactly even so.
    """
    return min(low, middle - resolution / 2), max(high, middle + resolution / 2)


def relative_half_width(samples: ArrayLike, p: float = 0.5, resolution: float = 0.0) -> tuple[float, float]:
    """Return the quantile `p` and the half-width of its interval relative to it; infinite without one.

    Args:
        samples: in the order they were taken.
        p: which quantile.
        resolution: the clock's, in the samples' unit.
    """
    values: NDArray[np.float64] = np.asarray(samples, dtype=np.float64)
    middle = quantile(values, p)
    low, high, _ = quantile_interval(values, p=p)
    if low is None or high is None or middle <= 0:
        return middle, math.inf
    low, high = resolved(low, high, middle, resolution)
    return middle, (high - low) / 2 / middle
