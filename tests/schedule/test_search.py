from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from microbench.config import Config
from microbench.results.record import Record
from microbench.schedule.cases import Case
from microbench.schedule.search import CLOSE, FIRST_PART, LEADERS, LEAST_ROUNDS, Search, other_threads

ROUNDS = 8
BUDGET = 100.0


@dataclass
class Machine:
    """Runs a search without measuring: each way has a time, and a turn so many seconds of a fake clock."""

    timed: Callable[..., list[Record]]
    times: Mapping[str, float | None]
    cost: float = 1.0
    clock: float = 0.0
    records: list[Record] = field(default_factory=list)
    turns: list[tuple[str, int]] = field(default_factory=list)
    limits: list[float | None] = field(default_factory=list)

    def run(self, budget: float = BUDGET) -> list[tuple[str, int]]:
        names = list(self.times)
        cases = [case_of(name, order) for order, name in enumerate(names)]
        search = Search(cases[0], cases[1:], budget, 0, self.records, lambda: self.clock)
        for case in search.turns():
            name = " ".join([case.overrides[0], *case.overrides[1:]])
            self.turns.append((name, case.round))
            self.limits.append(case.config.timeout)
            self.clock += self.cost
            self.records += self._measured(case, self._time(name))
        return self.turns

    def _time(self, name: str) -> float | None:
        return self.times.get(name, self.times.get(name.split()[0]))

    def _measured(self, case: Case, time: float | None) -> list[Record]:
        records = self.timed([time], order=case.order)
        return [
            {**record, "round": case.round, "started_at": f"{case.order} {case.round}"} for record in records
        ]

    def finalists(self) -> set[str]:
        return {name for name, number in self.turns if number > 0}


def case_of(name: str, order: int) -> Case:
    config = Config(threads=2)
    config.measure.rounds = ROUNDS
    return Case(config, (name,), order)


@pytest.fixture
def machine(timed: Any) -> Callable[..., Machine]:
    return lambda times, **rest: Machine(timed, times, **rest)


def test_every_way_is_tried_once_before_any_is_tried_again(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 4.0, "a": 3.0, "b": 2.0, "c": 1.0})

    assert found.run()[:4] == [("plain", 0), ("a", 0), ("b", 0), ("c", 0)]


def test_the_best_is_tried_with_another_allocator_and_other_threads(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 4.0, "a": 3.0, "b": 1.0})

    assert found.run()[3:5] == [("b allocator=tuned", 0), ("b threads=1", 0)]


def test_a_variation_that_is_faster_reaches_the_final(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 4.0, "a": 1.0, "a allocator=tuned": 0.5})
    found.run()

    assert found.finalists() == {"plain", "a allocator=tuned"}


def test_what_is_far_behind_the_best_is_not_in_the_final(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 9.0, "a": 1.0, "near": CLOSE * 0.99, "far": CLOSE * 1.01, "a threads=1": 5.0})
    found.run()

    assert found.finalists() == {"plain", "a", "near", "a allocator=tuned"}


def test_the_final_has_no_more_than_so_many_leaders(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 9.0} | {f"way{index}": 1.0 + index / 1000 for index in range(10)})
    found.run()

    assert len(found.finalists()) == 1 + LEADERS


def test_in_each_round_of_the_final_baseline_and_leaders_take_turns(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 9.0, "a": 1.0, "b": 1.01})
    turns = found.run()

    for number in range(1, LEAST_ROUNDS + 1):
        assert {name for name, each in turns if each == number} == found.finalists()


def test_what_failed_does_not_lead(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 9.0, "broken": None, "a": 3.0})
    found.run()

    assert "broken" not in found.finalists()
    assert "a" in found.finalists()


def test_where_nothing_but_the_baseline_could_be_measured_there_is_no_final(
    machine: Callable[..., Machine],
) -> None:
    found = machine({"plain": 9.0, "broken": None})

    assert found.run() == [("plain", 0), ("broken", 0)]


def test_the_first_part_ends_with_its_share_of_the_budget(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 9.0} | {f"way{index}": 1.0 for index in range(50)}, cost=10.0)
    turns = found.run()
    tried = [name for name, number in turns if number == 0 and " " not in name]

    assert 10.0 * (len(tried) - 1) <= FIRST_PART * BUDGET <= 10.0 * len(tried)


def test_a_way_that_takes_longer_than_the_first_part_has_left_is_cut_off(
    machine: Callable[..., Machine],
) -> None:
    found = machine({"plain": 9.0, "a": 1.0}, cost=10.0)
    found.run()

    assert found.limits[:2] == [1800.0, FIRST_PART * BUDGET - 10.0]


def test_the_final_keeps_to_the_budget_once_it_has_its_least_rounds(machine: Callable[..., Machine]) -> None:
    found = machine({"plain": 9.0, "a": 1.0, "a allocator=tuned": 5.0, "a threads=1": 5.0}, cost=5.0)
    found.run()

    assert found.clock <= BUDGET
    assert max(number for _, number in found.turns) > LEAST_ROUNDS


def test_even_where_the_budget_is_spent_the_fastest_has_its_least_rounds(
    machine: Callable[..., Machine],
) -> None:
    found = machine({"plain": 9.0, "a": 1.0, "b": 1.01}, cost=30.0)
    turns = found.run()

    assert found.finalists() == {"plain", "a"}
    assert [number for name, number in turns if name == "a"] == list(range(LEAST_ROUNDS + 1))


def test_other_threads_are_half_of_them_and_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microbench.metrics.cpus.usable", lambda: set(range(8)))

    assert other_threads(4) == [2, 8]
    assert other_threads(8) == [4]
    assert other_threads(1) == [8]
