"""`microbench compare`: two runs, or the cases of one, with an interval of the ratio and a verdict."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict
from typing import NoReturn

from microbench.config import MARGIN
from microbench.errors import ExitCode, UserError, unknown

DESCRIPTION = """\
Compare two runs, or the cases of one by an option: does B take longer than A, and can that be told?

  microbench compare outputs/before outputs/after
  microbench compare outputs/sweep --by engine
  microbench compare outputs/sweep --by batch_size --baseline 8 --phase forward,total

Cases are compared that agree in everything but what differs. A ratio above 1 is slower; its 95 % interval is
over rounds, processes measured afresh. "same" is an interval within the margin around 1, "inconclusive" says
how many more rounds would settle it.

Exit codes: 0; 1 where --fail-on says so; 2 where the command line cannot be followed; 3 where there is
nothing to compare."""

VERDICTS = ("faster", "slower", "inconclusive")


class _Parser(ArgumentParser):
    """Whose errors are those of this package."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message[:1].upper()}{message[1:]}. See `microbench compare --help`.")


def parser() -> ArgumentParser:
    """What the verb understands."""
    found = _Parser(
        prog="microbench compare",
        description=DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("paths", nargs="*", metavar="A [B]", help="a run's folder, or its file of records")
    found.add_argument("--by", metavar="OPTION", help="compare A's cases by an option, such as engine")
    found.add_argument("--baseline", metavar="VALUE", help="of that option; by default the run's first")
    found.add_argument("--phase", metavar="P[,P]", help="phases, or all; by default total and inference")
    found.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        metavar="SHARE",
        help="that counts as the same (default %(default)s: 1 %%)",
    )
    found.add_argument(
        "--fail-on", default="", metavar="V[,V]", help=f"exit with 1 on any of {', '.join(VERDICTS)}"
    )
    found.add_argument("--json", action="store_true", help="a line of JSON a pair and phase")
    return found


def parse(arguments: Sequence[str]) -> Namespace:
    """The arguments, understood.

    Raises:
        UserError: an option or a value there is not, or no paths, or too many.
    """
    found, strange = parser().parse_known_intermixed_args(arguments)
    if strange:
        options = re.findall("--[a-z-]+", parser().format_usage())
        raise unknown("option", strange[0].partition("=")[0], ["--help", *options])
    if not found.paths:
        raise UserError("Give what to compare: microbench compare A B, or microbench compare A --by OPTION.")
    if len(found.paths) > 2:
        raise UserError(f"Give two runs to compare, not {len(found.paths)}.")
    found.fail_on = [word.strip() for word in found.fail_on.split(",") if word.strip()]
    for word in found.fail_on:
        if word not in VERDICTS:
            raise unknown("verdict in --fail-on", word, VERDICTS)
    return found


def main(arguments: Sequence[str]) -> int:
    """`microbench compare A [B] [OPTION …]`: print the comparison; 1 where a verdict is one to fail on."""
    given = parse(arguments)
    from microbench.api import compare
    from microbench.reports.comparison import sentence, show_comparison
    from microbench.reports.terminal import console
    from microbench.results.record import to_json

    found = compare(
        *given.paths, by=given.by, baseline=given.baseline, margin=given.margin, phase=given.phase
    )
    if given.json:
        for row in found.rows:
            print(to_json(asdict(row)))
        for text in (*found.remarks, *found.warnings):
            print(f"microbench: {text}", file=sys.stderr)
    else:
        show_comparison(found, console())
    failed = [row for row in found.rows if row.verdict in given.fail_on]
    for row in failed:
        print(
            f"microbench: --fail-on {row.verdict}: {row.case} {row.phase}: {sentence(row)}", file=sys.stderr
        )
    return ExitCode.FAILED if failed else ExitCode.OK
