"""One run on the command line: measured with a display, then shown; can be completed if interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from rich.console import Console

from microbench.errors import ExitCode, UserError

if TYPE_CHECKING:
    from microbench.options.compose import Plan
    from microbench.records.record import RoundRecord
    from microbench.records.result import Result


def _import_statistics() -> None:
    """Import the reports' statistics before a signal can interrupt it: numpy cannot be imported twice."""
    from microbench.run import signals

    with signals.held():
        import_module("microbench.stats.rounds")


def find_format(arguments: Sequence[str]) -> tuple[Callable[[Result, Console], None], bool, list[str]]:
    """Return the function that shows a result, whether that is a table, and the other arguments.

    Raises:
        UserError: several formats are given.
    """
    from microbench.analysis.warnings import problems
    from microbench.tables import export, terminal
    from microbench.tables.warnings import show_problems

    asked = [each for each in dict.fromkeys(arguments) if each in export.FORMATS]
    if len(asked) > 1:
        raise UserError(f"Give one of {' and '.join(asked)}.")
    if not asked:
        return terminal.show, True, list(arguments)

    def show(result: Result, out: Console) -> None:
        export.FORMATS[asked[0]](export.rows(result), sys.stdout)
        show_problems(problems(result.cases()), Console(stderr=True, highlight=False), result.path)

    return show, False, [each for each in arguments if each not in export.FORMATS]


def carry_out(plan: Plan, run_id: str, show: Callable[[Result, Console], None]) -> int:
    """Measure a plan, show the result even if interrupted, and return the exit code.

    Args:
        plan: the cases to measure.
        run_id: the run's id, if it is new.
        show: prints a result.

    Raises:
        UserError, KeyboardInterrupt: what ended it, with a note on how to complete the run.
    """
    from microbench import quoting
    from microbench.records.store import Store
    from microbench.run import signals
    from microbench.run.runner import Run
    from microbench.tables import terminal
    from microbench.tables.labels import relative
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
            plan.budget,
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
    again = quoting.command(
        "microbench", *filter(None, [plan.command]), quoting.option("resume", relative(plan.folder))
    )
    is_search = run.result.is_search
    if stopped is not None:
        if store.written and not is_search:
            stopped.add_note(f"What was measured is kept. Complete it: {again}")
        raise stopped
    if not is_search and any(case.failures for case in run.result.cases() if case.status != "skipped"):
        print(f"microbench: repeat what failed: {again}", file=sys.stderr)
    return ExitCode.OK if run.result.ok else ExitCode.FAILED
