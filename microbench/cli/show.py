"""`microbench show`: a run's result, printed again from its records."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

from microbench.errors import ExitCode, UserError, unknown
from microbench.records.record import Status
from microbench.records.result import Result, load

HELP = """\
[bold]microbench show[/bold]: the results of runs, printed again from their records

[bold]usage[/bold]  microbench show DIR \\[DIR …] \\[--tails | --csv | --json | --warnings]

A DIR is a run's folder, or its file of records. Each is shown as its run ended: a case, a sweep, a profile,
layers, a search, a preset with published figures, or doctor's report. --tails adds the percentiles of each
phase, p50 to p99.9; --csv and --json print everything as rows for other programs, in SI units; --warnings
prints every warning of every case.

[bold]exit codes[/bold]  0: shown; 2: there is nothing to show, or it cannot be read
"""


WARNINGS = "--warnings"


def _show_warnings(result: Result, out: Console) -> None:
    """Print every warning of every case."""
    from microbench.analysis.warnings import every_warning
    from microbench.tables.warnings import show_warnings

    show_warnings(every_warning(result.cases()), out)


def incomplete(result: Result) -> str | None:
    """Return what a result's last run has not measured, and how to complete it; None if it is complete."""
    from microbench.cli.session import completion
    from microbench.tables.labels import count

    run = result.runs()[-1]
    cases, info = run.cases(), run.records[-1].run
    interrupted = [
        case
        for case in cases
        if any(
            each.outcome.status is Status.INTERRUPTED and each.run.invocation == info.invocation
            for each in case.failures.values()
        )
    ]
    parts = [f"{count(len(interrupted), 'case')} interrupted"] if interrupted else []
    if info.cases is not None and len(cases) < info.cases:
        parts.append(f"{info.cases - len(cases)} of {info.cases} cases not begun")
    if not parts:
        return None
    folder = result.path.parent
    again = f"give its options again with resume={str(folder)!r}"  # for a run from Python
    if info.command_line is not None:
        again = completion(info.command, folder)
    return f"incomplete: {', '.join(parts)}. Complete it: {again}"


def main(arguments: Sequence[str]) -> int:
    """`microbench show DIR …`: print the runs' results.

    Raises:
        UserError: a folder is not given, cannot be read, or holds no records.
    """
    from microbench.cli.session import TAILS, find_format, shown_in
    from microbench.tables import terminal

    if {"-h", "--help"} & set(arguments):
        terminal.console(width_in_pipe=110).print(HELP)
        return ExitCode.OK
    form, paths = find_format([each for each in arguments if each != WARNINGS])
    if WARNINGS in arguments and form is not None:
        raise UserError(f"Give one of {TAILS}, --csv, --json and {WARNINGS}.")
    show = _show_warnings if WARNINGS in arguments else shown_in(form)
    if strange := [each for each in paths if each.startswith("-")]:
        raise unknown("option", strange[0], [TAILS, "--csv", "--json", WARNINGS, "--help"])
    if not paths:
        raise UserError("Give the runs to show: microbench show DIR.")
    results = {path: load(path) for path in paths}
    for path, result in results.items():
        if not result.records:
            raise UserError(f"Nothing to show: {path} has no records.")
    out = terminal.console()
    for place, result in enumerate(results.values() if form in (None, TAILS) else [load(paths)]):
        if place:
            out.print()
        show(result, out)
    for told in filter(None, map(incomplete, results.values())):
        print(f"microbench: {told}", file=sys.stderr)
    return ExitCode.OK
