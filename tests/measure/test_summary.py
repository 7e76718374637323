from __future__ import annotations

import math

import numpy as np
import pytest

from microbench.records.summary import summarize
from microbench.stats.median import quantile, quantile_interval
from microbench.stats.trend import LEAST, trend


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


def test_the_summary_agrees_with_one_worked_out_by_hand() -> None:
    summary = summarize([4.0, 1.0, 3.0, 2.0, 6.0, 5.0])
    assert (summary.min, summary.q25, summary.median, summary.q75, summary.max) == (1, 2.25, 3.5, 4.75, 6)
    assert (summary.ci_low, summary.ci_high) == (1, 6)
    assert summary.n_effective == 6
    assert summary.mean == 3.5
    assert summary.std == pytest.approx(math.sqrt(3.5))  # squares 17.5 over 5
    assert summary.half_width == pytest.approx(2.5 / 3.5)


def test_summary_has_the_interval_that_the_samples_in_their_order_support() -> None:
    wandering = np.repeat(np.random.default_rng(1).lognormal(size=40), 10)
    summary = summarize(wandering)
    assert (summary.ci_low, summary.ci_high, summary.n_effective) == quantile_interval(wandering)
    assert summary.n_effective < 100
    shuffled = summarize(np.random.default_rng(2).permutation(wandering))
    assert (shuffled.half_width or math.inf) < (summary.half_width or 0)


def test_summary_has_the_interval_of_the_confidence_that_is_requested() -> None:
    samples = np.random.default_rng(3).lognormal(size=200)
    summary = summarize(samples, confidence=0.99)
    assert summary.confidence == 0.99
    assert (summary.ci_low, summary.ci_high, summary.n_effective) == quantile_interval(samples, 0.99)
    assert (summary.half_width or 0) > (summarize(samples).half_width or math.inf)


def test_summary_of_one_sample_has_what_one_sample_can_say() -> None:
    summary = summarize([0.25])
    assert (summary.n, summary.median, summary.mean, summary.min, summary.max) == (1, 0.25, 0.25, 0.25, 0.25)
    assert (summary.std, summary.drift, summary.ci_low, summary.ci_high) == (None, None, None, None)
    assert (summary.n_effective, summary.drift_tau, summary.drift_p) == (1.0, None, None)


@pytest.mark.parametrize("n", range(1, 6))
def test_fewer_than_six_samples_have_no_interval(n: int) -> None:
    summary = summarize(range(1, n + 1))
    assert (summary.ci_low, summary.ci_high, summary.half_width) == (None, None, None)


def test_interval_of_tied_samples_is_their_one_value() -> None:
    summary = summarize([2.0] * 7)
    assert (summary.ci_low, summary.median, summary.ci_high) == (2.0, 2.0, 2.0)
    assert summary.half_width == 0


def test_summary_keeps_the_samples_in_their_order() -> None:
    samples = np.array([3.0, 1.0, 2.0])
    summarize(samples)
    assert samples.tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("rising", [1, -1])
def test_drift_is_the_trend_of_the_samples(rising: int) -> None:
    samples = 2.0 + rising * np.linspace(0, 1, 21)
    summary = summarize(samples)
    found = trend(samples)
    assert found is not None
    assert (summary.drift, summary.drift_tau, summary.drift_p) == (found.change, found.tau, found.p)
    assert summary.drift == pytest.approx(rising / (2 + rising / 2))
    assert summary.drift_tau == rising
    assert found.p < 1e-6


def test_drift_is_unknown_for_few_samples() -> None:
    few, enough = summarize(np.ones(LEAST - 1)), summarize(np.ones(LEAST))
    assert (few.drift, few.drift_tau, few.drift_p) == (None, None, None)
    assert (enough.drift, enough.drift_tau, enough.drift_p) == (0, 0, 1)


def test_drift_is_unknown_where_half_of_the_samples_took_no_time() -> None:
    assert summarize([0.0] * 15 + [1.0] * 10).drift is None


@pytest.mark.parametrize(("n", "there"), [(9, ()), (10, ("p90",)), (100, ("p90", "p95", "p99"))])
def test_percentiles_are_there_if_a_sample_is_expected_above_them(n: int, there: tuple[str, ...]) -> None:
    samples = np.random.default_rng(0).random(n)
    summary = summarize(samples)
    found = {name: getattr(summary, name) for name in ("p90", "p95", "p99", "p99_9")}
    expected = {"p90": 0.9, "p95": 0.95, "p99": 0.99}
    assert found == dict.fromkeys(found) | {name: quantile(samples, expected[name]) for name in there}


def test_the_interval_of_equal_samples_is_as_wide_as_the_clock_is_coarse() -> None:
    summary = summarize([2.0] * 7, resolution=0.5)
    assert (summary.ci_low, summary.median, summary.ci_high) == (1.75, 2.0, 2.25)
    assert summarize([2.0] * 5, resolution=0.5).ci_low is None
