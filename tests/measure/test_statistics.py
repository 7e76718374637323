from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import quantile_test

from microbench.measure.summary import (
    LEAST_FOR_INTERVAL,
    drift,
    interval_ranks,
    relative_half_width,
    summarize,
)


@pytest.mark.parametrize("sizes", [range(6, 201), (299, 1000, 2001, 4999, 9999)], ids=["few", "thousands"])
def test_interval_is_that_of_scipys_quantile_test(sizes: range) -> None:
    for n in sizes:
        samples = np.random.default_rng(n).lognormal(size=n)
        expected = quantile_test(samples, q=1.0, p=0.5).confidence_interval(0.95)
        summary = summarize(samples)
        assert (n, summary.ci_low, summary.ci_high) == (n, expected.low, expected.high)


# Ranks from 1, as tables of the sign test's interval print them (Conover 1999, table A3).
@pytest.mark.parametrize(
    ("n", "low", "high"),
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (30, 10, 21), (50, 18, 33), (100, 40, 61)],
)
def test_interval_ends_at_the_ranks_of_the_tables(n: int, low: int, high: int) -> None:
    assert interval_ranks(n) == (low - 1, high - 1)


def test_interval_of_tied_samples_is_their_one_value() -> None:
    summary = summarize([2.0] * 7)
    assert (summary.ci_low, summary.median, summary.ci_high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("n", range(1, 6))
def test_no_interval_below_six_samples(n: int) -> None:
    summary = summarize(range(1, n + 1))
    assert (summary.ci_low, summary.ci_high, summary.half_width) == (None, None, None)
    assert n < LEAST_FOR_INTERVAL


def test_a_higher_confidence_needs_more_samples() -> None:
    # 1 - 2 * 2**-7 = 0.984 < 0.99 <= 1 - 2 * 2**-8 = 0.992
    assert interval_ranks(7, 0.99) is None
    assert interval_ranks(8, 0.99) == (0, 7)


def test_summary_has_the_moments_and_quantiles_of_numpy() -> None:
    samples = np.random.default_rng(0).exponential(size=101)
    summary = summarize(samples)
    assert summary.n == 101
    assert summary.confidence == 0.95
    assert summary.mean == pytest.approx(np.mean(samples), rel=1e-12)
    assert summary.std == pytest.approx(np.std(samples, ddof=1), rel=1e-12)
    assert (summary.min, summary.max) == (samples.min(), samples.max())
    for name, share in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        assert getattr(summary, name) == pytest.approx(np.quantile(samples, share), rel=1e-12)


def test_summary_of_samples_worked_out_by_hand() -> None:
    summary = summarize([4.0, 1.0, 3.0, 2.0, 6.0, 5.0])
    assert (summary.min, summary.q25, summary.median, summary.q75, summary.max) == (1, 2.25, 3.5, 4.75, 6)
    assert (summary.ci_low, summary.ci_high) == (1, 6)
    assert summary.mean == 3.5
    assert summary.std == pytest.approx(math.sqrt(3.5))  # squares 17.5 over 5
    assert summary.half_width == pytest.approx(2.5 / 3.5)


def test_summary_of_one_sample_has_what_one_sample_can_say() -> None:
    summary = summarize([0.25])
    assert (summary.n, summary.median, summary.mean, summary.min, summary.max) == (1, 0.25, 0.25, 0.25, 0.25)
    assert (summary.std, summary.drift, summary.ci_low, summary.ci_high) == (None, None, None, None)


def test_summary_keeps_the_samples_in_their_order() -> None:
    samples = np.array([3.0, 1.0, 2.0])
    summarize(samples)
    assert samples.tolist() == [3.0, 1.0, 2.0]


def test_drift_is_the_ratio_of_the_halves_medians_less_one() -> None:
    assert drift(np.array([1.0] * 10 + [1.5] * 10)) == 0.5
    assert drift(np.array([2.0] * 10 + [1.0] * 10)) == -0.5


def test_drift_leaves_the_middle_of_an_odd_count_out() -> None:
    assert drift(np.array([1.0] * 10 + [100.0] + [1.25] * 10)) == 0.25


def test_drift_is_unknown_below_ten_samples_a_half() -> None:
    assert drift(np.ones(19)) is None
    assert drift(np.ones(20)) == 0


def test_drift_is_unknown_where_the_first_half_took_no_time() -> None:
    assert drift(np.array([0.0] * 10 + [1.0] * 10)) is None


def test_relative_half_width_is_a_share_of_the_median() -> None:
    assert relative_half_width([6, 5, 4, 3, 2, 1]) == (3.5, 2.5 / 3.5)


@pytest.mark.parametrize(("samples", "median"), [([1, 2, 3, 4, 5], 3.0), ([0.0] * 20, 0.0)])
def test_relative_half_width_is_infinite_where_there_is_none(samples: list[float], median: float) -> None:
    assert relative_half_width(samples) == (median, math.inf)
