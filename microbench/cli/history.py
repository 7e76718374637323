"""`microbench history`: the same cases over many runs, and where they became slower or faster."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from microbench.cli.arguments import (
    Parser,
    add_margin,
    add_output,
    add_where,
    check_margin,
    opened,
    where,
    write_text,
)
from microbench.errors import ExitCode, UserError

if TYPE_CHECKING:
    from microbench.analysis.history import History

DESCRIPTION = """\
Follow cases over many runs on the same machine: their trend by date, the steps in it, and what changed there.

  microbench history "outputs/**"
  microbench history "outputs/**" --where model=resnet18 --runs
  microbench history "outputs/**" --value throughput --csv -o history.csv
  microbench history "outputs/**" --fail-on slower --since 2026-01-31

With six runs or more, a step is where the level of the runs changes significantly. With fewer, each run is
compared with the one before.

Exit codes: 0; 1 if --fail-on applies, or the output could not be completed; 2
if the command line is invalid, or there is no history."""


def parser() -> Parser:
    """Return the command's parser."""
    found = Parser("history", DESCRIPTION)
    found.add_argument("paths", nargs="*", metavar="PATH", help="a run's folder, its records, or a pattern")
    found.add_argument(
        "--value",
        metavar="V",
        default="step",
        help="what to follow: step (default), a phase such as forward, p99, throughput, memory or energy",
    )
    add_where(found)
    add_margin(found)
    found.add_argument(
        "--runs", action="store_true", help="print every run of each case, as for a single one"
    )
    found.add_argument(
        "--fail-on",
        metavar="V[,V]",
        help="exit with 1 if the latest change of a case is any of slower, faster, inconclusive",
    )
    found.add_argument(
        "--since",
        metavar="RUN|DATE",
        help="only for changes whose first run is this one, began on this day (UTC), or later",
    )
    outputs = found.add_mutually_exclusive_group()
    outputs.add_argument("--markdown", action="store_true", help="a table in GitHub's markdown")
    outputs.add_argument("--csv", action="store_true", help="one line per case and run, in SI units")
    outputs.add_argument("--json", action="store_true", help="the same, one line of JSON each")
    add_output(found)
    return found


def main(arguments: Sequence[str]) -> int:
    """`microbench history PATH … [OPTION …]`: print the history; return 1 if --fail-on applies."""
    given = parser().parse(arguments)
    if not given.paths:
        raise UserError("Give the runs to follow: microbench history PATH.")
    check_margin(given)
    if given.since is not None and given.fail_on is None:
        raise UserError("--since has no effect without --fail-on: add --fail-on slower, or leave it out.")
    from microbench.analysis.history import Request, history, time_of
    from microbench.records.result import load
    from microbench.tables.history import failing

    result = load(given.paths)
    if not result.records:
        raise UserError(f"There is no history: {', '.join(given.paths)} has no records.")
    cases = result.cases()
    found = history(cases, Request(given.value, where(given), given.margin))
    since = None if given.since is None else time_of(given.since, cases)
    failed = failing(found, given.fail_on, since) if given.fail_on is not None else []
    _show(found, given)
    for text in failed:
        print(f"microbench: --fail-on {text}", file=sys.stderr)
    return ExitCode.FAILED if failed else ExitCode.OK


def _show(found: History, given: Namespace) -> None:
    """Print or write the history in the form that is asked for."""
    from microbench.tables.export import write_csv, write_json
    from microbench.tables.fitting import printed
    from microbench.tables.history import rows, show_history, to_markdown
    from microbench.tables.terminal import console

    if given.markdown:
        write_text(to_markdown(found), given.output)
    elif given.csv or given.json:
        with opened(given.output) as file:
            (write_csv if given.csv else write_json)(rows(found), file)
    else:
        with_runs = given.runs or len(found.tracks) == 1
        if given.output is None:
            show_history(found, console(), with_runs)
        else:
            text = printed(lambda out: show_history(found, out, with_runs))
            write_text(f"{text}\n", given.output)
