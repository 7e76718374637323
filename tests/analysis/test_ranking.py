"""Which alternatives are ranked, how they compare, and when one has made up for its preparation."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
from factory import FAST, IMPLAUSIBLE, NOISY, SLOW, WRONG, result_of, told
from msgspec import structs
from scipy import stats

from microbench.analysis.compare import compare
from microbench.analysis.ranking import (
    BreakEven,
    Ranking,
    break_even,
    calls_to_break_even,
    first_answer,
    rankings,
)
from microbench.analysis.verdict import ONE_ROUND, TOO_FEW
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import Plan, RoundsReason, RunInfo, Status


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

    def test_every_pair_of_a_ranking_counts_as_a_comparison(self, timed: Any) -> None:
        noisy = [1.04, 1.02, 1.07, 1.01, 1.04, 1.03]
        two = [timed(FAST, 0), timed(noisy, 1, allocator="tuned")]
        four = [*two, *(timed(NOISY, order, threads=order) for order in (3, 4))]
        other = [timed(NOISY, order, seed=1, threads=order) for order in (5, 6)]
        alone, among = rankings(result_of(*two).cases()), rankings(result_of(*four, *other).cases())
        p = alone[0].places[1].judgement.p_adjusted  # type: ignore[union-attr]
        assert places(alone[0])[1] == ("allocator=tuned", "slower")
        tuned = next(each for each in among[0].places if each.configuration == "threads=2, allocator=tuned")
        assert tuned.judgement is not None
        assert tuned.judgement.verdict == "inconclusive"
        assert tuned.judgement.p_adjusted == pytest.approx(6 * p)  # type: ignore[operator]
        assert tuned.judgement.reason is not None
        assert tuned.judgement.reason.startswith("slower by itself, but not among 6 comparisons")

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


class TestAdaptive:
    """Rankings of a run in which losers got no more rounds."""

    def run(self, timed: Any, *times: list[float], last: int = 10) -> list[CaseResult]:
        """Return cases that could have ten rounds, or `last` when the sixth was measured."""
        longest = max(map(len, times))
        records = [
            structs.replace(
                each,
                plan=Plan(
                    rounds=10, reason=RoundsReason.DECIDED, most=last if last == each.round + 1 else 10
                ),
            )
            for order, case in enumerate(times)
            for each in timed(case, order, schedule="adaptive", threads=order + 1, measure__rounds=longest)
        ]
        return cases_of(records)

    def test_a_loser_has_left_after_four_rounds(self, timed: Any) -> None:
        (ranking,) = rankings(self.run(timed, SLOW[:4], FAST, [each * 1.005 for each in FAST[::-1]]))
        first, second, third = ranking.places
        assert (first.configuration, first.rounds, first.judgement) == ("threads=2", None, None)
        assert second.judgement is not None
        assert (second.configuration, second.rounds) == ("threads=3", None)
        assert second.judgement.verdict == "inconclusive"
        assert third.judgement is not None
        assert (third.configuration, third.rounds) == ("threads=1", 4)
        assert third.judgement.verdict == "slower"
        assert third.ratio is not None
        assert third.ratio.parts[0].rounds == 4
        assert not ranking.is_decided

    def test_one_that_has_left_is_behind_those_that_have_not(self, timed: Any) -> None:
        """Even if the others' later rounds made them slower."""
        late = [each * 1.5 for each in FAST]
        (ranking,) = rankings(self.run(timed, SLOW[:4], FAST + late, FAST[::-1] + late))
        assert [each.configuration for each in ranking.places][2] == "threads=1"

    def test_there_is_no_verdict_before_the_fourth_round(self, timed: Any) -> None:
        (ranking,) = rankings(self.run(timed, SLOW[:3], FAST[:3]))
        assert ranking.places[1].judgement is not None
        assert ranking.places[1].judgement.reason == TOO_FEW

    def test_verdicts_allow_for_the_looks(self, timed: Any) -> None:
        close = [
            each * factor for each, factor in zip(FAST, [1.02, 1.0, 1.03, 1.01, 1.05, 1.02], strict=True)
        ]
        (fixed,) = rankings(cases_of([*timed(FAST, 0), *timed(close, 1, threads=3)]))
        (adaptive,), (ended,) = (
            rankings(self.run(timed, FAST, close)),
            rankings(self.run(timed, FAST, close, last=6)),
        )
        ps = [each.places[1].judgement.p_adjusted for each in (fixed, ended, adaptive)]  # type: ignore[union-attr]
        assert ps == sorted(ps)  # type: ignore[type-var]
        assert len(set(ps)) == 3

    def test_a_comparison_of_the_run_allows_for_them_too(self, timed: Any) -> None:
        cases = self.run(timed, FAST, SLOW, SLOW[:4])
        records = [record for case in cases for record in case.rounds.values()]
        rows = compare(result_of(records), by="threads").rows
        assert [row.verdict for row in rows] == ["slower", "slower"]
        assert [(row.a_rounds, row.paired) for row in rows] == [(6, True), (4, True)]
        other = [structs.replace(each, run=RunInfo(id="other", schedule="adaptive")) for each in records]
        unpaired = compare(result_of(records), result_of(other), phase="inference").rows
        assert [row.verdict for row in unpaired] == ["inconclusive"] * 3
        assert unpaired[0].p == 1.0


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
