"""What there is to say of cases beside their numbers: what did not end well, and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from microbench.records.cases import CaseResult
from microbench.records.naming import labels
from microbench.records.record import WarningCode

FIGURES = {
    WarningCode.FOREIGN_LOAD: "foreign_cpus",
    WarningCode.OVERSUBSCRIBED: "involuntary_switches",
    WarningCode.THROTTLED: "throttled",
    WarningCode.STOLEN: "steal",
    WarningCode.PAGE_FAULTS: "page_fault_share",
    WarningCode.THERMAL: "thermal_throttles",
}
"""By its code, the reading that says how bad what a warning is of was: the larger, the worse."""

Rounds = tuple[int, int]
"""In how many rounds of a case, and how many it has."""

Severity = tuple[float, int]
"""How bad what a warning is of was, and in how many rounds."""


@dataclass(frozen=True)
class Failure:
    """Rounds of a case that did not end well, all alike.

    Attributes:
        case: what the case is called; empty where it is the only one.
        status: how they ended.
        error: why.
        rounds: in how many they did; None for a case of one round.
    """

    case: str
    status: str
    error: str
    rounds: Rounds | None


@dataclass(frozen=True)
class Warned:
    """A warning of some of a report's cases.

    Attributes:
        code: the warning.
        text: what it says: of the case in which it is the worst, where it is not the same in all.
        rounds: in how many rounds of that case; None where it is in all of them.
        cases: what the cases are called that have it.
        total: how many cases the report has.
        worst: which case the text is of; None where it is the same in all that have it.
    """

    code: WarningCode
    text: str
    rounds: Rounds | None
    cases: Sequence[str]
    total: int
    worst: str | None = None


@dataclass(frozen=True)
class Problems:
    """What did not end well, and a row a kind of warning."""

    failures: Sequence[Failure]
    warnings: Sequence[Warned]


def problems(cases: Sequence[CaseResult]) -> Problems:
    """Find what there is to say of cases beside their numbers."""
    return Problems(failures(cases), [_together(each) for each in _warnings(cases).values()])


def failures(cases: Sequence[CaseResult]) -> list[Failure]:
    """Find what did not end well and why; what ended alike in several rounds of a case once."""
    found = []
    for case, name in zip(cases, labels(cases) if cases else [], strict=True):
        failed = (record.outcome for record in case.failures.values())
        for how, number in Counter((each.status.value, each.error or "") for each in failed).items():
            rounds = (number, len(case.rounds)) if len(case.rounds) > 1 else None
            found.append(Failure(name if len(cases) > 1 else "", *how, rounds))
    return found


def every_warning(cases: Sequence[CaseResult]) -> list[Warned]:
    """Find every warning of every case, alike ones once."""
    found = []
    for told in _warnings(cases).values():
        alike: dict[tuple[str, Rounds | None], list[Warned]] = {}
        for each, _ in told:
            alike.setdefault((each.text, each.rounds), []).append(each)
        found += [replace(same[0], cases=[each.cases[0] for each in same]) for same in alike.values()]
    return found


def _together(told: Sequence[tuple[Warned, Severity]]) -> Warned:
    """Put the same warning of several cases together: what it says where it is the worst."""
    worst, _ = max(told, key=lambda each: each[1])
    are_alike = len({(each.text, each.rounds) for each, _ in told}) == 1
    names = [each.cases[0] for each, _ in told]
    return replace(worst, cases=names, worst=None if are_alike else worst.cases[0])


def _warnings(cases: Sequence[CaseResult]) -> dict[WarningCode, list[tuple[Warned, Severity]]]:
    """Find by their code the warnings of each case, and how bad each is beside the same of other cases."""
    found: dict[WarningCode, list[tuple[Warned, Severity]]] = {}
    for case, name in zip(cases, labels(cases), strict=True):
        for code, messages in case.warnings.items():
            rounds = (len(messages), len(case.rounds)) if len(messages) < len(case.rounds) else None
            warned = Warned(code, messages[0], rounds, [name], len(cases))
            found.setdefault(code, []).append((warned, (_figure(case, code), len(messages))))
    return found


def _figure(case: CaseResult, code: WarningCode) -> float:
    """Find how bad what a warning is of was in any round of its case; 0 where no figure says so."""
    if code is WarningCode.WIDE_INTERVAL:
        return (case.whole.relative_half_width if case.whole is not None else None) or 0.0
    if code is WarningCode.DRIFT:
        series = [each for record in case.rounds.values() for each in record.series]
        return max(abs(each.summary.drift or 0.0) for each in series if each.summary is not None)
    readings = [each for record in case.rounds.values() if (each := record.outcome.readings) is not None]
    name = FIGURES.get(code)
    return 0.0 if name is None else max((abs(getattr(each, name) or 0.0) for each in readings), default=0.0)
