"""`microbench compare`: two runs, or the cases of one, with an interval of the ratio and a verdict."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

import msgspec

from microbench.cli.arguments import Parser
from microbench.config import MARGIN
from microbench.errors import ExitCode, UserError

DESCRIPTION = """\
Compare two runs, or the cases of one by an option: is B slower than A, and is the difference significant?

  microbench compare outputs/before outputs/after
  microbench compare outputs/sweep --by engine
  microbench compare outputs/sweep --by batch_size --baseline 8 --phase forward,total
  microbench compare outputs/before outputs/after --at p99

  microbench compare outputs/before outputs/after --fail-on slower,inconclusive

Cases that compute the same and agree in all other options are compared. A ratio above 1 is slower; its 95 %
CI is over rounds, which are fresh processes. "same" means an interval within the margin around 1;
"inconclusive" says how many more rounds would settle it.

Exit codes: 0; 1 if --fail-on applies; 2 if the command line is invalid; 3 if there is nothing to compare."""

BY = """compare A's cases by an option, such as engine; with B: an option of the work that may differ, such as
batch_size (engine, precision, threads and the like may differ anyway)"""


def parser() -> Parser:
    """Return the command's parser."""
    found = Parser("compare", DESCRIPTION)
    found.add_argument("paths", nargs="*", metavar="A [B]", help="a run's folder, or its file of records")
    found.add_argument("--by", metavar="OPTION", help=BY)
    found.add_argument(
        "--baseline", metavar="VALUE", help="baseline value of that option; by default the run's first"
    )
    found.add_argument(
        "--at", metavar="P", help="compare this percentile, such as p99 or p99.9, instead of the median"
    )
    found.add_argument("--phase", metavar="P[,P]", help="phases, or all; by default total and inference")
    found.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        metavar="SHARE",
        help="difference that counts as the same (default %(default)s: 1 %%)",
    )
    found.add_argument(
        "--fail-on",
        metavar="V[,V]",
        help="exit with 1 on any of slower (failed and missing too), faster, inconclusive, failed (in B, but "
        "not in A), missing (in B); with 3 if one round per side allows no verdict",
    )
    found.add_argument("--json", action="store_true", help="one line of JSON per pair and phase")
    return found


def parse(arguments: Sequence[str]) -> Namespace:
    """Parse and check the arguments.

    Raises:
        UserError: an option or a value does not exist, or there are no paths, or too many.
    """
    found = parser().parse(arguments)
    if not found.paths:
        raise UserError(
            "Give the runs to compare: microbench compare A B, or microbench compare A --by OPTION."
        )
    if len(found.paths) > 2:
        raise UserError(f"Give two runs to compare, not {len(found.paths)}.")
    return found


def main(arguments: Sequence[str]) -> int:
    """`microbench compare A [B] [OPTION …]`: print the comparison; return 1 if --fail-on applies."""
    given = parse(arguments)
    from microbench.analysis.compare import NoneMeasuredError
    from microbench.api import compare
    from microbench.tables.compare import JUDGED, absent, known_to_fail_on, show_comparison
    from microbench.tables.terminal import console

    fail_on = [] if given.fail_on is None else known_to_fail_on(given.fail_on)
    try:
        found = compare(
            *given.paths,
            by=given.by,
            baseline=given.baseline,
            margin=given.margin,
            phase=given.phase,
            at=given.at,
        )
    except NoneMeasuredError as error:
        if not _show_failing(absent(fail_on, error.absences)):
            raise
        return ExitCode.FAILED
    if given.json:
        for row in found.rows:
            print(msgspec.json.encode(row).decode())
        for text in (*found.remarks, *found.warnings):
            print(f"microbench: {text}", file=sys.stderr)
    else:
        show_comparison(found, console())
    failing = _show_failing(found.failing(fail_on) if fail_on else [])
    if {*fail_on} & JUDGED and found.unjudged:
        rows = f"{len(found.unjudged)} of {len(found.rows)} rows"
        print(f"microbench: --fail-on cannot judge {rows}: {found.unjudged[0].reason}", file=sys.stderr)
    return ExitCode.FAILED if failing else ExitCode.OK


def _show_failing(texts: Sequence[str]) -> Sequence[str]:
    """Print the texts on which a check fails, and return them."""
    for text in texts:
        print(f"microbench: --fail-on {text}", file=sys.stderr)
    return texts
