from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import pytest
from factory import BUSY, QUIET, record_of
from msgspec import structs

from microbench.config import MISSING, Config
from microbench.records.record import BenchmarkWarning, Outcome, RoundRecord, Status, WarningCode
from microbench.run.case import Case
from microbench.run.patience import FIRST_CALL, HOPELESS, LOST, OF_BUDGET, OF_PLAIN, SAMPLES, Patience
from microbench.run.search import (
    CLEAR,
    CLOSE,
    FALLING,
    FAR,
    FEWEST,
    FINALISTS,
    FIRST_PART,
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
        times: seconds per call by candidate, or those of its rounds in turn; None if it fails.
        cost: seconds per round, for all candidates or by candidate.
        formats: torch's name of the number format that a candidate is cast to, by candidate.
        emulated: the emulated number formats.
        emulated_by: the device that emulates them.
        slow: the slow number formats.
        startup: seconds of a further round besides its turns.
        warned: the code of a warning, by candidate.
        isolation: the isolation of all cases.
        objective: what is searched for.
        memory: peak bytes by candidate.
        first_call: seconds of plain eager's first call.
        noise: the factor of a round's time, by the round's number.
        busy: the rounds, by number, that others disturb.
    """

    times: Mapping[str, float | Sequence[float | None] | None]
    cost: float | Mapping[str, float] = 1.0
    formats: Mapping[str, str] = field(default_factory=dict)
    emulated: tuple[str, ...] = ()
    emulated_by: str = MISSING
    slow: tuple[str, ...] = ()
    startup: float = 0.0
    warned: Mapping[str, WarningCode] = field(default_factory=dict)
    isolation: str = "fork"
    objective: str = "latency"
    memory: Mapping[str, int] = field(default_factory=dict)
    first_call: float = 0.0
    noise: Mapping[int, float] = field(default_factory=dict)
    busy: Container[int] = ()
    clock: float = 0.0
    records: list[RoundRecord] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)

    def run(
        self, budget: float = BUDGET, spent: float = 0.0, interrupt: int | None = None
    ) -> list[tuple[str, int]]:
        """Search, and return which candidates were measured in which rounds, in order.

        Args:
            budget: the budget in seconds.
            spent: the part of it that was spent before.
            interrupt: the number of turns before it is interrupted; None if it is not.
        """
        candidates = [self._case(name, order) for order, name in enumerate(self.times)]
        search = Search(
            candidates[0],
            candidates[1:],
            budget,
            0,
            self.records,
            self.objective,
            {self.emulated_by: self.emulated},
            {MISSING: self.slow},
            spent,
            self.startup,
            lambda: self.clock,
        )
        last = 0
        for _, case in islice(search.rounds(), interrupt):
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
        """The candidates in the rounds in which plain eager took its turn again."""
        finals = {number for name, number in self.turns if name.split()[0] == "plain" and number > 0}
        return {name for name, number in self.turns if number in finals}

    def _case(self, name: str, order: int) -> Case:
        _, has_batch, batch = name.partition("batch_size=")
        config = Config(threads=2, isolation=self.isolation, batch_size=int(batch) if has_batch else 8)
        config.measure.rounds = ROUNDS
        config.precision.cast = self.formats.get(name)
        config.seed = order if not has_batch else 0  # so that each has an id of its own
        return Case(config, tuple(name.split()), order)

    def _cost(self, case: Case) -> float:
        assert isinstance(self.cost, Mapping)
        return self.cost.get(name_of(case), 1.0)

    def _measured(self, case: Case) -> RoundRecord:
        name = name_of(case)
        time = self.times.get(name, self.times.get(name.split()[0]))
        if isinstance(time, Sequence):
            time = time[sum(turn[0] == name for turn in self.turns) - 1]
        if time is None:
            return record_of(case=case, outcome=Outcome(status=Status.ERROR, error="it broke"))
        warnings = [BenchmarkWarning(self.warned[name], "doubtful")] if name in self.warned else []
        time *= self.noise.get(case.round, 1.0)
        times = {"inference": time} | ({"first_call": self.first_call} if name == "plain" else {})
        readings = BUSY if case.round in self.busy else QUIET
        fields = {"warnings": tuple(warnings), "peak_memory": self.memory.get(name), "readings": readings}
        return record_of(times, case=case, **fields)


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
        found = Machine({"plain": 9.0} | {f"other{index}": 1.0 for index in range(50)}, cost=2.0)
        tried = [name for name, number in found.run() if number == 0 and " " not in name]

        assert FIRST_PART * BUDGET - 2.0 <= 2.0 * len(tried) <= FIRST_PART * BUDGET

    def test_the_final_has_its_time_before_further_candidates_do(self) -> None:
        found = Machine({"plain": 3.0} | {f"other{index}": 1.0 for index in range(50)}, cost=10.0)
        found.run()
        tried = [name for name, number in found.turns if number == 0]

        assert 10.0 * len(tried) <= BUDGET - LEAST_ROUNDS * 2 * 10.0
        assert max(number for _, number in found.turns) >= LEAST_ROUNDS

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
IN_FORMATS = {"plain": 9.0, "half": 1.0, "a": 3.0, "other": 2.0, "b": 2.5, "c": 3.5, "d": 4.0}


class TestFormats:
    def test_an_emulated_format_is_tried_last(self) -> None:
        found = Machine(IN_FORMATS, formats=FORMATS, emulated=("bfloat16",))
        tried = [name for name, number in found.run() if number == 0]

        assert tried[1:5] == ["a", "other", "b", "c"]
        assert tried[-1] == "half"

    def test_a_format_that_another_device_emulates_is_tried_in_its_turn(self) -> None:
        found = Machine(IN_FORMATS, formats=FORMATS, emulated=("bfloat16",), emulated_by="other")
        assert found.run(budget=100) == Machine(IN_FORMATS, formats=FORMATS).run(budget=100)

    def test_an_emulated_format_is_named_if_no_time_is_left_for_it(self) -> None:
        found = Machine({"plain": 9.0, "half": 1.0, "a": 3.0}, {"a": 60.0}, FORMATS, ("bfloat16",))
        found.run()

        assert ("half", 0) not in found.turns
        assert found.left_out["half"] == (
            "bfloat16 is emulated in fp32 here, which takes longer, and experiment.budget=100 (seconds) had "
            "no time left for it; raise it"
        )

    def test_an_emulated_format_is_tried_at_once_if_no_other_is_requested(self) -> None:
        found = Machine({"plain": 9.0, "half": 1.0}, formats=FORMATS, emulated=("bfloat16",))

        assert found.run()[1] == ("half", 0)
        assert not found.left_out

    def test_a_slow_format_is_tried_some_places_later(self) -> None:
        found = Machine(IN_FORMATS, formats=FORMATS, slow=("bfloat16",))

        assert [name for name, _ in found.run()[1:6]] == ["a", "other", "b", "half", "c"]

    def test_the_order_is_that_of_the_candidates_if_no_format_is_slow(self) -> None:
        found = Machine(IN_FORMATS, formats=FORMATS)

        assert [name for name, _ in found.run()[:7]] == [*IN_FORMATS]


class TestLimits:
    def test_a_candidate_has_a_share_of_the_budget_and_preparing_it_a_smaller_one(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0, "b": 2.0}, first_call=0.5)
        found.run()

        assert found.cases[0].patience is None
        for name, best in (("a", 9.0), ("b", 3.0)):
            expected = Patience(BUDGET, PREPARING * BUDGET, ROUND * BUDGET, pytest.approx(best), 0.5)
            assert found.first(name).patience == expected

    def test_a_round_may_take_longer_than_its_share_if_plain_eager_does(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0}, cost={"plain": 9.0})
        found.run()
        patience = found.first("a").patience

        assert patience is not None
        assert patience.whole == MOST * 9.0 > ROUND * BUDGET

    def test_a_candidate_has_no_more_time_than_the_first_part_has_left(self) -> None:
        found = Machine({"plain": 9.0, "a": 10.0, "b": 1.0}, cost={"a": 40.0})
        found.run()
        patience = found.first("b").patience

        assert patience is not None
        assert patience.whole == pytest.approx(FIRST_PART * BUDGET - 41.0)

    def test_neither_samples_nor_time_end_a_further_round(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0})
        found.run()
        further = [case for case in found.cases if case.round]

        assert further
        assert {case.patience for case in further} == {None}

    def test_an_inline_search_has_no_time_limits(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0}, isolation="inline")
        found.run()

        assert {case.patience for case in found.cases} == {None}


class TestHalving:
    ALIKE: Mapping[str, float] = {"plain": 9.0} | {f"c{index}": 1.0 + index / 100 for index in range(6)}

    def test_the_better_half_has_another_round_and_the_better_half_of_it_the_final(self) -> None:
        found = Machine(dict(self.ALIKE) | {"c0 allocator=tuned": 5.0, "c0 threads=1": 5.0}, cost=0.1)
        turns = found.run()

        assert {name for name, number in turns if number == 1} == {"c0", "c1", "c2"}
        assert found.finalists() == {"plain", "c0", "c1"}

    def test_a_lucky_first_round_does_not_win(self) -> None:
        times = dict(self.ALIKE) | {"c5": [0.6, *[1.5] * 20], "c5 allocator=tuned": 5.0, "c5 threads=1": 5.0}
        found = Machine(times, cost=0.1)
        found.run()

        assert found.finalists() == {"plain", "c0", "c1"}

    def test_there_is_none_again_once_the_final_has_begun_though_it_changed_the_order(self) -> None:
        times = dict(self.ALIKE) | {"c0 allocator=tuned": 5.0, "c0 threads=1": 5.0}
        late = {each: [times[each], times[each], *[1.3] * 20] for each in ("c0", "c1")}
        found = Machine(times | late, cost=0.1)
        turns = list(found.run())

        assert found.run(spent=found.clock) == turns

    def test_there_is_none_if_the_final_needs_the_time(self) -> None:
        found = Machine(self.ALIKE, cost=8.0)
        turns = found.run()

        assert {name for name, number in turns if number == 1} == found.finalists() >= {"plain", "c0"}


class TestFinal:
    ALONE: Mapping[str, float | Sequence[float | None]] = {
        "plain": 9.0,
        "a": 1.0,
        "a threads=1": 5.0,
        "a allocator=tuned": 5.0,
    }

    def test_a_faster_variation_reaches_the_final(self) -> None:
        found = Machine({"plain": 4.0, "a": 1.0, "a allocator=tuned": 0.4})
        found.run()

        assert found.finalists() == {"plain", "a allocator=tuned"}

    def test_a_candidate_far_behind_the_best_has_no_further_round(self) -> None:
        found = Machine(
            {"plain": 9.0, "a": 1.0, "far": FAR * 1.01, "a threads=1": 5.0, "a allocator=tuned": 5}
        )
        found.run()

        assert found.finalists() == {"plain", "a"}

    def test_a_finalist_that_falls_behind_leaves(self) -> None:
        variations = {"a threads=1": 5.0, "a allocator=tuned": 5.0}
        found = Machine({"plain": 9.0, "a": 1.0, "b": [1.1, *[CLOSE * 2] * 20]} | variations, noise={2: 2.0})
        found.run()

        assert [number for name, number in found.turns if name == "b"] == [0, 1]

    def test_a_candidate_slower_than_plain_eager_has_no_further_round(self) -> None:
        found = Machine({"plain": 1.0, "slow": 1.05})

        assert found.run() == [("plain", 0), ("slow", 0)]

    def test_baseline_and_leaders_take_turns_in_each_round(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0, "b": 1.01})
        turns = found.run()
        finals = {number for name, number in turns if name == "plain"} - {0}

        assert len(finals) >= LEAST_ROUNDS
        for final in finals:
            assert {name for name, number in turns if number == final} == found.finalists()

    def test_it_ends_once_the_speedup_of_the_only_leader_is_known_well(self) -> None:
        found = Machine(self.ALONE)
        noisy = Machine(self.ALONE | {"a": [1.0, 1.0, 1.3, 1.0, 1.3, 1.0, 1.3, 1.0, 1.3]})
        found.run()
        noisy.run()

        assert [number for name, number in found.turns if name == "plain"] == [0, 1, 2, 3]
        assert len([number for name, number in noisy.turns if name == "plain"]) == ROUNDS

    def test_a_disturbed_round_is_repeated_but_not_if_all_are(self) -> None:
        found, always = Machine(self.ALONE, busy=[2, 3]), Machine(self.ALONE, busy=range(100))
        found.run()
        always.run()

        assert [number for name, number in found.turns if name == "plain"] == [0, 1, 2, 3, 4, 5]
        assert [number for name, number in always.turns if name == "plain"] == [0, 1, 2, 3]

    def test_a_disturbed_round_is_not_repeated_without_time(self) -> None:
        found = Machine(self.ALONE, busy=[2, 3], cost=11.0)
        found.run()

        assert found.clock <= (1 + OVERRUN) * BUDGET
        assert max(number for _, number in found.turns) < 5

    def test_a_failed_round_of_plain_eager_is_repeated(self) -> None:
        found = Machine(self.ALONE | {"plain": [9.0, 9.0, None, 9.0, 9.0]})
        found.run()

        assert [number for name, number in found.turns if name == "plain"] == [0, 1, 2, 3, 4]

    def test_rounds_of_plain_eager_that_keep_failing_are_repeated_as_often_as_planned(self) -> None:
        found = Machine(self.ALONE | {"plain": [9.0, *[None] * 100]}, cost=0.01)
        found.run()

        assert len([name for name, _ in found.turns if name == "plain"]) == 1 + 2 * (ROUNDS - 1)

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

    @pytest.mark.parametrize("cost", [4.0, 11.0, 17.0, 26.0, 40.0])
    @pytest.mark.parametrize("startup", [0.0, 8.0])
    def test_the_search_ends_with_the_budget_or_shortly_after(self, cost: float, startup: float) -> None:
        times = {"plain": 9.0} | {f"other{index}": 1.0 for index in range(9)}
        found = Machine(times, cost=cost, startup=startup)
        found.run()

        assert found.clock <= (1 + OVERRUN) * BUDGET + cost

    def test_all_leaders_are_in_it_if_there_is_time_for_two_rounds_and_the_best_for_the_least(self) -> None:
        found = Machine({"plain": CLEAR * 0.9, "a": 1.0, "b": 1.01}, cost=10.0)
        count = Counter(name for name, _ in found.run())

        assert (count["a"], count["b"]) == (1 + LEAST_ROUNDS, 1 + FEWEST)

    def test_a_clear_lead_leaves_the_time_to_other_candidates(self) -> None:
        times = {f"other{index}": 1.0 for index in range(9)}
        near, clear = (Machine({"plain": CLEAR * each} | times, cost=11.0) for each in (0.9, 1.1))
        near.run()
        clear.run()

        assert len({name for name, _ in near.turns}) < len({name for name, _ in clear.turns})
        assert clear.finalists()

    def test_only_the_fastest_is_in_the_final_if_time_is_short(self) -> None:
        found = Machine({"plain": 9.0, "a": 1.0, "b": 1.01}, cost=16.0)
        found.run()

        assert found.finalists() == {"plain", "a"}


MORE = ("", " allocator=tuned", " threads=1")


class TestObjectives:
    def test_the_least_memory_is_in_the_final_however_slow_it_is(self) -> None:
        found = Machine(
            {"plain": 1.0, "fast": 0.1, "small": 50.0},
            objective="memory",
            memory={"plain": 100, "fast": 300, "small": 30},
        )
        found.run()
        patience = found.first("small").patience

        assert found.finalists() == {"plain", "small"}
        assert patience is not None
        assert patience.best == math.inf

    def test_the_tail_decides_if_p99_is_wanted(self) -> None:
        steady, spiky = [1.0] * 50, [0.8] * 48 + [9.0, 9.0]
        found = Machine({"plain": 9.0, "spiky": 1.0, "steady": 1.0}, objective="p99")
        measured = found._measured
        found._measured = lambda case: (  # type: ignore[method-assign]
            record_of({"inference": steady if name_of(case).startswith("steady") else spiky}, case=case)
            if name_of(case) != "plain"
            else measured(case)
        )
        found.run()

        assert found.finalists() <= {"plain", *(f"steady{more}" for more in MORE)}
        assert {each.config.measure.min_time for each in found.cases} == {BUDGET * SAMPLING}
        assert {each.config.measure.min_sample for each in found.cases} == {0.0}

    def test_the_two_best_are_tried_with_other_batch_sizes_until_that_makes_them_worse(self) -> None:
        times = {"plain": 8.0, "a": 4.0, "b": 2.0, "c": 7.9}
        each = {
            "plain batch_size=16": 8.0,
            "a batch_size=16": 8.0,
            "b batch_size=16": 3.0,
            "b batch_size=32": 9.0 * FALLING,
            "b batch_size=64": 1.0,
            "b batch_size=4": 2.0 * FALLING,
            "b batch_size=2": 0.1,
        }
        found = Machine(times | each, objective="throughput", cost=0.1)
        found.run()
        assert found.finalists() <= {"plain", *(f"b batch_size=16{more}" for more in MORE)}
        tried = [name for name, number in found.turns if "batch_size" in name and number == 0]

        assert tried[:3] == ["b batch_size=16", "b batch_size=32", "b batch_size=4"]
        assert "plain batch_size=16" not in tried
        assert found.left_out["b batch_size=64"] == (
            f"not one of the {FINALISTS} best at batch_size=8, or sure to be worse"
        )

    def test_items_per_second_count_not_calls(self) -> None:
        found = Machine({"plain": 8.0, "a": 4.0, "a batch_size=16": 6.0}, objective="throughput", cost=0.1)
        found.run()

        assert found.finalists() <= {"plain", *(f"a batch_size=16{more}" for more in MORE)}
        patience = found.first("a batch_size=16").patience
        assert patience is not None
        assert patience.best == pytest.approx(8.0)  # a call of twice as many items


class TestResuming:
    TIMES: Mapping[str, float] = {"plain": 9.0, "a": 3.0, "b": 2.0, "c": 2.1, "d": 8.0}

    @pytest.mark.parametrize("turns", range(1, 20))
    def test_a_search_that_was_interrupted_measures_the_rest(self, turns: int) -> None:
        whole, found = Machine(self.TIMES), Machine(self.TIMES)
        whole.run()
        found.run(interrupt=turns)
        found.run(spent=found.clock)

        assert {name for name, _ in found.turns} == {name for name, _ in whole.turns}
        assert max(Counter(turn for turn in found.turns).values()) == 1
        rounds, wanted = (Counter(name for name, _ in each.turns)["plain"] for each in (found, whole))
        assert wanted <= rounds <= wanted + 1  # the one that was interrupted

    def test_an_interrupted_round_does_not_keep_its_case_from_winning(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0})
        found.run(interrupt=8)
        *before, last = found.records
        assert last.round > 0
        found.records[:] = [*before, structs.replace(last, outcome=Outcome(status=Status.INTERRUPTED))]
        turns = len(found.turns)
        found.run(spent=found.clock)

        assert {name for name, _ in found.turns[turns:]} == found.finalists()

    def test_what_lacked_time_is_tried_with_a_larger_budget(self) -> None:
        found = Machine({"plain": 9.0, "a": 3.0, "b": 2.0}, cost={"plain": 10.0, "a": 50.0})
        found.run()
        assert "b" in found.left_out
        turns = len(found.turns)
        found.run(budget=3 * BUDGET)

        assert found.turns[turns] == ("b", 0)

    def test_nothing_is_measured_again_once_the_search_is_complete(self) -> None:
        found = Machine(self.TIMES)
        turns = list(found.run())

        assert found.run(spent=found.clock) == turns


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

    @pytest.mark.parametrize(
        ("first_call", "plain_first", "is_lost"),
        [
            (FIRST_CALL * 1.1, 0.0, True),
            (FIRST_CALL * 0.9, 0.0, False),
            (FIRST_CALL * 1.1, FIRST_CALL * 1.2 / OF_PLAIN, False),
        ],
    )
    def test_a_first_call_decides_if_it_is_far_behind_both(
        self, first_call: float, plain_first: float, is_lost: bool
    ) -> None:
        patience = Patience(BUDGET, 1.0, 1.0, best=1.0, plain_first=plain_first)
        quick = Patience(BUDGET, 1.0, 1.0, best=1e-6, plain_first=plain_first)

        assert (patience.lost_at_once(first_call) is not None) is is_lost
        assert quick.lost_at_once(OF_BUDGET * BUDGET * 0.9) is None

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
    monkeypatch.setattr("microbench.system.cpus.usable", lambda: {0})
    assert other_threads(2) == [1]
