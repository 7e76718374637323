from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from microbench.stats.resolution import POWER, detectable, deviation_interval, rounds_for


def share_detected(deviation: float, difference: float, rounds: int, repeats: int = 20_000) -> float:
    """Return how often a t test of simulated log ratios finds a difference at 5 % significance."""
    ratios = np.random.default_rng(0).normal(math.log1p(difference), deviation, (repeats, rounds))
    return float(np.mean(stats.ttest_1samp(ratios, 0, axis=1).pvalue < 0.05))


@pytest.mark.parametrize("rounds", [6, 10, 20, 50])
@pytest.mark.parametrize("deviation", [0.01, 0.08])
def test_four_of_five_runs_find_the_smallest_difference(deviation: float, rounds: int) -> None:
    found = share_detected(deviation, detectable(deviation, rounds), rounds)
    assert found == pytest.approx(POWER, abs=0.015)


@pytest.mark.parametrize(("rounds", "power"), [(2, 0.73), (3, 0.77)])
def test_with_very_few_rounds_a_little_less_are_found_as_the_docstring_says(
    rounds: int, power: float
) -> None:
    assert share_detected(0.05, detectable(0.05, rounds), rounds) == pytest.approx(power, abs=0.015)


@pytest.mark.parametrize("rounds", [6, 20])
def test_half_the_smallest_difference_is_found_much_less_often(rounds: int) -> None:
    assert share_detected(0.05, detectable(0.05, rounds) / 2, rounds) < 0.4


def test_a_difference_that_is_not_there_is_found_in_one_of_twenty() -> None:
    assert share_detected(0.05, 0.0, 6) == pytest.approx(0.05, abs=0.005)


def test_the_detectable_difference_is_blooms_minimum_detectable_effect() -> None:
    quantiles = stats.t.ppf(0.975, 5) + stats.t.ppf(0.8, 5)
    assert detectable(0.06, 6) == pytest.approx(math.exp(quantiles * 0.06 / math.sqrt(6)) - 1)


def test_more_rounds_detect_smaller_differences() -> None:
    found = [detectable(0.05, rounds) for rounds in range(2, 100)]
    assert all(later < earlier for earlier, later in pairwise(found))


def test_without_spread_every_difference_is_detectable() -> None:
    assert detectable(0.0, 6) == 0.0
    assert rounds_for(0.01, 0.0) == 2


def test_with_an_infinite_spread_no_difference_is_detectable() -> None:
    assert detectable(1000.0, 2) == math.inf
    assert rounds_for(0.01, 1000.0) is None


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5])
@pytest.mark.parametrize("deviation", [0.005, 0.06])
def test_the_rounds_it_takes_are_the_fewest_that_do(share: float, deviation: float) -> None:
    needed = rounds_for(share, deviation)
    assert needed is not None
    assert needed >= 2
    assert detectable(deviation, needed) <= share
    assert needed == 2 or detectable(deviation, needed - 1) > share


@pytest.mark.parametrize("rounds", [2, 6, 30])
def test_the_interval_holds_the_true_standard_deviation_in_95_of_100(rounds: int) -> None:
    samples = np.random.default_rng(1).normal(0, 0.05, (4000, rounds))
    ends = [deviation_interval(float(each.std(ddof=1)), rounds) for each in samples]
    assert np.mean([low <= 0.05 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.012)
