"""`microbench export`: the times of runs in the formats of other tools."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from types import ModuleType

from microbench.cli.arguments import Parser, add_output, add_where, where, write_file
from microbench.errors import ExitCode, UserError

DESCRIPTION = """\
Write the times of runs in the format of another tool, in that tool's own unit.

  microbench export hyperfine outputs/sweep > hyperfine.json
  microbench export pyperf outputs/before -o before.json
  microbench export parquet outputs/sweep --samples -o samples.parquet
  microbench export mlflow outputs/sweep --tracking-uri sqlite:///mlflow.db --experiment nightly

formats: {formats}

Cases that failed, or compute something other than eager fp32, have no times: standard error says how many
were left out, and why.

Exit codes: 0; 1 if the output could not be completed; 2 if the command line is invalid, there is nothing to
export, or a file cannot be written."""


def parser() -> Parser:
    """Return the command's parser."""
    from microbench.tables.formats import names

    found = Parser("export", DESCRIPTION.format(formats=", ".join(names())))
    found.add_argument("form", nargs="?", metavar="FORMAT", help="one of the formats above")
    found.add_argument("paths", nargs="*", metavar="PATH", help="a run's folder, or its file of records")
    found.add_argument(
        "--phase",
        metavar="P[,P]",
        help="phases, or all; by default total and inference, for csv, parquet and mlflow all",
    )
    found.add_argument(
        "--samples", action="store_true", help="csv, parquet: one row per sample, not per case and phase"
    )
    add_where(found)
    add_output(found)
    found.add_argument(
        "--tracking-uri", metavar="URI", help="mlflow: its store; by default the one that MLflow is set to"
    )
    found.add_argument(
        "--experiment", metavar="NAME", help="mlflow: the runs' experiment (default microbench)"
    )
    return found


def main(arguments: Sequence[str]) -> int:
    """`microbench export FORMAT PATH …`: write the times of runs in a format.

    Raises:
        UserError: the format or an option of it does not exist, there is nothing to export, or the file
            cannot be written.
    """
    given = parser().parse(arguments)
    if given.form is None or not given.paths:
        raise UserError("Give a format and the runs to export: microbench export FORMAT PATH.")
    from microbench.analysis.phases import ALL
    from microbench.analysis.selection import having
    from microbench.analysis.timings import timings
    from microbench.records.result import load
    from microbench.tables.escaping import visible
    from microbench.tables.formats import find

    form = find(given.form)
    _check(given, form)
    result = load(given.paths)
    if not result.records:
        raise UserError(f"Nothing to export: {', '.join(given.paths)} has no records.")
    cases = having(result.cases(), where(given))
    found = timings(cases, given.phase or (None if hasattr(form, "encode") else ALL))
    if hasattr(form, "log"):
        print(form.log(found, given.tracking_uri, given.experiment or "microbench"))
    elif hasattr(form, "encode_rows"):
        rows = found.sample_rows() if given.samples else found.rows()
        write_file(form.encode_rows(list(rows)), given.output)
    else:
        write_file(form.encode(found), given.output)
    if found.left_out:
        first = found.left_out[0]
        rest = f"{len(found.left_out)} left out: {first.name}: {first.reason}"
        more = f"; and {len(found.left_out) - 1} more" if len(found.left_out) > 1 else ""
        print(f"microbench: {visible(rest)}{more}", file=sys.stderr)
    return ExitCode.OK


def _check(given: Namespace, form: ModuleType) -> None:
    """Reject options that would have no effect on a format.

    Raises:
        UserError: one would not, or binary data would go to a terminal.
    """
    if given.samples and not hasattr(form, "encode_rows"):
        raise UserError(f"--samples is for csv and parquet: {given.form} has every sample.")
    if hasattr(form, "log"):
        if given.output is not None:
            raise UserError(f"-o is for files: {given.form} writes to --tracking-uri.")
        return
    for option in ("tracking_uri", "experiment"):
        if getattr(given, option) is not None:
            raise UserError(f"--{option.replace('_', '-')} is for mlflow, not for {given.form}.")
    if getattr(form, "IS_BINARY", False) and given.output is None and sys.stdout.isatty():
        raise UserError(f"{given.form} is binary: give -o FILE, or a pipe.")
