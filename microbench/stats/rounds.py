"""The summary of rounds: the median of their medians, with a bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from microbench.stats.median import CONFIDENCE

RESAMPLES = 20_000
SEED = 0  # a fixed seed: the same rounds have the same interval


@dataclass(frozen=True)
class OverRounds:
    """The summary of at least two rounds.

    Attributes:
        median: the median of the rounds' medians.
        low: lower end of its interval.
        high: upper end.
        confidence: the level that this number of rounds supports: 1 - 2^(1-R) for fewer than six, else 0.95.
        spread: the standard deviation between rounds, relative to the median.
    """

    median: float
    low: float
    high: float
    confidence: float
    spread: float


def over_rounds(medians: Sequence[float], confidence: float = CONFIDENCE) -> OverRounds:
    """Summarize the medians of at least two rounds, the only independent observations.

    Rounds are drawn with replacement and the median of each draw is taken (Efron & Tibshirani, An
    Introduction to the Bootstrap, 1993; for benchmarks Kalibera & Jones, Rigorous Benchmarking in Reasonable
    Time, ISMM 2013). The percentiles are widened for few rounds: Hesterberg, What Teachers Should Know
    About the Bootstrap, The American Statistician 69 (2015). No draw leaves the range of the
    rounds, which misses the true median with probability 2^(1-R): that bounds the confidence.
    """
    values = np.asarray(medians, dtype=np.float64)
    rounds = len(values)
    draws = np.random.default_rng(SEED).integers(rounds, size=(RESAMPLES, rounds))
    tail = float(ndtr(math.sqrt(rounds / (rounds - 1)) * stdtrit(rounds - 1, (1 - confidence) / 2)))
    resampled = np.median(values[draws], axis=1)
    low, high = np.quantile(resampled, (tail, 1 - tail), method="inverted_cdf")
    median = float(np.median(values))
    supported = min(confidence, 1 - 2.0 ** (1 - rounds))
    spread = float(values.std(ddof=1)) / median if median else 0.0  # a clock may be too coarse for a phase
    return OverRounds(median, float(low), float(high), supported, spread)
