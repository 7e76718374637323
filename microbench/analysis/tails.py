"""The percentiles of cases' phases: over all calls, and of a typical process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from microbench.analysis.case import phase_times, shown
from microbench.config import PROFILE
from microbench.records.cases import CaseResult
from microbench.records.naming import labels
from microbench.records.record import Role
from microbench.stats.percentiles import Percentile, of_typical_process
from microbench.stats.rounds import OverRounds


@dataclass(frozen=True)
class TailRow:
    """A percentile of a phase.

    Attributes:
        case: the case's label; empty if there is only one.
        phase: the phase.
        over_calls: the percentile over the calls of all rounds.
        typical: the median of the rounds' own percentiles; None for one round, and for too few samples.
    """

    case: str
    phase: str
    over_calls: Percentile
    typical: OverRounds | None


@dataclass(frozen=True)
class Tails:
    """The percentiles of some cases.

    Attributes:
        rows: by case, phase and percentile.
        rounds: the fewest and most rounds of a case.
        calls_per_sample: the fewest and most calls that a sample is the mean of.
    """

    rows: Sequence[TailRow]
    rounds: tuple[int, int]
    calls_per_sample: tuple[int, int]


def tails(cases: Sequence[CaseResult]) -> Tails | None:
    """Return the percentiles of a case's phases, or of several cases' whole steps; None without samples.

    Profiles have none: their samples are of instrumented calls.
    """
    sampled = [case for case in cases if case.estimates and case.config.mode.name != PROFILE]
    if not sampled:
        return None
    names = labels(sampled) if len(cases) > 1 else [""]
    phases = [
        (name, case, phase) for name, case in zip(names, sampled, strict=True) for phase in _phases(case)
    ]
    if len(cases) > 1:
        phases = [each for each in phases if each[1].estimates[each[2]].role is Role.WHOLE]
    series = [each for _, case, phase in phases for each in case.series(phase).values()]
    numbers = [case.estimates[phase].rounds for _, case, phase in phases]
    calls = [each.calls_per_sample for each in series]
    return Tails(
        [row for name, case, phase in phases for row in _rows(name, case, phase)],
        (min(numbers), max(numbers)),
        (min(calls), max(calls)),
    )


def _phases(case: CaseResult) -> list[str]:
    return [phase for phase in shown(phase_times(case)) if phase in case.estimates]


def _rows(name: str, case: CaseResult, phase: str) -> list[TailRow]:
    rounds = [each.samples for each in case.series(phase).values()]
    found = case.percentiles(phase)
    return [TailRow(name, phase, each, of_typical_process(rounds, each.percent)) for each in found]
