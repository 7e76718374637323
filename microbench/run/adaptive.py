"""The order of a sweep's rounds in which they go where they decide which configuration is fastest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from msgspec.structs import replace

from microbench.analysis.ranking import is_measured, race_of
from microbench.config import PROFILE
from microbench.records.cases import cases_of
from microbench.records.record import ADAPTIVE, Plan, RoundRecord, RoundsReason
from microbench.records.settings import computed, without, work_of
from microbench.run.case import Case
from microbench.run.order import Schedule, check_agreed
from microbench.run.plan import after_starting, least_cost, planned
from microbench.stats.sequential import FIRST_LOOK

MOST = 10
"""Rounds of a ranked case: 1.3 times as long is found in 94 % of the rankings of four; with six, in 65 %."""

Records = Mapping[int, Sequence[RoundRecord]]
"""Rounds by the place of their case."""


@dataclass
class Adaptive(Schedule):
    """Interleaved rounds, of which configurations that are certainly not the fastest get no more.

    Cases that are ranked against each other share their budgets. All have four rounds; then one that is
    slower than the leader leaves (see `stats.sequential.race`), and its part of the budget is left to the
    others, which go on up to `MOST` rounds. The last one left, and cases that are not ranked, have the rounds
    of an interleaved schedule.
    """

    _groups: list[list[Case]] = field(init=False)
    _number: int = field(init=False, default=-1)
    _plans: dict[int, Plan] = field(init=False, default_factory=dict)
    _due: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._groups = alternatives(self.cases)

    @property
    def total(self) -> int:
        """The number of rounds of all cases, as planned now, with those that replace disturbed ones."""
        return sum(
            max(self._plan(case).rounds, len(self._measured(case)) + self._is_pending(case))
            for case in self.cases
        )

    def _is_pending(self, case: Case) -> bool:
        return case.order in self._due and not self._is_done(case, self._number)

    def _is_due(self, case: Case, number: int) -> bool:
        if number != self._number:
            self._number, self._plans, self._due = number, {}, set()
            for cases in self._groups:
                self._look(cases, number)
        return case.order in self._due if case.order in self._plans else super()._is_due(case, number)

    def _plan(self, case: Case) -> Plan:
        return self._plans.get(case.order) or super()._plan(case)

    def _look(self, cases: Sequence[Case], number: int) -> None:
        """Decide from the rounds before it which of a ranking's cases get the round of that number.

        Cases without a time, a single one with a time, and the last one left are measured as if they were not
        ranked: the fastest has the six rounds of a 95 % CI, too.
        """
        earlier = {
            case.order: [each for each in self._measured(case) if each.round < number] for case in cases
        }
        found = {each.spec.order: each for each in cases_of(chain(*earlier.values())) if is_measured(each)}
        if number and len(found) < 2:
            return
        race = race_of(list(found.values())) if found else None
        left = {list(found)[index] for index in race.left} if race else set[int]()
        alive = [case for case in cases if not found or case.order in found.keys() - left]
        done = {order: len(earlier[order]) - each.left_out for order, each in found.items()}
        least = min((done[case.order] for case in alive if found), default=0)
        plan = self._shared(cases, alive, earlier, least)
        before = [each for case in alive for each in earlier[case.order] if each.round == number - 1]
        limit = alive[0].config.measure.rounds or 2 * plan.rounds  # some rounds replace disturbed ones
        is_over = least >= plan.rounds or number >= limit or any(_was_last(each, alive[0]) for each in before)
        if len(alive) > 1 and not is_over:
            self._due |= {case.order for case in alive}
        for case in cases:
            spent = self._spent([case], earlier)
            if case.order in self._due:
                self._plans[case.order] = replace(plan, seconds=self._granted(plan, case), spent=spent)
            elif case.order in found and alive != [case]:
                ended = Plan(rounds=done[case.order], reason=RoundsReason.DECIDED, spent=spent)
                self._plans[case.order] = ended

    def _shared(self, cases: Sequence[Case], alive: Sequence[Case], earlier: Records, done: int) -> Plan:
        """Plan the next round of those of a ranking's cases that go on, from the budgets of all.

        The last round that the budgets allow is known as such before it is measured, so that its verdicts
        need not allow for more (`Plan.most`).
        """
        given = alive[0].config.measure.rounds
        most, reason = given or MOST, RoundsReason.DECIDED
        budgets = [case.config.measure.budget for case in cases if case.config.measure.budget is not None]
        if len(budgets) < len(cases):
            return Plan(rounds=most, reason=reason, most=most)
        remaining, rounds = max(0.0, sum(budgets) - self._spent(cases, earlier)), most
        costs = [cost for case in alive if (cost := least_cost(earlier[case.order])) is not None]
        if costs and given is None:
            least = min(planned(case, earlier[case.order]).rounds for case in alive)
            affordable = max(done + int(remaining / sum(costs)), least, FIRST_LOOK)
            if affordable < most:
                rounds, reason = affordable, RoundsReason.BUDGET
        return Plan(
            rounds=rounds,
            reason=reason,
            seconds=remaining / max(1, rounds - done) / len(alive),
            most=rounds if rounds == done + 1 else most,
        )

    def _granted(self, plan: Plan, case: Case) -> float | None:
        if plan.seconds is None:
            return None
        return after_starting(plan.seconds, case, self._measured(case), self.startup)

    def _spent(self, cases: Sequence[Case], earlier: Records) -> float:
        """Return the seconds that cases have taken, with starting the run if the first is among them."""
        seconds = [each.seconds or 0.0 for case in cases for each in earlier[case.order]]
        return sum(seconds) + (self.startup if self.cases[0] in cases else 0.0)


def _was_last(record: RoundRecord, case: Case) -> bool:
    """Return whether the budgets allowed no round after this one, and are still those of the case."""
    plan, measure = record.plan, record.case.config.measure
    is_last = plan is not None and plan.reason is RoundsReason.BUDGET and plan.most == plan.rounds
    return is_last and measure.budget == case.config.measure.budget


def alternatives(cases: Sequence[Case]) -> list[list[Case]]:
    """Return the cases of each ranking: those of the same work in at least two configurations."""
    groups: dict[Hashable, list[Case]] = defaultdict(list)
    for case in cases:
        if case.rounds > 1 and case.config.mode.name != PROFILE:
            groups[computed(case)].append(case)
    return [each for each in groups.values() if len({without(work_of(case), ()) for case in each}) > 1]


def schedule_of(
    cases: Sequence[Case], drawn: int, records: Sequence[RoundRecord], startup: float = 0.0
) -> Schedule:
    """Return the schedule of at least one case; `drawn` is the seed if none is given.

    Unless one is given, it is adaptive if configurations are ranked and the number of rounds is not given.

    Raises:
        UserError: the cases disagree on a setting of the whole run.
    """
    check_agreed(cases)
    config = cases[0].config
    seed = drawn if config.schedule_seed is None else config.schedule_seed
    kind = config.schedule
    if kind is None:
        ranked = [case.config.measure for case in chain(*alternatives(cases))]
        is_open = ranked and all(each.rounds is None and each.budget is not None for each in ranked)
        kind = ADAPTIVE if is_open else "interleaved"
    return (Adaptive if kind == ADAPTIVE else Schedule)(cases, kind, seed, records, startup)
