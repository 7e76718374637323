"""Which alternatives are ranked, how they compare, and when one has made up for its preparation."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
from factory import FAST, IMPLAUSIBLE, NOISY, SLOW, WRONG, result_of, told
from scipy import stats

from microbench.analysis.ranking import (
    BreakEven,
    Ranking,
    break_even,
    calls_to_break_even,
    first_answer,
    rankings,
)
from microbench.analysis.verdict import ONE_ROUND
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import Status


def places(ranking: Ranking) -> list[tuple[str, str | None]]:
    return [
        (place.configuration, place.judgement and str(place.judgement.verdict)) for place in ranking.places
    ]


class TestRanking:
    def test_the_alternatives_of_a_work_are_ranked_fastest_first(self, timed: Any) -> None:
        run = result_of(
            timed(SLOW, 0),
            timed(FAST, 1, allocator="tuned"),
            timed([each * 3 for each in FAST], 2, allocator="jemalloc"),
        )
        (ranking,) = rankings(run.cases())
        assert (ranking.name, ranking.phase) == ("dense infer", "inference")
        assert places(ranking) == [
            ("allocator=tuned", None),
            ("allocator=system", "slower"),
            ("allocator=jemalloc", "slower"),
        ]
        assert ranking.is_decided
        second = ranking.places[1]
        assert second.time is not None
        assert second.time.median == median(SLOW)
        assert second.ratio is not None
        assert second.ratio.value == pytest.approx(stats.gmean(SLOW) / stats.gmean(FAST))

    def test_each_work_is_ranked_separately(self, timed: Any) -> None:
        run = result_of(
            timed(FAST, 0),
            timed(SLOW, 1, threads=1),
            timed(SLOW, 2, batch_size=1),
            timed(FAST, 3, batch_size=1, threads=1),
            timed(FAST, 4, model="relu"),
        )
        found = rankings(run.cases())
        assert [(each.name, each.places[0].configuration) for each in found] == [
            ("dense infer, batch_size=8", "threads=2"),
            ("dense infer, batch_size=1", "threads=1"),
        ]

    def test_a_case_that_failed_cannot_win(self, timed: Any) -> None:
        run = result_of(
            timed(FAST, 0),
            timed(SLOW, 1, allocator="tuned"),
            timed([None], 2, allocator="tcmalloc", error=(Status.SKIPPED, "not installed")),
        )
        (ranking,) = rankings(run.cases())
        assert [name for name, _ in places(ranking)] == ["allocator=system", "allocator=tuned"]
        assert [(each.configuration, each.standing) for each in ranking.unmeasured] == [
            ("allocator=tcmalloc", "skipped")
        ]

    def test_a_case_with_a_wrong_answer_cannot_win(self, timed: Any) -> None:
        run = result_of(
            timed(FAST, 0), timed(SLOW, 1, allocator="tuned"), timed([0.1], 2, engine="compile", check=WRONG)
        )
        (ranking,) = rankings(run.cases())
        assert [name for name, _ in places(ranking)] == [
            "engine=eager, allocator=system",
            "engine=eager, allocator=tuned",
        ]
        (wrong,) = ranking.unmeasured
        assert (wrong.standing, wrong.time, wrong.discarded) == ("mismatch", None, 0.1)

    def test_a_case_that_is_implausibly_fast_cannot_win(self, timed: Any) -> None:
        doubted = told(timed([0.1], 1, engine="export"), warnings=(IMPLAUSIBLE,))
        run = result_of(timed(FAST, 0), doubted, timed(SLOW, 2, engine="compile"))
        (ranking,) = rankings(run.cases())
        assert [name for name, _ in places(ranking)] == ["engine=eager", "engine=compile"]
        assert [each.standing for each in ranking.unmeasured] == ["implausible"]

    def test_a_work_with_one_measured_configuration_is_not_ranked(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed([None], 1, allocator="tuned"), timed(SLOW, 2, batch_size=1))
        assert rankings(run.cases()) == []

    def test_measuring_options_are_no_alternatives(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, isolation="spawn"), timed(SLOW, 2, seed=1))
        assert rankings(run.cases()) == []

    def test_single_rounds_are_ranked_without_a_verdict(self, timed: Any) -> None:
        (ranking,) = rankings(result_of(timed([2.0], 0), timed([1.0], 1, allocator="tuned")).cases())
        assert places(ranking) == [("allocator=tuned", None), ("allocator=system", "inconclusive")]
        judgement = ranking.places[1].judgement
        assert judgement is not None
        assert judgement.reason == ONE_ROUND
        assert not ranking.is_decided

    def test_all_comparisons_of_the_table_are_adjusted_together(self, timed: Any) -> None:
        noisy = [1.04, 1.02, 1.07, 1.01, 1.04, 1.03]
        one = [timed(FAST, 0), timed(noisy, 1, allocator="tuned")]
        others = [
            timed(NOISY, 2 + 2 * index + place, seed=1 + index, allocator=("system", "tuned")[place])
            for index in range(6)
            for place in (0, 1)
        ]
        alone, among = rankings(result_of(*one).cases()), rankings(result_of(*one, *others).cases())
        assert len(among) == 7
        assert places(alone[0])[1] == ("allocator=tuned", "slower")
        assert places(among[0])[1] == ("allocator=tuned", "inconclusive")

    def test_engines_have_their_time_until_the_first_answer(self, timed: Any) -> None:
        (same,) = rankings(result_of(timed(FAST, 0), timed(SLOW, 1, allocator="tuned")).cases())
        assert (same.has_engines, same.places[1].first_answer, same.places[1].break_even) == (
            False,
            None,
            None,
        )
        eager, compiled = prepared(timed, SLOW, 0.5, 0), prepared(timed, FAST, 20.5, 1, engine="compile")
        (found,) = rankings([eager, compiled])
        assert found.has_engines
        assert [each.first_answer for each in found.places] == [21.0, 1.0]
        assert [each.break_even for each in found.places] == [BreakEven(101, is_told=True), None]


@pytest.mark.parametrize(
    ("first", "each", "calls"),
    [
        (31.0, 1.0, 61),  # 31 + 60 x 1 = 1 + 60 x 1.5
        (31.25, 1.0, 62),  # 31.25 + 60 > 91, and 31.25 + 61 < 92.5
        (31.0, 0.5, 31),  # 31 + 30 x 0.5 = 1 + 30 x 1.5
        (1.0, 1.0, 1),
        (0.5, 1.0, 1),
        (31.0, 1.5, None),
        (31.0, 2.0, None),
        (0.5, 2.0, None),  # ahead at first, and then never again
    ],
)
def test_calls_are_counted_until_both_total_times_are_equal(
    first: float, each: float, calls: int | None
) -> None:
    """The other takes one second until its first answer, and 1.5 s for each later call."""
    assert calls_to_break_even(first, each, 1.0, 1.5) == calls


def prepared(timed: Any, inference: list[float], prepare: float, order: int, **settings: Any) -> CaseResult:
    """Return a case with these rounds, each with this preparation and a first call of half a second."""
    same = [1.0] * len(inference)
    phases = {
        "inference": inference,
        "prepare": [prepare * each for each in same],
        "first_call": [0.5 * each for each in same],
    }
    (case,) = cases_of(timed(phases, order, **settings))
    return case


def test_the_first_answer_takes_preparation_and_first_call(timed: Any) -> None:
    assert first_answer(prepared(timed, [1.0, 1.0], 2.0, 0)) == 2.5
    (unknown,) = cases_of(timed([1.0]))
    assert first_answer(unknown) is None


LONG, SHORT = [1.5, 1.51, 1.5, 1.49, 1.5, 1.5], [1.0, 1.01, 1.0, 0.99, 1.0, 1.0]


class TestBreakEven:
    def test_the_break_even_is_compared_with_eager(self, timed: Any) -> None:
        eager, compiled = prepared(timed, LONG, 0.25, 0), prepared(timed, SHORT, 30.0, 1, engine="compile")
        assert break_even(compiled, [compiled, eager], "inference") == BreakEven(61, is_told=True)
        assert break_even(eager, [compiled, eager], "inference") is None
        assert break_even(compiled, [compiled], "inference") is None

    def test_a_slower_engine_never_breaks_even(self, timed: Any) -> None:
        eager, compiled = prepared(timed, SHORT, 0.25, 0), prepared(timed, LONG, 30.0, 1, engine="compile")
        assert break_even(compiled, [compiled, eager], "inference") == BreakEven(None, is_told=True)

    def test_a_difference_that_is_not_significant_has_no_break_even(self, timed: Any) -> None:
        noisy = [0.9, 1.3, 1.0, 1.2, 0.8, 1.1]
        eager, compiled = prepared(timed, SHORT, 0.25, 0), prepared(timed, noisy, 30.0, 1, engine="compile")
        found = break_even(compiled, [compiled, eager], "inference")
        assert found is not None
        assert found.is_told is False

    def test_one_round_gives_an_approximate_break_even(self, timed: Any) -> None:
        eager, compiled = prepared(timed, [1.5], 0.0, 0), prepared(timed, [1.0], 30.0, 1, engine="compile")
        assert break_even(compiled, [compiled, eager], "inference") == BreakEven(61, is_told=None)

    def test_the_most_similar_of_several_eager_cases_counts(self, timed: Any) -> None:
        plain = prepared(timed, [4.0] * 6, 0.0, 0)
        alike = prepared(timed, [1.5] * 6, 0.0, 1, precision="bf16")
        compiled = prepared(timed, [1.0] * 6, 30.0, 2, engine="compile", precision="bf16")
        assert break_even(compiled, [compiled, plain, alike], "inference") == BreakEven(61, is_told=True)

    def test_an_unknown_preparation_has_no_break_even(self, timed: Any) -> None:
        (compiled,) = cases_of(timed(SHORT, 1, engine="compile"))
        assert break_even(compiled, [prepared(timed, LONG, 0.0, 0)], "inference") is None
