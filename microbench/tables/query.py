"""The answer to a query in SQL: a table in the terminal, CSV, JSON or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from rich.console import Console
from rich.table import Table

from microbench.tables.escaping import escape
from microbench.tables.export import as_cell, write_json
from microbench.tables.fitting import LEAST_TEXT, print_fitting
from microbench.tables.labels import count

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 1000
"""Rows that are printed."""

LONGEST = 80
"""Characters of a cell that are printed."""

NOTHING = "–"


@dataclass(frozen=True)
class Answer:
    """The answer to a query: the names and types of its columns, and its rows in batches."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def show_answer(found: Answer, out: Console) -> int:
    """Print at most `MOST` rows, and how many there are beyond them; return the number of all rows."""
    import pyarrow as pa

    table = Table(box=None, pad_edge=False, header_style="bold")
    for field in found.schema:
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        is_number |= pa.types.is_decimal(field.type)
        table.add_column(escape(field.name), justify="right" if is_number else "left")
    total = 0
    for row in _rows(found):
        total += 1
        if total <= MOST:
            table.add_row(*(escape(_text(value)) for value in row))
    for column in table.columns:
        column.no_wrap = max(map(len, (str(column.header), *map(str, column.cells)))) <= LEAST_TEXT
    print_fitting(out, table)
    if total > MOST:
        out.print(f"{count(total - MOST, 'more row')}: give --csv, --json or --parquet for all", style="dim")
    return total


def write_csv(found: Answer, file: TextIO) -> int:
    """Write a header and one line per row; return the number of rows."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(found.schema.names)
    total = 0
    for row in _rows(found):
        writer.writerow(map(as_cell, row))
        total += 1
    return total


def write_lines(found: Answer, file: TextIO) -> int:
    """Write one object per row and line; return the number of rows."""
    names, total = found.schema.names, 0
    for row in _rows(found):
        write_json([dict(zip(names, row, strict=True))], file)
        total += 1
    return total


def write_parquet(found: Answer, file: BinaryIO) -> int:
    """Write a Parquet file; return the number of rows."""
    import pyarrow.parquet as pq

    total = 0
    with pq.ParquetWriter(file, found.schema) as writer:
        for batch in found.batches:
            writer.write_batch(batch)
            total += len(batch)
    return total


WRITERS: dict[str, Callable[[Answer, Any], int]] = {
    "csv": write_csv,
    "json": write_lines,
    "parquet": write_parquet,
}
"""The writer of each format."""


def _rows(found: Answer) -> Iterator[tuple[Any, ...]]:
    for batch in found.batches:
        columns = [[_plain(value) for value in column.to_pylist()] for column in batch.columns]
        yield from zip(*columns, strict=True)


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it: sums of integers are decimals in DuckDB."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    text = f"{value:.6g}" if isinstance(value, float) else str(as_cell(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
