"""Drift of samples: Kendall's tau shows whether there is any, Theil and Sen's slope how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from microbench.stats.dependence import inefficiency

LEAST = 20  # samples; a trend in fewer cannot be distinguished from noise
MOST_POINTS = 200  # longer series are reduced to the medians of this many blocks: every pair is visited


@dataclass(frozen=True)
class Trend:
    """A monotone trend.

    Attributes:
        change: rise of Theil and Sen's line from the first to the last sample, relative to the median.
        tau: Kendall's rank correlation of samples and time, from -1 to 1.
        p: the probability of a tau at least this far from 0 without a trend.
    """

    change: float
    tau: float
    p: float


def trend(samples: ArrayLike) -> Trend | None:
    """Return the trend of samples in order; None for fewer than 20, or a median that is not above 0.

    Kendall, Rank Correlation Methods, 1948; Sen, Estimates of the Regression Coefficient Based on Kendall's
    Tau, JASA 63 (1968). The variance of tau is multiplied by the inefficiency of the residuals from the line,
    because dependent samples wander without a trend: after Hamed & Rao, A Modified
    Mann-Kendall Trend Test for Autocorrelated Data, Journal of Hydrology 204 (1998).
    """
    values = _blocks(np.asarray(samples, dtype=np.float64))
    n, median = len(values), float(np.median(values)) if len(values) else 0.0
    if len(np.asarray(samples)) < LEAST or median <= 0:
        return None
    first, second = np.triu_indices(n, 1)
    rises = values[second] - values[first]
    slope = float(np.median(rises / (second - first)))
    score = float(np.sign(rises).sum())
    dependence = inefficiency(values - slope * np.arange(n))
    variance = n * (n - 1) * (2 * n + 5) / 18 * dependence
    distance = max(0.0, abs(score) - 1) / math.sqrt(variance)
    return Trend(slope * (n - 1) / median, score / len(rises), 2 * float(ndtr(-distance)))


def _blocks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) <= MOST_POINTS:
        return values
    return np.array([np.median(block) for block in np.array_split(values, MOST_POINTS)])
