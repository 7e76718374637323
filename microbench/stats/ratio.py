"""Ratios of times with their intervals, from the rounds of both sides.

Rounds are fresh processes, and only their medians are independent observations: Georges, Buytaert &
Eeckhout, Statistically Rigorous Java Performance Evaluation, OOPSLA 2007; Kalibera & Jones, Rigorous
Benchmarking in Reasonable Time, ISMM 2013. Everything is done on logarithms, where a ratio is a difference
and twice as slow lies as far from 1 as twice as fast; the ratio is then a geometric mean.

Student's t is used instead of ranks because of a simulation (`python benchmarks/verdicts.py`; the table is in
docs/comparing.md) with 6 rounds per side:

- it keeps its level: with normal logs, heavy tails, skewed ones, and with every tenth round 1.3 times as
  slow, two equal sides were called different in 2 to 5 % of the comparisons, at a level of 5 %;
- Hodges & Lehmann's estimate with the exact interval of Wilcoxon's signed ranks finds less, unless rounds
  have outliers: a difference of 3 % at a spread of 2 % in 38 % of the comparisons instead of 54 %. For 6
  rounds its interval is their whole range;
- a signed-rank p-value of 6 rounds is never below 0.031, so that of two comparisons or more none may pass
  where a single one differs; below 6 rounds there is no interval at 95 % at all.

Outliers cost t power, not correctness: with them, the same 3 % are found in 17 % of the comparisons.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from microbench.stats.median import CONFIDENCE

LEVEL = 1 - CONFIDENCE  # rate of false differences
MOST_ROUNDS = 1000  # to look ahead; more is as good as never


@dataclass(frozen=True)
class Part:
    """One of the independent means that make up a ratio's logarithm.

    Attributes:
        variance: variance of one round, in squared logarithms.
        rounds: number of rounds in the mean; at least 2.
    """

    variance: float
    rounds: int

    @property
    def of_mean(self) -> float:
        """The variance of the mean."""
        return self.variance / self.rounds

    @property
    def freedom(self) -> int:
        """The degrees of freedom of the variance."""
        return self.rounds - 1


@dataclass(frozen=True)
class Ratio:
    """A ratio of times.

    Attributes:
        log: its natural logarithm, the mean over rounds.
        parts: the parts of its error: one for differences of paired rounds, two for independent rounds of two
            sides; none if a side has fewer than two rounds, which do not show how rounds differ.
    """

    log: float
    parts: tuple[Part, ...]

    @property
    def value(self) -> float:
        """The ratio itself, a geometric mean."""
        return math.exp(self.log)

    @property
    def error(self) -> float | None:
        """The standard error of the logarithm."""
        return math.sqrt(math.fsum(part.of_mean for part in self.parts)) if self.parts else None

    @property
    def freedom(self) -> float | None:
        """The error's degrees of freedom: of one part, its own; of several, Welch and Satterthwaite's.

        Satterthwaite, An Approximate Distribution of Estimates of Variance Components, Biometrics Bulletin 2
        (1946); Welch, The Generalization of Student's Problem, Biometrika 34 (1947).
        """
        if not self.parts:
            return None
        largest = max(part.of_mean for part in self.parts)
        if largest == 0:
            return float(min(part.freedom for part in self.parts))
        shares = [part.of_mean / largest for part in self.parts]
        squares = (share**2 / part.freedom for share, part in zip(shares, self.parts, strict=True))
        return math.fsum(shares) ** 2 / math.fsum(squares)

    def half_width(self, level: float = LEVEL) -> float:
        """Return the half-width of the interval that misses the logarithm with probability `level`."""
        if self.error is None or self.freedom is None:
            return math.inf
        return float(stdtrit(self.freedom, 1 - level / 2)) * self.error

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the ratio's 95 % CI, from Student's t; None without an error."""
        half_width = self.half_width()
        if math.isinf(half_width):
            return None
        return _exp(self.log - half_width), _exp(self.log + half_width)

    @property
    def p(self) -> float | None:
        """The probability of a ratio at least this far from 1 if both take equally long."""
        if self.error is None or self.freedom is None:
            return None
        if self.error == 0:
            return float(self.log == 0)
        return 2 * float(stdtr(self.freedom, -abs(self.log) / self.error))


def _exp(log: float) -> float:
    """Return the exponential; infinite if it overflows, as two very different rounds make it."""
    return math.exp(log) if log < 700 else math.inf


def paired(a: ArrayLike, b: ArrayLike) -> Ratio:
    """Return b over a from times of the same rounds: Student's t on the rounds' ratios.

    What disturbs both sides of a round alike cancels out.

    Args:
        a: each round's time, above 0, in any unit.
        b: the other side's times, in the same order of rounds.
    """
    return _mean(np.log(np.asarray(b, np.float64)) - np.log(np.asarray(a, np.float64)))


def unpaired(a: ArrayLike, b: ArrayLike) -> Ratio:
    """Return b over a from times of independent rounds: Welch's t."""
    first, second = _mean(np.log(np.asarray(a, np.float64))), _mean(np.log(np.asarray(b, np.float64)))
    parts = (*first.parts, *second.parts) if first.parts and second.parts else ()
    return Ratio(second.log - first.log, parts)


def _mean(logs: NDArray[np.float64]) -> Ratio:
    parts = (Part(float(logs.var(ddof=1)), len(logs)),) if len(logs) > 1 else ()
    return Ratio(float(logs.mean()), parts)


def mean_ratio(ratios: Sequence[Ratio]) -> Ratio:
    """Return the geometric mean of at least one ratio, such as those of a suite's cases.

    It is the only mean of normalized times that does not depend on the side they are normalized to: Fleming &
    Wallace, How Not to Lie with Statistics: The Correct Way to Summarize Benchmark Results, CACM 29 (1986).
    Its interval covers other rounds of these cases on this machine; it says nothing about other cases. The
    ratios' errors count as independent.
    """
    number = len(ratios)
    log = math.fsum(ratio.log for ratio in ratios) / number
    if not all(ratio.parts for ratio in ratios):
        return Ratio(log, ())
    scaled = (replace(part, variance=part.variance / number**2) for ratio in ratios for part in ratio.parts)
    return Ratio(log, tuple(scaled))


def more_rounds(ratio: Ratio, margin: float, level: float = LEVEL) -> int:
    """Return how many more rounds per side would settle a ratio, if it and the rounds' spread stay the same.

    A ratio is settled if its interval excludes 1, or lies within the margin around it.

    Args:
        ratio: a ratio of at least two rounds per side.
        margin: the share by which a ratio may differ from 1 and still count as the same.
        level: the probability that the interval misses the ratio.

    Returns:
        At least 1; MOST_ROUNDS + 1 means more than MOST_ROUNDS.
    """
    enough = max(abs(ratio.log), math.log1p(margin) - abs(ratio.log))

    def settles(more: int) -> bool:
        parts = tuple(replace(part, rounds=part.rounds + more) for part in ratio.parts)
        return replace(ratio, parts=parts).half_width(level) < enough

    return 1 + bisect_left(range(1, MOST_ROUNDS + 1), True, key=settles)


def adjusted(ps: Iterable[float]) -> list[float]:
    """Return the p-values adjusted for their number, in the order given.

    Taking those of at most 0.05 keeps the expected share of false differences among those found at 5 %:
    Benjamini & Hochberg, Controlling the False Discovery Rate, Journal of the Royal Statistical Society B 57
    (1995). Their procedure holds for independent comparisons and, as with a common baseline, for positively
    dependent ones: Benjamini & Yekutieli, The Annals of Statistics 29 (2001).
    """
    values = list(ps)
    found = [1.0] * len(values)
    least = 1.0
    for rank, index in reversed(list(enumerate(sorted(range(len(values)), key=values.__getitem__), 1))):
        least = min(least, values[index] * len(values) / rank)
        found[index] = least
    return found
