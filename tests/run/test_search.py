from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from factory import record_of

from microbench.config import Config
from microbench.records.record import BenchmarkWarning, Outcome, RoundRecord, Status, WarningCode
from microbench.run.case import Case
from microbench.run.patience import HOPELESS, LOST, SAMPLES, Patience
from microbench.run.search import (
    CLOSE,
    FEWEST,
    FIRST_PART,
    LEADERS,
    LEAST_ROUNDS,
    MOST,
    OVERRUN,
    PREPARING,
    ROUND,
    SAMPLING,
    Search,
    other_threads,
)

ROUNDS = 8
BUDGET = 100.0


@dataclass
class Machine:
    """A search without measuring: a candidate has a time, and a round takes seconds of a fake clock.

    Attributes:
        times: seconds per call by candidate; None if it fails.
        cost: seconds per round, for all candidates or by candidate.
        formats: torch's name of the number format that a candidate is cast to, by candidate.
        emulated: the emulated number formats.
        startup: seconds of a round of the final besides its turns.
        warned: the code of a warning, by candidate.
        isolation: the isolation of all cases.
    """

    times: Mapping[str, float | None]
    cost: float | Mapping[str, float] = 1.0
    formats: Mapping[str, str] = field(default_factory=dict)
    emulated: tuple[str, ...] = ()
    startup: float = 0.0
    warned: Mapping[str, WarningCode] = field(default_factory=dict)
    isolation: str = "fork"
    clock: float = 0.0
    records: list[RoundRecord] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)

    def run(self, budget: float = BUDGET) -> list[tuple[str, int]]:
        """Search, and return which candidates were measured in which rounds, in order."""
        candidates = [self._case(name, order) for order, name in enumerate(self.times)]
        search = Search(
            candidates[0],
            candidates[1:],
            budget,
            0,
            self.records,
            self.emulated,
            self.startup,
            lambda: self.clock,
        )
        last = 0
        for _, case in search.rounds():
            self.cases.append(case)
            if case.known is not None:
                self.records.append(record_of(case=case, outcome=case.known))
                continue
            self.clock += self.startup if case.round > last else 0.0
            self.clock += self._cost(case) if isinstance(self.cost, Mapping) else self.cost
            last = case.round
            self.records.append(self._measured(case))
        return self.turns

    @property
    def turns(self) -> list[tuple[str, int]]:
        return [(name_of(case), case.round) for case in self.cases if case.known is None]

    @property
    def left_out(self) -> dict[str, str | None]:
        """The reasons why candidates were not tried, by candidate."""
        return {name_of(case): case.known.error for case in self.cases if case.known is not None}

    def first(self, name: str) -> Case:
        return next(case for case in self.cases if name_of(case) == name)

    def finalists(self) -> set[str]:
        return {name for name, number in self.turns if number > 0}

    def _case(self, name: str, order: int) -> Case:
        config = Config(threads=2, isolation=self.isolation)
        config.measure.rounds = ROUNDS
        config.precision.cast = self.formats.get(name)
        return Case(config, (name,), order)

    def _cost(self, case: Case) -> float:
        assert isinstance(self.cost, Mapping)
        return self.cost.get(name_of(case), 1.0)

    def _measured(self, case: Case) -> RoundRecord:
        name = name_of(case)
        time = self.times.get(name, self.times.get(name.split()[0]))
        if time is None:
            return record_of(case=case, outcome=Outcome(status=Status.ERROR, error="it broke"))
        warnings = [BenchmarkWarning(self.warned[name], "doubtful")] if name in self.warned else []
        return record_of({"inference": time}, case=case, warnings=tuple(warnings))


def name_of(case: Case) -> str:
    return " ".join(case.overrides)


class TestTrying:
    def test_every_candidate_is_tried_once_before_any_is_tried_again(self) -> None:
        found = Machine({"plain": 4.0, "a": 3.0, "b": 2.0, "c": 1.0})

        assert found.run()[:4] == [("plain", 0), ("a", 0), ("b", 0), ("c", 0)]

    def test_nothing_is_measured_if_plain_eager_cannot_be(self) -> None:
        found = Machine({"plain": None, "a": 3.0})

        assert found.run() == [("plain", 0)]

    def test_the_best_is_tried_with_another_allocator_and_other_threads(self) -> None:
        found = Machine({"plain": 4.0, "a": 3.0, "b": 1.0})

        assert found.run()[3:5] == [("b allocator=tuned", 0), ("b threads=1", 0)]

    def test_the_first_part_ends_with_its_share_of_the_budget(self) -> None:
        found = Machine({"plain": 9.0} | {f"other{index}": 1.0 for index in range(50)}, cost=10.0)
        tried = [name for name, number in found.run() if number == 0 and " " not in name]

        assert FIRST_PART * BUDGET - 10.0 <= 10.0 * len(tried) <= FIRST_PART * BUDGET

    def test_candidates_without_time_are_named(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0, "b": 2.0}, cost={"plain": 10.0, "a": 50.0})
        found.run()

        assert found.left_out["b"] == "experiment.budget=100 (seconds) had no time left for it; raise it"
        assert ("b", 0) not in found.turns

    def test_a_round_samples_for_a_share_of_the_budget_at_most(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0})
        found.run(budget=6.0)

        assert len(found.turns) > 1
        for measure in (case.config.measure for case in found.cases if case.known is None):
            assert max(measure.min_time, measure.max_time, measure.max_warmup) <= SAMPLING * 6.0

    def test_a_round_samples_no_longer_than_requested(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0})
        found.run(budget=1e6)

        measured = {case.config.measure.max_time for case in found.cases if case.known is None}
        assert measured == {Config().measure.max_time}


FORMATS = {"half": "bfloat16", "other": "float16"}
IN_FORMATS = {"plain": 9.0, "a": 3.0, "half": 1.0, "other": 1.0}


class TestEmulation:
    def test_an_emulated_format_is_named_and_not_tried(self) -> None:
        found = Machine(IN_FORMATS, formats=FORMATS, emulated=("bfloat16",))
        tried = {name for name, _ in found.run()}

        assert "half" not in tried
        assert "other" in tried
        assert found.left_out == {"half": "bfloat16 is emulated in fp32 here, which takes longer"}

    def test_an_emulated_format_is_tried_if_no_other_is_requested(self) -> None:
        found = Machine({"plain": 9.0, "half": 1.0}, formats=FORMATS, emulated=("bfloat16",))

        assert ("half", 0) in found.run()
        assert not found.left_out

    def test_all_formats_are_tried_if_none_is_emulated(self) -> None:
        found = Machine(IN_FORMATS, formats=FORMATS)

        assert {name for name, _ in found.run()} > {"half", "other"}


class TestLimits:
    def test_a_candidate_has_a_share_of_the_budget_and_preparing_it_a_smaller_one(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0, "b": 2.0})
        found.run()

        assert found.cases[0].patience is None
        for name, best in (("a", 9.0), ("b", 3.0)):
            expected = Patience(BUDGET, PREPARING * BUDGET, ROUND * BUDGET, pytest.approx(best))
            assert found.first(name).patience == expected

    def test_a_round_may_take_longer_than_its_share_if_plain_eager_does(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0}, cost={"plain": 9.0})
        found.run()
        patience = found.first("a").patience

        assert patience is not None
        assert patience.whole == MOST * 9.0 > ROUND * BUDGET

    def test_a_candidate_has_no_more_time_than_the_first_part_has_left(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0, "b": 1.0}, cost={"a": 40.0})
        found.run()
        patience = found.first("b").patience

        assert patience is not None
        assert patience.whole == pytest.approx(FIRST_PART * BUDGET - 41.0)

    def test_samples_do_not_end_a_round_of_the_final(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0})
        found.run()
        finals = [case for case in found.cases if case.round and name_of(case) != "plain"]

        assert finals
        assert {case.patience and case.patience.best for case in finals} == {math.inf}

    def test_an_inline_search_has_no_time_limits(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0}, isolation="inline")
        found.run()

        assert {case.patience for case in found.cases} == {None}


class TestFinal:
    def test_a_faster_variation_reaches_the_final(self) -> None:
        found = Machine({"plain": 4.0, "a": 1.0, "a allocator=tuned": 0.5})
        found.run()

        assert found.finalists() == {"plain", "a allocator=tuned"}

    def test_a_candidate_far_behind_the_best_is_not_in_the_final(self) -> None:
        times = {"plain": 9.0, "a": 1.0, "near": CLOSE * 0.99, "far": CLOSE * 1.01, "a threads=1": 5.0}
        found = Machine(times)
        found.run()

        assert found.finalists() == {"plain", "a", "near", "a allocator=tuned"}

    def test_a_candidate_slower_than_plain_eager_is_not_in_the_final(self) -> None:
        found = Machine({"plain": 1.0, "slow": 1.05})

        assert found.run() == [("plain", 0), ("slow", 0)]

    def test_the_final_has_a_limited_number_of_leaders(self) -> None:
        found = Machine({"plain": 9.0} | {f"other{index}": 1.0 + index / 1000 for index in range(10)})
        found.run()

        assert len(found.finalists()) == 1 + LEADERS

    def test_baseline_and_leaders_take_turns_in_each_round(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0, "b": 1.01})
        turns = found.run()

        for number in range(1, LEAST_ROUNDS + 1):
            assert {name for name, each in turns if each == number} == found.finalists()

    def test_a_candidate_that_failed_does_not_lead(self) -> None:
        found = Machine({"plain": 9.0, "broken": None, "a": 3.0})
        found.run()

        assert "broken" not in found.finalists()
        assert "a" in found.finalists()

    @pytest.mark.parametrize("code", [WarningCode.IMPLAUSIBLE, WarningCode.UNVERIFIED])
    def test_a_candidate_that_may_not_do_its_work_does_not_lead(self, code: WarningCode) -> None:
        found = Machine({"plain": 9.0, "empty": 0.1, "a": 3.0}, warned={"empty": code})
        found.run()

        assert "empty" not in found.finalists()
        assert "a" in found.finalists()

    def test_no_final_is_held_if_only_the_baseline_could_be_measured(self) -> None:
        found = Machine({"plain": 9.0, "broken": None})

        assert found.run() == [("plain", 0), ("broken", 0)]

    def test_the_final_has_more_than_its_fewest_rounds_while_the_budget_lasts(self) -> None:
        times = {"plain": 9.0, "a": 1.0, "a allocator=tuned": 5.0, "a threads=1": 5.0}
        found = Machine(times, cost=5.0, startup=2.0)
        turns = found.run()

        assert found.clock <= BUDGET
        assert LEAST_ROUNDS < max(number for _, number in turns) < ROUNDS - 1

    @pytest.mark.parametrize("cost", [4.0, 11.0, 17.0, 26.0, 40.0])
    @pytest.mark.parametrize("startup", [0.0, 8.0])
    def test_the_search_ends_with_the_budget_or_shortly_after(self, cost: float, startup: float) -> None:
        times = {"plain": 9.0} | {f"other{index}": 1.0 for index in range(9)}
        found = Machine(times, cost=cost, startup=startup)
        found.run()

        assert found.clock <= (1 + OVERRUN) * BUDGET + cost

    def test_all_leaders_are_in_the_final_if_there_is_time_for_two_rounds(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0, "b": 1.01}, cost=11.0)
        turns = found.run()

        assert found.finalists() == {"plain", "a", "b"}
        assert max(number for _, number in turns) == FEWEST

    def test_only_the_fastest_is_in_the_final_if_time_is_short(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0, "b": 1.01}, cost=16.0)
        turns = found.run()

        assert found.finalists() == {"plain", "a"}
        assert LEAST_ROUNDS >= max(number for _, number in turns) > 0


class TestGivingUp:
    @pytest.mark.parametrize(
        ("samples", "is_lost"),
        [
            ([], False),
            ([LOST * 1.1] * (SAMPLES - 1), False),
            ([LOST * 1.1] * SAMPLES, True),
            ([*[LOST * 9.0] * SAMPLES, LOST * 0.9], False),
            ([HOPELESS * 0.9], False),
            ([HOPELESS * 1.1], True),
        ],
    )
    def test_the_fastest_samples_decide(self, samples: list[float], is_lost: bool) -> None:
        patience = Patience(BUDGET, 1.0, 1.0, best=1.0)

        assert (patience.lost(samples) is not None) is is_lost

    def test_no_case_is_lost_while_there_is_no_best(self) -> None:
        assert Patience(BUDGET, 1.0, 1.0).lost([1e9] * SAMPLES) is None

    def test_the_reason_says_how_far_behind_or_what_took_too_long(self) -> None:
        patience = Patience(60.0, 9.0, 15.0, best=0.002)

        assert patience.lost([0.025]) == "its only sample took 12.5 times as long as the fastest so far"
        assert patience.lost([0.006] * 7) == (
            "the fastest of its 7 samples took 3.0 times as long as the fastest so far"
        )
        assert patience.overdrawn("prepare") == (
            "preparing it took longer than the 9 s that experiment.budget=60 allows"
        )
        assert (
            patience.overdrawn(None)
            == "a round of it took longer than the 15 s that experiment.budget=60 allows"
        )


def test_other_threads_are_half_of_them_and_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microbench.system.cpus.usable", lambda: set(range(8)))

    assert other_threads(4) == [2, 8]
    assert other_threads(8) == [4]
    assert other_threads(1) == [8]
