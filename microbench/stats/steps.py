"""Steps in a history: where the level of a sequence of runs changes.

A run's value is one observation, because runs differ more than the rounds within them. The statistic is the
largest Student's t, with a pooled variance, between the runs before and after any place: the likelihood ratio
test of Worsley, On the Likelihood Ratio Test for a Shift in Location of Normal Populations, Journal of the
American Statistical Association 74 (1979). Looking at all places makes a large t likely; the p-value allows
for that, because it is the share of simulated sequences without a step that have one as large.

From twelve runs on, t is that of the runs' normal scores (van der Waerden's: quantiles of the normal
distribution by rank), and the simulated sequences are permutations of these. That holds for any distribution,
and slow runs neither look like steps nor hide them. Ranks of fewer runs tell too little: no step of six could
be significant. `python benchmarks/history.py` compares this with other methods; the table is in
docs/reports.md.

The sequence is divided at the step, and both parts are searched again, by binary segmentation: Scott & Knott,
A Cluster Analysis Method for Grouping Means in the Analysis of Variance, Biometrics 30 (1974). A step that is
not significant between its neighbours, once these are known, is dropped. At least two runs are on each side,
so that a single slow run is no step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from microbench.stats.dependence import autocorrelation
from microbench.stats.ratio import LEVEL, adjusted

LEAST_SIDE = 2  # runs
LEAST = 6  # runs, for a step to be looked for
LEAST_RANKED = 12  # runs, for their ranks to decide
DRAWS = 20_000  # simulated sequences: the smallest p-value is one in so many
BLOCK = 1_000  # sequences that are simulated at once
SEED = 0
ROUNDING = 1e-9  # of equal statistics
TINY = 1e-24  # share of the total below which a variance is rounding

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """A step.

    Attributes:
        place: the number of the first run after it, from 0.
        begin: the first run of the level before it.
        end: the run behind the last one of the level after it.
        p: the probability of as large a step at any place if there is none.
    """

    place: int
    begin: int
    end: int
    p: float

    @property
    def sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The first run of each side, and the one behind its last."""
        return (self.begin, self.place), (self.place, self.end)


def steps(sequences: Sequence[ArrayLike], level: float = LEVEL) -> list[list[Step]]:
    """Return the steps of each sequence, in order.

    Of the sequences that are found to have a step, the expected share of those without one is at most `level`
    (Benjamini & Hochberg: see `stats.ratio.adjusted`). Further steps of these are tested at `level` times the
    share of sequences that were found: Benjamini & Bogomolov, Selective Inference on Multiple Testing of
    Families of Hypotheses, Journal of the Royal Statistical Society B 76 (2014).

    Args:
        sequences: the logarithms of the runs' values, each in order of time; those with fewer than six runs
            have no steps.
        level: the rate of false alarms.
    """
    logs = [np.asarray(each, np.float64) for each in sequences]
    firsts = [largest(each) if len(each) >= LEAST else None for each in logs]
    tested = [each.p for each in firsts if each is not None]
    is_found = iter(each <= level for each in adjusted(tested))
    found = [each is not None and next(is_found) for each in firsts]
    nested = level * sum(found) / max(1, len(tested))
    return [
        _kept([first.place, *_parts(each, 0, first.place, len(each), nested)], each, nested)
        if first is not None and has_step
        else []
        for each, first, has_step in zip(logs, firsts, found, strict=True)
    ]


def _parts(logs: Floats, begin: int, place: int, end: int, level: float) -> Iterator[int]:
    """Yield the places of further steps on both sides of one."""
    yield from _within(logs, begin, place, level)
    yield from _within(logs, place, end, level)


def resemblance(logs: ArrayLike, found: Sequence[Step]) -> float | None:
    """Return how much each run resembles the one before: the correlation of successive deviations.

    The deviations are from the means of the runs between steps. None with fewer than twelve runs, and if the
    correlation is not above 0 at 5 %: that of independent runs is normal, with mean -1/n and variance 1/n
    (Anderson, Distribution of the Serial Correlation Coefficient, The Annals of Mathematical Statistics 13,
    1942).

    Args:
        logs: the logarithms of the runs' values, in order of time.
        found: the steps in them.
    """
    values = np.asarray(logs, np.float64)
    number = len(values)
    parts = np.split(values, [each.place for each in found])
    deviations = np.concatenate([each - each.mean() for each in parts]) if number else values
    if number < LEAST_RANKED or not deviations.any():
        return None
    correlation = float(autocorrelation(deviations)[1])
    return correlation if correlation > -1 / number - ndtri(LEVEL) / math.sqrt(number) else None


def _within(logs: Floats, begin: int, end: int, level: float) -> Iterator[int]:
    """Yield the places of the steps within a part of a sequence."""
    found = largest(logs[begin:end])
    if found is None or found.p > level:
        return
    place = begin + found.place
    yield place
    yield from _parts(logs, begin, place, end, level)


def _kept(places: Sequence[int], logs: Floats, level: float) -> list[Step]:
    """Return the steps at these places, without those that are not significant between their neighbours.

    The least significant one is dropped first, and its neighbours are tested again; the last one stays.
    """
    while True:
        ends = [0, *sorted(places), len(logs)]
        found = [
            Step(place, begin, end, p_value(end - begin, _t_at(logs[begin:end], place - begin)))
            for begin, place, end in zip(ends, ends[1:], ends[2:], strict=False)
        ]
        worst = max(found, key=lambda each: each.p)
        if worst.p <= level or len(found) == 1:
            return found
        places = [each.place for each in found if each is not worst]


def largest(logs: Floats) -> Step | None:
    """Return the largest step of a sequence, whether it is significant or not; None with too few runs."""
    if len(logs) < 2 * LEAST_SIDE:
        return None
    place, t = _largest_t(logs)
    return Step(place, 0, len(logs), p_value(len(logs), t))


def _largest_t(logs: Floats) -> tuple[int, float]:
    t = _ts(_scored(logs)[np.newaxis])[0]
    place = int(t.argmax())
    return place + LEAST_SIDE, float(t[place])


def _t_at(logs: Floats, place: int) -> float:
    return float(_ts(_scored(logs)[np.newaxis])[0, place - LEAST_SIDE])


def _scored(logs: Floats) -> Floats:
    """Return what decides: the logarithms of a few runs, the normal scores of more."""
    number = len(logs)
    if number < LEAST_RANKED:
        return logs
    ordered = np.sort(logs)
    ranks = (np.searchsorted(ordered, logs, "left") + np.searchsorted(ordered, logs, "right") + 1) / 2
    return np.asarray(ndtri(ranks / (number + 1)))


def _ts(logs: Floats) -> Floats:
    """Return |t| between the runs before and after each place, of each row; infinite if only they differ."""
    number = logs.shape[1]
    centred = logs - logs.mean(1, keepdims=True)
    before = np.arange(LEAST_SIDE, number - LEAST_SIDE + 1)
    sums = centred.cumsum(1)[:, before - 1]
    between = sums**2 * number / (before * (number - before))
    total = (centred**2).sum(1, keepdims=True)
    within = np.maximum(total - between, TINY * total + np.finfo(np.float64).tiny)
    return np.asarray(np.sqrt(between / within * (number - 2)))


def p_value(number: int, t: float) -> float:
    """Return the probability that the largest |t| of so many runs without a step is at least `t`."""
    null = _null(number)
    beyond = len(null) - int(np.searchsorted(null, t * (1 - ROUNDING), "left"))
    return (1 + beyond) / (1 + len(null))


@cache
def _null(number: int) -> Floats:
    """Return the largest |t| of simulated sequences of so many runs without a step, in increasing order."""
    random = np.random.default_rng((SEED, number))
    scores = np.tile(_scored(np.arange(number, dtype=np.float64)), (BLOCK, 1))

    def draw() -> Floats:
        if number < LEAST_RANKED:
            return random.standard_normal((BLOCK, number))
        return random.permuted(scores, axis=1)

    return np.sort(np.concatenate([_ts(draw()).max(1) for _ in range(DRAWS // BLOCK)]))
