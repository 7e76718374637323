"""`microbench report`: results as a table to paste, and in other forms to show them to others."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from microbench.cli.arguments import (
    Parser,
    add_margin,
    add_output,
    add_where,
    check_margin,
    names_in,
    opened,
    pairs_in,
    where,
    write_file,
    write_text,
)
from microbench.errors import ExitCode, UserError

if TYPE_CHECKING:
    from microbench.analysis.pivot import Pivot
    from microbench.analysis.published_tables import Table
    from microbench.analysis.selection import Request, Selection
    from microbench.records.cases import CaseResult

DESCRIPTION = """\
Lay the cases of runs out as a table: rows and columns are axes, each cell a value with its interval.

  microbench report outputs/sweep
  microbench report outputs/sweep --rows model --columns engine,batch_size --value throughput
  microbench report outputs/sweep --baseline engine=eager --where mode=infer
  microbench report outputs/sweep --markdown -o table.md
  microbench report outputs/sweep --html report.html
  microbench report outputs/sweep --serve
  microbench report outputs/sweep --svg speedup.svg --chart speedup
  microbench report outputs/sweep --published

The best of each row is marked only if it is significantly better than the row's other cells that compute the
same. Failed and skipped cases are in the table, with footnotes that say why.

Exit codes: 0; 1 if the output could not be completed; 2 if the command line is invalid, or there is
nothing to show."""

MOST_PORTS = 65535
OF_TABLES = ("rows", "columns", "value", "baseline", "margin")
"""Options that lay out a table."""

PICTURES = ("png", "svg")
CHART = """which chart to draw: speedup, latency, phases, memory, accuracy, roofline or published; by default
the first of these that has data"""

VALUE = """what to show: step (default: total in training, inference otherwise), a phase such as forward, a
percentile of the step such as p99, throughput, speedup, memory, energy, error, params; several phases with
commas"""


def parser() -> Parser:
    """Return the command's parser."""
    found = Parser("report", DESCRIPTION)
    found.add_argument("paths", nargs="*", metavar="PATH", help="a run's folder, its records, or a pattern")
    found.add_argument("--rows", metavar="AXIS[,AXIS]", help="axes of the rows; by default model")
    found.add_argument(
        "--columns", metavar="AXIS[,AXIS]", help="axes of the columns; by default the others that vary"
    )
    found.add_argument("--value", metavar="V[,V]", default="step", help=VALUE.replace("%", "%%"))
    add_where(found)
    found.add_argument(
        "--baseline", metavar="AXIS=V[,AXIS=V]", help="show ratios to the cases with these values"
    )
    add_margin(found)
    outputs = found.add_mutually_exclusive_group()
    outputs.add_argument("--markdown", action="store_true", help="a table in GitHub's markdown")
    outputs.add_argument(
        "--latex", action="store_true", help="a document to compile, or to \\input in another"
    )
    outputs.add_argument("--csv", action="store_true", help="the table as CSV, in SI units")
    outputs.add_argument("--json", action="store_true", help="one line of JSON per cell, in SI units")
    outputs.add_argument(
        "--html", metavar="FILE", help="a page with charts in one file, which opens from a disk, offline"
    )
    outputs.add_argument(
        "--serve",
        nargs="?",
        const="0",
        metavar="PORT",
        help="serve this page on 127.0.0.1, and refresh it while a run measures; Ctrl-C ends it",
    )
    for form in PICTURES:
        outputs.add_argument(
            f"--{form}",
            metavar="FILE",
            help=f"a chart as {form.upper()}, for a README or a slide (extra plot)",
        )
    found.add_argument("--chart", metavar="NAME", help=CHART)
    found.add_argument("--dark", action="store_true", help="a picture for a dark background")
    found.add_argument("--host", metavar="ADDRESS", help="listen on this address instead, with --serve")
    _add_published(found)
    add_output(found)
    return found


def _add_published(found: Parser) -> None:
    """Add the options of a table beside published figures."""
    found.add_argument(
        "--published",
        nargs="?",
        action="append",
        const="",
        metavar="DIR",
        help="the cases beside the published figures that agree with them; also those of a folder of tables",
    )


def main(arguments: Sequence[str]) -> int:
    """`microbench report PATH … [OPTION …]`: show the runs' results in one of the forms of `OUTPUTS`."""
    given = parser().parse(arguments)
    if _is_path(given.serve, given.paths):
        given.paths, given.serve = [given.serve, *given.paths], "0"
    if not given.paths:
        hint = " before --published" if given.published else ""
        raise UserError(f"Give the runs to report{hint}: microbench report PATH.")
    if given.host is not None and given.serve is None:
        raise UserError("--host needs --serve: give both.")
    picture = next((form for form in PICTURES if getattr(given, form)), None)
    if picture is not None:
        return _picture(given, picture)
    if given.chart or given.dark:
        raise UserError(f"--{'chart' if given.chart else 'dark'} needs a picture: give --png or --svg too.")
    if given.published is not None and given.html is None:
        return _published(given)
    output = next((name for name in OUTPUTS if getattr(given, name, None)), "")
    return OUTPUTS.get(output, _table)(given)


def _is_path(serve: str | None, paths: Sequence[str]) -> bool:
    """Return whether the word after --serve is a path, which need not exist yet, and no port."""
    return serve is not None and not serve.isdecimal() and (not paths or Path(serve).exists())


def _table(given: Namespace) -> int:
    """Print the table in the terminal, with as many of the columns' axes in the rows as it takes to fit."""
    from microbench.tables.fitting import printed
    from microbench.tables.pivot import show_pivots
    from microbench.tables.terminal import console

    variants = _pivots(given)
    if given.output is None:
        show_pivots(variants, console())
    else:
        write_text(printed(lambda out: show_pivots(variants, out)) + "\n", given.output)
    return ExitCode.OK


def _markdown(given: Namespace) -> int:
    from microbench.tables.pasted import to_markdown

    write_text(to_markdown(_pivot(given)), given.output)
    return ExitCode.OK


def _latex(given: Namespace) -> int:
    from microbench.tables.pasted import to_latex

    write_text(to_latex(_pivot(given)), given.output)
    return ExitCode.OK


def _csv(given: Namespace) -> int:
    from microbench.tables.export import write_csv
    from microbench.tables.pasted import wide_rows

    found = wide_rows(_pivot(given))
    with opened(given.output) as file:
        write_csv(found, file)
    return ExitCode.OK


def _json(given: Namespace) -> int:
    from microbench.tables.export import write_json
    from microbench.tables.pasted import cell_rows

    found = cell_rows(_pivot(given))
    with opened(given.output) as file:
        write_json(found, file)
    return ExitCode.OK


def _published(given: Namespace) -> int:
    """Show the cases beside published figures, in one of the formats that tables have."""
    from microbench.analysis.beside import beside, flat
    from microbench.tables.beside import show_beside, to_markdown
    from microbench.tables.fitting import printed
    from microbench.tables.terminal import console

    _check_unused(given, "--published", (*OF_TABLES, "latex", "serve"))
    cases = _chosen(given)
    sections = beside(cases, _published_tables(given, cases))
    if given.csv or given.json:
        from microbench.tables.export import FORMATS

        found = [row for each in sections for row in flat(each)]
        with opened(given.output) as file:
            FORMATS["--csv" if given.csv else "--json"](found, file)
    elif given.markdown:
        write_text(to_markdown(sections), given.output)
    elif given.output is None:
        show_beside(sections, console())
    else:
        write_text(printed(lambda out: show_beside(sections, out)) + "\n", given.output)
    return ExitCode.OK


def _picture(given: Namespace, form: str) -> int:
    """Draw a chart."""
    from microbench.analysis.charts import charts
    from microbench.tables.pictures import picture

    _check_unused(given, f"--{form}", (*OF_TABLES, "output"))
    path = Path(getattr(given, form))
    if path.suffix != f".{form}":
        raise UserError(f"--{form} {path} must end in .{form}: give {path.stem or 'chart'}.{form}.")
    cases = _chosen(given)
    chart = given.chart or ("published" if given.published else None)
    tables = _published_tables(given, cases) if given.published else None
    write_file(picture(charts(cases, tables), cases, form, chart, given.dark), str(path))
    return ExitCode.OK


def _check_unused(given: Namespace, flag: str, names: Sequence[str]) -> None:
    """Reject options that would have no effect.

    Raises:
        UserError: one is given.
    """
    default = parser().get_default
    if used := [name for name in names if getattr(given, name) != default(name)]:
        raise UserError(f"--{used[0]} has no effect with {flag}: leave out one of them.")


def _chosen(given: Namespace) -> list[CaseResult]:
    """Return the cases that --where leaves."""
    from microbench.analysis.selection import having

    return having(_loaded(given), where(given))


def _published_tables(given: Namespace, cases: Sequence[CaseResult]) -> list[Table]:
    """Return the package's published tables, and those of the folders that are given."""
    from microbench.analysis.published_files import in_folder, ours
    from microbench.cli.list import layers, models

    folders = [Path(each) for each in given.published if each]
    known = {*models(), *layers(), *(case.config.model.name for case in cases)} if folders else set()
    return [*ours(), *(table for each in folders for table in in_folder(each, known))]


def _html(given: Namespace) -> int:
    from microbench.analysis.page import page
    from microbench.tables.page import html

    _check_unused(given, "--html", (*OF_TABLES, "output"))
    cases = _chosen(given)
    tables = None if given.published is None else _published_tables(given, cases)
    shown = page(cases, tables)
    if not shown.rows:
        raise UserError(
            f"Nothing for a page: {', '.join(given.paths)} has a doctor's run alone; see microbench show."
        )
    write_text(html(shown, given.paths), given.html)
    return ExitCode.OK


def _serve(given: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from microbench.cli.source import Source
    from microbench.tables.page.server import LOCAL, Server

    _check_unused(given, "--serve", (*OF_TABLES, "output", "where"))
    source = Source(given.paths)
    with Server(source.current, given.paths, given.host or LOCAL, _port(given.serve)) as server:
        print(f"microbench: {server.url} shows {', '.join(given.paths)}; Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return ExitCode.OK


def _port(text: str) -> int:
    """Return a port; 0 stands for any free one.

    Raises:
        UserError: it is none.
    """
    if not text.isdecimal() or int(text) > MOST_PORTS:
        raise UserError(f"--serve {text} is not possible: give a port from 0 to {MOST_PORTS}.")
    return int(text)


OUTPUTS: Mapping[str, Callable[[Namespace], int]] = {
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
    "html": _html,
    "serve": _serve,
}
"""The function of each form by the name of its flag; without a flag, it is the table in the terminal."""


def _pivots(given: Namespace) -> list[Pivot]:
    """Return the table in as many layouts as there are, the widest first."""
    from microbench.analysis.pivot import pivots

    return pivots(_selection(given))


def _pivot(given: Namespace) -> Pivot:
    """Return the table as it is asked for, however wide it is."""
    from microbench.analysis.pivot import pivot

    return pivot(_selection(given))


def _selection(given: Namespace) -> Selection:
    from microbench.analysis.selection import select

    request = _request(given)
    return select(_loaded(given), request)


def _loaded(given: Namespace) -> list[CaseResult]:
    """Return the cases of the runs that are given; at least one."""
    from microbench.records.result import load

    result = load(given.paths)
    if not result.records:
        raise UserError(f"Nothing to report: {', '.join(given.paths)} has no records.")
    return result.cases()


def _request(given: Namespace) -> Request:
    from microbench.analysis.selection import Request

    check_margin(given)
    return Request(
        names_in(given.rows),
        names_in(given.columns),
        names_in(given.value),
        where(given),
        dict(pairs_in("--baseline", given.baseline or "")),
        given.margin,
    )
