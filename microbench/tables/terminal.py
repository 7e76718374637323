"""The report at the end of a run: the machine, a table, warnings, and where the records are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from microbench.analysis.report import report
from microbench.records.cases import CaseResult
from microbench.records.record import DOCTOR
from microbench.records.result import Result
from microbench.tables.case import show_case
from microbench.tables.escaping import escape
from microbench.tables.fitting import UNLIMITED, printed
from microbench.tables.labels import count, machine, relative
from microbench.tables.layers import show_layers
from microbench.tables.profile import show_profiles
from microbench.tables.published import show_reference
from microbench.tables.sweep import show_sweep
from microbench.tables.warnings import show_problems


def text_of(result: Result) -> str:
    """Return what `show` prints of a result, as text."""
    return printed(lambda out: show(result, out))


class _Output(Console):
    """A console that ends the command if its reader has left, with the exit code for that."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(width_in_pipe: int = UNLIMITED) -> Console:
    """Return a console on standard output; in a pipe it is wide enough for any row."""
    found = _Output(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
    if not found.is_terminal:
        found.width = width_in_pipe
    return found


def show(result: Result, out: Console, with_tails: bool = False) -> None:
    """Print a result: the machine, a table, warnings, its alternatives ranked, and where the records are.

    Several runs share their tables, except runs of commands or searches, which have a report each. The
    percentiles are there if requested, or if a case was measured for one of them.
    """
    runs = result.runs()
    if len(runs) > 1 and any(run.is_search or run.command == DOCTOR for run in runs):
        for place, run in enumerate(runs):
            if place:
                out.print()
            show(run, out, with_tails)
        return
    cases = result.cases()
    if not cases:
        return
    if result.command == DOCTOR:
        from microbench.tables import doctor  # imports scipy

        doctor.show(result, out)
        if with_tails:
            _show_tails(cases, out)
        return
    out.print(escape(machine(cases)), style="dim")
    if result.is_search:
        _show_search(cases, out, result.path)
    else:
        _show_cases(cases, out, result.path)
    if with_tails or any(case.config.measure.percentile is not None for case in cases):
        _show_tails(cases, out)
    show_reference(cases, out)
    out.print(
        f"records: {escape(relative(result.path))} ({count(len(result.records), 'round')})",
        style="dim",
        soft_wrap=True,
    )


def _show_tails(cases: Sequence[CaseResult], out: Console) -> None:
    from microbench.analysis.tails import tails  # imports scipy
    from microbench.tables.tails import show_tails

    out.print()
    show_tails(tails(cases), out)


def _show_search(cases: Sequence[CaseResult], out: Console, path: Path) -> None:
    """Print a search's result; if its baseline was not measured to the end, what is known of that."""
    from microbench.analysis.search import search_result  # imports scipy
    from microbench.tables.search import show_search

    search = search_result(cases)
    if search is None:
        _show_cases(cases, out, path)
    else:
        show_search(search, out)


def _show_cases(cases: Sequence[CaseResult], out: Console, path: Path) -> None:
    """Print models layer by layer, profiles, and other cases: the table of one, or a sweep and ranking."""
    found = report(cases)
    if found.layers is not None:
        show_layers(found.layers, out)
    if found.profiles:
        show_profiles(found.profiles, out)
    if found.case is not None:
        show_case(found.case, out)
    if found.sweep is not None:
        show_sweep(found.sweep, out)
    show_problems(found.problems, out, path)
    if found.rankings:
        from microbench.tables.ranking import show_rankings  # imports scipy

        show_rankings(found.rankings, out)
