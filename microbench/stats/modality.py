"""Whether samples have two typical values instead of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 60  # samples; hills of fewer are chance
LEAST_SHARE = 0.1  # of the samples in the smaller cluster
LEAST_GAP = 0.05  # between the clusters' medians, as a share of the lower one
VALLEY = 1 / 3  # most density between the clusters, relative to the thinner of them


@dataclass(frozen=True)
class Speeds:
    """Two typical values.

    Attributes:
        low: median of the lower cluster, in the samples' unit.
        high: median of the upper one.
        share: share of the samples in the upper one.
    """

    low: float
    high: float
    share: float


def two_speeds(samples: ArrayLike) -> Speeds | None:
    """The two typical values of samples that have two; None for those that have one.

    The sorted samples are split where the two parts' squared deviations are least (two-means, exactly). Two
    hills have a valley between them: the middle third of the way from one part's median to the other's holds
    much fewer samples than the thirds around the medians. A density with one peak has at least as many there
    as around one of the two, however skewed it is.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    if len(ordered) < LEAST or ordered[0] <= 0:
        return None
    split = _split(ordered)
    low, high = float(np.median(ordered[:split])), float(np.median(ordered[split:]))
    share, least = (len(ordered) - split) / len(ordered), min(split, len(ordered) - split) / len(ordered)
    if least < LEAST_SHARE or high - low < LEAST_GAP * low:
        return None
    third = (high - low) / 3
    around_low, between, around_high = (
        _count(ordered, low + start * third, low + end * third)
        for start, end in ((-0.5, 0.5), (1, 2), (2.5, 3.5))
    )
    return Speeds(low, high, share) if between < VALLEY * min(around_low, around_high) else None


def _split(ordered: NDArray[np.float64]) -> int:
    """How many of the sorted values make the lower part."""
    n = len(ordered)
    below, total = np.cumsum(ordered)[:-1], ordered.sum()
    sizes = np.arange(1, n)
    between = below**2 / sizes + (total - below) ** 2 / (n - sizes)
    return int(np.argmax(between)) + 1


def _count(ordered: NDArray[np.float64], start: float, end: float) -> int:
    return int(np.searchsorted(ordered, end) - np.searchsorted(ordered, start))
