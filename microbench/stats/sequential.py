"""Verdicts after any round: t tests that hold although the number of rounds depends on what they find.

A t test of each round's data so far, until one differs at 5 %, calls two equal sides different in 22 % of the
comparisons (Armitage, McPherson & Rowe, Repeated Significance Tests on Accumulating Data, Journal of the
Royal Statistical Society A 132, 1969). Here the first look comes after the fourth round, later ones after
each round up to a number N that is fixed in advance, and a look at n rounds needs a p-value whose normal
quantile is c (N/n)^0.15: the family of boundaries of Wang & Tsiatis, Approximately Optimal One-Parameter
Boundaries for Group Sequential Trials, Biometrics 43 (1987), with their parameter at 0.35, between the
constant level of Pocock (Biometrika 64, 1977) and the one of O'Brien & Fleming (Biometrics 35, 1979) that
hardly ever stops early. Levels of t are levels of the normal distribution there, and intervals are repeated
intervals: Jennison & Turnbull, Group Sequential Methods, 2000, chapters 4 and 9.

The looks cost a factor on the p-value: `price`, fitted to 400,000 simulated paths of up to 64 rounds. With
N = 10, equal sides were called different in 4.9 % of 20,000 simulated comparisons of normal logarithms, in
3.6 % with Student's t of three degrees of freedom, in 4.0 % with two kinds of processes, 20 % apart
(`python benchmarks/trust.py --simulate` repeats it with this code).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from microbench.stats.ratio import LEVEL, Part, Ratio

FIRST_LOOK = 4
"""Rounds before the first verdict: signs of fewer cannot have a p-value of 0.1."""
SHAPE = 0.15
FEW = 6  # rounds whose spread may be small by luck
TINY = 1e-30  # least variance: equal rounds have none

Floats = NDArray[np.float64]


def price(most: ArrayLike) -> Floats:
    """Return the factor by which looks after the fourth and each further round, up to `most`, raise p."""
    return np.maximum(1.0, 3.6 - 10.4 / np.asarray(most, np.float64))


def _p(z: ArrayLike, rounds: ArrayLike, most: ArrayLike) -> Floats:
    """Return the p-value that a normal quantile `z`, found after some of at most `most` rounds, is worth."""
    scaled = np.asarray(z) * (np.asarray(rounds) / np.asarray(most, np.float64)) ** SHAPE
    return np.minimum(1.0, price(most) * 2 * ndtr(-scaled))


@dataclass(frozen=True)
class SequentialRatio(Ratio):
    """A ratio of rounds whose number depends on what they found.

    Attributes:
        most: the most rounds that it could have.
        p_slower: the probability of a ratio this far above 1, at any look, if both take equally long.
        p_faster: the same for one below 1.
    """

    most: int
    p_slower: float = 1.0
    p_faster: float = 1.0

    @property
    def _rounds(self) -> int:
        return min((part.rounds for part in self.parts), default=0)

    def half_width(self, level: float = LEVEL) -> float:
        """Return the half-width of the interval that misses the logarithm at any look with that probability.

        It is infinite before the first look.
        """
        if self.error is None or self._rounds < FIRST_LOOK:
            return math.inf
        most = max(self.most, self._rounds)
        boundary = -ndtri(level / 2 / price(most)) * (most / self._rounds) ** SHAPE
        return float(stdtrit(self.freedom, ndtr(boundary))) * self.error

    @property
    def p(self) -> float | None:
        """The probability of a ratio this far from 1, at any look, if both take equally long."""
        return min(self.p_slower, self.p_faster) if self._rounds >= FIRST_LOOK else None

    @property
    def inverted(self) -> SequentialRatio:
        """The ratio of the sides exchanged."""
        return SequentialRatio(-self.log, self.parts, self.most, self.p_faster, self.p_slower)


def seen_once(ratio: Ratio, most: int) -> SequentialRatio:
    """Return a ratio of rounds that other comparisons ended, at any of their looks."""
    found = SequentialRatio(ratio.log, ratio.parts, most)
    if ratio.p is None or found.p is None:
        return found
    p = float(_p(-ndtri(ratio.p / 2), found._rounds, max(most, found._rounds)))
    return SequentialRatio(ratio.log, ratio.parts, most, *((p, 1.0) if ratio.log > 0 else (1.0, p)))


@dataclass(frozen=True)
class Looks:
    """All looks at some pairs, each after one more round; arrays of shape (pairs, looks).

    Attributes:
        rounds: the number of a pair's rounds.
        log: the mean of their log ratios.
        variance: the variance of these; in the first looks, at least a quarter of the pairs' median.
        most: the most rounds that it could have.
        p_slower: the probability of a ratio this far above 1 at this or an earlier look, for equal sides.
        p_faster: the same for one below 1.
    """

    rounds: NDArray[np.int64]
    log: Floats
    variance: Floats
    most: NDArray[np.int64]
    p_slower: Floats
    p_faster: Floats

    def last(self, pair: int) -> SequentialRatio:
        """Return a pair's ratio as it is after its last round."""
        rounds = int(self.rounds[pair, -1])
        most = self.most[pair, np.searchsorted(self.rounds[pair], rounds)]
        parts = (Part(float(self.variance[pair, -1]), rounds),) if rounds > 1 else ()
        ps = float(self.p_slower[pair, -1]), float(self.p_faster[pair, -1])
        return SequentialRatio(float(self.log[pair, -1]), parts, int(most), *ps)


def looks(logs: Floats, most: NDArray[np.int64]) -> Looks:
    """Look at pairs after each of their rounds.

    With three pairs and more, the standard deviation of a pair's first six rounds counts as at least half of
    what is usual among them: three alike of two kinds of processes would otherwise seem precise. With that,
    8 equal configurations of two kinds of processes have a false verdict in 3 % of the rankings instead of
    10 %.

    Args:
        logs: log ratios, of shape (pairs, looks); NaN where a pair has no new round.
        most: the most rounds that a pair could have, of the same shape.
    """
    is_new = ~np.isnan(logs)
    values, rounds = np.where(is_new, logs, 0.0), is_new.cumsum(-1)
    log = values.cumsum(-1) / np.maximum(rounds, 1)
    squares = (values**2).cumsum(-1) - rounds * log**2
    variance = np.maximum(squares / np.maximum(rounds - 1, 1), TINY)
    if len(logs) > 2:
        usual = [
            np.median(column[number > 1]) if (number > 1).any() else 0.0
            for column, number in zip(variance.T, rounds.T, strict=True)
        ]
        variance = np.where(rounds <= FEW, np.maximum(variance, np.asarray(usual) / 4), variance)
    t = np.abs(log) / np.sqrt(variance / np.maximum(rounds, 1))
    z = -ndtri(stdtr(np.maximum(rounds - 1, 1), -t))
    p = np.where(is_new & (rounds >= FIRST_LOOK), _p(z, rounds, np.maximum(most, rounds)), 1.0)
    slower, faster = (np.minimum.accumulate(np.where(is_side, p, 1.0), -1) for is_side in (log > 0, log < 0))
    return Looks(rounds, log, variance, most, slower, faster)


@dataclass(frozen=True)
class Race:
    """The alternatives of a ranking after some rounds.

    Attributes:
        leader: the one with the least mean log time of those that have not left.
        left: by alternative that has left, because it was slower than the leader at some look: the
            probability that it seems so much slower, adjusted for the number of pairs.
        pairs: the alternatives of each pair, the first the lower number.
        looks: the looks at these pairs.
    """

    leader: int
    left: Mapping[int, float]
    pairs: Sequence[tuple[int, int]]
    looks: Looks

    def ratio(self, first: int, other: int) -> SequentialRatio:
        """Return an alternative's time over another's, from the rounds that both have."""
        found = self.looks.last(self.pairs.index((min(first, other), max(first, other))))
        return found if first < other else found.inverted


def race(logs: Floats, most: NDArray[np.int64]) -> Race:
    """Decide which alternatives are slower than the fastest, looking after each round.

    Because looking selects the leader, p-values are multiplied by the number of all pairs, not only of those
    with the leader. In 4,000 simulated rankings of equal alternatives with at most ten rounds, some
    alternative was called slower in 4.1 % (of two), 3.5 % (of four) and 2.8 % (of eight).

    Args:
        logs: log times, of shape (alternatives, rounds), with at least two alternatives and one round; NaN
            where an alternative has no such round. None has only NaN.
        most: the most rounds that an alternative could have, as known in each round.
    """
    pairs = list(combinations(range(len(logs)), 2))
    first, second = np.transpose(pairs)
    found = looks(logs[second] - logs[first], np.broadcast_to(most, (len(pairs), len(most))))
    rounds = (~np.isnan(logs)).cumsum(-1)
    means = np.where(rounds, np.nan_to_num(logs).cumsum(-1) / np.maximum(rounds, 1), math.inf)
    alive, left, leader = set(range(len(logs))), dict[int, float](), 0
    for look, column in enumerate(means.T):
        leader = min(alive, key=column.__getitem__)
        for other in alive - {leader}:
            slower = found.p_slower if leader < other else found.p_faster
            p = slower[pairs.index((min(leader, other), max(leader, other))), look] * len(pairs)
            if p <= LEVEL:
                left[other] = float(p)
        alive -= left.keys()
    return Race(leader, left, pairs, found)
