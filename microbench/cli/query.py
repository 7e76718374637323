"""`microbench query`: SQL over the records of runs."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from microbench.cli.arguments import Parser, opened
from microbench.errors import ExitCode, UserError, unknown

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from microbench.tables.query import Answer

DESCRIPTION = """\
Run SQL (DuckDB's) over the records of runs.

  microbench query "select model, engine, median(median) from series where counts group by all"
  microbench query "select run_id, model, error from rounds where status <> 'ok'" outputs/nightly
  microbench query "select * from samples" "outputs/2026*" --parquet -o samples.parquet
  microbench query "describe series"

A PATH is a run's folder, a folder with runs, a file of records, or a pattern of these; by default outputs/**.

views (`describe VIEW` lists the columns; times are in seconds, memory is in bytes):
{views}

A round that was read twice is there once. `counts`: the round is one of those that a case's estimate rests
on. The query sees these views alone: no other file, and no network.

Exit codes: 0; 1 if the output could not be completed; 2 if something is wrong with the query or a path."""

DEFAULT = "outputs/**"
ROWS = 10_000  # in a batch
PARQUET = "parquet"
OF_NAMES = ("json", PARQUET)  # formats in which a column is found by its name alone
SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": PARQUET}
DESCRIBE = 'microbench query "describe VIEW"'
UNKNOWN_COLUMN = re.compile(r'Referenced column "(?P<name>[^"]+)" (?:was )?not found')
UNKNOWN_VIEW = re.compile(r"Table with name (?P<name>\S+) does not exist")
LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)
PLACE = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)


def parser() -> Parser:
    """Return the command's parser."""
    from microbench.records.views import VIEWS

    views = "\n".join(f"  {name:8} {what}" for name, what in VIEWS.items())
    found = Parser("query", DESCRIPTION.format(views=views))
    found.add_argument("sql", nargs="?", metavar="SQL", help="one statement that returns rows")
    found.add_argument("paths", nargs="*", metavar="PATH", help="where the records are")
    form = found.add_mutually_exclusive_group()
    for name, what in (("csv", "CSV"), ("json", "a JSON object per line"), ("parquet", "Parquet, with -o")):
        form.add_argument(f"--{name}", action="store_const", dest="form", const=name, help=f"write {what}")
    found.add_argument("-o", "--output", metavar="FILE", help="write to a file, in the format of its name")
    return found


def main(arguments: Sequence[str]) -> int:
    """`microbench query SQL [PATH …]`: print or write the rows that a statement returns.

    Raises:
        UserError: something is wrong with the statement or a path, or the output cannot be written.
    """
    given = parser().parse(arguments)
    if not given.sql:
        raise UserError('Give a query, such as microbench query "select * from rounds".')
    form = _format(given)
    from microbench.records.result import load
    from microbench.records.views import connected
    from microbench.tables.query import WRITERS, show_answer
    from microbench.tables.terminal import console

    with (
        opened(given.output, is_binary=form == PARQUET) as file,
        connected(load(given.paths or [DEFAULT]).tables()) as connection,
    ):
        found = _answer(connection, given.sql)
        if form in OF_NAMES:
            _check_names(found.schema.names)
        rows = show_answer(found, console()) if form is None else WRITERS[form](found, file)
    if not rows:
        print("microbench: the query returns no rows", file=sys.stderr)
    return ExitCode.OK


def _format(given: Namespace) -> str | None:
    """Return the format to write, by the option or the name of the file; None for a table.

    Raises:
        UserError: the file's name says no format, or Parquet would go to the terminal.
    """
    if given.form is not None or given.output is None:
        if given.form == PARQUET and given.output is None:
            raise UserError("Parquet goes to a file: give -o FILE.")
        form: str | None = given.form
        return form
    suffix = Path(given.output).suffix
    if suffix not in SUFFIXES:
        raise UserError(f"The format of {given.output} is not clear: give --csv, --json or --parquet.")
    return SUFFIXES[suffix]


def _answer(connection: duckdb.DuckDBPyConnection, sql: str) -> Answer:
    """Run a statement, and return what it returns.

    Raises:
        UserError: it is not one statement that returns rows, or it is wrong: where, and in DuckDB's words.
    """
    import duckdb

    from microbench.tables.query import Answer

    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise UserError(f"Give one statement, not {len(statements)}.")
        if statements[0].expected_result_type != [duckdb.ExpectedResultType.QUERY_RESULT]:
            raise UserError("The statement returns no rows: give a select.")
        found = connection.sql(sql)
        read = getattr(found, "to_arrow_reader", None) or found.fetch_arrow_reader  # DuckDB 2, or before
        reader = read(ROWS)
    except duckdb.Error as error:
        raise _explained(_with_place(str(error), sql, connection), connection) from error
    return Answer(reader.schema, _batches(reader, connection))


def _check_names(names: Sequence[str]) -> None:
    """Reject equal names of columns.

    Raises:
        UserError: some are equal.
    """
    name, number = Counter(names).most_common(1)[0]
    if number > 1:
        raise UserError(f"{number} columns are called {name}: give each another name, … as NAME.")


def _with_place(text: str, sql: str, connection: duckdb.DuckDBPyConnection) -> str:
    """Return what DuckDB says of a wrong statement with the place, which it leaves out of a relation's."""
    import duckdb

    if PLACE.search(text):
        return text
    try:
        connection.execute(f"explain\n{sql}")
    except duckdb.Error as error:
        return LINE.sub(lambda found: f"LINE {int(found[1]) - 1}:", str(error))
    return text


def _batches(reader: pa.RecordBatchReader, connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """Yield the rows as they are computed.

    Raises:
        UserError: some cannot be computed.
    """
    try:
        yield from reader
    except OSError as error:  # DuckDB's errors, by way of Arrow
        raise _explained(str(error), connection) from error


def _explained(text: str, connection: duckdb.DuckDBPyConnection) -> UserError:
    """Return the error for what DuckDB says of a statement, in one line: the nearest name, and the place."""
    from microbench.records.views import VIEWS, columns_of

    place = PLACE.search(text)
    where = ""
    if place is not None:
        where = f" (line {place[1]}, column {len(place[3]) - len(f'LINE {place[1]}: ') + 1})"
    if view := UNKNOWN_VIEW.search(text):
        return UserError(f"{unknown('view', view['name'], VIEWS)}{where}")
    if column := UNKNOWN_COLUMN.search(text):
        known = {name for names in columns_of(connection).values() for name in names}
        return UserError(f"{unknown('column', column['name'], known, DESCRIBE)}{where}")
    told = " ".join(text.partition("\nLINE ")[0].split())
    return UserError(f"{told.rstrip('.!')}{where}.")
