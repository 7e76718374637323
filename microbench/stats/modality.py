"""Whether samples have two typical values instead of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from microbench.stats.dependence import inefficiency

LEAST = 60  # samples; hills of fewer are chance
LEAST_SHARE = 0.1  # of the samples in the smaller hill; all that is left out as outliers is less
LEAST_INDEPENDENT = 4  # independent samples in the smaller hill: a slow wandering dwells now here, now there
LEAST_GAP = 0.05  # between the hills' medians, as a share of the lower one
DEEP = 1 / 3  # density between two hills, relative to the thinner of them: a valley, however few samples
SHALLOW = 3 / 4  # the same where so few samples between them would be as unlikely by chance as CHANCE
CHANCE = 0.001
COARSEST = 1e-4  # seconds: no clock that times samples ticks more slowly

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Speeds:
    """Two typical values.

    Attributes:
        low: median of the lower hill, in seconds.
        high: median of the upper one.
        share: share of the samples in the upper one.
    """

    low: float
    high: float
    share: float


def two_speeds(samples: ArrayLike) -> Speeds | None:
    """The two typical values of samples that have two; None for those that have one.

    The sorted samples are split where the two parts' squared deviations are least (two-means, exactly). A
    part with less than a tenth of the samples holds outliers, which such a split cannot pass over: it is left
    out, and the rest is split again. Two hills have a valley between them: the middle third of the way from
    one part's median to the other's holds fewer samples than the thirds around the medians. A density with
    one peak has at least as many there as around one of the two, however skewed it is. Where there is no
    valley, each part may have one, of three speeds.

    Values next to each other on a clock's grid have no room for a valley, and are no two speeds.

    Args:
        samples: seconds, in the order they were taken.
    """
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
    """Sorted values in two parts, each of which may be a hill of so many values, without outliers."""
    least, kept = LEAST_SHARE * total, len(ordered)
    while ordered[0] < ordered[-1] and len(ordered) > kept - least:
        split = _split(ordered)
        low, high = ordered[:split], ordered[split:]
        if min(split, len(ordered) - split) >= least:
            return low, high
        ordered = max(low, high, key=len)
    return None


def _hills(values: Values, low: Values, high: Values, is_sure: bool) -> Speeds | None:
    """Two parts as speeds, if they are hills with a valley between them.

    Args:
        values: all samples in their order.
        low: the sorted ones of the lower part.
        high: those of the upper part.
        is_sure: only a valley that is no chance is one: others were looked for before.
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
    """How many of the sorted values make the lower part."""
    n = len(ordered)
    below, total = np.cumsum(ordered)[:-1], ordered.sum()
    sizes = np.arange(1, n)
    between = below**2 / sizes + (total - below) ** 2 / (n - sizes)
    return int(np.argmax(between)) + 1


def _count(ordered: Values, start: float, end: float) -> int:
    return int(np.searchsorted(ordered, end) - np.searchsorted(ordered, start))
