"""How many rounds a case gets of its budget, and how much of it each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from factory import BUSY, QUIET, configured, record_of
from msgspec.structs import replace

from microbench.config import ROUNDS, Config
from microbench.records.record import Plan, Readings, RoundRecord, RoundsReason
from microbench.run.case import Case
from microbench.run.plan import FEWEST, OVERRUN, is_due, overrun, planned


def case_of(budget: float | None = 30.0, rounds: int | None = None, **settings: Any) -> Case:
    return Case(configured(measure__budget=budget, measure__rounds=rounds, **settings))


def taking(
    seconds: float,
    number: int = 1,
    samples: Sequence[float] = (1.0,),
    readings: Readings | None = None,
    config: Config | None = None,
    **more: float,
) -> list[RoundRecord]:
    """Return rounds that each took some seconds, of which they sampled for as long as their samples last."""
    readings = QUIET if readings is None else readings
    record = record_of(
        {"inference": samples}, config, readings=replace(readings, sampling_seconds=sum(samples))
    )
    return [replace(record, round=each, seconds=seconds, **more) for each in range(number)]


def rounds_of(case: Case, costs: Sequence[float], disturbed: Sequence[int] = ()) -> list[Plan]:
    """Return the plans of the rounds that a case gets if they take these seconds, and some are disturbed."""
    records: list[RoundRecord] = []
    plans: list[Plan] = []
    while is_due(case, plan := planned(case, records), len(records), records):
        plans.append(plan)
        (record,) = taking(costs[len(records)], readings=BUSY if len(records) in disturbed else QUIET)
        records.append(replace(record, round=len(records)))
    return plans


def test_a_cheap_case_gets_six_rounds_that_share_its_budget() -> None:
    plans = rounds_of(case_of(), [1.0] * 6)
    assert [plan.rounds for plan in plans] == [ROUNDS] * 6
    assert {plan.reason for plan in plans} == {RoundsReason.ENOUGH}
    assert [plan.spent for plan in plans] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [plan.seconds for plan in plans] == [5.0, 29 / 5, 28 / 4, 27 / 3, 26 / 2, 25.0]


def test_the_start_of_the_run_is_part_of_the_budget() -> None:
    plan = planned(case_of(), [], startup=6.0)
    assert (plan.spent, plan.seconds) == (6.0, 4.0)
    assert planned(case_of(budget=2.0), [], startup=6.0).seconds == 0.0


def test_six_rounds_of_one_sample_may_exceed_the_budget_by_a_factor() -> None:
    assert len(rounds_of(case_of(), [OVERRUN * 30 / 6] * 6)) == 6
    plans = rounds_of(case_of(), [OVERRUN * 30 / 6 + 1] * 6)
    assert len(plans) == FEWEST
    assert plans[-1].reason is RoundsReason.BUDGET


@pytest.mark.parametrize(("seconds", "rounds"), [(1000.0, 3), (16.0, 3), (17.0, 3)])
def test_no_budget_prevents_the_fewest_rounds(seconds: float, rounds: int) -> None:
    assert len(rounds_of(case_of(), [seconds] * 6)) == rounds


@pytest.mark.parametrize(
    ("budget", "costs", "rounds"),
    [
        (20.0, [11.0] * 6, 3),
        (45.0, [11.0] * 3 + [90.0] * 3, 4),  # one that takes unexpectedly long is the last
        (50.0, [26.0] + [10.0] * 5, 6),  # those that follow turn out to be cheap
    ],
)
def test_the_plan_follows_what_the_rounds_cost(budget: float, costs: list[float], rounds: int) -> None:
    assert len(rounds_of(case_of(budget=budget), costs)) == rounds


def test_what_only_the_first_round_takes_does_not_count_for_the_others() -> None:
    (first,) = taking(60.0, startup=20.0, checking=30.0, samples=(0.5,) * 10)
    assert first.outcome.readings is not None
    plan = planned(case_of(), [first])  # 10 s for set-up and samples, 5.5 of it with one sample
    assert plan.rounds == ROUNDS
    (first,) = taking(60.0, startup=20.0, samples=(0.5,) * 10)
    assert planned(case_of(), [first]).reason is RoundsReason.BUDGET


class TestSpawned:
    SPAWN: Mapping[str, Any] = {"isolation": "spawn"}

    def test_each_round_takes_its_start_out_of_its_share(self) -> None:
        case = case_of(budget=36.0, **self.SPAWN)
        assert planned(case, [], startup=3.0).seconds == 33 / 6 - 3.0
        (first,) = taking(6.0, startup=4.0, config=case.config)
        assert planned(case, [first]).seconds == 30 / 5 - 4.0
        assert planned(case_of(budget=36.0), [first]).seconds == 30 / 5

    def test_the_cost_of_a_round_includes_its_start(self) -> None:
        case = case_of(budget=10.0, **self.SPAWN)
        (first,) = taking(8.0, startup=7.0, config=case.config)
        assert planned(case, [first]).rounds == FEWEST
        (forked,) = taking(8.0, startup=7.0)
        assert planned(case_of(budget=10.0), [forked]).rounds == ROUNDS


def test_a_requested_number_of_rounds_is_kept() -> None:
    plans = rounds_of(case_of(rounds=9), [100.0] * 9)
    assert len(plans) == 9
    assert {plan.reason for plan in plans} == {RoundsReason.GIVEN}
    assert plans[-1].seconds == 0.0


def test_without_a_budget_rounds_have_no_share() -> None:
    plans = rounds_of(case_of(budget=None), [100.0] * 6)
    assert [plan.seconds for plan in plans] == [None] * 6


def test_a_dry_run_has_one_round() -> None:
    assert len(rounds_of(case_of(mode="profile", timing=False), [1.0])) == 1


class TestDisturbedRounds:
    def test_they_are_repeated_within_the_budget(self) -> None:
        plans = rounds_of(case_of(), [1.0] * 12, disturbed=[0, 3, 4])
        assert len(plans) == 9
        assert {plan.rounds for plan in plans} == {ROUNDS}

    def test_a_repetition_that_is_disturbed_is_repeated_too(self) -> None:
        assert len(rounds_of(case_of(), [1.0] * 12, disturbed=[0, 6, 7])) == 9

    def test_they_are_not_repeated_beyond_the_budget(self) -> None:
        assert len(rounds_of(case_of(), [4.5] * 12, disturbed=[0, 3, 4])) == 6
        assert len(rounds_of(case_of(), [4.0] * 12, disturbed=[0, 3, 4])) == 7

    def test_at_most_as_many_are_repeated_as_were_planned(self) -> None:
        assert len(rounds_of(case_of(), [0.1] * 20, disturbed=range(1, 20))) == 2 * ROUNDS

    def test_none_are_repeated_if_all_are_disturbed(self) -> None:
        assert len(rounds_of(case_of(), [0.1] * 20, disturbed=range(20))) == ROUNDS

    @pytest.mark.parametrize("settings", [{"rounds": 6}, {"budget": None}])
    def test_they_are_not_repeated_if_rounds_are_given_or_there_is_no_budget(self, settings: Any) -> None:
        assert len(rounds_of(case_of(**settings), [0.1] * 12, disturbed=[0, 3])) == 6

    def test_slow_rounds_are_not_repeated(self) -> None:
        assert len(rounds_of(case_of(), [0.1, 3.0, 0.1, 0.1, 4.0, 0.1])) == 6


class TestOverrun:
    @pytest.mark.parametrize(
        ("case", "spent", "least", "line"),
        [
            (case_of(), 4.0, 4.0, None),
            (case_of(budget=None), 4.0, 1e6, None),
            (
                case_of(),
                4.0,
                7.0,
                "6 rounds, the fewest with a 95 % CI, take about 46 s, more than measure.budget=30",
            ),
            (
                case_of(),
                4.0,
                80.0,
                "3 rounds of one sample take about 244 s, and measure.budget=30; 6, the fewest "
                "with a 95 % CI, would take 484 s",
            ),
            (
                case_of(budget=0.5),
                3.2,
                0.4,
                "starting alone took 3.2 s, and measure.budget=0.5; the least is 3 rounds of "
                "one sample, in about 4 s",
            ),
            (
                case_of(rounds=9),
                4.0,
                7.0,
                "measure.rounds=9 takes about 67 s, more than measure.budget=30",
            ),
            (
                case_of(isolation="inline"),
                4.0,
                40.0,
                "its round takes about 44 s, more than measure.budget=30",
            ),
        ],
    )
    def test_it_is_told_with_an_estimate(
        self, case: Case, spent: float, least: float, line: str | None
    ) -> None:
        assert overrun(case, spent, least) == line
