"""In which order the rounds of a run's cases are measured."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from microbench.config import OPTIONS
from microbench.errors import UserError
from microbench.run.case import Case
from microbench.schema import Scope, value_of


@dataclass(frozen=True)
class Schedule:
    """What a run will measure, and in which order.

    Attributes:
        cases: the cases, each once.
        kind: `interleaved` or `sequential`.
        seed: what the order of an interleaved schedule is drawn from.
    """

    cases: Sequence[Case]
    kind: str
    seed: int

    def turns(self) -> list[Case]:
        """Each case once for each of its rounds, in the order in which they are measured.

        Interleaved, every case has its first round before any has its second, in an order drawn anew for each
        round: what disturbs the machine for a while then meets all cases alike.
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
    """Refuse cases that disagree on a setting of the whole run.

    Raises:
        UserError: they do.
    """
    for key in (key for key, each in OPTIONS.items() if each.scope is Scope.RUN):
        values = list(dict.fromkeys(str(value_of(case.config, key)) for case in cases))
        if len(values) > 1:
            raise UserError(f"{key}={','.join(values)} cannot be swept over: a run has one {key}.")


def schedule_of(cases: Sequence[Case], drawn: int) -> Schedule:
    """The schedule for at least one case; `drawn` is the seed where none is given.

    Raises:
        UserError: the cases disagree on a setting of the whole run.
    """
    check_agreed(cases)
    config = cases[0].config
    return Schedule(cases, config.schedule, drawn if config.schedule_seed is None else config.schedule_seed)
