"""What a report has to say of its cases beside their numbers: errors, and warnings with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape

from microbench.reports.labels import count
from microbench.results.cases import CaseResult
from microbench.results.naming import labels

STYLES = {"skipped": "dim"}  # of a status; the others are red


def show_remarks(cases: Sequence[CaseResult], out: Console) -> None:
    """Print errors and warnings, each with the case it is of where there are several."""
    show_failures(cases, out)
    names = labels(cases)
    for text, whose in _warnings(cases, names).items():
        prefix = (
            "" if len(cases) == 1 else "all cases: " if len(whose) == len(cases) else f"{'; '.join(whose)}: "
        )
        out.print(f"[yellow]warning[/yellow]: {escape(prefix + text)}", soft_wrap=True)


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
        seen.setdefault((record["status"], record["error"]), []).append(number)
    for (status, error), numbers in seen.items():
        where = f" ({_of_rounds(len(numbers), case)})" if len(case.rounds) > 1 else ""
        yield status, error + where


def _warnings(cases: Sequence[CaseResult], names: Sequence[str]) -> dict[str, list[str]]:
    """The warnings, alike ones once, and the names of the cases each is of."""
    found: dict[str, list[str]] = {}
    for case, name in zip(cases, names, strict=True):
        for code, messages in case.warnings.items():
            some = len(case.rounds) > 1 and len(messages) < len(case.rounds)
            where = f" ({_of_rounds(len(messages), case)})" if some else ""
            found.setdefault(f"{messages[0]}{where} [{code}]", []).append(name)
    return found


def _of_rounds(number: int, case: CaseResult) -> str:
    return f"in {number} of {count(len(case.rounds), 'round')}"
