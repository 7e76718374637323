"""Hartigan's dip test, the reference for whether samples have two peaks.

The dip is the least distance, at its largest over all values, between the samples' distribution function and
one with a single peak: J. A. and P. M. Hartigan, The Dip Test of Unimodality, Annals of Statistics 13 (1985);
P. M. Hartigan, Algorithm AS 217, Applied Statistics 34 (1985), with the corrections of R's package diptest,
whose values it gives.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


def dip(samples: ArrayLike) -> float:
    """Return the dip of samples, from 1 / 2n to 1 / 4."""
    x = np.sort(np.asarray(samples, dtype=np.float64))
    n = len(x)
    if x[0] == x[-1]:
        return 1 / (2 * n)
    minorant = _hull(x)
    majorant = [n - 1 - each for each in _hull(-x[::-1])[::-1]]
    low, high, found = 0, n - 1, 1.0
    while True:
        lower, upper = _chain(minorant, high, low), _chain(majorant, low, high)
        apart, start, end = _widest(x, lower, upper)
        if apart < found:
            break
        found = max(
            found,
            *(_distance(x, lower[j + 1], lower[j], 1) for j in range(start, len(lower) - 1)),
            *(_distance(x, upper[j], upper[j + 1], -1) for j in range(end, len(upper) - 1)),
            0.0,
        )
        if (low, high) == (lower[start], upper[end]):
            break
        low, high = lower[start], upper[end]
    return found / (2 * n)


@cache
def critical(n: int, chance: float = 0.01, draws: int = 500) -> float:
    """Return the dip that this share of uniform samples, the hardest with one peak, exceeds."""
    rng = np.random.default_rng(7)
    return float(np.quantile([dip(rng.uniform(size=n)) for _ in range(draws)], 1 - chance))


def _hull(x: Values) -> list[int]:
    """Return, for each value, the previous one on the greatest convex minorant of the values up to it."""
    before = [0]
    for j in range(1, len(x)):
        k = j - 1
        while k and (x[j] - x[k]) * (k - before[k]) >= (x[k] - x[before[k]]) * (j - k):
            k = before[k]
        before.append(k)
    return before


def _chain(following: list[int], start: int, end: int) -> list[int]:
    chain = [start]
    while chain[-1] != end:
        chain.append(following[chain[-1]])
    return chain


def _widest(x: Values, lower: list[int], upper: list[int]) -> tuple[float, int, int]:
    """Return the largest distance between minorant and majorant, and its place in either chain."""
    start, end = len(lower) - 1, len(upper) - 1
    if start == end == 1:
        return 1.0, start, end
    i, j, widest, last = start - 1, 1, 0.0, end
    while True:
        a, b = lower[i], upper[j]
        if a > b:
            c = lower[i + 1]
            apart = (b - c + 1) - (x[b] - x[c]) * (a - c) / (x[a] - x[c])
            j += 1
            if apart >= widest:
                widest, start, end = apart, i + 1, j - 1
        else:
            c = upper[j - 1]
            apart = (x[a] - x[c]) * (b - c) / (x[b] - x[c]) - (a - c - 1)
            i -= 1
            if apart >= widest:
                widest, start, end = apart, i + 1, j
        i, j = max(i, 0), min(j, last)
        if lower[i] == upper[j]:
            return widest, start, end


def _distance(x: Values, begin: int, end: int, side: int) -> float:
    """Return how far the distribution is above (1) or below (-1) a straight piece at most; at least 1."""
    if end - begin <= 1 or x[end] == x[begin]:
        return 1.0
    line = (x[begin : end + 1] - x[begin]) * (end - begin) / (x[end] - x[begin])
    return max(1.0, float(np.max(side * (np.arange(end - begin + 1) - line)) + 1))
