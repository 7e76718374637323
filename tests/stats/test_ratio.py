from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from microbench.stats.ratio import (
    MOST_ROUNDS,
    Part,
    Ratio,
    adjusted,
    mean_ratio,
    more_rounds,
    paired,
    unpaired,
)

A = [10.0, 10.4, 9.9, 10.1, 10.3, 10.2]
B = [11.0, 11.3, 11.2, 11.0, 11.6, 11.1]

BENJAMINI_HOCHBERG = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
    0.7590, 1.0,
]  # fmt: skip
"""The paper's example, section 3.2: fifteen hypotheses on a treatment of heart attacks."""


def test_paired_rounds_have_the_ratio_worked_out_by_hand() -> None:
    """Logs ln 1.1, ln 1.2, ln 1.3: mean 0.179999, deviation 0.083551; t(0.975, 2) = 4.302653."""
    ratio = paired([1.0, 2.0, 1.0], [1.1, 2.4, 1.3])
    assert ratio.log == pytest.approx(0.179999, abs=1e-6)
    assert ratio.value == pytest.approx(1.716 ** (1 / 3))
    assert ratio.error == pytest.approx(0.083551 / math.sqrt(3), abs=1e-6)
    assert ratio.freedom == 2
    assert ratio.interval == pytest.approx((0.972822, 1.473368), abs=1e-5)


def test_paired_rounds_are_student_s_t_on_the_logarithms() -> None:
    ratio, reference = paired(A, B), stats.ttest_rel(np.log(B), np.log(A))
    assert ratio.p == pytest.approx(reference.pvalue)
    assert ratio.interval == pytest.approx(tuple(np.exp(reference.confidence_interval())))


@pytest.mark.parametrize("b", [B, B[:3], [20.0, 5.0]])
def test_other_rounds_are_welch_s_t_on_the_logarithms(b: list[float]) -> None:
    ratio, reference = unpaired(A, b), stats.ttest_ind(np.log(b), np.log(A), equal_var=False)
    assert ratio.value == pytest.approx(stats.gmean(b) / stats.gmean(A))
    assert ratio.freedom == pytest.approx(reference.df)
    assert ratio.p == pytest.approx(reference.pvalue)
    assert ratio.interval == pytest.approx(tuple(np.exp(reference.confidence_interval())))


@pytest.mark.parametrize("way", [paired, unpaired])
def test_exchanging_the_sides_inverts_the_ratio(way: object) -> None:
    assert callable(way)
    there, back = way(A, B), way(B, A)
    assert back.value == pytest.approx(1 / there.value)
    assert back.interval == pytest.approx((1 / there.interval[1], 1 / there.interval[0]))
    assert back.p == pytest.approx(there.p)


def test_what_disturbs_a_round_of_both_sides_cancels_out_where_rounds_are_paired() -> None:
    disturbance = np.array([1.0, 3.0, 0.5, 2.0, 1.5, 4.0])
    calm = paired(A, B)
    assert paired(disturbance * A, disturbance * B).interval == pytest.approx(calm.interval)
    low, high = unpaired(disturbance * A, disturbance * B).interval or (1.0, 1.0)
    assert low < 1 < high


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 1.1], [2.0]), ([1.0], [2.0, 2.1])])
def test_one_round_has_a_ratio_without_an_interval(a: list[float], b: list[float]) -> None:
    ratio = unpaired(a, b)
    assert ratio.value == pytest.approx(stats.gmean(b) / stats.gmean(a))
    assert (ratio.interval, ratio.p, ratio.error, ratio.freedom) == (None, None, None, None)
    assert paired([1.0], [2.0]).interval is None


def test_rounds_without_spread_have_a_ratio_without_error() -> None:
    same, slower = paired([1.0, 1.0], [1.0, 1.0]), unpaired([1.0, 1.0], [2.0, 2.0])
    assert (same.interval, same.p) == ((1.0, 1.0), 1.0)
    assert slower.interval == pytest.approx((2.0, 2.0))
    assert slower.p == 0.0


def test_two_very_different_rounds_have_an_unbounded_interval() -> None:
    interval = paired([1.0, 1.0], [1e-60, 1e60]).interval
    assert interval == (0.0, math.inf)


def test_equal_sides_differ_in_one_comparison_of_twenty() -> None:
    draw = np.random.default_rng(1)
    logs = draw.normal(0, 0.05, (1500, 2, 6))
    for way in (paired, unpaired):
        false = sum((way(np.exp(a), np.exp(b)).p or 0) <= 0.05 for a, b in logs)
        assert 0.03 <= false / len(logs) <= 0.065


class TestAdjusted:
    def test_the_papers_example_is_reproduced(self) -> None:
        """Four of the fifteen are rejected at 5 %: 0.0095 · 15 / 4 is below it, 0.0201 · 15 / 5 above."""
        found = adjusted(BENJAMINI_HOCHBERG)
        assert found[3] == pytest.approx(0.035625)
        assert found[4] == pytest.approx(0.0603)
        assert [p <= 0.05 for p in found] == [True] * 4 + [False] * 11

    def test_values_agree_with_scipy_in_the_given_order(self) -> None:
        shuffled = np.random.default_rng(0).permutation(BENJAMINI_HOCHBERG)
        assert adjusted(shuffled) == pytest.approx(stats.false_discovery_control(shuffled))

    def test_a_single_p_value_is_unchanged(self) -> None:
        assert adjusted([0.03]) == [0.03]
        assert adjusted([]) == []

    def test_an_adjusted_value_is_at_most_that_of_the_next_larger_one(self) -> None:
        assert adjusted([0.05, 0.04]) == pytest.approx([0.05, 0.05])


class TestMeanRatio:
    def test_the_mean_agrees_with_one_worked_out_by_hand(self) -> None:
        """Of 2 and 8 with errors of 0.1 each: 4, with an error of sqrt(0.01 + 0.01) / 2 and 4 + 4 degrees."""
        parts = (Part(0.05, 5),)
        mean = mean_ratio([Ratio(math.log(2), parts), Ratio(math.log(8), parts)])
        assert mean.value == pytest.approx(4)
        assert mean.error == pytest.approx(math.sqrt(0.02) / 2)
        assert mean.freedom == pytest.approx(8)
        half_width = 2.306004 * math.sqrt(0.02) / 2
        assert mean.interval == pytest.approx((4 * math.exp(-half_width), 4 * math.exp(half_width)), rel=1e-5)

    def test_the_mean_does_not_depend_on_the_baseline(self) -> None:
        there = mean_ratio([paired(A, B), unpaired(B, A[:4])])
        back = mean_ratio([paired(B, A), unpaired(A[:4], B)])
        assert back.value == pytest.approx(1 / there.value)
        assert back.freedom == pytest.approx(there.freedom)

    def test_a_ratio_without_an_interval_leaves_the_mean_without_one(self) -> None:
        mean = mean_ratio([paired(A, B), unpaired([1.0], [1.0])])
        assert mean.interval is None
        assert mean.value == pytest.approx(math.sqrt(paired(A, B).value))


class TestMoreRounds:
    @pytest.mark.parametrize(
        ("log", "deviation", "margin"), [(0.03, 0.05, 0.01), (0.0, 0.02, 0.01), (0.05, 0.1, 0.0)]
    )
    def test_that_many_rounds_settle_a_ratio_and_one_fewer_does_not(
        self, log: float, deviation: float, margin: float
    ) -> None:
        more = more_rounds(Ratio(log, (Part(deviation**2, 6),)), margin)
        enough = max(log, math.log(1 + margin) - log)

        def half_width(rounds: int) -> float:
            return float(stats.t.ppf(0.975, rounds - 1)) * deviation / math.sqrt(rounds)

        assert more > 1
        assert half_width(6 + more) < enough <= half_width(6 + more - 1)

    def test_the_number_agrees_with_one_worked_out_by_hand(self) -> None:
        """2.1788 · 0.05 / sqrt(13) = 0.0302, and 2.2010 · 0.05 / sqrt(12) = 0.0318."""
        assert more_rounds(Ratio(0.0303, (Part(0.05**2, 6),)), 0.01) == 7

    def test_both_sides_of_separate_runs_get_them(self) -> None:
        ratio = Ratio(0.03, (Part(0.02**2, 3), Part(0.04**2, 5)))
        more = more_rounds(ratio, 0.01)
        assert Ratio(0.03, (Part(0.02**2, 3 + more), Part(0.04**2, 5 + more))).half_width() < 0.03
        assert Ratio(0.03, (Part(0.02**2, 2 + more), Part(0.04**2, 4 + more))).half_width() >= 0.03

    def test_a_stricter_level_takes_more(self) -> None:
        ratio = Ratio(0.03, (Part(0.05**2, 6),))
        assert more_rounds(ratio, 0.01, level=0.005) > more_rounds(ratio, 0.01)

    def test_the_search_ends_after_a_thousand_rounds(self) -> None:
        assert more_rounds(Ratio(0.005, (Part(0.25, 6),)), 0.01) == MOST_ROUNDS + 1
        assert more_rounds(Ratio(0.0, (Part(0.25, 6),)), 0.0) == MOST_ROUNDS + 1
