from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import quantile_test

from microbench.stats.dependence import inefficiency
from microbench.stats.median import (
    LEAST_FOR_INTERVAL,
    Ranks,
    dependent_ranks,
    interval_ranks,
    least_for_interval,
    quantile,
    quantile_interval,
    relative_half_width,
    resolved,
)

Ar1 = Callable[[float, int, int], NDArray[np.float64]]

SERIES = 300  # simulated for each coverage


@pytest.mark.parametrize("sizes", [range(6, 201), (299, 1000, 2001, 4999, 9999)], ids=["few", "thousands"])
def test_interval_is_that_of_scipys_quantile_test(sizes: range) -> None:
    for n in sizes:
        samples = np.random.default_rng(n).lognormal(size=n)
        expected = quantile_test(samples, q=1.0, p=0.5).confidence_interval(0.95)
        assert (n, *ends(samples, interval_ranks(n))) == (n, expected.low, expected.high)


@pytest.mark.parametrize("p", [0.01, 0.25, 0.9, 0.95, 0.99, 0.999])
def test_the_interval_of_another_quantile_is_that_of_scipys_quantile_test_and_lacks_the_same_ends(
    p: float,
) -> None:
    for n in (1, 20, 36, 72, 100, 299, 367, 368, 1000, 3687, 3688, 9999):
        samples = np.random.default_rng(n).lognormal(size=n)
        expected = quantile_test(samples, p=p).confidence_interval(0.95)
        found = ends(samples, interval_ranks(n, p=p))
        np.testing.assert_equal((n, *found), (n, expected.low, expected.high))


def ends(samples: NDArray[np.float64], ranks: Ranks) -> list[float]:
    """Return the order statistics at ranks; NaN at none."""
    ordered = np.sort(samples)
    return [math.nan if rank is None else float(ordered[rank]) for rank in ranks]


@pytest.mark.parametrize(
    ("p", "least"), [(0.5, 6), (0.9, 36), (0.1, 36), (0.95, 72), (0.99, 368), (0.999, 3688)]
)
def test_the_fewest_samples_with_both_ends(p: float, least: int) -> None:
    assert least_for_interval(p) == least
    assert None in interval_ranks(least - 1, p=p)
    assert None not in interval_ranks(least, p=p)


# Ranks from 1, as tables of the sign test's interval print them (Conover 1999, table A3).
@pytest.mark.parametrize(
    ("n", "low", "high"),
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (30, 10, 21), (50, 18, 33), (100, 40, 61)],
)
def test_interval_ends_at_the_ranks_of_the_tables(n: int, low: int, high: int) -> None:
    assert interval_ranks(n) == (low - 1, high - 1)


def test_a_higher_confidence_needs_more_samples() -> None:
    # 1 - 2 * 2**-7 = 0.984 < 0.99 <= 1 - 2 * 2**-8 = 0.992
    assert interval_ranks(7, 0.99) == (None, None)
    assert interval_ranks(8, 0.99) == (0, 7)


def test_the_ranks_of_samples_that_do_not_depend_on_each_other_are_the_independent_ones() -> None:
    for n in range(1, 500):
        assert (n, dependent_ranks(n, n)) == (n, interval_ranks(n))


def test_no_samples_count_for_more_than_they_are() -> None:
    assert dependent_ranks(50, 80.0) == interval_ranks(50)


# Of 9 independent samples the ranks from 1 are 2 and 8: the quantiles 0.2 and 0.8 of 9 + 1 gaps.
@pytest.mark.parametrize(
    ("n", "effective", "ranks"),
    [
        (99, 9.0, (20 - 1, 80 - 1)),
        (99, 9.9, (20 - 1, 80 - 1)),  # part of a sample is none
        (94, 9.0, (19 - 1, 76 - 1)),
        (95, 9.0, (19 - 1, 77 - 1)),  # 19.2 and 76.8, rounded outwards
        (99, 5.9, (None, None)),
        (99, 0.5, (None, None)),
    ],
)
def test_ranks_of_dependent_samples_are_at_the_quantiles_of_the_effective_number(
    n: int, effective: float, ranks: Ranks
) -> None:
    assert dependent_ranks(n, effective) == ranks


def test_dependence_never_narrows_the_interval() -> None:
    for n in (20, 101, 1000):
        independent, _ = interval_ranks(n)
        assert independent is not None
        for effective in range(6, n + 1):
            low, high = dependent_ranks(n, effective)
            assert low is not None
            assert high is not None
            assert 0 <= low <= independent
            assert low + high == n - 1


@pytest.mark.parametrize("n", range(1, 6))
def test_fewer_than_six_samples_have_no_interval(n: int) -> None:
    assert quantile_interval(range(1, n + 1)) == (None, None, n)
    assert n < LEAST_FOR_INTERVAL


def test_interval_of_tied_samples_is_their_one_value() -> None:
    assert quantile_interval([2.0] * 50) == (2.0, 2.0, 50.0)


def test_the_ends_are_two_of_the_samples_whatever_their_order() -> None:
    assert quantile_interval([4, 1, 3, 2, 6, 5]) == (1.0, 6.0, 6.0)
    samples = np.random.default_rng(4).exponential(size=40)  # these happen to show no dependence
    assert inefficiency(samples) == 1.0
    low, high, effective = quantile_interval(samples)
    assert (low, high, effective) == (*np.sort(samples)[[13, 26]], 40.0)


def test_the_samples_stay_in_their_order() -> None:
    samples = np.array([3.0, 1.0, 2.0] * 4)
    quantile_interval(samples)
    assert samples.tolist() == [3.0, 1.0, 2.0] * 4


# Observed with these seeds, and with 3,000 others (standard error 0.4 %), for phi 0, 0.56 and 0.8:
# of 200 samples 97.7, 95.7, 94.7 % and 97.0, 95.7, 93.6 %; of 1,000 samples 97.0, 96.3, 96.0 % and 95.9,
# 95.4, 95.2 %.
@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize("phi", [0.0, 0.56, 0.8])
def test_the_interval_covers_the_true_median_of_series_that_depend_on_their_past(
    phi: float, n: int, ar1: Ar1
) -> None:
    intervals = [quantile_interval(ar1(phi, n, seed)) for seed in range(SERIES)]
    covered = sum((low or math.inf) <= 1.0 <= (high or -math.inf) for low, high, _ in intervals)
    assert covered / SERIES >= 0.90


def test_an_interval_that_ignores_the_dependence_would_miss_the_median_often(ar1: Ar1) -> None:
    """What the effective sample size is for: the simulation above can tell."""
    found = [ends(ar1(0.8, 1000, seed), interval_ranks(1000)) for seed in range(SERIES)]
    assert sum(low <= 1.0 <= high for low, high in found) / SERIES < 0.75


@pytest.mark.parametrize("phi", [0.56, 0.8])
def test_the_interval_of_a_dependent_series_is_wider_than_that_of_its_values_shuffled(
    phi: float, ar1: Ar1
) -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        series = ar1(phi, 1000, seed)
        assert relative_half_width(series)[1] > 1.2 * relative_half_width(rng.permutation(series))[1]


def bootstrapped(series: NDArray[np.float64], seed: int) -> float:
    """Return the width of the median's 95 % CI by the circular block bootstrap.

    Politis & Romano, A Circular Block-Resampling Procedure for Stationary Data, 1992. Blocks of 50 are long
    beside the ten or so steps after which these series forget, and short beside their 1,000.
    """
    block, resamples, n = 50, 1000, len(series)
    starts = np.random.default_rng(seed).integers(n, size=(resamples, n // block, 1))
    drawn = series[((starts + np.arange(block)) % n).reshape(resamples, n)]
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(high - low)


@pytest.mark.parametrize("phi", [0.0, 0.56, 0.8])
def test_the_interval_is_about_as_wide_as_that_of_a_block_bootstrap(phi: float, ar1: Ar1) -> None:
    ratios = []
    for seed in range(30):
        series = ar1(phi, 1000, seed)
        low, high, _ = quantile_interval(series)
        assert low is not None
        assert high is not None
        ratios.append((high - low) / bootstrapped(series, seed))
    # The ends are order statistics, rounded outwards: somewhat wider. Observed: 1.10 to 1.12 on the average.
    assert 0.9 < float(np.mean(ratios)) < 1.3


def test_relative_half_width_is_a_share_of_the_median() -> None:
    assert relative_half_width([6, 5, 4, 3, 2, 1]) == (3.5, 2.5 / 3.5)


@pytest.mark.parametrize(("samples", "median"), [([1, 2, 3, 4, 5], 3.0), ([0.0] * 20, 0.0)])
def test_relative_half_width_is_infinite_where_there_is_none(samples: list[float], median: float) -> None:
    assert relative_half_width(samples) == (median, math.inf)


def test_other_quantiles_have_intervals_too_and_lack_an_end_where_samples_are_few() -> None:
    samples = np.random.default_rng(3).permutation(100) + 1.0
    low, high, effective = quantile_interval(samples, p=0.9)
    assert effective == 100.0
    expected = quantile_test(samples, p=0.9).confidence_interval(0.95)
    assert (low, high) == (expected.low, expected.high)
    assert quantile_interval(samples, p=0.99)[1] is None
    assert relative_half_width(samples, 0.99)[1] == math.inf
    assert relative_half_width(samples, 0.9) == (
        quantile(samples, 0.9),
        (high - low) / 2 / quantile(samples, 0.9),
    )


def test_the_quantile_of_the_samples_is_below_the_true_one_as_often_as_above_it() -> None:
    draws = np.random.default_rng(0).random((4000, 100))
    below = np.mean([quantile(draw, 0.99) < 0.99 for draw in draws])
    assert 0.47 < below < 0.53
    assert quantile([4.0, 1.0, 3.0, 2.0]) == 2.5


def test_an_interval_is_no_narrower_than_the_clocks_resolution() -> None:
    assert resolved(1.0, 3.0, 2.0, 0.5) == (1.0, 3.0)
    assert resolved(2.0, 2.0, 2.0, 0.5) == (1.75, 2.25)
    assert resolved(1.9, 2.6, 2.0, 0.5) == (1.75, 2.6)
    assert relative_half_width([4.0] * 20, resolution=1.0) == (4.0, 0.125)
    assert relative_half_width([4.0] * 20) == (4.0, 0.0)
    assert relative_half_width([4.0] * 5, resolution=1.0)[1] == math.inf
