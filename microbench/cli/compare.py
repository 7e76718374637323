"""`microbench compare`: two runs, or the cases of one, with an interval of the ratio and a verdict."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from microbench.cli.arguments import Parser
from microbench.config import MARGIN
from microbench.errors import ExitCode, NothingToCompareError, UserError

if TYPE_CHECKING:
    from microbench.tables.compare import Comparison

FAIL_ON, MAX_SLOWDOWN = "--fail-on", "--max-slowdown"

DESCRIPTION = """\
Compare two runs, or the cases of one by an option: is B slower than A, and is the difference significant?

  microbench compare outputs/before outputs/after
  microbench compare outputs/sweep --by engine
  microbench compare outputs/sweep --by batch_size --baseline 8 --phase forward,total
  microbench compare outputs/before outputs/after --at p99

  microbench compare outputs/before outputs/after --fail-on slower,inconclusive
  microbench compare outputs/before outputs/after --max-slowdown 5% --markdown

Cases that compute the same and agree in all other options are compared. A ratio above 1 is slower; its 95 %
CI is over rounds, which are fresh processes. "same" means an interval within the margin around 1;
"inconclusive" says how many more rounds would settle it.

Exit codes: 0; 1 if --fail-on or --max-slowdown applies; 2 if the command line is invalid; 3 if there is
nothing to compare."""

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
    found.add_argument(
        "--max-slowdown",
        type=slowdown,
        metavar="SHARE",
        help="exit with 1 if B is certainly slower by more than this (5%% or 0.05): where the verdict is "
        "slower and the lower end of the CI is above 1 + SHARE; also on failed and missing",
    )
    outputs = found.add_mutually_exclusive_group()
    outputs.add_argument("--json", action="store_true", help="one line of JSON per pair and phase")
    outputs.add_argument("--markdown", action="store_true", help="a comment for a pull request on GitHub")
    return found


def slowdown(text: str) -> float:
    """Return the share that a text such as `5%` or `0.05` means.

    Raises:
        ArgumentTypeError: it is none; says what is.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not (0 <= value < 1 or (percent and 0 <= value < math.inf)):
        raise ArgumentTypeError(f"{text!r} is not possible: give a share such as 5% or 0.05")
    return value


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
    from microbench.analysis.absences import Absent
    from microbench.analysis.compare import NoneMeasuredError
    from microbench.api import compare
    from microbench.tables.comment import comment, comment_without_times
    from microbench.tables.compare import JUDGED, absent, check_limit, known_to_fail_on, show_comparison
    from microbench.tables.terminal import console

    fail_on = [] if given.fail_on is None else known_to_fail_on(given.fail_on)
    check_limit(fail_on, given.max_slowdown)
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
        if given.markdown:
            print(comment_without_times(error.absences), end="")
        kinds = fail_on if given.max_slowdown is None else [*fail_on, *Absent]
        option = MAX_SLOWDOWN if given.fail_on is None else FAIL_ON
        if not _show_failing(dict.fromkeys(absent(kinds, error.absences), option)):
            raise
        return ExitCode.FAILED
    if given.json:
        for row in found.rows:
            print(msgspec.json.encode(row).decode())
        for text in (*found.remarks, *found.warnings):
            print(f"microbench: {text}", file=sys.stderr)
    elif given.markdown:
        print(comment(found, given.max_slowdown), end="")
    else:
        show_comparison(found, console())
    failing = _show_failing(_failing(found, fail_on, given.max_slowdown))
    if ({*fail_on} & JUDGED or given.max_slowdown is not None) and found.unjudged:
        rows = f"{len(found.unjudged)} of {len(found.rows)} rows"
        option = FAIL_ON if {*fail_on} & JUDGED else MAX_SLOWDOWN
        print(f"microbench: {option} cannot judge {rows}: {found.unjudged[0].reason}", file=sys.stderr)
    return ExitCode.FAILED if failing else ExitCode.OK


Failing = dict[str, str]
"""What a check fails on: by its text, the option that asks for it."""


def _failing(found: Comparison, fail_on: Sequence[str], limit: float | None) -> Failing:
    """Return what the checks of a comparison fail on.

    Raises:
        NothingToCompareError: they cannot fail with so few rounds.
    """
    texts = dict.fromkeys(found.failing(fail_on), FAIL_ON) if fail_on else {}
    if limit is not None:
        try:
            texts = {**dict.fromkeys(found.failing((), limit), MAX_SLOWDOWN), **texts}
        except NothingToCompareError:
            if not texts:
                raise
    return texts


def _show_failing(texts: Failing) -> Failing:
    """Print the texts on which a check fails, and return them."""
    for text, option in texts.items():
        print(f"microbench: {option} {text}", file=sys.stderr)
    return texts
