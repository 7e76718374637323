"""The problems of cases: failures and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from microbench.records.cases import CaseResult
from microbench.records.record import WarningCode
from microbench.records.settings import case_labels

FIGURES = {
    WarningCode.FOREIGN_LOAD: "foreign_cpus",
    WarningCode.OVERSUBSCRIBED: "involuntary_switches",
    WarningCode.THROTTLED: "throttled",
    WarningCode.STOLEN: "steal",
    WarningCode.PAGE_FAULTS: "page_fault_share",
    WarningCode.THERMAL: "thermal_throttles",
}
"""The reading that measures a warning's severity, by code: the larger, the worse."""

Rounds = tuple[int, int]
"""In how many of a case's rounds, and how many it has."""

Severity = tuple[float, int]
"""How severe a warning is, and in how many rounds."""


@dataclass(frozen=True)
class Failure:
    """Rounds of a case that failed or were skipped, all in the same way.

    Attributes:
        case: the name of the case; empty if it is the only one.
        status: how they ended.
        error: why.
        rounds: in how many of its rounds; None for a case with one round.
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
        text: its text; if it differs between cases, that of the worst one.
        rounds: in how many rounds of that case; None if in all of them.
        cases: the names of the cases that have it.
        total: the number of cases in the report.
        worst: the case that the text describes; None if the text is the same for all.
    """

    code: WarningCode
    text: str
    rounds: Rounds | None
    cases: Sequence[str]
    total: int
    worst: str | None = None


@dataclass(frozen=True)
class Problems:
    """The failures, and one row per kind of warning."""

    failures: Sequence[Failure]
    warnings: Sequence[Warned]


def problems(cases: Sequence[CaseResult]) -> Problems:
    """Return the failures and warnings of cases."""
    return Problems(failures(cases), [_together(each) for each in _warnings(cases).values()])


def failures(cases: Sequence[CaseResult]) -> list[Failure]:
    """Return what failed or was skipped, and why; rounds of a case that ended in the same way count once."""
    found = []
    for case, name in zip(cases, case_labels(cases), strict=True):
        failed = (record.outcome for record in case.failures.values())
        for how, number in Counter((each.status.value, each.error or "") for each in failed).items():
            rounds = (number, len(case.rounds)) if len(case.rounds) > 1 else None
            found.append(Failure(name if len(cases) > 1 else "", *how, rounds))
    return found


def every_warning(cases: Sequence[CaseResult]) -> list[Warned]:
    """Return every warning of every case, equal ones once."""
    found = []
    for told in _warnings(cases).values():
        alike: dict[tuple[str, Rounds | None], list[Warned]] = {}
        for each, _ in told:
            alike.setdefault((each.text, each.rounds), []).append(each)
        found += [replace(same[0], cases=[each.cases[0] for each in same]) for same in alike.values()]
    return found


def _together(told: Sequence[tuple[Warned, Severity]]) -> Warned:
    """Merge the same warning of several cases: with its text for the worst one."""
    worst, _ = max(told, key=lambda each: each[1])
    are_alike = len({(each.text, each.rounds) for each, _ in told}) == 1
    names = [each.cases[0] for each, _ in told]
    return replace(worst, cases=names, worst=None if are_alike else worst.cases[0])


def _warnings(cases: Sequence[CaseResult]) -> dict[WarningCode, list[tuple[Warned, Severity]]]:
    """Return each case's warnings by code, each with its severity compared with other cases."""
    found: dict[WarningCode, list[tuple[Warned, Severity]]] = {}
    for case, name in zip(cases, case_labels(cases), strict=True):
        for code, messages in case.warnings.items():
            rounds = (len(messages), len(case.rounds)) if len(messages) < len(case.rounds) else None
            warned = Warned(code, messages[0], rounds, [name], len(cases))
            found.setdefault(code, []).append((warned, (_figure(case, code), len(messages))))
    return found


def _figure(case: CaseResult, code: WarningCode) -> float:
    """Return the worst severity of a warning in any round of its case; 0 if no reading measures it."""
    if code is WarningCode.WIDE_INTERVAL:
        return (case.whole.relative_half_width if case.whole is not None else None) or 0.0
    if code is WarningCode.DRIFT:
        series = [each for record in case.rounds.values() for each in record.series]
        drifts = (abs(each.summary.drift or 0.0) for each in series if each.summary is not None)
        return max(drifts, default=0.0)
    readings = [each for record in case.rounds.values() if (each := record.outcome.readings) is not None]
    name = FIGURES.get(code)
    return 0.0 if name is None else max((abs(getattr(each, name) or 0.0) for each in readings), default=0.0)
