"""How long a run will take, as far as that is known before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from microbench.config import Config


class Basis(StrEnum):
    """What an estimate of a case's time rests on."""

    RECORDS = "records"
    """Rounds of the same case that were measured before."""
    BUDGET = "budget"
    """`measure.budget`; the case may need less."""
    LIMITS = "limits"
    """`measure.max_warmup` and `measure.max_time` of each round, without a budget."""
    SEARCH = "search"
    """The budget of the whole search, which no case has a fixed part of."""


@dataclass(frozen=True)
class CaseForecast:
    """A case of a run, before it.

    Attributes:
        id: the case's id.
        config: its configuration.
        settings: the options that distinguish it from the run's other cases.
        command: the command line that measures it alone.
        rounds: its number of rounds; None in a search, where that depends on the times.
        measured: how many of them have been measured already.
        seconds: how long the others will take; an upper limit unless it is from records. None in a search.
        basis: what that rests on.
        known: the number of earlier rounds that it is from.
        known_from: when the first of them began, in UTC; None if there are none.
        stands_for_layers: whether it stands for a model's layers, each of which will be such a case.
    """

    id: str
    config: Config
    settings: Sequence[str]
    command: str
    rounds: int | None
    measured: int
    seconds: float | None
    basis: Basis
    known: int = 0
    known_from: str | None = None
    stands_for_layers: bool = False


@dataclass(frozen=True)
class Forecast:
    """A run, before it.

    Attributes:
        cases: its cases; in a search, plain eager and then the configurations to try.
        measured: how many rounds have been measured already.
        budget: seconds for a whole search; None for other runs.
    """

    cases: Sequence[CaseForecast]
    measured: int
    budget: float | None = None

    @property
    def rounds(self) -> int:
        """The number of rounds that are known to come, with those already measured."""
        return sum(case.rounds or 0 for case in self.cases)

    @property
    def seconds(self) -> tuple[float, float] | None:
        """How long it will take at least and at most; None if the number of cases is not known.

        Both are the same if all estimates are from records, and the first is 0 if none is.
        """
        if self.budget is not None:
            return 0.0, self.budget
        if any(case.stands_for_layers for case in self.cases):
            return None
        known = sum(case.seconds or 0.0 for case in self.cases if case.basis is Basis.RECORDS)
        return known, sum(case.seconds or 0.0 for case in self.cases)
