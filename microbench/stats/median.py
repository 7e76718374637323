"""The median and its interval, which assumes nothing about the samples' distribution."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from microbench.stats.dependence import inefficiency

CONFIDENCE = 0.95
LEAST_FOR_INTERVAL = 6  # the fewest independent samples with a 95 % interval of the median


@lru_cache(maxsize=1024)
def interval_ranks(n: int, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Return the ranks (from 0) of the two order statistics around the median; None for too few samples.

    The interval [x(low), x(high)] covers the median of any distribution with at least the given confidence,
    because the number of independent samples below the median is binomial(n, 1/2): Conover, Practical
    Nonparametric Statistics, 3rd ed., 1999, section 3.2. It is the interval of
    `scipy.stats.quantile_test(...).confidence_interval(...)`, from scipy's binomial distribution, without the
    0.9 s that importing `scipy.stats` takes.
    """
    tail = (1 - confidence) / 2
    below = bdtr(np.arange(n + 1), n, 0.5)  # P(X <= k)
    low = int(np.searchsorted(below, tail)) - 1
    return (low, n - 1 - low) if low >= 0 else None


def dependent_ranks(n: int, effective: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Return the ranks for `n` samples that tell as much about the median as `effective` independent ones.

    They are at the same quantiles as the ranks of `effective` independent samples, rounded outwards.
    """
    independent = max(1, min(n, math.floor(effective)))
    ranks = interval_ranks(independent, confidence)
    if ranks is None:
        return None
    low = math.floor((ranks[0] + 1) * (n + 1) / (independent + 1)) - 1
    return low, n - 1 - low


def median_interval(
    samples: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[float | None, float | None, float]:
    """Return the ends of the median's interval, and the effective sample size.

    Samples of one process depend on each other; their effective number is their number over the statistical
    inefficiency of the signs sgn(x - median) (see `dependence.inefficiency`).

    Args:
        samples: in the order they were taken, in any unit.
        confidence: the level of the interval.

    Returns:
        The two ends in the samples' unit, None for too few effective samples, and the effective number.
    """
    values = np.asarray(samples, dtype=np.float64)
    effective = len(values) / inefficiency(values)
    ranks = dependent_ranks(len(values), effective, confidence)
    if ranks is None:
        return None, None, effective
    low, high = np.partition(values, ranks)[list(ranks)]
    return float(low), float(high), effective


def relative_half_width(samples: ArrayLike) -> tuple[float, float]:
    """Return the samples' median and the half-width of its interval relative to it (infinite for too few)."""
    values: NDArray[np.float64] = np.asarray(samples, dtype=np.float64)
    median = float(np.median(values))
    low, high, _ = median_interval(values)
    if low is None or high is None or median <= 0:
        return median, math.inf
    return median, (high - low) / 2 / median
