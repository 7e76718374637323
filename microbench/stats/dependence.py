"""The dependence between the samples of one process."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 10  # samples; with fewer, dependence cannot be estimated


def inefficiency(samples: ArrayLike, p: float = 0.5) -> float:
    """Return how many samples tell as much about the quantile `p` as one independent sample; at least 1.

    A quantile's interval rests on how many samples lie above it. The variance of that number is n p (1 - p)
    for independent samples, and tau times that for a stationary series, where tau is the integrated
    autocorrelation time of the signs sgn(x - quantile): Heidelberger & Lewis, Quantile Estimation in
    Dependent Sequences, Operations Research 32 (1984). tau is summed up to where the sum of two neighbouring
    autocorrelations is no longer positive, each sum at most the previous one: the initial monotone sequence
    of Geyer, Practical Markov Chain Monte Carlo, Statistical Science 7 (1992).

    Args:
        samples: in the order they were taken. Fewer than 10 count as independent.
        p: which quantile, by default the median.
    """
    values = np.asarray(samples, dtype=np.float64)
    n = len(values)
    if n < LEAST:
        return 1.0
    signs = np.sign(values - np.quantile(values, p, method="median_unbiased"))
    signs -= signs.mean()
    if not signs.any():
        return 1.0
    pairs = _pair_sums(autocorrelation(signs))
    ends = np.flatnonzero(pairs <= 0)
    initial = np.minimum.accumulate(pairs[: ends[0] if len(ends) else len(pairs)])
    return float(min(max(1.0, 2 * initial.sum() - 1), n))


def autocorrelation(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the autocorrelation at each lag from 0, of a series with mean zero that is not all zeros."""
    n = len(centred)
    spectrum = np.fft.rfft(centred, 2 * n)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:n]
    found: NDArray[np.float64] = covariance / covariance[0]
    return found


def _pair_sums(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    even = correlation[: len(correlation) // 2 * 2]
    sums: NDArray[np.float64] = even[::2] + even[1::2]
    return sums
