from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau, norm, theilslopes

from microbench.stats.trend import LEAST, MOST_POINTS, trend

Ar1 = Callable[[float, int, int], NDArray[np.float64]]

PLAIN = 0.01  # a p below it is a trend


def noise(n: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).lognormal(0, 0.05, n)


@pytest.mark.parametrize("n", [20, 21, 50, 137, 200])
def test_tau_and_slope_are_those_of_scipy(n: int) -> None:
    for seed in range(5):
        samples = noise(n, seed)
        found = trend(samples)
        assert found is not None
        assert found.tau == pytest.approx(kendalltau(np.arange(n), samples).statistic, abs=1e-12)
        slope = theilslopes(samples).slope
        assert found.change == pytest.approx(slope * (n - 1) / np.median(samples), abs=1e-12)


@pytest.mark.parametrize("n", [20, 50, 200])
def test_p_of_samples_without_dependence_is_kendalls_with_the_correction_for_continuity(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kendall's own normal approximation, from scipy's tau: by the correction more careful than scipy's p."""
    monkeypatch.setattr("microbench.stats.trend.inefficiency", lambda samples: 1.0)
    deviation = np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    for seed in range(20):
        samples = noise(n, seed)
        found = trend(samples)
        assert found is not None
        scipys = kendalltau(np.arange(n), samples, method="asymptotic")
        score = abs(scipys.statistic) * n * (n - 1) / 2
        assert found.p == pytest.approx(2 * norm.sf(max(0.0, score - 1) / deviation))
        assert found.p >= scipys.pvalue


def test_tau_counts_ties_as_neither_rise_nor_fall() -> None:
    found = trend([1.0] * 10 + [2.0] * 10)
    assert found is not None
    assert found.tau == 100 / 190  # the pairs between the halves, of all 20 * 19 / 2


def test_a_line_is_its_own_trend() -> None:
    found = trend(np.linspace(1.0, 1.5, 21))
    assert found is not None
    assert (found.change, found.tau) == (pytest.approx(0.4), 1.0)  # 0.5 over the median of 1.25
    falling = trend(np.linspace(1.5, 1.0, 21))
    assert falling is not None
    assert (falling.change, falling.tau) == (pytest.approx(-0.4), -1.0)
    assert falling.p == pytest.approx(found.p)
    assert found.p < 1e-6


@pytest.mark.parametrize("n", [60, 200, 1000, 5000])
def test_a_planted_ramp_of_a_tenth_is_found(n: int) -> None:
    ramp = 1 + 0.1 * np.arange(n) / (n - 1)
    found = [trend(ramp * np.random.default_rng(seed).lognormal(0, 0.03, n)) for seed in range(30)]
    assert all(each is not None and each.p < PLAIN for each in found)
    changes = [each.change for each in found if each is not None]
    assert float(np.median(changes)) == pytest.approx(0.1 / 1.05, rel=0.1)


@pytest.mark.parametrize("n", [20, 50, 200])
def test_independent_noise_is_rarely_taken_for_a_trend(n: int) -> None:
    found = [trend(noise(n, seed)) for seed in range(1000)]
    assert sum(each is not None and each.p < PLAIN for each in found) / 1000 <= 0.015


def test_the_noise_of_a_long_series_is_rarely_taken_for_a_trend() -> None:
    found = [trend(noise(1000, seed)) for seed in range(200)]
    assert sum(each is not None and each.p < PLAIN for each in found) / 200 <= 0.015


def test_samples_that_wander_are_taken_for_a_trend_much_less_often_than_by_kendalls_own_test(
    ar1: Ar1,
) -> None:
    series = [ar1(0.56, 200, seed) for seed in range(300)]
    naive = sum(kendalltau(np.arange(200), each).pvalue < PLAIN for each in series) / 300
    ours = sum((found := trend(each)) is not None and found.p < PLAIN for each in series) / 300
    assert naive > 0.08
    assert ours <= 0.04


def test_a_long_series_is_the_trend_of_the_medians_of_its_blocks() -> None:
    samples = noise(MOST_POINTS * 7, 0)
    assert trend(samples) == trend(np.median(samples.reshape(MOST_POINTS, 7), axis=1))


@pytest.mark.parametrize("n", [0, 1, 19])
def test_the_trend_of_few_samples_is_not_told(n: int) -> None:
    assert n < LEAST
    assert trend(np.linspace(1, 2, n)) is None


def test_a_median_that_is_not_above_zero_has_no_share() -> None:
    assert trend([0.0] * 15 + [1.0] * 10) is None


def test_constant_samples_have_no_trend() -> None:
    found = trend([0.25] * 30)
    assert found is not None
    assert (found.change, found.tau, found.p) == (0.0, 0.0, 1.0)
