from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm, t

from microbench.stats.rounds import over_rounds

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


# The confidence is 1 - 2**(1 - rounds): the chance that not all rounds lie on the same side of the median.
@pytest.mark.parametrize(
    ("medians", "confidence"),
    [
        ([1.0, 3.0], 0.5),
        ([1.0, 4.0, 2.0], 0.75),
        ([2.0, 1.0, 4.0, 3.0], 0.875),
        ([5.0, 1.0, 4.0, 2.0, 3.0], 0.9375),
        ([6.0, 5.0, 1.0, 4.0, 2.0, 3.0], 0.95),
    ],
)
def test_the_interval_of_few_rounds_is_their_range_with_the_confidence_that_supports(
    medians: list[float], confidence: float
) -> None:
    found = over_rounds(medians)
    assert (found.low, found.median, found.high) == (min(medians), statistics.median(medians), max(medians))
    assert found.confidence == confidence


def test_a_lower_confidence_is_not_raised_to_what_the_rounds_support() -> None:
    assert over_rounds([1.0, 2.0, 3.0, 4.0, 5.0], confidence=0.8).confidence == 0.8


def test_the_spread_is_the_standard_deviation_as_a_share_of_the_median() -> None:
    assert over_rounds([1.0, 2.0, 6.0]).spread == pytest.approx(math.sqrt(7) / 2)  # squares 14 over 2
    assert over_rounds([0.5] * 4).spread == 0.0


def widened(rounds: int) -> float:
    """Return the tail that the percentiles leave at 95 %: Hesterberg's, from the definition."""
    return float(norm.cdf(math.sqrt(rounds / (rounds - 1)) * t.ppf(0.025, rounds - 1)))


@pytest.mark.parametrize("rounds", [7, 8, 9, 10])
def test_the_ends_are_the_percentiles_of_the_medians_of_all_possible_draws(rounds: int) -> None:
    """All draws with replacement are enumerated, each as often as there are orders of it."""
    draws = list(combinations_with_replacement(range(rounds), rounds))
    orders = [
        math.factorial(rounds) / math.prod(map(math.factorial, Counter(draw).values())) for draw in draws
    ]
    for seed in range(5):
        medians = np.sort(np.random.default_rng(seed).lognormal(0, 0.1, rounds))
        drawn = np.median(medians[np.array(draws)], axis=1)
        order = np.argsort(drawn)
        share = np.cumsum(np.array(orders)[order]) / rounds**rounds
        low, high = (drawn[order[np.searchsorted(share, q)]] for q in (widened(rounds), 1 - widened(rounds)))
        found = over_rounds(medians.tolist())
        assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize("rounds", [10, 25])
def test_the_interval_is_that_of_scipys_bootstrap_at_the_widened_percentiles(rounds: int) -> None:
    medians = np.random.default_rng(rounds).normal(1, 0.02, rounds)
    expected = bootstrap(
        (medians,),
        np.median,
        confidence_level=1 - 2 * widened(rounds),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = over_rounds(medians.tolist())
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.1 * width)
    assert found.high == pytest.approx(expected.high, abs=0.1 * width)


NOISES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, n: rng.normal(1, 0.02, n), 1.0),
    "lognormal": (lambda rng, n: rng.lognormal(0, 0.2, n), 1.0),
    "exponential": (lambda rng, n: 1 + rng.exponential(0.05, n), 1 + 0.05 * math.log(2)),
}


# Observed with these seeds: 96.5 % to 97.0 % for six rounds, 95.8 % for ten.
@pytest.mark.parametrize("rounds", [6, 10])
@pytest.mark.parametrize("name", NOISES)
def test_the_interval_of_rounds_covers_their_true_median(name: str, rounds: int) -> None:
    draw, median = NOISES[name]
    found = [over_rounds(draw(np.random.default_rng(seed), rounds).tolist()) for seed in range(400)]
    assert sum(each.low <= median <= each.high for each in found) / 400 >= 0.94


@pytest.mark.parametrize("rounds", [2, 3, 4, 5])
def test_the_interval_of_few_rounds_covers_as_often_as_it_says(rounds: int) -> None:
    found = [over_rounds(np.random.default_rng(seed).normal(1, 0.02, rounds).tolist()) for seed in range(400)]
    covered = sum(each.low <= 1.0 <= each.high for each in found) / 400
    said = found[0].confidence
    assert covered == pytest.approx(said, abs=3 * math.sqrt(said * (1 - said) / 400))


def test_the_same_rounds_have_the_same_interval() -> None:
    for seed in range(40):
        medians = np.random.default_rng(seed).normal(1, 0.02, 20).tolist()
        assert over_rounds(medians) == over_rounds(list(medians))


def test_the_order_of_the_rounds_does_not_matter() -> None:
    medians = np.random.default_rng(0).normal(1, 0.02, 10).tolist()
    there, back = over_rounds(medians), over_rounds(medians[::-1])
    assert (back.low, back.high) == pytest.approx((there.low, there.high))


def test_the_interval_scales_with_the_rounds() -> None:
    medians = np.random.default_rng(3).normal(1, 0.02, 10)
    once, thousandth = over_rounds(medians.tolist()), over_rounds((medians / 1024).tolist())
    assert (thousandth.low, thousandth.high) == (once.low / 1024, once.high / 1024)
    assert thousandth.spread == pytest.approx(once.spread)


def test_one_strange_round_of_ten_does_not_move_the_interval_far() -> None:
    medians = [1.0 + 0.001 * i for i in range(9)]
    assert over_rounds([*medians, 50.0]).high < 1.01
