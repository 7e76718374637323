"""One run on the command line: measured with a display, then shown; can be completed if interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from microbench.errors import ExitCode, UserError

if TYPE_CHECKING:
    from microbench.options.compose import Plan
    from microbench.records.record import RoundRecord
    from microbench.records.result import Result
    from microbench.run.workers import EarlyServer


def _import_statistics() -> None:
    """Import the reports' statistics before a signal can interrupt it: numpy cannot be imported twice."""
    from microbench.run import signals

    with signals.held():
        import_module("microbench.stats.rounds")


TAILS = "--tails"
"""The format that is the table with the percentiles below it."""


def find_format(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the requested format, such as `--csv`, and the other arguments; None for the usual table.

    Raises:
        UserError: several formats are given.
    """
    from microbench.tables.export import FORMATS

    known = {*FORMATS, TAILS}
    asked = [each for each in dict.fromkeys(arguments) if each in known]
    if len(asked) > 1:
        raise UserError(f"Give one of {' and '.join(asked)}.")
    return (asked[0] if asked else None), [each for each in arguments if each not in known]


def shown_in(form: str | None) -> Callable[[Result, Console], None]:
    """Return the function that prints a result in a format; None for the usual table."""
    from microbench.analysis.warnings import problems
    from microbench.tables import export, terminal
    from microbench.tables.warnings import show_problems

    if form is None or form == TAILS:
        return partial(terminal.show, with_tails=form == TAILS)

    def show(result: Result, out: Console) -> None:
        export.FORMATS[form](export.rows(result), sys.stdout)
        show_problems(problems(result.cases()), Console(stderr=True, highlight=False), result.path)

    return show


def foresee(plan: Plan, form: str | None) -> None:
    """Print a plan's cases and an estimate of their time, in a format or as a table; measure nothing.

    Raises:
        UserError: the format is of what is measured.
    """
    from microbench.run.forecast import forecast
    from microbench.tables import export, terminal
    from microbench.tables.forecast import rows, show_forecast

    if form == TAILS:
        raise UserError(f"Leave out {TAILS}: a dry run measures nothing.")
    found = forecast(plan.cases, plan.folder, plan.completing)
    if form is None:
        show_forecast(found, terminal.console())
    else:
        export.FORMATS[form](rows(found), sys.stdout)


def completion(command: str, folder: Path) -> str:
    """Return the command line that completes the run in a folder, begun by a microbench command."""
    from microbench import quoting
    from microbench.tables.labels import relative

    resume = quoting.option("resume", relative(folder))
    return quoting.command("microbench", *filter(None, [command]), resume)


def carry_out(
    plan: Plan, run_id: str, show: Callable[[Result, Console], None], early: EarlyServer | None = None
) -> int:
    """Measure a plan, show the result even if interrupted, and return the exit code.

    Args:
        plan: the cases to measure.
        run_id: the run's id, if it is new.
        show: prints a result.
        early: a server that was started before, if any.

    Raises:
        UserError, KeyboardInterrupt: what ended it, with a note on how to complete the run.
    """
    from microbench.records.store import Store
    from microbench.run import signals
    from microbench.run.runner import Run
    from microbench.tables import terminal
    from microbench.tables.progress import display

    records: list[RoundRecord] = []
    observer = display(Console(stderr=True, highlight=False), records)
    stopped: KeyboardInterrupt | UserError | None = None
    with Store(plan.folder) as store:
        run = Run(
            plan.cases,
            store,
            observer,
            run_id,
            plan.command_line,
            plan.command,
            plan.completing,
            early,
            records,
        )
        try:
            with observer, signals.raised():
                _import_statistics()
                run.measure()
        except (KeyboardInterrupt, UserError) as error:
            stopped = error
    if run.note is not None:
        print(f"microbench: {run.note}", file=sys.stderr)
    show(run.result, terminal.console())
    again = completion(plan.command, plan.folder)
    is_search = run.result.is_search
    if stopped is not None:
        if store.written:
            stopped.add_note(f"What was measured is kept. Complete it: {again}")
        elif isinstance(stopped, KeyboardInterrupt):
            stopped.add_note("Nothing was measured yet")
        raise stopped
    if not is_search and any(case.failures for case in run.result.cases() if case.status != "skipped"):
        print(f"microbench: repeat what failed: {again}", file=sys.stderr)
    return ExitCode.OK if run.result.ok else ExitCode.FAILED
