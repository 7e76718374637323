"""Rounds of a sweep go where they decide: which cases get another one, and what it is granted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from factory import BUSY, QUIET, configured, record_of
from msgspec.structs import replace

from microbench.analysis.ranking import rankings
from microbench.records.cases import cases_of
from microbench.records.record import ADAPTIVE, Outcome, RoundRecord, RoundsReason, RunInfo, Status
from microbench.run.adaptive import MOST, Adaptive, alternatives, schedule_of
from microbench.run.case import Case

NOISE = np.exp(0.05 * np.random.default_rng(0).standard_normal((8, 40)))
"""By case and round, how much longer or shorter a process takes than usual."""


def case_of(order: int, **settings: Any) -> Case:
    """Return a case of one work, in a configuration of its own unless it is given one."""
    return Case(configured(**{"threads": order + 1} | settings), (), order)


def measured(
    cases: Sequence[Case],
    usual: Sequence[float],
    seconds: Sequence[float] | float = 1.0,
    outcome: Callable[[Case], Outcome] = lambda case: Outcome(readings=QUIET),
    records: list[RoundRecord] | None = None,
    rounds: int = 1000,
) -> list[RoundRecord]:
    """Measure cases in an adaptive run.

    Args:
        cases: the cases.
        usual: the usual time of each, in seconds.
        seconds: how long a round of each takes.
        outcome: returns how a round ends.
        records: those of the run that is completed.
        rounds: after how many rounds it is interrupted.
    """
    records = [] if records is None else records
    schedule = Adaptive(cases, ADAPTIVE, 0, records)
    for _, case in schedule.rounds():
        found, time = outcome(case), usual[case.order] * NOISE[case.order, case.round]
        series = {"inference": [time]} if found.status is Status.OK else {}
        record = record_of(series, case=case, run=RunInfo(id="r", schedule=schedule.kind), outcome=found)
        took = seconds if isinstance(seconds, float) else seconds[case.order]
        records.append(replace(record, seconds=took, plan=case.plan))
        rounds -= 1
        if not rounds:
            break
    return records


def rounds_of(records: Sequence[RoundRecord]) -> list[int]:
    """Return the number of rounds that each case had, in the cases' order."""
    return [len(case.rounds) for case in cases_of(records)]


def test_a_clear_loser_has_four_rounds_and_the_others_go_on() -> None:
    records = measured([case_of(order) for order in range(3)], [1.0, 1.01, 2.0])
    assert rounds_of(records) == [MOST, MOST, 4]
    (ranking,) = rankings(cases_of(records))
    assert [place.rounds for place in ranking.places] == [None, None, 4]
    verdicts = [place.judgement and str(place.judgement.verdict) for place in ranking.places]
    assert verdicts == [None, "inconclusive", "slower"]


def test_the_last_one_left_has_no_more_than_the_rounds_of_an_interval() -> None:
    records = measured([case_of(0), case_of(1)], [1.0, 2.0])
    assert rounds_of(records) == [6, 4]
    (ranking,) = rankings(cases_of(records))
    assert [place.rounds for place in ranking.places] == [None, 4]
    assert ranking.is_decided


def test_every_case_left_has_a_round_before_any_has_the_next() -> None:
    records = measured([case_of(order) for order in range(3)], [1.0, 1.01, 2.0])
    numbers = [each.round for each in records]
    assert numbers == sorted(numbers)
    orders = [tuple(each.case.order for each in records[start : start + 3]) for start in range(0, 12, 3)]
    assert len(set(orders)) > 1


def test_a_record_says_how_many_rounds_its_case_could_have() -> None:
    records = measured([case_of(0), case_of(1)], [1.0, 1.01])
    plans = [each.plan for each in records]
    assert {plan and (plan.rounds, plan.reason, plan.most) for plan in plans} == {
        (MOST, RoundsReason.DECIDED, MOST)
    }


class TestBudget:
    """Cases of a ranking share their budgets."""

    def test_what_a_loser_does_not_take_is_left_to_the_others(self) -> None:
        alone = measured([case_of(order, measure__budget=7.0) for order in range(2)], [1.0, 1.01])
        beside = measured([case_of(order, measure__budget=7.0) for order in range(4)], [1, 1.01, 2, 2.1])
        assert rounds_of(alone) == [7, 7]
        assert rounds_of(beside) == [MOST, MOST, 4, 4]

    def test_the_last_round_that_they_allow_needs_no_allowance_for_more(self) -> None:
        records = measured([case_of(order, measure__budget=7.0) for order in range(2)], [1.0, 1.01])
        plans = [each.plan for each in records if each.case.order == 0]
        assert [plan and plan.reason for plan in plans[1:]] == [RoundsReason.BUDGET] * 6
        assert [plan and plan.most for plan in plans] == [MOST] * 6 + [7]

    def test_a_raised_budget_allows_more_rounds_after_the_last(self) -> None:
        records = measured([case_of(order, measure__budget=7.0) for order in range(2)], [1.0, 1.01])
        cases = [case_of(order, measure__budget=30.0) for order in range(2)]
        assert rounds_of(measured(cases, [1.0, 1.01], records=records)) == [MOST, MOST]

    def test_the_rounds_share_what_is_left(self) -> None:
        records = measured([case_of(0, measure__budget=20.0), case_of(1, measure__budget=20.0)], [1, 1.01])
        shares = [each.plan.seconds for each in records if each.plan is not None]
        assert shares[:4] == [2.0, 2.0, 38 / 18, 38 / 18]

    def test_six_rounds_are_measured_if_they_take_no_more_than_three_budgets(self) -> None:
        cases = [case_of(order, measure__budget=2.0) for order in range(2)]
        assert rounds_of(measured(cases, [1.0, 1.01])) == [6, 6]

    def test_four_are_measured_whatever_they_take(self) -> None:
        """Fewer have no verdict."""
        cases = [case_of(order, measure__budget=2.0) for order in range(2)]
        records = measured(cases, [1.0, 1.01], seconds=60.0)
        assert rounds_of(records) == [4, 4]
        assert records[-1].plan is not None
        assert records[-1].plan.most == 4

    def test_without_one_there_is_no_limit(self) -> None:
        cases = [case_of(order, measure__budget=None) for order in range(2)]
        records = measured(cases, [1.0, 1.01], seconds=1e6)
        assert rounds_of(records) == [MOST, MOST]
        assert {each.plan and each.plan.seconds for each in records} == {None}

    def test_a_given_number_of_rounds_is_the_most(self) -> None:
        cases = [case_of(order, measure__rounds=5, measure__budget=1.0) for order in range(3)]
        assert rounds_of(measured(cases, [1.0, 1.01, 2.0])) == [5, 5, 4]


def test_cases_that_are_not_ranked_have_the_rounds_of_an_interleaved_run() -> None:
    cases = [case_of(0), case_of(1), case_of(2, batch_size=1), case_of(3, seed=1, measure__rounds=2)]
    records = measured(cases, [1.0, 2.0, 1.0, 1.0])
    assert rounds_of(records) == [6, 4, 6, 2]
    assert {each.plan and each.plan.most for each in records if each.case.order > 1} == {None}


def test_a_case_that_fails_is_not_ranked() -> None:
    failed = Outcome(status=Status.ERROR, error="it broke", readings=QUIET)
    cases = [case_of(order) for order in range(3)]
    records = measured(
        cases, [1.0, 1.01, 1.0], outcome=lambda case: failed if case.order == 2 else Outcome(readings=QUIET)
    )
    assert rounds_of(records) == [MOST, MOST, 1]
    alone = measured(
        cases[:2], [1.0, 1.0], outcome=lambda case: failed if case.order == 1 else Outcome(readings=QUIET)
    )
    assert rounds_of(alone) == [6, 1]


def test_disturbed_rounds_are_measured_again_on_both_sides() -> None:
    """By the sensors alone: a round that only takes longer counts."""
    disturbed = {(0, 2), (1, 6)}
    records = measured(
        [case_of(0), case_of(1)],
        [1.0, 1.01],
        outcome=lambda case: Outcome(readings=BUSY if (case.order, case.round) in disturbed else QUIET),
    )
    assert rounds_of(records) == [MOST + 1, MOST + 1]
    always = measured([case_of(0), case_of(1)], [1.0, 1.01], outcome=lambda case: Outcome(readings=BUSY))
    assert rounds_of(always) == [MOST, MOST]


@pytest.mark.parametrize("after", [1, 5, 8, 11, 15])
def test_a_run_that_was_interrupted_is_completed_as_it_would_have_ended(after: int) -> None:
    cases, usual = [case_of(order) for order in range(3)], [1.0, 1.01, 2.0]
    whole = measured(cases, usual)
    part = measured(cases, usual, rounds=after)
    completed = measured(cases, usual, records=list(part))
    assert [(each.case.order, each.round) for each in completed] == [
        (each.case.order, each.round) for each in whole
    ]
    assert measured(cases, usual, records=list(whole)) == whole


def test_an_interrupted_budget_is_not_spent_again() -> None:
    cases = [case_of(order, measure__budget=7.0) for order in range(2)]
    whole = measured(cases, [1.0, 1.01])
    assert measured(cases, [1.0, 1.01], records=list(whole)) == whole


class TestSchedule:
    def kind(self, *cases: Case) -> str:
        return schedule_of(cases, drawn=1, records=[]).kind

    def test_configurations_that_are_ranked_under_a_budget_have_an_adaptive_one(self) -> None:
        assert self.kind(case_of(0), case_of(1)) == ADAPTIVE
        assert self.kind(case_of(0), case_of(1), case_of(2, seed=1)) == ADAPTIVE

    @pytest.mark.parametrize(
        "settings",
        [
            {"threads": 1},
            {"measure__rounds": 6},
            {"measure__budget": None},
            {"isolation": "inline"},
            {"schedule": "interleaved"},
            {"mode": "profile"},
        ],
    )
    def test_others_have_an_interleaved_one(self, settings: dict[str, Any]) -> None:
        assert self.kind(case_of(0, **settings), case_of(1, **settings)) == "interleaved"

    def test_either_may_be_asked_for(self) -> None:
        given = {"measure__rounds": 6, "schedule": "adaptive"}
        assert self.kind(case_of(0, **given), case_of(1, **given)) == ADAPTIVE
        assert self.kind(case_of(0, schedule="sequential"), case_of(1, schedule="sequential")) == "sequential"

    def test_alternatives_do_the_same_work_in_another_configuration(self) -> None:
        cases = [
            case_of(0),
            case_of(1),
            case_of(2, seed=1),
            case_of(2, seed=1),
            case_of(4, allocator="tuned"),
        ]
        assert alternatives(cases) == [[cases[0], cases[1], cases[4]]]
