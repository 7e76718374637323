"""Percentiles of a phase's time: over all calls, and of a typical process.

These are two questions. Over all calls, a slow process counts as much as it is slow; its interval must hold
although there are few processes and the calls of each resemble each other. A typical process has the median
of the processes' own percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from microbench.stats.dependence import inefficiency
from microbench.stats.median import CONFIDENCE, interval_ranks, least_for_interval, quantile
from microbench.stats.rounds import OverRounds, over_rounds

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
"""The percentiles that are shown and written unless another is asked for as well."""

MOST_ROUNDS = 1000  # to look ahead; more is as good as never
ROUNDING = 1e-9  # of sums of weights, which are shares of at least 1e-8


@dataclass(frozen=True)
class Percentile:
    """A percentile over all calls.

    Attributes:
        percent: which, such as 99.
        value: in the samples' unit; None if so few samples are expected to be beyond it that it is none.
        low: lower end of its interval; None with too few samples for one.
        high: upper end, likewise.
        n: number of samples.
        n_effective: number of independent samples that would tell as much about it.
        more_samples: how many more samples would give the interval both ends; None if it has them, or if
            rounds differ so much that more samples in them would not.
        more_rounds: how many more rounds of the same length would, if that takes fewer samples; 1000 means at
            least a thousand.
    """

    percent: float
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_effective: float
    more_samples: int | None = None
    more_rounds: int | None = None

    @property
    def name(self) -> str:
        """Its name, such as `p99.9`."""
        return f"p{self.percent:g}"


def over_calls(rounds: Sequence[ArrayLike], percents: Sequence[float]) -> list[Percentile]:
    """Return percentiles over the calls of all rounds, each round with the same weight.

    A slow round has fewer samples, and would count less if samples were simply pooled. A percentile is
    enclosed by two order statistics, as the median is in `stats.median`, but of the effective number of
    samples that the differences between rounds leave: p (1 - p) over the variance of the mean of the rounds'
    shares above it, as for a mean of so many independent samples. It is reduced for the few rounds that the
    variance comes from: Korn & Graubard, Confidence Intervals for Proportions with Small Expected Number of
    Positive Counts Estimated from Survey Data, Survey Methodology 24 (1998). The dependence of samples within
    a round needs no term of its own, because it makes rounds differ; for a single round it is the only term.

    Args:
        rounds: the samples of each round, at least one, in the order they were taken.
        percents: between 0 and 100, both excluded.
    """
    samples = [np.asarray(each, dtype=np.float64) for each in rounds]
    pooled = np.concatenate(samples)
    order = pooled.argsort(kind="stable")
    weights = np.concatenate([np.full(len(each), 1 / len(samples) / len(each)) for each in samples])
    return [_percentile(samples, pooled[order], weights[order].cumsum(), each) for each in percents]


def _percentile(
    rounds: Sequence[NDArray[np.float64]], x: NDArray[np.float64], below: NDArray[np.float64], percent: float
) -> Percentile:
    """Return a percentile of ordered samples, each with the weight of those up to it."""
    n, p = len(x), percent / 100
    value = float(x[int(np.searchsorted(below, p - ROUNDING))])
    effective, more_samples, more_rounds = _effective(rounds, value, p)
    independent = max(1, math.floor(effective))
    ranks = interval_ranks(independent, CONFIDENCE, p)
    low, high = (None if rank is None else (rank + 1) / (independent + 1) * (n + 1) / n for rank in ranks)
    is_whole = None not in ranks
    return Percentile(
        percent,
        value if reaches(n, percent) else None,
        None if low is None else float(x[max(0, int(np.searchsorted(below, low + ROUNDING, "right")) - 1)]),
        None if high is None else float(x[min(n - 1, int(np.searchsorted(below, high - ROUNDING)))]),
        n,
        effective,
        None if is_whole else more_samples,
        None if is_whole else more_rounds,
    )


def _effective(
    rounds: Sequence[NDArray[np.float64]], value: float, p: float
) -> tuple[float, int | None, int | None]:
    """Return the effective number of samples, and the fewest more samples, or rounds, for both ends."""
    number, n, least = len(rounds), sum(map(len, rounds)), least_for_interval(p)
    if number == 1:
        effective = n / inefficiency(rounds[0], p)
        return effective, math.ceil(n * least / effective) - n, None
    error = float(np.std([np.mean(each > value) for each in rounds], ddof=1)) / math.sqrt(number)
    between = p * (1 - p) / error**2 if error else math.inf
    known = min(n, between)
    effective = known * _of_few(number)
    more = next(
        (
            more
            for more in range(1, MOST_ROUNDS)
            if known * (1 + more / number) * _of_few(number + more) >= least
        ),
        MOST_ROUNDS,
    )
    longer = math.ceil(n / known * least / _of_few(number)) - n
    if between < n / 2 or longer > more * n / number:
        return effective, None, more
    return effective, longer, None


@cache
def _of_few(rounds: int) -> float:
    """Return the share of an effective number that is left if its variance comes from so many rounds."""
    tail = (1 - CONFIDENCE) / 2
    return float(ndtri(tail) / stdtrit(rounds - 1, tail)) ** 2


def reaches(n: int, percent: float) -> bool:
    """Return whether at least one of `n` samples is expected to be beyond a percentile."""
    return n >= least_to_reach(percent)


def least_to_reach(percent: float) -> int:
    """Return the fewest samples of which at least one is expected to be beyond a percentile."""
    return math.ceil((1 - ROUNDING) * 100 / min(percent, 100 - percent))


def of_typical_process(rounds: Sequence[ArrayLike], percent: float) -> OverRounds | None:
    """Return the median of the rounds' own percentiles, with its interval over at least two rounds.

    None if a round has fewer samples than have both ends of an interval of the percentile: those of shorter
    rounds depend on how short they are.
    """
    p = percent / 100
    if len(rounds) < 2 or lacking(rounds, percent):
        return None
    return over_rounds([quantile(each, p) for each in rounds])


def lacking(rounds: Sequence[ArrayLike], percent: float) -> int:
    """Return how many more samples the shortest round needs for a percentile of its own."""
    return max(0, least_for_interval(percent / 100) - min(len(np.asarray(each)) for each in rounds))
