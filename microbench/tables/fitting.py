"""Printing tables that are wider or longer than the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

UNLIMITED = 1000  # characters: wider than any table
GAP = 2  # characters between two columns of a table without borders
JOINT = ", "  # between the names in a column that joins several
LEAST_TEXT = 12  # characters of a column of wrapped texts
LINES_BESIDE = 8  # for a table's header and total, the notes below it, and the prompt


def printed(show: Callable[[Console], object], width: int = UNLIMITED) -> str:
    """Return what a function prints, as plain text of at most some characters per line."""
    file = StringIO()
    show(Console(file=file, width=width, highlight=False, color_system=None))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def width_of(found: Table, out: Console) -> int:
    """Return the width of a table in full, in characters."""
    return out.measure(found, options=out.options.update(max_width=UNLIMITED)).maximum


def fits(found: Table, out: Console) -> bool:
    """Return whether a table is no wider than the terminal."""
    return width_of(found, out) <= out.width


def print_fitting(out: Console, *variants: Table, less_wanted: Sequence[str] = ()) -> None:
    """Print the first variant of a table that fits, and name the columns of the first that it lacks.

    If none fits, texts are wrapped, and as many columns of the last variant are left out as needed to keep
    every figure whole: a cut-off figure reads as another one.

    Args:
        out: where to print.
        variants: the table, and reduced forms of it, the fullest first.
        less_wanted: the headers of columns to leave out, in this order; then follow the others, from the
            right. The first column stays.
    """
    found = fitted(out, *variants, less_wanted=less_wanted)
    print_table(out, found)
    hidden = list((_names(variants[0]) - _names(found)).elements())
    if hidden:
        out.print(f"columns hidden (terminal too narrow): {', '.join(hidden)}", style="dim")


def print_table(out: Console, found: Table) -> None:
    """Print a table; elsewhere than on a terminal without the spaces that fill up its last column."""
    if out.is_terminal:
        out.print(found)
        return
    with out.capture() as captured:
        out.print(found)
    out.out("\n".join(line.rstrip() for line in captured.get().splitlines()), highlight=False)


def fitted(out: Console, *variants: Table, less_wanted: Sequence[str] = ()) -> Table:
    """Return what `print_fitting` prints of a table."""
    found = next((each for each in variants if fits(each, out)), None)
    return _narrowed(variants[-1], less_wanted, out) if found is None else found


def _names(found: Table) -> Counter[str]:
    """Return the names of a table's columns; one without a name is not reported when it is hidden."""
    return Counter(name for column in found.columns for name in str(column.header).split(JOINT) if name)


def _narrowed(found: Table, less_wanted: Sequence[str], out: Console) -> Table:
    """Return a table with wrapped texts, and only as many other columns as fit without cutting figures."""
    columns = list(found.columns)
    for column in columns:
        if _is_text(column):
            column.overflow = "fold"
        else:
            column.no_wrap = True
    wanted = [name for name in reversed(columns[1:]) if name.header not in less_wanted]
    unwanted = [column for name in less_wanted for column in columns[1:] if column.header == name]
    for least in (*unwanted, *wanted):
        if sum(_least(column, out) for column in columns) + _gaps(found, len(columns)) <= out.width:
            break
        columns = [column for column in columns if column is not least]
    return found if len(columns) == len(found.columns) else _of(found, columns)


def _is_text(column: Column) -> bool:
    """Return whether a column contains texts, which may be wrapped."""
    return column.justify == "left" and not column.no_wrap


def _least(column: Column, out: Console) -> int:
    """Return a column's smallest width: its longest line, or for a text, some words."""
    texts = [out.render_str(str(each)).cell_len for each in (column.header, *column.cells)]
    return min(max(texts), LEAST_TEXT) if _is_text(column) else max(texts)


def _gaps(found: Table, columns: int) -> int:
    """Return the total width of the gaps between a table's columns, given their number."""
    _, right, _, left = found.padding
    return (max(left, right) if found.collapse_padding else left + right) * (columns - 1)


def _of(found: Table, columns: Sequence[Column]) -> Table:
    """Return a table with only some of its columns."""
    made = Table(
        box=found.box,
        padding=found.padding,
        pad_edge=found.pad_edge,
        collapse_padding=found.collapse_padding,
        show_header=found.show_header,
        header_style=found.header_style,
    )
    for column in columns:
        made.add_column(
            column.header, justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow
        )
    for cells, row in zip(zip(*(column.cells for column in columns), strict=True), found.rows, strict=True):
        made.add_row(*cells, style=row.style, end_section=row.end_section)
    return made


def that_fit(found: Table, names: Sequence[str], less_wanted: Sequence[str], width: int) -> list[str]:
    """Return the columns of a table without borders that fit.

    Args:
        found: the table.
        names: the names of its columns.
        less_wanted: those that may be left out, in this order.
        width: the available width, in characters.
    """
    texts = ((str(column.header), *map(str, column.cells)) for column in found.columns)
    widths = dict(zip(names, (max(map(cell_len, each)) for each in texts), strict=True))
    for name in less_wanted:
        if sum(widths.values()) + GAP * (len(widths) - 1) <= width:
            break
        widths.pop(name, None)
    return list(widths)


@contextmanager
def wide_enough(out: Console, found: Table) -> Iterator[None]:
    """Let a table that does not fit exceed the terminal's width: a cut-off number reads as another one."""
    before = out._width  # None if it follows the terminal, which is restored
    out.width = max(out.width, width_of(found, out))
    try:
        yield
    finally:
        out._width = before


@contextmanager
def paged(out: Console, lines: int) -> Iterator[None]:
    """Page the output if it has more lines than the terminal: with $PAGER, or with less."""
    pager = (os.environ.get("PAGER") or "less").split()[:1]
    is_there = bool(pager) and shutil.which(pager[0]) is not None
    if not (is_there and out.is_terminal and sys.stdin.isatty()) or lines <= out.height:
        yield
        return
    os.environ.setdefault("LESS", "FRSX")
    with out.pager(styles=out.color_system is not None):
        yield
