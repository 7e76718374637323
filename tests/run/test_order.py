"""The order of a run's rounds. How many there are is in `test_plan`; the runner's part in `test_rounds`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from factory import QUIET, configured, record_of
from msgspec import structs

from microbench.errors import UserError
from microbench.records.record import RoundRecord, Status
from microbench.run.adaptive import schedule_of
from microbench.run.case import Case
from microbench.run.order import Schedule, check_agreed


def case(order: int, rounds: int | None = 1, **settings: object) -> Case:
    return Case(configured(measure__rounds=rounds, **settings), (), order)


def taken(cases: Sequence[Case], kind: str = "interleaved", seed: int = 0) -> list[Case]:
    """Return the cases with their rounds, in the order of a schedule whose rounds all end well."""
    records: list[RoundRecord] = []
    found = []
    for _, each in Schedule(cases, kind, seed, records).rounds():
        found.append(each)
        records.append(record_of({"inference": 0.1}, case=each))
    return found


def turns(cases: Sequence[Case], kind: str = "interleaved", seed: int = 0) -> list[tuple[int, int]]:
    """Return the places and rounds, in the order of the turns."""
    return [(each.order, each.round) for each in taken(cases, kind, seed)]


def test_every_case_has_a_round_before_any_has_the_next() -> None:
    found = turns([case(order, rounds=6) for order in range(5)])
    assert [number for _, number in found] == sorted(number for _, number in found)
    for start in range(0, 30, 5):
        assert sorted(order for order, _ in found[start : start + 5]) == [0, 1, 2, 3, 4]


def test_the_order_is_drawn_from_the_seed() -> None:
    cases = [case(order, rounds=3) for order in range(8)]
    assert turns(cases, seed=5) == turns(cases, seed=5)
    assert len({tuple(turns(cases, seed=seed)) for seed in range(20)}) == 20


def test_the_order_is_drawn_again_for_each_round() -> None:
    found = turns([case(order, rounds=10) for order in range(8)])
    orders = {tuple(order for order, _ in found[start : start + 8]) for start in range(0, 80, 8)}
    assert len(orders) == 10


def test_every_case_gets_every_place_in_a_round() -> None:
    cases = [case(order) for order in range(4)]
    firsts = [turns(cases, seed=seed)[0][0] for seed in range(400)]
    assert all(60 < firsts.count(order) < 140 for order in range(4))  # 100 each, ± 4 standard deviations


def test_a_case_of_fewer_rounds_has_its_turns_in_the_first_ones() -> None:
    found = turns([case(0, rounds=1), case(1, rounds=3), case(2, rounds=2)])
    assert [number for _, number in found] == [0, 0, 0, 1, 1, 2]
    assert sorted(found) == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]


def test_more_rounds_leave_the_order_of_the_first_ones_unchanged() -> None:
    """A run that is completed with more of them then continues as it began."""
    few, many = ([case(order, rounds) for order in range(5)] for rounds in (3, 6))
    assert turns(many, seed=3)[:15] == turns(few, seed=3)


def test_a_sequential_schedule_has_the_cases_in_their_order() -> None:
    cases = [case(2, rounds=2), case(0, rounds=1), case(1, rounds=2)]
    assert turns(cases, "sequential") == [(2, 0), (2, 1), (0, 0), (1, 0), (1, 1)]
    assert turns(cases, "sequential", seed=1) == turns(cases, "sequential", seed=2)


def test_the_cases_differ_only_in_their_round() -> None:
    one = replace(case(3, rounds=2), overrides=("model=conv",))
    assert [replace(each, plan=None) for each in taken([one])] == [one, replace(one, round=1)]


@pytest.mark.parametrize("kind", ["interleaved", "sequential"])
def test_a_schedule_has_the_kind_and_the_seed_of_its_cases(kind: str) -> None:
    cases = [case(0, schedule=kind, schedule_seed=7), case(1, schedule=kind, schedule_seed=7)]
    assert schedule_of(cases, drawn=1, records=()) == Schedule(cases, kind, 7, ())


def test_a_seed_of_zero_counts_as_given() -> None:
    assert schedule_of([case(0, schedule_seed=0)], drawn=1, records=()).seed == 0
    assert schedule_of([case(0)], drawn=1, records=()).seed == 1


@pytest.mark.parametrize(
    ("key", "values", "line"),
    [
        (
            "schedule",
            ["interleaved", "sequential"],
            "schedule=interleaved,sequential cannot be swept over: a run has one schedule.",
        ),
        ("schedule_seed", [1, 2, 1], "schedule_seed=1,2 cannot be swept over: a run has one schedule_seed."),
        ("resume", ["a", "b"], "resume=a,b cannot be swept over: a run has one resume."),
        ("resume", [None, "b"], "resume=None,b cannot be swept over: a run has one resume."),
    ],
)
def test_a_setting_of_the_run_cannot_be_swept_over(key: str, values: list[object], line: str) -> None:
    cases = [case(order, **{key: value}) for order, value in enumerate(values)]  # type: ignore[arg-type]
    for check in (check_agreed, lambda found: schedule_of(found, drawn=1, records=())):
        with pytest.raises(UserError) as caught:
            check(cases)
        assert str(caught.value) == line
    check_agreed(cases[:1] * 2)


def test_the_time_left_is_what_the_rounds_to_come_cost() -> None:
    """A round costs what those of its case did, or else those of the others, without starting a server."""
    records: list[RoundRecord] = []
    schedule = Schedule([case(0, rounds=3), case(1, rounds=3)], "sequential", 0, records)
    times = []
    for _, each in schedule.rounds():
        times.append(schedule.eta())
        record = record_of({"inference": 0.1}, case=each)
        seconds = 4.0 if each.order == 0 else 1.0
        records.append(structs.replace(record, seconds=seconds + 2.0, startup=2.0))
    assert times == [None, 2 * 4 + 3 * 4, 1 * 4 + 3 * 4, 3 * 4, 2 * 1, 1]


def test_a_round_that_replaces_a_disturbed_one_is_measured_for_the_alternatives_too() -> None:
    """They are compared round by round; a case of other work gets none."""
    made = [case(0, None, threads=1), case(1, None, threads=2), case(2, None, batch_size=3)]
    records: list[RoundRecord] = []
    for _, each in Schedule(made, "interleaved", 0, records).rounds():
        busy = each.order == 0 and each.round == 2
        readings = structs.replace(QUIET, foreign_cpus=1.5, run_delay=1.0) if busy else QUIET
        record = record_of({"inference": 0.1}, case=each, readings=readings)
        records.append(structs.replace(record, seconds=0.5))
    numbers = {
        order: sorted(each.round for each in records if each.case.order == order) for order in range(3)
    }
    assert numbers == {0: list(range(7)), 1: list(range(7)), 2: list(range(6))}


def test_a_case_that_failed_in_its_first_round_has_no_rounds_to_come() -> None:
    records: list[RoundRecord] = []
    schedule = Schedule([case(0, rounds=3), case(1, rounds=3)], "interleaved", 0, records)
    for _, each in schedule.rounds():
        record = record_of({"inference": 0.1}, case=each)
        if each.order == 0:
            record = structs.replace(record, outcome=structs.replace(record.outcome, status=Status.ERROR))
        records.append(structs.replace(record, seconds=1.0))
    assert schedule.total == len(records) == 4
    assert schedule.eta() == 0
