"""The problems of a report's cases: errors, and warnings with what to do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from microbench.analysis.warnings import Failure, Problems, Rounds, Warned
from microbench.records.store import FILE_NAME
from microbench.tables.escaping import escape
from microbench.tables.labels import count, relative

STYLES = {"skipped": "dim"}  # of a status; the others are red
MOST_NAMES = 2  # of the cases that have a warning; more are counted


def show_problems(problems: Problems, out: Console, path: Path | None = None) -> None:
    """Print errors, each with its case if there are several, and one line per kind of warning.

    Args:
        problems: the problems of some cases.
        out: where to print.
        path: the file of records, which is named if not all warnings are printed.
    """
    show_failures(problems.failures, out)
    for each in problems.warnings:
        show_warning(each, _whose(each), out)
    if path is not None and not all(map(_is_whole, problems.warnings)):
        shown = path.parent if path.name == FILE_NAME else path
        words = escape(shlex.quote(relative(shown)))
        out.print(f"all warnings: microbench show {words} --warnings", style="dim", soft_wrap=True)


def show_failures(failures: Sequence[Failure], out: Console) -> None:
    """Print what failed or was skipped, and why, each with its case if there are several."""
    for each in failures:
        style, case = STYLES.get(each.status, "red"), f"{each.case}: " if each.case else ""
        text = escape(f"{case}{each.error}{_of_rounds(each.rounds)}")
        out.print(f"[{style}]{each.status}[/{style}]: {text}", soft_wrap=True)


def show_warnings(warnings: Sequence[Warned], out: Console) -> None:
    """Print every warning, each with all cases that have it."""
    for each in warnings:
        names = "all cases" if len(each.cases) == each.total else "; ".join(each.cases)
        show_warning(each, "" if each.total == 1 else f"{names}: ", out)


def show_warning(warned: Warned, whose: str, out: Console) -> None:
    """Print a warning, preceded by the cases that have it."""
    text = f"{whose}{warned.text}{_of_rounds(warned.rounds)} [{warned.code}]"
    out.print(f"[yellow]warning[/yellow]: {escape(text)}", soft_wrap=True)


def _is_whole(warned: Warned) -> bool:
    """Return whether a line is complete: it has a warning's text for each case, and names all of them."""
    return warned.worst is None and len(warned.cases) in (*range(MOST_NAMES + 1), warned.total)


def _whose(warned: Warned) -> str:
    """Return which cases have a warning, and which is the worst if the text is not the same for all."""
    number = len(warned.cases)
    if warned.total == 1:
        return ""
    if number == 1 or (warned.worst is None and number <= MOST_NAMES and number < warned.total):
        return f"{'; '.join(warned.cases)}: "
    cases = f"{'all' if number == warned.total else f'{number} of {warned.total}'} cases"
    return f"{cases}, worst {warned.worst}: " if warned.worst else f"{cases}: "


def _of_rounds(rounds: Rounds | None) -> str:
    return "" if rounds is None else f" (in {rounds[0]} of {count(rounds[1], 'round')})"
