"""What a report has to say of its cases beside their numbers: errors, and warnings with what to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from microbench.records.cases import CaseResult
from microbench.records.naming import labels
from microbench.records.record import Summary, WarningCode
from microbench.records.store import FILE_NAME
from microbench.tables.labels import count, relative

STYLES = {"skipped": "dim"}  # of a status; the others are red


FIGURES = {
    WarningCode.FOREIGN_LOAD: "foreign_cpus",
    WarningCode.OVERSUBSCRIBED: "involuntary_switches",
    WarningCode.THROTTLED: "throttled",
    WarningCode.STOLEN: "steal",
    WarningCode.PAGE_FAULTS: "page_fault_share",
    WarningCode.THERMAL: "thermal_throttles",
}
"""By its code, the reading that says how bad what a warning is of was: the larger, the worse."""

MOST_NAMES = 2  # of the cases that one warning is of; more are counted


@dataclass(frozen=True)
class Told:
    """A warning of a case.

    Attributes:
        case: the case.
        name: what it is called.
        text: what the warning says, and of how many rounds.
        severity: how bad it is beside the same warning of other cases.
    """

    case: CaseResult
    name: str
    text: str
    severity: tuple[float, int]


def show_remarks(cases: Sequence[CaseResult], out: Console, path: Path | None = None) -> None:
    """Print errors, each with the case it is of where there are several, and a line a kind of warning.

    Args:
        cases: the cases.
        out: where to print.
        path: the file that all warnings can be read in, where some are not printed.
    """
    show_failures(cases, out)
    is_whole = True
    for code, told in _warnings(cases).items():
        worst = max(told, key=lambda each: each.severity)
        are_alike = len({each.text for each in told}) == 1
        _print_warning(_whose(told, cases, None if are_alike else worst.name), worst.text, code, out)
        is_whole = is_whole and (are_alike and len(told) in (*range(MOST_NAMES + 1), len(cases)))
    if not is_whole and path is not None:
        shown = path.parent if path.name == FILE_NAME else path
        words = escape(shlex.quote(relative(shown)))
        out.print(f"all warnings: microbench show {words} --warnings", style="dim", soft_wrap=True)


def show_warnings(cases: Sequence[CaseResult], out: Console) -> None:
    """Print every warning of every case, alike ones once."""
    for code, told in _warnings(cases).items():
        for text in dict.fromkeys(each.text for each in told):
            alike = [each for each in told if each.text == text]
            names = "; ".join(each.name for each in alike)
            whose = "" if len(cases) == 1 else "all cases: " if len(alike) == len(cases) else f"{names}: "
            _print_warning(whose, text, code, out)


def _print_warning(whose: str, text: str, code: str, out: Console) -> None:
    out.print(f"[yellow]warning[/yellow]: {escape(f'{whose}{text} [{code}]')}", soft_wrap=True)


def _whose(told: Sequence[Told], cases: Sequence[CaseResult], worst: str | None) -> str:
    """Which cases one kind of warning is of, and in which it is the worst where it is not the same in all."""
    if len(cases) == 1:
        return ""
    if len(told) == 1 or (worst is None and len(told) <= MOST_NAMES and len(told) < len(cases)):
        return f"{'; '.join(each.name for each in told)}: "
    number = "all" if len(told) == len(cases) else f"{len(told)} of {len(cases)}"
    return f"{number} cases, worst {worst}: " if worst else f"{number} cases: "


def show_failures(cases: Sequence[CaseResult], out: Console) -> None:
    """Print what did not end well and why, each with the case it is of where there are several."""
    for case, name in zip(cases, labels(cases), strict=True):
        prefix = f"{name}: " if len(cases) > 1 else ""
        for status, text in _failures(case):
            style = STYLES.get(status, "red")
            out.print(f"[{style}]{status}[/{style}]: {escape(prefix + text)}", soft_wrap=True)


def _failures(case: CaseResult) -> Iterator[tuple[str, str]]:
    """How rounds of a case ended that did not end well, and why; alike ones once."""
    seen: dict[tuple[str, str], list[int]] = {}
    for number, record in case.failures.items():
        seen.setdefault((record.outcome.status.value, record.outcome.error or ""), []).append(number)
    for (status, error), numbers in seen.items():
        where = f" ({_of_rounds(len(numbers), case)})" if len(case.rounds) > 1 else ""
        yield status, error + where


def _warnings(cases: Sequence[CaseResult]) -> dict[WarningCode, list[Told]]:
    """By their code, the warnings of all cases."""
    found: dict[WarningCode, list[Told]] = {}
    for case, name in zip(cases, labels(cases), strict=True):
        for code, messages in case.warnings.items():
            some = len(case.rounds) > 1 and len(messages) < len(case.rounds)
            where = f" ({_of_rounds(len(messages), case)})" if some else ""
            severity = _figure(case, code), len(messages)
            found.setdefault(code, []).append(Told(case, name, f"{messages[0]}{where}", severity))
    return found


def _figure(case: CaseResult, code: WarningCode) -> float:
    """How bad what a warning of a case is of was, in any of its rounds; 0 where no figure says so."""
    if code == WarningCode.WIDE_INTERVAL:
        return (case.whole.relative_half_width if case.whole is not None else None) or 0.0
    if code is WarningCode.DRIFT:
        return max(abs(summary.drift or 0.0) for summary in _summaries(case))
    readings = [each for record in case.rounds.values() if (each := record.outcome.readings) is not None]
    name = FIGURES.get(code)
    return 0.0 if name is None else max((abs(getattr(each, name) or 0.0) for each in readings), default=0.0)


def _summaries(case: CaseResult) -> Iterator[Summary]:
    for record in case.rounds.values():
        yield from (each.summary for each in record.series if each.summary is not None)


def _of_rounds(number: int, case: CaseResult) -> str:
    return f"in {number} of {count(len(case.rounds), 'round')}"
