"""The order in which the rounds of a run's cases are measured."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from microbench.config import OPTIONS
from microbench.errors import UserError
from microbench.records.record import RoundRecord
from microbench.run.case import Case
from microbench.schema import Scope, value_of

LEAST_ROUNDS = 2  # measured regardless of the budget: a single round has nothing to be compared with


class Order(Protocol):
    """The rounds of a run, in the order in which they are measured, which may depend on what they find.

    Attributes:
        kind: its name in the records.
        seed: the seed that it is drawn from.
        total: the number of rounds; None if unknown in advance.
        note: a sentence on rounds that it left out.
    """

    kind: str
    seed: int
    total: int | None
    note: str | None

    def rounds(self) -> Iterator[tuple[int, Case]]:
        """Yield each case with its round, preceded by its place; its record exists before the next one."""
        ...


@dataclass
class Schedule:
    """The rounds of cases that are known in advance.

    Attributes:
        cases: the cases, each once.
        kind: `interleaved` or `sequential`.
        seed: the seed of an interleaved schedule's order.
        records: all records so far; the runner adds a round's before it requests the next.
        budget: seconds that interleaved rounds may take in total; None for no limit.
        done: the case's place and the number of each round that has been measured before.
        total: the number of rounds of all cases.
        note: how many rounds the budget allowed, if not all.
    """

    cases: Sequence[Case]
    kind: str
    seed: int
    records: Sequence[RoundRecord]
    budget: float | None = None
    done: Collection[tuple[int, int]] = ()
    total: int | None = field(init=False)
    note: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.total = sum(case.rounds for case in self.cases)

    def rounds(self) -> Iterator[tuple[int, Case]]:
        """Yield the rounds to measure, without further rounds of a case that fails in its first."""
        budget, last = Budget(self.budget if self.kind == "interleaved" else None), None
        succeeded, failed = {order for order, _ in self.done}, set[int]()
        for turn, case in enumerate(self.turns()):
            if (case.order, case.round) in self.done or case.order in failed:
                continue
            if case.round != last and not budget.allows(case.round):
                self.note = (
                    f"{case.round} of {case.rounds} rounds: more would take too long. "
                    f"measure.rounds={case.rounds} measures them all"
                )
                return
            last = case.round
            yield turn, case
            if self.records[-1].ok:
                succeeded.add(case.order)
            elif case.order not in succeeded:
                failed.add(case.order)

    def turns(self) -> list[Case]:
        """Return each case once for each of its rounds, in the order in which they are measured.

        Interleaved, every case has its first round before any has its second, in a new random order for each
        round, so that a temporary disturbance of the machine affects all cases equally.
        """
        return list(self._interleaved() if self.kind == "interleaved" else self._sequential())

    def _interleaved(self) -> Iterator[Case]:
        draw = random.Random(self.seed)
        for number in range(max((case.rounds for case in self.cases), default=0)):
            there = [replace(case, round=number) for case in self.cases if number < case.rounds]
            draw.shuffle(there)
            yield from there

    def _sequential(self) -> Iterator[Case]:
        for case in self.cases:
            yield from (replace(case, round=number) for number in range(case.rounds))


def check_agreed(cases: Sequence[Case]) -> None:
    """Check that the cases agree on the settings of the whole run.

    Raises:
        UserError: they do not.
    """
    for key in (key for key, each in OPTIONS.items() if each.scope is Scope.RUN):
        values = list(dict.fromkeys(str(value_of(case.config, key)) for case in cases))
        if len(values) > 1:
            raise UserError(f"{key}={','.join(values)} cannot be swept over: a run has one {key}.")


def schedule_of(
    cases: Sequence[Case],
    drawn: int,
    records: Sequence[RoundRecord],
    budget: float | None = None,
    done: Collection[tuple[int, int]] = (),
) -> Schedule:
    """Return the schedule of at least one case; `drawn` is the seed if none is given.

    Raises:
        UserError: the cases disagree on a setting of the whole run.
    """
    check_agreed(cases)
    config = cases[0].config
    seed = drawn if config.schedule_seed is None else config.schedule_seed
    return Schedule(cases, config.schedule, seed, records, budget, done)


class Budget:
    """A time limit: allows a round that would end in time if it took as long as the longest so far."""

    def __init__(self, seconds: float | None, now: Callable[[], float] = time.monotonic) -> None:
        """Begin now.

        Args:
            seconds: how long the rounds may take in total; None for no limit.
            now: the clock, in seconds.
        """
        self._now = now
        self._began = now()
        self._end = math.inf if seconds is None else self._began + seconds
        self._longest = 0.0

    def allows(self, number: int) -> bool:
        """Return whether the round of that number, from 0, may begin; call it once per round, just before."""
        now = self._now()
        self._longest = max(self._longest, now - self._began)
        self._began = now
        return number < LEAST_ROUNDS or now + self._longest <= self._end
