from __future__ import annotations

import math
from typing import Any

import pytest
from factory import BUSY, told

from microbench.analysis.search import SearchResult, search_result
from microbench.records.cases import cases_of
from microbench.records.objective import figure
from microbench.records.record import BenchmarkWarning, Check, Correctness, RoundRecord, Status, WarningCode
from microbench.verify.judging import Checked

SETTINGS = {"schedule": "search", "measure__rounds": 8}


@pytest.fixture
def search(timed: Any) -> Any:
    """Return a function from the rounds of each configuration, the first of which selects, to the result."""

    def make(**configurations: list[float | None]) -> SearchResult | None:
        records: list[RoundRecord] = []
        for order, (engine, times) in enumerate(configurations.items()):
            records += timed(times, order=order, engine=engine, **SETTINGS)
        return search_result(cases_of(records))

    return make


def test_the_fastest_of_the_final_wins_however_fast_a_first_round_was(search: Any) -> None:
    answer = search(eager=[4.0, 4.0, 4.0], lucky=[0.1], compile=[1.0, 1.0, 1.0], export=[0.9, 1.1, 1.1])

    assert [each.configuration.split()[0] for each in answer.tried] == ["compile", "export", "eager", "lucky"]
    assert answer.winner.case.config.engine.name == "compile"


def test_a_speedup_rests_on_the_final_alone(search: Any) -> None:
    answer = search(eager=[100.0, 4.0, 6.0], compile=[1.0, 2.0, 2.0])

    assert answer.winner.speedup.value == pytest.approx(math.sqrt(2.0 * 3.0))
    assert answer.winner.time == pytest.approx(2.0)
    assert answer.winner.finals == 2
    assert answer.winner.speedup.interval is not None


def test_times_are_those_of_the_cases_in_every_other_table(search: Any) -> None:
    answer = search(eager=[9.0, 4.0], compile=[1.0, 2.0], export=[3.0])
    assert [each.time for each in answer.tried] == [each.case.whole.median for each in answer.tried]
    assert answer.winner.time == 1.5


def test_rounds_of_the_final_are_paired(search: Any) -> None:
    """The machine's speed changes from round to round; the ratio does not."""
    answer = search(eager=[4.0, 4.0, 8.0, 16.0], compile=[1.0, 1.0, 2.0, 4.0])

    assert answer.winner.speedup.interval == pytest.approx((4.0, 4.0))


def test_a_configuration_outside_the_final_has_a_speedup_without_an_interval(search: Any) -> None:
    answer = search(eager=[4.0, 8.0, 8.0], compile=[1.0, 2.0, 2.0], export=[2.0])
    dropped = answer.tried[-1]

    assert dropped.speedup.value == pytest.approx(2.0)
    assert dropped.speedup.interval is None
    assert dropped.finals == 0


def test_a_disturbed_first_round_of_plain_eager_leaves_the_others_a_speedup(timed: Any) -> None:
    first, *final = timed([9.0, 4.0, 4.0, 4.0], order=0, engine="eager", **SETTINGS)
    busy = told([first], readings=BUSY)
    best = timed([1.0, 1.0, 1.0, 1.0], order=1, engine="compile", **SETTINGS)
    once = timed([2.0], order=2, engine="export", **SETTINGS)
    answer = search_result(cases_of([*busy, *final, *best, *once]))
    assert answer is not None
    assert [each.speedup and each.speedup.value for each in answer.tried] == pytest.approx([4.0, None, 2.0])


def test_a_failed_round_of_plain_eager_leaves_the_answer_that_the_others_have(search: Any) -> None:
    answer = search(eager=[4.0, 4.0, None, 4.0, 4.0], compile=[1.0] * 5)
    assert answer.winner.case.config.engine.name == "compile"
    assert answer.winner.speedup.value == pytest.approx(4.0)
    assert answer.is_better
    assert [each.rounds for each in answer.problems.failures] == [(1, 5)]


def test_plain_eager_wins_if_nothing_is_faster(search: Any) -> None:
    answer = search(eager=[1.0, 1.0, 1.0], compile=[1.1, 1.1, 1.1])

    assert answer.winner is answer.baseline


def test_plain_eager_wins_if_nothing_else_was_measured(search: Any) -> None:
    answer = search(eager=[1.0], compile=[None])

    assert answer.winner is answer.baseline
    assert answer.tried[1].time is None


def test_a_configuration_with_another_answer_cannot_win(timed: Any) -> None:
    wrong = timed([0.1], order=1, engine="wrong", **SETTINGS)
    records = timed([4.0], engine="eager", **SETTINGS)
    answer = search_result(cases_of([*records, *told(wrong, status=Status.MISMATCH)]))

    assert answer is not None
    assert answer.winner is answer.baseline
    assert answer.tried[1].time is None


def test_a_configuration_that_is_implausibly_fast_cannot_win(timed: Any) -> None:
    doubted = (BenchmarkWarning(WarningCode.IMPLAUSIBLE, "3e+15 FLOP/s"),)
    records = timed([4.0], engine="eager", **SETTINGS)
    records += told(timed([0.1], order=1, engine="export", **SETTINGS), warnings=doubted)
    answer = search_result(cases_of(records))

    assert answer is not None
    assert answer.winner is answer.baseline
    assert figure(answer.tried[1].case, "latency") is None


def test_a_configuration_whose_answer_could_not_be_compared_cannot_win_and_says_why(timed: Any) -> None:
    nothing = Checked(Check(Correctness.UNCLEAR), "it has no tensor")
    unclear = Checked(Check(Correctness.UNCLEAR, error_rel=0.3), "rounding moves it as far")
    records = timed([4.0], engine="eager", **SETTINGS)
    records += timed([0.1], order=1, engine="export", check=nothing, **SETTINGS)
    records += timed([2.0], order=2, engine="compile", check=unclear, **SETTINGS)
    answer = search_result(cases_of(records))

    assert answer is not None
    assert [each.configuration.split()[0] for each in answer.tried] == ["compile", "eager", "export"]
    assert (answer.tried[2].standing, answer.tried[2].reason) == ("unverified", "it has no tensor")


def test_candidates_not_tried_or_given_up_make_the_result_partial_and_failed_ones_do_not(timed: Any) -> None:
    for status, is_partial in ((Status.SKIPPED, True), (Status.GIVEN_UP, True), (Status.ERROR, False)):
        records = timed([4.0], engine="eager", **SETTINGS)
        records += timed([None], order=1, engine="export", error=(status, "why"), **SETTINGS)
        answer = search_result(cases_of(records))

        assert answer is not None
        assert answer.is_partial is is_partial
        assert (answer.tried[1].time, answer.tried[1].reason) == (None, "why")


def test_nothing_is_found_if_plain_eager_was_not_measured(search: Any) -> None:
    assert search(eager=[None], compile=[1.0]) is None


def test_the_best_of_two_finalists_must_be_better_beyond_its_selection(search: Any) -> None:
    plain, near = [4.0, 4.0, 4.4, 4.2], [3.0, 3.6, 3.6, 3.3]
    alone = search(eager=plain, compile=near)
    p = alone.winner.speedup.p
    rival = [each * 1.02 for each in near]

    assert alone.is_better is (p <= 0.05)
    assert search(eager=plain, compile=near, export=rival).is_better is (2 * p <= 0.05)
    assert p <= 0.05 < 2 * p


def test_the_batch_size_is_named_if_there_are_several(timed: Any) -> None:
    settings = SETTINGS | {"objective": "throughput"}
    records = timed([4.0], engine="eager", batch_size=2, **settings)
    records += timed([4.0], order=1, engine="eager", batch_size=8, **settings)
    answer = search_result(cases_of(records))

    assert answer is not None
    names = [each.configuration for each in answer.tried]
    assert names == ["eager fp32, batch_size=8", "eager fp32, batch_size=2"]
    assert answer.tried[0].speedup is not None
    assert answer.tried[0].speedup.value == pytest.approx(4.0)
