"""Whether samples have two typical values instead of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from microbench.stats.dependence import inefficiency

LEAST = 60  # samples; peaks of fewer are chance
LEAST_SHARE = 0.1  # share of the samples in the smaller peak; outliers are less
LEAST_INDEPENDENT = 4  # independent samples in the smaller peak: a slow drift stays now here, now there
LEAST_GAP = 0.05  # between the peaks' medians, as a share of the lower one
DEEP = 1 / 3  # density between two peaks, relative to the lower peak: a valley, however few samples
SHALLOW = 3 / 4  # the same if so few samples between them are as unlikely by chance as CHANCE
CHANCE = 0.001
COARSEST = 1e-4  # seconds: no clock that times samples ticks more slowly

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Speeds:
    """Two typical values of the same samples.

    Attributes:
        low: median of the faster samples, in seconds.
        high: median of the slower samples, in seconds.
        share: share of the slower samples.
    """

    low: float
    high: float
    share: float


def two_speeds(samples: ArrayLike, resolution: float = 0.0) -> Speeds | None:
    """Return the two typical values of samples that have two; None if they have one.

    The sorted samples are split where the sum of both parts' squared deviations is least (exact two-means). A
    part with less than a tenth of the samples holds outliers, which such a split always isolates: it is left
    out, and the rest is split again. Two peaks have a valley between them: the middle third between the
    parts' medians holds fewer samples than the thirds around the medians. A density with one peak,
    however skewed, has at least as many there as around one of the medians. If there is no valley, each
    part may have one: there may be three speeds.

    Neighbouring values on a clock's grid leave no room for a valley, and do not count as two speeds.

    Args:
        samples: in seconds, in the order they were taken.
        resolution: the clock's in seconds, if known: speeds that differ by less than twice that are one.
    """
    found = _two_speeds(samples)
    return None if found is not None and found.high - found.low < 2 * resolution else found


def _two_speeds(samples: ArrayLike) -> Speeds | None:
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < LEAST or values.min() <= 0:
        return None
    ordered = np.sort(values)
    parts = _parts(ordered, len(values))
    if parts is None:
        return None
    if found := _hills(values, *parts, is_sure=False):
        return found
    inner = (_parts(part, len(values)) for part in parts)
    return next(
        (found for each in inner if each is not None and (found := _hills(values, *each, is_sure=True))), None
    )


def _parts(ordered: Values, total: int) -> tuple[Values, Values] | None:
    """Split sorted values, without outliers, into two parts that are each large enough to be a peak."""
    least, kept = LEAST_SHARE * total, len(ordered)
    while ordered[0] < ordered[-1] and len(ordered) > kept - least:
        split = _split(ordered)
        low, high = ordered[:split], ordered[split:]
        if min(split, len(ordered) - split) >= least:
            return low, high
        ordered = max(low, high, key=len)
    return None


def _hills(values: Values, low: Values, high: Values, is_sure: bool) -> Speeds | None:
    """Return two parts as speeds, if they are peaks with a valley between them.

    Args:
        values: all samples in their order.
        low: the lower part, sorted.
        high: the upper part, sorted.
        is_sure: accept only a significant valley, because others were looked for before.
    """
    below, above = float(np.median(low)), float(np.median(high))
    gap = above - below
    tick = np.diff(np.unique(values)).min()
    if gap < LEAST_GAP * below or (gap < 1.5 * tick and tick < COARSEST):
        return None
    ordered = np.concatenate([low, high])
    around_low, between, around_high = (
        _count(ordered, below + start * gap / 3, below + end * gap / 3)
        for start, end in ((-0.5, 0.5), (1, 2), (2.5, 3.5))
    )
    thinner = min(around_low, around_high)
    inside = values[(values >= low[0]) & (values <= high[-1])]
    depend = inefficiency(inside - np.where(inside < high[0], below, above))
    if min(len(low), len(high)) < LEAST_INDEPENDENT * depend:
        return None
    chance = bdtr(between // depend, int((between + thinner) / depend), 0.5)
    is_valley = between < SHALLOW * thinner and chance < CHANCE
    if is_valley or (between < DEEP * thinner and not is_sure):
        return Speeds(below, above, len(high) / len(values))
    return None


def _split(ordered: Values) -> int:
    """Return how many of the sorted values belong to the lower part."""
    n = len(ordered)
    below, total = np.cumsum(ordered)[:-1], ordered.sum()
    sizes = np.arange(1, n)
    between = below**2 / sizes + (total - below) ** 2 / (n - sizes)
    return int(np.argmax(between)) + 1


def _count(ordered: Values, start: float, end: float) -> int:
    return int(np.searchsorted(ordered, end) - np.searchsorted(ordered, start))
