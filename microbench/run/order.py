"""The order in which the rounds of a run's cases are measured."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import mean
from typing import Protocol

from microbench.config import OPTIONS
from microbench.errors import UserError
from microbench.records.record import Plan, RoundRecord
from microbench.records.settings import computed
from microbench.run.case import Case
from microbench.run.plan import further_cost, has_time, is_due, planned
from microbench.schema import Scope, value_of


class Order(Protocol):
    """The rounds of a run, in the order in which they are measured, which may depend on what they find.

    Attributes:
        kind: its name in the records.
        seed: the seed that it is drawn from.
        note: a sentence on rounds that it left out.
    """

    kind: str
    seed: int
    note: str | None

    @property
    def total(self) -> int | None:
        """The number of rounds, as planned now; None if unknown."""
        ...

    def rounds(self) -> Iterator[tuple[int, Case]]:
        """Yield each case with its round, preceded by its place; its record exists before the next one."""
        ...

    def eta(self) -> float | None:
        """Return the seconds that all rounds to come may take; None if unknown."""
        ...


@dataclass
class Schedule:
    """The rounds of cases, as many as the budget of each allows.

    Attributes:
        cases: the cases, each once.
        kind: `interleaved`, `adaptive` or `sequential`.
        seed: the seed of an interleaved schedule's order.
        records: all records so far; the runner adds a round's before it requests the next. Those that exist
            at the beginning are of the run that is completed; what failed in it is measured again.
        startup: seconds that starting the run took; they count for the first case.
        note: None: no round is left out.
    """

    cases: Sequence[Case]
    kind: str
    seed: int
    records: Sequence[RoundRecord]
    startup: float = 0.0
    note: str | None = field(init=False, default=None)
    _found: dict[int, dict[int, RoundRecord]] = field(init=False, default_factory=dict)
    _read: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._add(each for each in self.records if each.ok)

    @property
    def total(self) -> int:
        """The number of rounds of all cases, as planned now."""
        return sum(len(self._measured(case)) + self._to_come(case) for case in self.cases)

    def rounds(self) -> Iterator[tuple[int, Case]]:
        """Yield the rounds to measure, each with its plan.

        Interleaved, every case has its first round before any has its second, in a new random order for each
        round, so that a temporary disturbance of the machine affects all cases equally.
        """
        turn = 0
        for group in [[case] for case in self.cases] if self.kind == "sequential" else [self.cases]:
            draw, number = random.Random(self.seed), 0
            while any(self._is_done(case, number) or self._is_due(case, number) for case in group):
                for case in draw.sample(group, len(group)):
                    is_done = self._is_done(case, number)
                    if not is_done and self._is_due(case, number):
                        yield turn, replace(case, round=number, plan=self._plan(case))
                        self._add(self.records[self._read :])
                        is_done = True
                    turn += is_done
                number += 1

    def eta(self) -> float | None:
        """Return the seconds that all rounds to come may take; None if nothing was measured yet."""
        costs = {
            case.order: mean(map(further_cost, measured))
            for case in self.cases
            if (measured := self._measured(case))
        }
        if not costs:
            return None
        usual = mean(costs.values())
        return sum(self._to_come(case) * costs.get(case.order, usual) for case in self.cases)

    def _to_come(self, case: Case) -> int:
        """Return the number of rounds that are planned for a case."""
        if self._has_failed(case):
            return 0
        return max(0, self._plan(case).rounds - len(self._measured(case)))

    def _add(self, records: Iterable[RoundRecord]) -> None:
        for each in records:
            self._found.setdefault(each.case.order, {})[each.round] = each
        self._read = len(self.records)

    def _is_done(self, case: Case, number: int) -> bool:
        return number in self._found.get(case.order, {})

    def _is_due(self, case: Case, number: int) -> bool:
        """Return whether a case gets a round of that number: none after one that failed in its first.

        Where a disturbed round is replaced, so are those of its alternatives, which are compared with it.
        """
        if self._has_failed(case):
            return False
        plan, measured = self._plan(case), self._measured(case)
        if is_due(case, plan, number, measured):
            return True
        if self.kind != "interleaved" or not has_time(case, plan, measured):
            return False
        return any(
            is_due(each, self._plan(each), number, self._measured(each))
            for each in self._of_the_same_work[computed(case)]
            if not self._has_failed(each)
        )

    @cached_property
    def _of_the_same_work(self) -> Mapping[Hashable, Sequence[Case]]:
        """The cases by their work: rounds of the same number are compared."""
        found: dict[Hashable, list[Case]] = {}
        for case in self.cases:
            found.setdefault(computed(case), []).append(case)
        return found

    def _has_failed(self, case: Case) -> bool:
        measured = self._measured(case)
        return bool(measured) and not any(each.ok for each in measured)

    def _plan(self, case: Case) -> Plan:
        return planned(case, self._measured(case), self.startup if case.order == self.cases[0].order else 0.0)

    def _measured(self, case: Case) -> list[RoundRecord]:
        found = self._found.get(case.order, {})
        return [found[number] for number in sorted(found)]


def check_agreed(cases: Sequence[Case]) -> None:
    """Check that the cases agree on the settings of the whole run.

    Raises:
        UserError: they do not.
    """
    for key in (key for key, each in OPTIONS.items() if each.scope is Scope.RUN):
        values = list(dict.fromkeys(str(value_of(case.config, key)) for case in cases))
        if len(values) > 1:
            raise UserError(f"{key}={','.join(values)} cannot be swept over: a run has one {key}.")
