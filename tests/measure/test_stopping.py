from __future__ import annotations

import math
from dataclasses import replace

import pytest

from microbench.measure.stopping import StoppingRule
from microbench.records.record import StopReason

RULE = StoppingRule(rel_ci=0.1, min_time=2.0, max_time=10.0, min_samples=8, max_samples=100)
NARROW = [1.0] * 8
WIDE = [1.0, 2.0] * 4


def test_no_limit_is_reached_before_any() -> None:
    assert RULE.limit(99, 9.9) is None


def test_most_samples_are_a_limit() -> None:
    assert RULE.limit(100, 0.0) is StopReason.MAX_SAMPLES
    assert replace(RULE, max_samples=1).limit(1, 0.0) is StopReason.MAX_SAMPLES


def test_longest_time_is_a_limit() -> None:
    assert RULE.limit(6, 10.0) is StopReason.MAX_TIME
    assert RULE.limit(99, 11.0) is StopReason.MAX_TIME


@pytest.mark.parametrize("n", range(1, 6))
def test_longest_time_waits_for_the_six_samples_of_an_interval(n: int) -> None:
    assert RULE.limit(n, 1000.0) is None


def test_longest_time_waits_for_fewer_samples_where_the_interval_comes_from_several_rounds() -> None:
    rule = replace(RULE, least=3)
    assert rule.limit(2, 1000.0) is None
    assert rule.limit(3, 10.0) is StopReason.MAX_TIME


def test_a_series_is_precise_once_time_samples_and_width_suffice() -> None:
    assert RULE.precise([NARROW], n=8, elapsed=2.0)


def test_a_series_is_not_precise_before_the_least_time() -> None:
    assert not RULE.precise([NARROW], n=8, elapsed=1.99)


def test_a_series_is_not_precise_before_the_least_samples() -> None:
    assert not RULE.precise([NARROW[:7]], n=7, elapsed=2.0)


def test_a_series_with_a_wide_interval_is_not_precise() -> None:
    assert not RULE.precise([WIDE], n=8, elapsed=2.0)


def test_series_are_not_precise_while_one_main_phase_is_wide() -> None:
    assert not RULE.precise([NARROW, WIDE, NARROW], n=8, elapsed=2.0)
    assert RULE.precise([NARROW, NARROW, NARROW], n=8, elapsed=2.0)


def test_width_is_half_the_interval_over_the_median_bound_included() -> None:
    samples = [0.875, 1.0, 1.0, 1.0, 1.0, 1.125]  # the interval of six is [least, most]
    rule = replace(RULE, min_samples=6)
    assert replace(rule, rel_ci=0.125).precise([samples], n=6, elapsed=2.0)
    assert not replace(rule, rel_ci=0.124).precise([samples], n=6, elapsed=2.0)


def test_a_series_without_an_interval_is_never_precise() -> None:
    assert not replace(RULE, min_samples=1, rel_ci=0.99).precise([[1.0] * 5], n=5, elapsed=2.0)


def test_another_quantile_may_have_to_be_precise() -> None:
    rule = replace(RULE, quantile=0.9, rel_ci=0.5)
    steady, spiky = [1.0, 2.0, 1.5] * 20, [*[1.0] * 56, 9.0, 9.0, 9.0, 9.0]
    assert rule.precise([steady], n=60, elapsed=2.0)
    assert not rule.precise([steady[:35]], n=35, elapsed=2.0)  # no upper end: it takes 36
    assert replace(rule, quantile=0.5).precise([spiky], n=60, elapsed=2.0)
    assert not rule.precise([steady, spiky], n=60, elapsed=2.0)
    assert rule.half_width([steady, spiky]) == rule.half_width([spiky]) > 0.5


def test_checks_grow_by_a_quarter_from_the_least_samples() -> None:
    looks = [RULE.next_check(0)]
    while looks[-1] < 50:
        looks.append(RULE.next_check(looks[-1]))
    assert looks == [8, 10, 13, 17, 22, 28, 35, 44, 55]


def test_checks_grow_from_one_sample_too() -> None:
    rule = replace(RULE, min_samples=1)
    assert [rule.next_check(n) for n in (0, 1, 2, 3, 4)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("half_width", "n", "elapsed", "seconds"),
    [
        (0.2, 10, 1.0, 3.0),  # twice as wide as wanted takes four times as long
        (0.1, 10, 4.0, 0.0),  # as narrow as wanted
        (0.05, 10, 1.0, 1.0),  # narrower, but not yet for the least time
        (1.0, 10, 1.0, 9.0),  # a hundred times as long: the longest time comes before
        (math.inf, 10, 4.0, 6.0),
        (math.inf, 10, 12.0, 0.0),
        (math.inf, 1, 20.0, 100.0),  # the longest time is over, but five more of 20 s are needed
    ],
)
def test_eta_follows_the_root_of_the_samples_within_the_limits(
    half_width: float, n: int, elapsed: float, seconds: float
) -> None:
    assert RULE.eta(half_width, n, elapsed) == pytest.approx(seconds)


def test_eta_waits_for_no_more_than_the_most_samples() -> None:
    assert replace(RULE, max_samples=3).eta(math.inf, 2, 20.0) == pytest.approx(10.0)


def test_eta_waits_for_fewer_samples_where_the_interval_comes_from_several_rounds() -> None:
    assert replace(RULE, least=3).eta(math.inf, 2, 20.0) == pytest.approx(10.0)
